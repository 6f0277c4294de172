package steps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// TestMain lets the test binary be the process that the crash suite kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STEPS_CHILD"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// open opens an engine in dir with the given plans and launches it. It is
// closed at the end of the test.
func open(t *testing.T, dir string, plans ...Plan) *Engine {
	t.Helper()
	furnish(t, dir)
	e, err := Open(t.Context(), Options{Path: filepath.Join(dir, "engine.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, e) })
	for _, p := range plans {
		if err := e.Register(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Launch(); err != nil {
		t.Fatal(err)
	}
	return e
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
	e, err := Open(ctx, Options{Path: file, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := e.Close(ctx); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// furnish puts a fresh journal into a folder that has none.
func furnish(t *testing.T, dir string) {
	t.Helper()
	made, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "engine.db"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return
	}
	if err == nil {
		_, err = f.Write(made)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func shut(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func start(t *testing.T, e *Engine, plan, id string, input any) {
	t.Helper()
	if err := e.Start(t.Context(), plan, id, input); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, e *Engine, id string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	res, err := e.Wait(ctx, id)
	if err != nil {
		t.Fatalf("wait for %s: %v", id, err)
	}
	return res
}

// diary notes what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
	ends  []Result
	last  map[string]StepEvent
	fail  int // so many of the next calls of the listener fail
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

func (d *diary) state(step string) StepEvent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[step]
}

func (d *diary) Step(_ context.Context, _ *Run, e StepEvent) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail > 0 {
		d.fail--
		return fmt.Errorf("the rows cannot be written")
	}
	if d.last == nil {
		d.last = map[string]StepEvent{}
	}
	d.last[e.Step] = e
	return nil
}

func (d *diary) End(_ context.Context, _ *Run, res Result) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends = append(d.ends, res)
	return nil
}

// plain makes a step that writes into the diary what it does.
func (d *diary) plain(name string) Step {
	return Step{
		Name: name,
		Do:   func(context.Context, *Run) error { d.add("do %s", name); return nil },
		Undo: func(context.Context, *Run) error { d.add("undo %s", name); return nil },
	}
}

func (d *diary) commit(name string) Step {
	s := d.plain(name)
	s.Commit, s.Undo = true, nil
	return s
}

func (d *diary) failing(name string) Step {
	s := d.plain(name)
	s.Do = func(context.Context, *Run) error {
		d.add("do %s", name)
		return bosman.Failed("%s went wrong", name).WithKept("all is as it was").WithNext("try again")
	}
	return s
}

// waiting makes a step that waits for a message on topic name.
func (d *diary) waiting(name string) Step {
	s := d.plain(name)
	s.Do = func(ctx context.Context, r *Run) error {
		d.add("wait %s", name)
		v, err := r.WaitFor(ctx, name, time.Time{})
		if err != nil {
			d.add("woken %s: %v", name, err)
			return err
		}
		d.add("got %s", v)
		return nil
	}
	return s
}

func (d *diary) plan(name string, steps ...Step) Plan {
	return Plan{Name: name, Version: 1, Steps: steps, Listener: d}
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("happened: %q\nwanted:   %q", got, want)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
