package postgres

import (
	"context"
	"slices"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Swap implements database.Engine. A further database without one to take its
// place stays: it changed places before we were killed, or nobody knew of it
// when the other was made.
func (m *Many) Swap(ctx context.Context, d, with bosman.Database) (bosman.Database, error) {
	next, err := m.nameOf(ctx, with)
	if err != nil {
		return bosman.Database{}, err
	}
	base := database.Base(next)
	at, err := m.begun(ctx, next)
	if err != nil {
		return bosman.Database{}, err
	}
	ctx = context.WithValue(ctx, momentKey{}, at)
	for _, f := range m.further {
		fresh, err := f.Find(ctx, next)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			return bosman.Database{}, err
		}
		old, err := f.Find(ctx, base)
		if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
			return bosman.Database{}, err
		}
		if _, err := f.Swap(ctx, old, fresh); err != nil {
			return bosman.Database{}, err
		}
		if err := faults.Point("postgres.many.swapped"); err != nil {
			return bosman.Database{}, err
		}
	}
	return m.Engine.Swap(ctx, d, with)
}

// begun is when a swap of next that was not finished began, else now: a
// further database was replaced then, its next one is gone, and the main one
// was not replaced at that moment.
func (m *Many) begun(ctx context.Context, next string) (time.Time, error) {
	now := m.moment(ctx)
	all, err := m.marks(ctx)
	if err != nil {
		return now, err
	}
	finished := map[string]bool{}
	for _, l := range all {
		finished[l.Name] = true
	}
	var at time.Time
	for _, f := range m.further {
		all, err := f.marks(ctx)
		if err != nil {
			return now, err
		}
		if slices.ContainsFunc(all, func(l labelled) bool { return l.Name == next }) {
			continue // its turn has not come
		}
		for _, l := range all {
			if database.Base(l.Name) == database.Base(next) && l.KeptAt.After(at) && !finished[l.Name] {
				at = l.KeptAt
			}
		}
	}
	if at.IsZero() {
		at = now
	}
	return at, nil
}

// Drop implements database.Engine.
func (m *Many) Drop(ctx context.Context, d bosman.Database) error {
	err := m.each(ctx, d, func(f further, own bosman.Database) error { return f.Drop(ctx, own) })
	switch bosman.KindOf(err) {
	case bosman.KindNotFound:
		return nil
	case bosman.KindConflict: // perhaps a golden copy of a further one, or one made in advance
		for _, f := range m.further {
			if err = f.Drop(ctx, d); bosman.KindOf(err) != bosman.KindConflict {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	if err := faults.Point("postgres.many.dropped"); err != nil {
		return err
	}
	return m.Engine.Drop(ctx, d)
}

// List implements database.Engine: an entry's bytes are those of all its
// databases. Golden copies and those made in advance stand for themselves.
func (m *Many) List(ctx context.Context) ([]database.Entry, error) {
	out, err := m.Engine.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range m.further {
		all, err := f.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, x := range all {
			if x.Golden || x.Pool {
				out = append(out, x)
			} else if i := slices.IndexFunc(out, func(main database.Entry) bool { return main.Name == x.Name }); i >= 0 {
				out[i].Bytes += x.Bytes
			}
		}
	}
	return out, nil
}

// Recover implements database.Engine: further databases that were made for a
// main one which was not go too.
func (m *Many) Recover(ctx context.Context) error {
	if err := m.Engine.Recover(ctx); err != nil {
		return err
	}
	for _, f := range m.further {
		if err := f.Recover(ctx); err != nil {
			return err
		}
		all, err := f.marks(ctx)
		if err != nil {
			return err
		}
		for _, l := range all {
			if len(database.Tags(l.Name)) == 0 || !l.KeptAt.IsZero() || database.HasTag(l.Name, database.TagGolden) || database.HasTag(l.Name, database.TagPool) {
				continue
			}
			if _, err := m.Engine.Find(ctx, l.Name); bosman.KindOf(err) != bosman.KindNotFound {
				if err != nil {
					return err
				}
				continue
			}
			if err := f.home.dropDatabase(ctx, l.db); err != nil {
				return err
			}
		}
	}
	return nil
}
