package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

var crashSteps = []string{"wait", "backup", "start", "switch", "tag", "settle"}

// child carries out one run in dir and ends when the run ended. The world it
// acts on is a folder: the effect of a step is a file, and effects.log tells
// each time one was made or taken away.
func child(dir string) error {
	w := world{dir}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e, err := Open(ctx, Options{Path: filepath.Join(dir, "engine.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	plan := Plan{Name: "deploy", Version: 1, Listener: w}
	for _, name := range crashSteps {
		s := Step{Name: name, Do: w.do(name), Undo: w.undo(name), Commit: name == "switch", Attempts: 2}
		if s.Commit {
			s.Undo = nil
		}
		plan.Steps = append(plan.Steps, s)
	}
	if err := errors.Join(e.Register(plan), e.Launch()); err != nil {
		return err
	}
	if err := e.Start(ctx, "deploy", "d1", os.Getenv("STEPS_FAIL")); err != nil {
		return err
	}
	res, err := e.Wait(ctx, "d1")
	if err != nil {
		return err
	}
	if len(res.NotUndone) > 0 {
		return fmt.Errorf("not undone: %v", res.NotUndone)
	}
	return e.Close(ctx)
}

type world struct{ dir string }

func (w world) do(name string) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		var fail string
		if err := r.Input(&fail); err != nil {
			return err
		}
		if fail == name {
			return bosman.Failed("%s is meant to fail", name)
		}
		if err := r.Set(ctx, "begun "+name, true); err != nil {
			return err
		}
		if err := faults.Point("test." + name + ".half"); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(w.dir, "effect-"+name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			r.Note(ctx, "%s was there already", name)
			return nil // a run before a crash made it
		}
		if err != nil {
			return err
		}
		r.Note(ctx, "%s made", name)
		return errors.Join(f.Close(), w.log("+"+name))
	}
}

func (w world) undo(name string) func(context.Context, *Run) error {
	return func(context.Context, *Run) error {
		err := os.Remove(filepath.Join(w.dir, "effect-"+name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return w.log("-" + name)
	}
}

func (w world) log(line string) error {
	return appendLine(filepath.Join(w.dir, "effects.log"), line)
}

func (w world) Step(_ context.Context, _ *Run, e StepEvent) error {
	return appendLine(filepath.Join(w.dir, "told.log"), e.Step+" "+string(e.State))
}

func (w world) End(_ context.Context, _ *Run, res Result) error {
	return appendLine(filepath.Join(w.dir, "ends.log"), string(res.Outcome))
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(string(b), " ", "="))
}

// process runs the child once and says whether it was killed.
func process(t *testing.T, dir, fail, plan string) (killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "STEPS_CHILD="+dir, "STEPS_FAIL="+fail, faults.Env+"="+plan, faults.Env+"_ONCE="+filepath.Join(dir, "killed"))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("the child failed: %v\n%s", err, out)
	return false
}

// judge demands that a run ended all done or all undone, each effect made and
// taken away in turns, and that the listener heard of the end.
func judge(t *testing.T, dir, fail string) {
	t.Helper()
	want := crashSteps
	outcome := Done
	switch {
	case slices.Index(crashSteps, fail) > slices.Index(crashSteps, "switch"):
		want = slices.DeleteFunc(slices.Clone(crashSteps), func(s string) bool { return s == fail })
		outcome = FailedForward
	case fail != "":
		want, outcome = nil, Undone
	}
	for _, s := range crashSteps {
		_, err := os.Stat(filepath.Join(dir, "effect-"+s))
		if there := err == nil; there != slices.Contains(want, s) {
			t.Errorf("effect of %s there: %v", s, there)
		}
	}
	balance := map[string]int{}
	for _, l := range lines(t, filepath.Join(dir, "effects.log")) {
		switch l[0] {
		case '+':
			balance[l[1:]]++
		case '-':
			balance[l[1:]]--
		}
		if n := balance[l[1:]]; n < -1 || n > 1 { // the log line itself may be lost in the crash
			t.Errorf("%s made or undone %d times over", l[1:], n)
		}
	}
	ends := lines(t, filepath.Join(dir, "ends.log"))
	if len(ends) == 0 || len(ends) > 2 || ends[0] != string(outcome) {
		t.Errorf("ends %v, want %s", ends, outcome)
	}
	told := lines(t, filepath.Join(dir, "told.log"))
	for _, s := range want {
		if !slices.Contains(told, s+"="+string(bosman.StepDone)) {
			t.Errorf("nobody heard that %s is done", s)
		}
	}
}

// Kill the process at every point of a run, start it again, and see that the
// run ends as if nothing had happened. The points are recorded, not listed by
// hand, so a new one cannot be forgotten.
func TestKillAtEveryPoint(t *testing.T) {
	need.Slow(t, "kills a process at every journal point")
	for _, fail := range []string{"", "start", "tag"} {
		name := "all steps succeed"
		if fail != "" {
			name = fail + " fails"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			record := filepath.Join(dir, "points")
			if process(t, dir, fail, "record="+record) {
				t.Fatal("killed without a reason")
			}
			judge(t, dir, fail)
			points := lines(t, record)
			slices.Sort(points)
			points = slices.Compact(points)
			if len(points) < 20 {
				t.Fatalf("only %d points: %v", len(points), points)
			}
			for _, p := range points {
				dir := t.TempDir()
				if !process(t, dir, fail, p+"=kill") {
					t.Errorf("%s: not killed", p)
					continue
				}
				if process(t, dir, fail, p+"=kill") {
					t.Errorf("%s: killed twice", p)
				}
				judge(t, dir, fail)
				if t.Failed() {
					t.Fatalf("after a kill at %s", p)
				}
			}
			t.Logf("%d points", len(points))
		})
	}
}
