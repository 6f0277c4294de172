package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/steps"
)

// TestMain lets the test binary be the process that the crash suite kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DEPLOY_CHILD"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve opens the engine on a world and begins what is unfinished.
func serve(ctx context.Context, dir string, w *world, edit func(*Config)) (*Service, error) {
	e, err := steps.Open(ctx, steps.Options{Path: filepath.Join(dir, "engine.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	cfg := Config{
		Engine: e, Records: w, Gate: w, Instances: w, Routes: w, Databases: databases{w}, Copies: w, Source: w, Watcher: w,
		Log: slog.New(slog.DiscardHandler), Poll: 50 * time.Millisecond, Patience: 5 * time.Second,
	}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	w.svc = s
	return s, errors.Join(e.Launch(), s.Resume(ctx))
}

// fresh is the journal of an engine that was opened once and closed: making
// its tables takes fifty times as long as opening it again.
var fresh = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, file := context.Background(), filepath.Join(dir, "engine.db")
	e, err := steps.Open(ctx, steps.Options{Path: file, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := e.Close(ctx); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

type fixture struct {
	*testing.T
	*world
	dir string
	s   *Service
}

// newFixture is an installation with releases r1 to r3 whose live and staging
// run r1.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, dir: t.TempDir()}
	if made, err := fresh(); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(filepath.Join(f.dir, "engine.db"), made, 0o600); err != nil {
		t.Fatal(err)
	}
	f.world = newWorld(f.dir)
	if err := furnish(f.world); err != nil {
		t.Fatal(err)
	}
	f.open(nil)
	return f
}

func furnish(w *world) error {
	return w.tx(func(s *state) error {
		for n := 1; n <= 3; n++ {
			s.Releases[n] = bosman.Release{App: "rms", Number: n, Commit: fmt.Sprintf("c%d", n), Tests: bosman.TestsGreen, Trust: bosman.TrustTeam}
		}
		for n, name := range []string{"live", "staging"} {
			op := n + 1
			kind := bosman.InstanceKind(name)
			id := SetID("rms", name, op)
			s.Ops[op] = bosman.Operation{App: "rms", Number: op, Instance: name, Plan: bosman.PlanDeploy, Release: 1, State: bosman.OpDone, Committed: true}
			s.Instances[name] = bosman.Instance{App: "rms", Name: name, Kind: kind, Release: 1, ProcessID: id, State: bosman.InstanceRunning, Database: bosman.Database{Engine: "postgres", Name: name}}
			s.Sets[id], s.Sets[WorkID(id)] = 1, 1
			s.Routes[name] = Routed{Release: 1, ID: id}
			s.Data[name] = data{Rows: []string{"a", "b"}, Schema: []int{1}}
		}
		s.Instances["testing-anna"] = bosman.Instance{App: "rms", Name: "testing-anna", Kind: bosman.KindTesting, State: bosman.InstanceEmpty}
		return nil
	})
}

func (f *fixture) open(edit func(*Config)) {
	f.Helper()
	s, err := serve(f.Context(), f.dir, f.world, edit)
	if err != nil {
		f.Fatal(err)
	}
	f.s = s
	f.Cleanup(func() { f.shut() })
}

func (f *fixture) shut() {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.s.Engine.Close(ctx); err != nil {
		f.Error(err)
	}
}

// ask writes the row of an operation and begins it.
func (f *fixture) ask(plan bosman.Plan, instance string, release int, edit ...func(*bosman.Operation)) int {
	f.Helper()
	op := f.row(plan, instance, release, edit...)
	if err := f.s.Begin(f.Context(), op); err != nil {
		f.Fatal(err)
	}
	return op.Number
}

func (f *fixture) row(plan bosman.Plan, instance string, release int, edit ...func(*bosman.Operation)) bosman.Operation {
	f.Helper()
	op := bosman.Operation{App: "rms", Instance: instance, Plan: plan, Release: release, State: bosman.OpQueued, By: "anna"}
	for _, e := range edit {
		e(&op)
	}
	if err := f.tx(func(s *state) error {
		op.Number = len(s.Ops) + 1
		s.Ops[op.Number] = op
		return nil
	}); err != nil {
		f.Fatal(err)
	}
	return op
}

func (f *fixture) wait(n int) bosman.Operation {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	op, err := f.s.Wait(ctx, "rms", n)
	if err != nil {
		f.Fatalf("d%d: %v\n%v", n, err, f.see().Ops[n].Steps)
	}
	return op
}

// serves demands that an instance serves a release, and that nothing is left
// over: see judge.
func (f *fixture) serves(instance string, release int) {
	f.Helper()
	for _, v := range judge(f.see(), instance, release) {
		f.Error(v)
	}
}

// judge lists what is wrong with a world in which nothing is under way and
// instance should serve release.
func judge(s *state, instance string, release int) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	wrong = append(wrong, s.Violations...)
	i, r := s.Instances[instance], s.Routes[instance]
	if i.Release != release || r.Release != release || s.Sets[r.ID] != release || r.ID != i.ProcessID {
		say("%s: row r%d, route r%d to %s (row: %s), want r%d", instance, i.Release, r.Release, r.ID, i.ProcessID, release)
	}
	for name, i := range s.Instances {
		for id, rel := range s.Sets {
			if strings.HasPrefix(id, "rms."+name+".") && id != i.ProcessID && id != WorkID(i.ProcessID) {
				say("%s (r%d) is left over", id, rel)
			}
		}
		if _, works := s.Sets[WorkID(i.ProcessID)]; i.Release != 0 && !i.Stopped && !works {
			say("%s has no workers", name)
		}
		if _, has := s.Data[name]; has != (i.Database.Name != "") {
			say("%s: database there %v, in its row %q", name, has, i.Database.Name)
		}
	}
	for name := range s.Data {
		if strings.Contains(name, "__") {
			say("%s is left over", name)
		}
	}
	for name := range s.Held {
		say("%s is still held", name)
	}
	for name, owner := range s.Owners {
		say("%s is still held by d%d", name, owner)
	}
	for n, o := range s.Ops {
		if !o.State.Final() {
			say("d%d is %s", n, o.State)
		}
		for _, st := range o.Steps {
			if st.State == bosman.StepRunning {
				say("d%d: %s still runs", n, st.Name)
			}
		}
	}
	return wrong
}

func (f *fixture) fail(name string, err error) {
	f.on(name, func(context.Context) error { return err })
}

// hold makes a method wait until its context ends; entered says when it began.
func (f *fixture) hold(name string) (entered chan struct{}) {
	entered = make(chan struct{}, 100)
	f.on(name, func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	return entered
}

func (f *fixture) arrive(entered chan struct{}, what string) {
	f.Helper()
	select {
	case <-entered:
	case <-time.After(10 * time.Second):
		f.Fatalf("never came to %s: %+v", what, f.see().Ops)
	}
}

func (f *fixture) eventually(what string, ok func() bool) {
	f.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	f.Fatalf("never: %s", what)
}

func note(op bosman.Operation, step string) string {
	for _, s := range op.Steps {
		if s.Name == step {
			return s.Note
		}
	}
	return ""
}

func stepState(op bosman.Operation, step string) bosman.StepState {
	for _, s := range op.Steps {
		if s.Name == step {
			return s.State
		}
	}
	return ""
}
