package steps

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"go.uber.org/goleak"
)

func TestAllStepsInOrder(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), d.plain("b"), d.commit("switch"), d.plain("settle")))
	start(t, e, "deploy", "rms/d1", nil)
	res := wait(t, e, "rms/d1")
	if res.Outcome != Done || !res.Committed || res.Err != nil {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do b", "do switch", "do settle")
	if len(d.ends) != 1 || d.ends[0].Outcome != Done {
		t.Errorf("ends %+v", d.ends)
	}
	for _, s := range []string{"a", "b", "switch", "settle"} {
		ev := d.state(s)
		if ev.State != bosman.StepDone || ev.StartedAt.IsZero() || ev.EndedAt.Before(ev.StartedAt) {
			t.Errorf("%s: %+v", s, ev)
		}
	}
	if d.state("b").Committed || !d.state("switch").Committed {
		t.Error("committed is told from the commit step on")
	}
	start(t, e, "deploy", "rms/d1", nil) // again: nothing happens
	wait(t, e, "rms/d1")
	equal(t, d.all(), "do a", "do b", "do switch", "do settle")
	shut(t, e)
}

func TestFailureBeforeCommitUndoesInReverse(t *testing.T) {
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), d.plain("b"), d.failing("c"), d.commit("switch")))
	start(t, e, "deploy", "d1", nil)
	res := wait(t, e, "d1")
	if res.Outcome != Undone || res.Committed || res.Step != "c" || res.Err.Kind != bosman.KindFailed ||
		res.Err.Message != "c went wrong" || res.Err.Kept == "" || res.Err.Next == "" {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do b", "do c", "undo c", "undo b", "undo a")
	if d.state("c").State != bosman.StepUndone || d.state("a").State != bosman.StepUndone {
		t.Error("the steps are told to be undone")
	}
}

func TestAfterCommitOnlyForward(t *testing.T) {
	d := &diary{}
	flaky := d.plain("tag")
	n := 0
	flaky.Do = func(context.Context, *Run) error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		d.add("tagged")
		return nil
	}
	bad := d.failing("watch")
	bad.Attempts = 2
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), d.commit("switch"), flaky, bad, d.plain("settle")))
	start(t, e, "deploy", "d1", nil)
	res := wait(t, e, "d1")
	if res.Outcome != FailedForward || !res.Committed || res.Step != "watch" || res.Err.Message != "watch went wrong" {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do switch", "tagged", "do watch", "do watch", "do settle")
}

func TestFailedCommitUndoes(t *testing.T) {
	d := &diary{}
	sw := d.failing("switch")
	sw.Commit, sw.Undo = true, nil
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), sw, d.plain("settle")))
	start(t, e, "deploy", "d1", nil)
	if res := wait(t, e, "d1"); res.Outcome != Undone || res.Committed {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do switch", "undo a")
}

func TestUndoThatFails(t *testing.T) {
	d := &diary{}
	stuck := d.plain("b")
	stuck.Undo = func(context.Context, *Run) error { return bosman.Unavailable("the host is away") }
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), stuck, d.failing("c")))
	start(t, e, "deploy", "d1", nil)
	res := wait(t, e, "d1")
	if res.Outcome != Undone || len(res.NotUndone) != 1 || !strings.Contains(res.NotUndone[0], "host is away") {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do b", "do c", "undo c", "undo a") // the others are undone all the same
}

func TestValuesAndNotesAndInput(t *testing.T) {
	d := &diary{}
	type input struct{ App string }
	a := Step{Name: "a", Do: func(ctx context.Context, r *Run) error {
		var in input
		if err := r.Input(&in); err != nil {
			return err
		}
		r.Note(ctx, "%d MB for %s", 14, in.App)
		if d.state("a").Note != "14 MB for rms" {
			t.Error("a note is told at once")
		}
		return r.Set(ctx, "process", "p7")
	}}
	b := Step{Name: "b", Do: func(ctx context.Context, r *Run) error {
		var p string
		if ok, err := r.Get(ctx, "process", &p); !ok || err != nil || p != "p7" {
			t.Errorf("Get = %q %v %v", p, ok, err)
		}
		if ok, err := r.Get(ctx, "other", &p); ok || err != nil {
			t.Errorf("Get of nothing = %v %v", ok, err)
		}
		return nil
	}}
	e := open(t, t.TempDir(), d.plan("p", a, b))
	start(t, e, "p", "1", input{"rms"})
	wait(t, e, "1")
	if ev := d.state("a"); ev.Note != "14 MB for rms" || ev.State != bosman.StepDone {
		t.Errorf("%+v", ev)
	}
	if d.state("b").Note != "" {
		t.Error("notes stay with their step")
	}
}

