package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// world is all that the plans act on, in one file, so that it outlives a
// killed process. It notes each violation of what must always hold.
type world struct {
	path     string
	mu       sync.Mutex
	hook     map[string]func(ctx context.Context) error // called before a method acts
	svc      *Service
	drops    bool // the release command drops a column
	full     bool // there is no room for a kept copy
	forecast Forecast
	against  Against
	removed  string        // tables that lose rows in a release command
	watchFor time.Duration // 0: 400 ms
}

type state struct {
	Ops        map[int]bosman.Operation
	Instances  map[string]bosman.Instance
	Backups    map[int]bosman.Backup
	Releases   map[int]bosman.Release
	Owners     map[string]int
	Sets       map[string]int // process sets that run → release
	Routes     map[string]Routed
	Closed     map[string]string
	Data       map[string]data // databases by name
	Kept       map[string]data
	Tags       map[string]string
	Ways       map[string]data
	Held       map[string]time.Time
	Marks      map[int]map[Moment]int // rows, by operation
	Dumps      map[int]data
	Log        []string // activity
	Calls      []string
	Violations []string
	Reverts    int
	Asked      int // for a merge result
	Builds     int // how often it is still being built
	Fence      int
}

// data is a database: its rows, and the releases that migrated it.
type data struct {
	Rows   []string
	Schema []int
	From   int // release, of a copy
}

func (w *world) load() *state {
	s := &state{}
	b, err := os.ReadFile(w.path)
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
		s = &state{
			Ops: map[int]bosman.Operation{}, Instances: map[string]bosman.Instance{}, Backups: map[int]bosman.Backup{},
			Releases: map[int]bosman.Release{}, Owners: map[string]int{}, Sets: map[string]int{}, Routes: map[string]Routed{},
			Closed: map[string]string{}, Data: map[string]data{}, Kept: map[string]data{}, Tags: map[string]string{}, Dumps: map[int]data{},
			Ways: map[string]data{}, Held: map[string]time.Time{}, Marks: map[int]map[Moment]int{},
		}
	}
	if err != nil {
		panic(err)
	}
	return s
}

