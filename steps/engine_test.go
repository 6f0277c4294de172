package steps

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, (&diary{}).plan("p", (&diary{}).plain("a")))
	_, err := Open(t.Context(), Options{Path: filepath.Join(dir, "engine.db")})
	if bosman.KindOf(err) != bosman.KindBusy {
		t.Errorf("the second one: %v", err)
	}
}

func TestJournalIsSynchronous(t *testing.T) {
	e := open(t, t.TempDir(), (&diary{}).plan("p", (&diary{}).plain("a")))
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
		var got string
		if err := e.journal.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s (%v), want %s", pragma, got, err, want)
		}
	}
}

func TestBadPlansAndRuns(t *testing.T) {
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("p", d.plain("a")))
	if err := e.Register(d.plan("late", d.plain("a"))); err == nil {
		t.Error("registered after the launch")
	}
	if err := e.Start(t.Context(), "other", "1", nil); err == nil {
		t.Error("started an unknown plan")
	}
	if _, err := e.Wait(t.Context(), "nobody"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("wait for nobody: %v", err)
	}
	undoable := d.commit("x")
	undoable.Undo = func(context.Context, *Run) error { return nil }
	for name, p := range map[string]Plan{
		"no steps": {Name: "p", Version: 1}, "no version": {Name: "p", Steps: []Step{d.plain("a")}},
		"twice": d.plan("p", d.plain("a"), d.plain("a")), "two commits": d.plan("p", d.commit("a"), d.commit("b")),
		"undo of a commit": d.plan("p", undoable), "nothing to do": d.plan("p", Step{Name: "a"}),
	} {
		if p.check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestForget(t *testing.T) {
	d := &diary{}
	e := open(t, t.TempDir(), d.plan("p", d.plain("a")))
	start(t, e, "p", "1", nil)
	wait(t, e, "1")
	if n, err := e.Forget(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
	if n, err := e.Forget(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
	if _, err := e.Wait(t.Context(), "1"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("still there: %v", err)
	}
}