func TestApproval(t *testing.T) {
	d := &diary{}
	dir := t.TempDir()
	plan := d.plan("deploy", d.plain("a"), d.waiting("approval"), d.commit("switch"))
	e := open(t, dir, plan)
	start(t, e, "deploy", "d1", nil)
	eventually(t, "it waits", func() bool { return slices.Contains(d.all(), "wait approval") })
	if err := e.Signal(t.Context(), "d1", "approval", "anna"); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(t.Context(), "d1", "approval", "too late"); err != nil {
		t.Fatal(err)
	}
	if res := wait(t, e, "d1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "wait approval", `got "anna"`, "do switch")

	// A message may come before the run.
	if err := e.Signal(t.Context(), "d2", "approval", "early"); err != nil {
		t.Fatal(err)
	}
	start(t, e, "deploy", "d2", nil)
	wait(t, e, "d2")
	if !slices.Contains(d.all(), `got "early"`) {
		t.Error("a message before the start is not lost")
	}
}

func TestWaitForDeadline(t *testing.T) {
	d := &diary{}
	s := Step{Name: "w", Do: func(ctx context.Context, r *Run) error {
		_, err := r.WaitFor(ctx, "approval", time.Now().Add(20*time.Millisecond))
		if !errors.Is(err, ErrDeadline) {
			t.Errorf("err %v", err)
		}
		return nil
	}}
	e := open(t, t.TempDir(), d.plan("p", s))
	start(t, e, "p", "1", nil)
	wait(t, e, "1")
}

// A wait of hours: the moment is absolute, so a process that starts later
// waits for the rest only.
func TestSleepAcrossRestart(t *testing.T) {
	d := &diary{}
	dir := t.TempDir()
	sleep := func(total time.Duration) Plan {
		return d.plan("p", Step{Name: "until", Do: func(ctx context.Context, r *Run) error {
			var at time.Time
			if ok, err := r.Get(ctx, "at", &at); err != nil {
				return err
			} else if !ok {
				at = time.Now().Add(total)
				if err := r.Set(ctx, "at", at); err != nil {
					return err
				}
			}
			d.add("sleep")
			if err := r.SleepUntil(ctx, at); err != nil {
				return err
			}
			d.add("awake")
			return nil
		}})
	}
	e := open(t, dir, sleep(2*time.Second))
	begun := time.Now()
	start(t, e, "p", "1", nil)
	eventually(t, "asleep", func() bool { return len(d.all()) == 1 })
	shut(t, e)
	equal(t, d.all(), "sleep") // the shutdown is no wake-up and no failure
	e = open(t, dir, sleep(time.Hour))
	if res := wait(t, e, "1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	if took := time.Since(begun); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("slept %s in all, want 2 s", took)
	}
	equal(t, d.all(), "sleep", "sleep", "awake")
}

func TestCancel(t *testing.T) {
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), d.waiting("b"), d.commit("switch")))
	start(t, e, "deploy", "d1", nil)
	eventually(t, "it waits", func() bool { return slices.Contains(d.all(), "wait b") })
	if err := e.Cancel(t.Context(), "d1", "not today"); err != nil {
		t.Fatal(err)
	}
	res := wait(t, e, "d1")
	if res.Outcome != Undone || !res.Cancelled || res.TakenOver != "" || !strings.Contains(res.Err.Message, "not today") {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "wait b", "woken b: "+ErrCancelled.Error(), "undo b", "undo a")
	if err := e.Cancel(t.Context(), "d1", "again"); err != nil {
		t.Errorf("cancelling what has ended does nothing: %v", err)
	}
}