// tx changes the world in one transaction; an error takes it back.
func (w *world) tx(f func(s *state) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.load()
	if err := f(s); err != nil {
		return err
	}
	for name, r := range s.Routes {
		if _, runs := s.Sets[r.ID]; r.ID != "" && !runs && s.Held[name].IsZero() {
			s.Violations = append(s.Violations, fmt.Sprintf("%s is routed to %s, which does not run", name, r.ID))
		}
	}
	for n, o := range s.Ops { // a cause is an interface and cannot be read back
		if o.Error != nil {
			e := *o.Error
			e.Cause = nil
			o.Error = &e
			s.Ops[n] = o
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Write(w.path, b, 0o600)
}

func (w *world) see() *state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.load()
}

// call is the frame of each method of a stage: the hook, then the effect
// between two fault points.
func (w *world) call(ctx context.Context, name string, f func(s *state) error) error {
	w.mu.Lock()
	hook := w.hook[name]
	w.mu.Unlock()
	if hook != nil {
		if err := hook(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := faults.Point("world." + name + ".before"); err != nil {
		return err
	}
	err := w.tx(func(s *state) error {
		s.Calls = append(s.Calls, name)
		return f(s)
	})
	return errors.Join(err, faults.Point("world."+name+".after"))
}

func (w *world) on(name string, f func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hook == nil {
		w.hook = map[string]func(context.Context) error{}
	}
	w.hook[name] = f
}

// Rows.

func (w *world) Operation(_ context.Context, app string, n int) (bosman.Operation, error) {
	o, ok := w.see().Ops[n]
	if !ok || o.App != app {
		return o, bosman.NotFound("no d%d", n)
	}
	return o, nil
}

func (w *world) Unfinished(context.Context) ([]bosman.Operation, error) {
	var out []bosman.Operation
	s := w.see()
	for _, n := range slices.Sorted(maps.Keys(s.Ops)) {
		if !s.Ops[n].State.Final() {
			out = append(out, s.Ops[n])
		}
	}
	return out, nil
}

func (w *world) Change(_ context.Context, _ string, n int, _ bosman.EventKind, edit func(*bosman.Operation) bool) error {
	return w.tx(func(s *state) error {
		o := s.Ops[n]
		if edit(&o) {
			s.Ops[n] = o
		}
		return nil
	})
}

func (w *world) Finish(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool, line bosman.Activity) error {
	return w.tx(func(s *state) error {
		o := s.Ops[n]
		if edit(&o) {
			s.Log = append(s.Log, line.What)
		}
		s.Ops[n] = o
		if s.Owners[o.Instance] == n {
			delete(s.Owners, o.Instance)
		}
		return nil
	})
}

func (w *world) take(n int, force bool, edit func(*bosman.Operation, bosman.Instance) error) (fence int, err error) {
	err = w.tx(func(s *state) error {
		o := s.Ops[n]
		if owner := s.Owners[o.Instance]; owner != 0 && owner != n && !force {
			return bosman.Busy("%s is held by d%d", o.Instance, owner)
		}
		if err := edit(&o, s.Instances[o.Instance]); err != nil {
			return err
		}
		s.Ops[n], s.Owners[o.Instance] = o, n
		s.Fence++
		fence = s.Fence
		return nil
	})
	return fence, err
}

func (w *world) Take(_ context.Context, _ string, n int, edit func(*bosman.Operation, bosman.Instance) error) (int, error) {
	return w.take(n, false, edit)
}

func (w *world) TakeOver(_ context.Context, _ string, n int, edit func(*bosman.Operation, bosman.Instance) error) (int, error) {
	return w.take(n, true, edit)
}

func (w *world) GiveBack(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool) error {
	return w.Finish(ctx, app, n, edit, bosman.Activity{What: "gave back"})
}

func (w *world) Instance(_ context.Context, _, name string) (bosman.Instance, error) {
	i, ok := w.see().Instances[name]
	if !ok {
		return i, bosman.NotFound("no instance %s", name)
	}
	return i, nil
}

func (w *world) UpdateInstance(ctx context.Context, op bosman.Operation, edit func(*bosman.Instance)) error {
	return w.call(ctx, "UpdateInstance", func(s *state) error {
		if s.Owners[op.Instance] != op.Number {
			return bosman.Conflict("d%d does not own %s", op.Number, op.Instance)
		}
		i := s.Instances[op.Instance]
		edit(&i)
		s.Instances[op.Instance] = i
		return nil
	})
}

func (w *world) Before(_ context.Context, _, instance string, release int) (int, error) {
	s, from := w.see(), 0
	for _, n := range slices.Sorted(maps.Keys(s.Ops)) {
		if o := s.Ops[n]; o.Instance == instance && o.Plan == bosman.PlanDeploy && o.Release == release && o.Committed {
			from = o.From
		}
	}
	return from, nil
}

func (w *world) NewBackup(_ context.Context, b bosman.Backup) (bosman.Backup, error) {
	err := w.tx(func(s *state) error {
		for _, o := range s.Backups {
			if o.Operation == b.Operation {
				b = o
				return nil
			}
		}
		b.Number = len(s.Backups) + 1
		s.Backups[b.Number] = b
		return nil
	})
	return b, err
}

func (w *world) SaveBackup(ctx context.Context, b bosman.Backup) error {
	return w.tx(func(s *state) error { s.Backups[b.Number] = b; return nil })
}

func (w *world) Backup(_ context.Context, _ string, n int) (bosman.Backup, error) {
	return w.see().Backups[n], nil
}

func (w *world) Release(_ context.Context, _ string, n int) (bosman.Release, error) {
	r, ok := w.see().Releases[n]
	if !ok || !r.PrunedAt.IsZero() {
		return r, bosman.NotFound("r%d is not on this machine any more", n)
	}
	return r, nil
}

func (w *world) Commits(_ context.Context, r bosman.Release) ([]string, error) {
	return []string{r.Commit}, nil
}

func (w *world) Manifest(_ context.Context, _ string, n int) (*bosman.Manifest, error) {
	return &bosman.Manifest{Release: "migrate", Health: "/healthz"}, nil
}

func (w *world) MarkBad(ctx context.Context, _ string, n int, why string) error {
	return w.call(ctx, "MarkBad", func(s *state) error {
		r := s.Releases[n]
		r.Bad = why
		s.Releases[n] = r
		return nil
	})
}

// Gate.

func (w *world) Judge(ctx context.Context, op bosman.Operation) (Wait, error) {
	w.mu.Lock()
	hook := w.hook["Judge"]
	w.mu.Unlock()
	if hook == nil {
		return Wait{}, nil
	}
	err := hook(ctx)
	var b *bosman.Error
	if errors.As(err, &b) && b.Kind == bosman.KindBusy { // the test's way to say "wait"
		return Wait{For: b.Message}, nil
	}
	return Wait{}, err
}

func (w *world) Policy(_ context.Context, _ string, kind bosman.InstanceKind) (*bosman.Policy, error) {
	switch kind {
	case bosman.KindLive:
		return &bosman.Policy{Backup: bosman.BackupPolicy{Keep: 30}, Watch: bosman.WatchPolicy{For: cmp.Or(w.watchFor, 400*time.Millisecond), Revert: true}}, nil
	case bosman.KindStaging:
		return &bosman.Policy{Follow: "main", Seed: "seed"}, nil
	case bosman.KindTesting, bosman.KindPreview:
	}
	return &bosman.Policy{Copy: "staging"}, nil
}

// MergeResult is the highest release, once it was asked for as often as the
// test says.
func (w *world) MergeResult(ctx context.Context, op bosman.Operation, asked int) (MergeResult, error) {
	m := MergeResult{Build: 413, Main: "1a2b3c4d5e6f"}
	err := w.call(ctx, "MergeResult", func(s *state) error {
		if s.Asked++; s.Asked <= s.Builds {
			m.Wait = fmt.Sprintf("b413 builds c%d, which b%d asked for", op.Change, asked)
			return nil
		}
		for n := range s.Releases {
			m.Release = max(m.Release, n)
		}
		return nil
	})
	return m, err
}

// Against says what the test set.
func (w *world) Against(context.Context, string, int, int) (Against, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.against, nil
}

func (w *world) Forecast(context.Context, bosman.Operation) (Forecast, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.forecast, nil
}

func (w *world) RevertByItself(ctx context.Context, op bosman.Operation, restore bool, why string) (bosman.Operation, error) {
	var rev bosman.Operation
	err := w.tx(func(s *state) error {
		for _, o := range s.Ops {
			if o.Plan == bosman.PlanRevert && o.Reverts == op.Number && !o.State.Final() {
				rev = o
				return nil
			}
		}
		i := s.Instances[op.Instance]
		rev = bosman.Operation{
			App: op.App, Number: len(s.Ops) + 1, Instance: op.Instance, Plan: bosman.PlanRevert, Release: i.Previous, From: i.Release,
			Reverts: op.Number, State: bosman.OpQueued, By: "bosman", Why: why, Auto: true,
		}
		if restore {
			rev.Backup = op.Backup
		}
		s.Ops[rev.Number] = rev
		s.Reverts++
		return nil
	})
	if err == nil {
		err = faults.Point("world.RevertByItself.row")
	}
	if err == nil {
		err = w.svc.Begin(ctx, rev)
	}
	return rev, err
}
