package deploy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

func (w *world) Ensure(ctx context.Context, i bosman.Instance, _ int) (bosman.Database, error) {
	err := w.call(ctx, "Ensure", func(s *state) error {
		if _, there := s.Data[i.Name]; !there {
			s.Data[i.Name] = data{}
		}
		return nil
	})
	return bosman.Database{Engine: "postgres", Name: i.Name}, err
}

func (w *world) Drop(ctx context.Context, i bosman.Instance) error {
	return w.call(ctx, "Drop", func(s *state) error { delete(s.Data, i.Name); return nil })
}

func (w *world) Guard(ctx context.Context, l Launch) error {
	return w.call(ctx, "Guard", func(s *state) error {
		if l.Instance.Database.Name != l.Instance.Name {
			s.Violations = append(s.Violations, "the guard sees the database of another instance")
		}
		return nil
	})
}

func (w *world) Schema(_ context.Context, i bosman.Instance) (string, error) {
	return fmt.Sprint(w.see().Data[i.Database.Name].Schema), nil
}

func (w *world) Changed(ctx context.Context, i bosman.Instance, before string) (SchemaChange, error) {
	now, err := w.Schema(ctx, i)
	if err != nil || now == before {
		return SchemaChange{}, err
	}
	return SchemaChange{Text: before + " became " + now, Destructive: w.drops}, nil
}

func (w *world) Foresee(context.Context, bosman.Instance, bool) (string, error) {
	return "about 14 MB in 1.2s, as k12", nil
}

type databases struct{ *world } // Databases.Backup and BackupRows.Backup share a name

func (w databases) Backup(ctx context.Context, i bosman.Instance, b bosman.Backup, verify bool) (bosman.Backup, error) {
	err := w.call(ctx, "Backup", func(s *state) error {
		if _, made := s.Dumps[b.Number]; !made {
			s.Dumps[b.Number] = s.Data[i.Database.Name]
		}
		b.Rows, b.Tables, b.Bytes, b.Took = int64(len(s.Dumps[b.Number].Rows)), 1, 14<<20, 1200*time.Millisecond
		if verify {
			b.VerifiedAt = time.Now()
		}
		return nil
	})
	return b, err
}

func (w *world) Offered(_ context.Context, _, from bosman.Instance, _ bool) ([]int, error) {
	return []int{from.Release}, nil
}

func (w *world) Copy(ctx context.Context, i, from bosman.Instance, o CopyOptions) (Prepared, error) {
	p := Prepared{
		Name: fmt.Sprintf("%s__next_d%d", i.Name, o.Operation), Database: bosman.Database{Engine: "postgres", Name: i.Name}, Note: "1,045 MB in 2.3 s",
		Copy: bosman.CopyInfo{From: from.Name, TakenAt: time.Now(), Release: from.Release},
	}
	if !o.Accept(from.Release) {
		return p, bosman.Conflict("%s runs r%d, which the change does not know", from.Name, from.Release)
	}
	return p, w.call(ctx, "Copy", func(s *state) error {
		if s.placed(i, p) {
			return nil
		}
		d := s.Data[from.Name]
		d.From = from.Release
		s.Data[p.Name] = d
		return nil
	})
}

func (w *world) Restore(ctx context.Context, i bosman.Instance, b bosman.Backup, op int) (Prepared, error) {
	p := Prepared{Name: fmt.Sprintf("%s__next_d%d", i.Name, op), Database: bosman.Database{Engine: "postgres", Name: i.Name}, Note: "14 MB in 1.2 s"}
	return p, w.call(ctx, "Restore", func(s *state) error {
		if !s.placed(i, p) {
			s.Data[p.Name] = s.Dumps[b.Number]
		}
		return nil
	})
}

// placed says that p took the place before a crash.
func (s *state) placed(i bosman.Instance, p Prepared) bool {
	_, kept := s.Kept[i.Name+"__kept_"+p.Name]
	return kept
}