func TestCancelAfterCommitIsNotHeeded(t *testing.T) {
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), d.commit("switch"), d.waiting("watch"), d.plain("settle")))
	start(t, e, "deploy", "d1", nil)
	eventually(t, "it watches", func() bool { return slices.Contains(d.all(), "wait watch") })
	if err := e.Cancel(t.Context(), "d1", "no"); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(t.Context(), "d1", "watch", 1); err != nil {
		t.Fatal(err)
	}
	if res := wait(t, e, "d1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
}

func TestTakeOver(t *testing.T) {
	for _, c := range []struct {
		name    string
		undo    bool
		at      int // which step waits
		outcome Outcome
		want    []string
	}{
		{"before the commit, undone", true, 1, Undone, []string{"do a", "wait w", "woken", "undo w", "undo a"}},
		{"before the commit, left", false, 1, Stopped, []string{"do a", "wait w", "woken"}},
		{"after the commit", true, 2, Stopped, []string{"do a", "do switch", "wait w", "woken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &diary{}
			list := []Step{d.plain("a"), d.commit("switch"), d.plain("settle")}
			e := open(t, t.TempDir(), d.plan("deploy", slices.Insert(list, c.at, d.waiting("w"))...))
			start(t, e, "deploy", "d1", nil)
			eventually(t, "it waits", func() bool { return slices.Contains(d.all(), "wait w") })
			begun := time.Now()
			if err := e.TakeOver(t.Context(), "d1", "d2", c.undo); err != nil {
				t.Fatal(err)
			}
			res := wait(t, e, "d1")
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("taking over took %s", took)
			}
			if res.Outcome != c.outcome || res.TakenOver != "d2" || res.Cancelled || res.Step != "w" {
				t.Errorf("result %+v", res)
			}
			got := d.all()
			for i := range got {
				got[i], _, _ = strings.Cut(strings.Replace(got[i], "woken w", "woken", 1), ":")
			}
			equal(t, got, c.want...)
		})
	}
}

// A commit step is let finish: half a switch is worse than a late stop.
func TestTakeOverDuringCommit(t *testing.T) {
	d := &diary{}
	began, finish := make(chan struct{}), make(chan struct{})
	sw := Step{Name: "switch", Commit: true, Do: func(ctx context.Context, _ *Run) error {
		close(began)
		select {
		case <-finish:
		case <-ctx.Done():
			t.Error("the commit step was interrupted")
		}
		d.add("switched")
		return nil
	}}
	e := open(t, t.TempDir(), d.plan("deploy", d.plain("a"), sw, d.plain("settle")))
	start(t, e, "deploy", "d1", nil)
	<-began
	if err := e.TakeOver(t.Context(), "d1", "d2", true); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	close(finish)
	if res := wait(t, e, "d1"); res.Outcome != Stopped || !res.Committed || res.TakenOver != "d2" {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "switched")
}

func TestShutdownIsNotFailure(t *testing.T) {
	d := &diary{}
	dir := t.TempDir()
	plan := d.plan("deploy", d.plain("a"), d.waiting("b"), d.commit("switch"))
	e := open(t, dir, plan)
	start(t, e, "deploy", "d1", nil)
	eventually(t, "it waits", func() bool { return slices.Contains(d.all(), "wait b") })
	begun := time.Now()
	shut(t, e)
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the shutdown took %s", took)
	}
	equal(t, d.all(), "do a", "wait b", "woken b: "+ErrShutdown.Error())
	if ev := d.state("b"); ev.State != bosman.StepRunning || len(d.ends) != 0 {
		t.Errorf("told %+v, ends %v", ev, d.ends)
	}
	if err := e.Start(t.Context(), "deploy", "d9", nil); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("a start after the close: %v", err)
	}
	e = open(t, dir, plan)
	if runs, err := e.Running(t.Context()); err != nil || len(runs) != 1 || runs[0].ID != "d1" || runs[0].Plan != "deploy" || runs[0].Version != 1 {
		t.Errorf("running %+v %v", runs, err)
	}
	if err := e.Signal(t.Context(), "d1", "b", "go"); err != nil {
		t.Fatal(err)
	}
	if res := wait(t, e, "d1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "wait b", "woken b: "+ErrShutdown.Error(), "wait b", `got "go"`, "do switch")
}

