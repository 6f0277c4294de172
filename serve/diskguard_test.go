package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestCopyThatGrowsWithoutEnd: a tester's copy fills the disk that live is on.
// It is stopped before live has to, and says why; nothing of it is lost.
func TestCopyThatGrowsWithoutEnd(t *testing.T) {
	need.Root(t)
	w := newWorld(t, "sqlite")
	ctx := t.Context()
	w.push("anna", "main")
	w.staging(1)
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("piotr", "feature")
	if try := w.op(w.s.helm.Try(ctx, bosman.Actor{Person: "anna", From: "test"}, "tiny", "feature", "testing-anna")); try.State != bosman.OpDone {
		t.Fatalf("try: %s %v", try.State, try.Error)
	}
	const mb = 1 << 20
	look := func(what, want string) {
		t.Helper()
		if got, err := w.s.stopWhatGrew(ctx, mb, 8*mb); err != nil || got != want {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	look("nothing grew", "")
	grow := func(instance string) {
		t.Helper()
		w.run(instance, `python3 -c "
import os, sqlite3
c = sqlite3.connect(os.environ['DB_NAME'])
c.execute('CREATE TABLE IF NOT EXISTS heap (b BLOB)')
c.executemany('INSERT INTO heap VALUES (?)', [(os.urandom(1000000),)] * 12)
c.commit()"`)
	}
	grow("staging")
	grow("testing-anna")
	look("anna's copy is as large as staging", "") // whatever was noted of the copy: a dump is smaller than what is made of it
	grow("testing-anna")
	look("anna's copy grew", "testing-anna")
	var stop bosman.Operation
	w.until("it is stopped", time.Minute, func() bool {
		ops, err := w.s.store.Operations(ctx, "tiny", "testing-anna", 1)
		if err == nil && len(ops) == 1 {
			stop = ops[0]
		}
		return err == nil && stop.Plan == bosman.PlanStop && stop.State.Final()
	})
	if stop.State != bosman.OpDone || !strings.Contains(stop.Why, "1.0 MB free") && !strings.Contains(stop.Why, "1 MB free") || !strings.Contains(stop.Why, "grew from") {
		t.Errorf("%s: %q %v", stop.State, stop.Why, stop.Error)
	}
	i, err := w.s.store.Instance(ctx, "tiny", "testing-anna")
	if err != nil || !i.Stopped || i.Asleep || !strings.Contains(i.Note, "grew from") {
		t.Errorf("%+v, %v", i, err)
	}
	if n, err := w.s.databases.taken(ctx, i); err != nil || n < 12*mb/2 {
		t.Errorf("its data takes %d bytes, %v", n, err)
	}
	look("it is stopped already", "")
	for _, c := range []struct{ size, want int64 }{{50 << 30, 1 << 30}, {1 << 40, 2 << 30}} {
		if got := scarce(c.size); got != c.want {
			t.Errorf("of %d scarce is %d", c.size, got)
		}
	}
}