func (w *world) Swap(ctx context.Context, i bosman.Instance, p Prepared) (string, error) {
	kept := i.Name + "__kept_" + p.Name
	return kept, w.call(ctx, "Swap", func(s *state) error {
		if s.placed(i, p) {
			return nil
		}
		for id := range s.Sets {
			if strings.HasPrefix(id, i.App+"."+i.Name+".") && (len(s.Closed) > 0 || !s.Held[i.Name].IsZero()) {
				s.Violations = append(s.Violations, id+" runs while its data changes places")
			}
		}
		s.Kept[kept] = s.Data[i.Name]
		if d, back := s.Ways[p.Name]; p.Kept && back {
			s.Data[i.Name] = d
			delete(s.Ways, p.Name)
			return nil
		}
		s.Data[i.Name] = s.Data[p.Name]
		delete(s.Data, p.Name)
		return nil
	})
}

// Mark counts rows.
func (w *world) Mark(ctx context.Context, i bosman.Instance, op int, m Moment) error {
	return w.call(ctx, "Mark", func(s *state) error {
		if s.Marks[op] == nil {
			s.Marks[op] = map[Moment]int{}
		}
		if _, known := s.Marks[op][m]; !known || m == MomentMigrated {
			s.Marks[op][m] = len(s.Data[i.Database.Name].Rows)
		}
		return nil
	})
}

// Removed says what the test set.
func (w *world) Removed(context.Context, bosman.Instance, int) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed, nil
}

// Settled says that nobody is connected.
func (w *world) Settled(context.Context, bosman.Instance, time.Time) (bool, error) { return true, nil }

func (w *world) Written(_ context.Context, i bosman.Instance, op int) (bosman.Written, error) {
	s := w.see()
	m := s.Marks[op]
	before, known := m[MomentBackup]
	if !known {
		return bosman.Written{}, nil
	}
	_, held := m[MomentHeld]
	out := bosman.Written{Known: true, Certain: held || m[MomentMigrated] == m[MomentMigrate]}
	if n := len(s.Data[i.Database.Name].Rows) - before - (m[MomentMigrated] - m[MomentMigrate]); n > 0 {
		out.Tables = []bosman.TableRows{{Table: "public.candidate", Rows: int64(n)}}
	}
	return out, nil
}

func wayBackName(i bosman.Instance, op int) string {
	return fmt.Sprintf("%s__way_back_d%d", i.Name, op)
}

func (w *world) Keep(ctx context.Context, i bosman.Instance, b bosman.Backup, op int) (Kept, error) {
	k := Kept{Name: wayBackName(i, op), Bytes: 14 << 20}
	return k, w.call(ctx, "Keep", func(s *state) error {
		if w.full {
			k = Kept{Note: "the disk is full"}
			return nil
		}
		s.Ways[k.Name] = s.Dumps[b.Number]
		return nil
	})
}

func (w *world) TakeKept(ctx context.Context, i bosman.Instance, k Kept) (p Prepared, ok bool, err error) {
	p = Prepared{Name: k.Name, Database: bosman.Database{Engine: "postgres", Name: i.Name}, Note: "14 MB", Kept: true}
	err = w.call(ctx, "TakeKept", func(s *state) error {
		_, ok = s.Ways[k.Name]
		ok = ok || s.placed(i, p)
		return nil
	})
	return p, ok, err
}

func (w *world) Forget(ctx context.Context, i bosman.Instance, which func(int) bool) error {
	return w.call(ctx, "Forget", func(s *state) error {
		for name := range s.Ways {
			_, n, _ := strings.Cut(name, i.Name+"__way_back_d")
			if op, err := strconv.Atoi(n); err == nil && which(op) {
				delete(s.Ways, name)
			}
		}
		return nil
	})
}

func (w *world) Unswap(ctx context.Context, i bosman.Instance, p Prepared, _ string) error {
	return w.call(ctx, "Unswap", func(s *state) error {
		kept := i.Name + "__kept_" + p.Name
		if old, there := s.Kept[kept]; there {
			s.Data[i.Name] = old
			if i.Release == 0 {
				delete(s.Data, i.Name)
			}
			delete(s.Kept, kept)
		}
		return nil
	})
}

func (w *world) Discard(ctx context.Context, _ bosman.Instance, p Prepared) error {
	return w.call(ctx, "Discard", func(s *state) error { delete(s.Data, p.Name); return nil })
}