// An upgrade during a run: it keeps the steps it began with, new runs get the
// new ones, and a program that dropped the old version lets the run stand.
func TestUpgradeDuringRun(t *testing.T) {
	d := &diary{}
	dir := t.TempDir()
	v1 := d.plan("deploy", d.plain("a"), d.waiting("b"), d.commit("switch"))
	v2 := d.plan("deploy", d.plain("new"), d.plain("a"), d.waiting("b"), d.plain("check"), d.commit("switch"))
	v2.Version = 2
	e := open(t, dir, v1)
	start(t, e, "deploy", "d1", nil)
	eventually(t, "it waits", func() bool { return slices.Contains(d.all(), "wait b") })
	shut(t, e)

	broken := make(chan error, 1)
	e, err := Open(t.Context(), Options{Path: filepath.Join(dir, "engine.db"), Log: slog.New(slog.DiscardHandler), Broken: func(err error) { broken <- err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, e) })
	if err := errors.Join(e.Register(v2), e.Launch()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-broken:
		if !strings.Contains(err.Error(), "version 1") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told of a run whose plan is gone")
	}
	shut(t, e)
	if len(d.ends) != 0 {
		t.Fatalf("the run ended: %+v", d.ends)
	}

	e = open(t, dir, v1, v2)
	for _, id := range []string{"d1", "d2"} {
		if err := e.Signal(t.Context(), id, "b", id); err != nil {
			t.Fatal(err)
		}
	}
	if res := wait(t, e, "d1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	start(t, e, "deploy", "d2", nil)
	if res := wait(t, e, "d2"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all()[3:], "wait b", `got "d1"`, "do switch", "do new", "do a", "wait b", `got "d2"`, "do check", "do switch")
}

func TestListenerIsTriedAgain(t *testing.T) {
	d := &diary{fail: 3}
	e := open(t, t.TempDir(), d.plan("p", d.plain("a"), d.plain("b")))
	start(t, e, "p", "1", nil)
	if res := wait(t, e, "1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	if d.fail != 0 || d.state("b").State != bosman.StepDone {
		t.Error("the listener must hear of all")
	}
}

func TestPanicIsAFailedStep(t *testing.T) {
	d := &diary{}
	bad := Step{Name: "b", Do: func(context.Context, *Run) error { panic("oh") }}
	e := open(t, t.TempDir(), d.plan("p", d.plain("a"), bad))
	start(t, e, "p", "1", nil)
	if res := wait(t, e, "1"); res.Outcome != Undone || res.Err.Kind != bosman.KindInternal || !strings.Contains(res.Err.Error(), "oh") {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "undo a")
}

// A full disk under the journal is no failure of a step: the run stands still
// and goes on after a restart with room.
func TestFullDiskUnderTheJournal(t *testing.T) {
	d := &diary{}
	dir := t.TempDir()
	big := Step{Name: "b", Undo: d.plain("b").Undo, Do: func(ctx context.Context, r *Run) error {
		d.add("do b")
		return r.Set(ctx, "big", strings.Repeat("x", 1<<20))
	}}
	plan := d.plan("deploy", d.plain("a"), big, d.commit("switch"))
	broken := make(chan error, 1)
	e, err := Open(t.Context(), Options{Path: filepath.Join(dir, "engine.db"), Log: slog.New(slog.DiscardHandler), Broken: func(err error) { broken <- err }})
	if err != nil {
		t.Fatal(err)
	}
	e.journal.db.SetMaxOpenConns(1) // the limit below holds for one connection
	if err := errors.Join(e.Register(plan), e.Launch()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.journal.db.ExecContext(t.Context(), "PRAGMA max_page_count = 200"); err != nil {
		t.Fatal(err)
	}
	start(t, e, "deploy", "d1", nil)
	select {
	case err := <-broken:
		if !strings.Contains(err.Error(), "full") {
			t.Errorf("broken: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told of the full disk")
	}
	shut(t, e)
	equal(t, d.all(), "do a", "do b")
	e = open(t, dir, plan)
	if res := wait(t, e, "d1"); res.Outcome != Done {
		t.Errorf("result %+v", res)
	}
	equal(t, d.all(), "do a", "do b", "do b", "do switch")
}
