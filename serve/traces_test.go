package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// Data goes back by itself only when nothing was written that the change of
// places would take out: neither rows nor what no counter of rows sees.
func TestWrittenUncounted(t *testing.T) {
	need.Slow(t, "builds and deploys two releases with a database")
	w, create := migratedWorld(t)
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	w.release(1, "old", create)
	w.must("deploy", "live", "1")
	w.get("live", "/add/first")
	w.release(2, "id", create+"ALTER TABLE note DROP COLUMN IF EXISTS old\n")
	if d := w.must("deploy", "live", "2"); !d.WayBack.Held {
		t.Fatalf("others were let in: %+v", d.WayBack)
	}
	plan := func() bosman.RevertPlan {
		t.Helper()
		p, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := plan(); p.Policy != bosman.RevertRestore {
		t.Fatalf("nothing was written: %s %q %+v", p.Policy, p.Why, p.Written)
	}
	i, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil {
		t.Fatal(err)
	}
	live, err := w.s.databases.own(ctx, i)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.s.databases.files(i), "media", "first")
	for _, c := range []struct {
		do   func()
		says string
	}{
		{func() { say(t, live, "TRUNCATE note") }, "public.note was emptied"},
		{func() { say(t, live, "SELECT lo_from_bytea(0, 'a signed contract')") }, "large objects were changed"},
		{func() { say(t, live, "CREATE VIEW newest AS SELECT max(id) FROM note") }, "the schema was changed"},
		{func() {
			if err := os.WriteFile(file, []byte("a signed contract"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "files were changed"},
	} {
		c.do()
		w.until(c.says, 20*time.Second, func() bool { return strings.Contains(plan().Written.String(), c.says) })
	}
	p := plan()
	if p.Policy != bosman.RevertAsk || p.Written.None() {
		t.Errorf("%s %q", p.Policy, p.Why)
	}
	if _, err := w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live", Restore: true}); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "emptied") {
		t.Errorf("without a word: %v", err)
	}
}

// Traces that changed while others were let in, that nobody looked for or that
// could not be seen leave it uncertain whether anything was written.
func TestTraced(t *testing.T) {
	is := func(note, schema, files string) traces {
		return traces{"public.note": note, "the schema": schema, "files": files}
	}
	old := is("1", "a", "x")
	for name, c := range map[string]struct {
		backup, migrate, migrated, now traces
		held                           bool
		want                           string
		certain                        bool
	}{
		"nothing":                            {backup: old, now: old, want: "nothing was written", certain: true},
		"by a Bosman that did not look":      {now: old, want: "nothing is known"},
		"emptied":                            {backup: old, now: is("2", "a", "x"), want: "public.note was emptied", certain: true},
		"before the command":                 {backup: old, migrate: is("1", "a", "y"), migrated: is("1", "b", "y"), now: is("1", "b", "y"), held: true, want: "files were changed", certain: true},
		"by the command":                     {backup: old, migrate: old, migrated: is("2", "b", "y"), now: is("2", "b", "y"), held: true, want: "nothing was written", certain: true},
		"by the command, others were let in": {backup: old, migrate: old, migrated: is("2", "b", "x"), now: is("2", "b", "x"), want: "nothing is known"},
		"the schema alone, by the command":   {backup: old, migrate: old, migrated: is("1", "b", "x"), now: is("1", "b", "x"), want: "nothing was written", certain: true},
		"after the command":                  {backup: old, migrate: old, migrated: is("1", "b", "x"), now: is("1", "b", "z"), held: true, want: "files were changed", certain: true},
		"the command did not end":            {backup: old, migrate: old, now: old, want: "nothing is known"},
		"too many files to look at":          {backup: is("1", "a", unseen), now: is("1", "a", unseen), want: "nothing is known"},
	} {
		t.Run(name, func(t *testing.T) {
			m := marks{At: map[deploy.Moment]time.Time{}, Traces: map[deploy.Moment]traces{}}
			for moment, tr := range map[deploy.Moment]traces{deploy.MomentBackup: c.backup, deploy.MomentMigrate: c.migrate, deploy.MomentMigrated: c.migrated} {
				if tr != nil {
					m.Traces[moment] = tr
				}
			}
			if c.held {
				m.At[deploy.MomentHeld] = time.Now()
			}
			w := m.traced(bosman.Written{Known: true, Certain: true}, c.now)
			if w.Certain != c.certain || !strings.Contains(w.String(), c.want) {
				t.Errorf("certain %t: %s", w.Certain, w)
			}
		})
	}
}

// The files' trace changes with what is written, removed and renamed; more
// files than there is time for are not seen.
func TestFilesTrace(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	trace := func() string {
		t.Helper()
		got, err := filesTrace(t.Context(), dir, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	seen := trace()
	if err := os.WriteFile(a, []byte("one"), 0o600); err != nil || trace() == seen {
		t.Errorf("written: %v", err)
	}
	seen = trace()
	time.Sleep(20 * time.Millisecond) // the clock of file systems is coarse
	if err := os.Rename(a, b); err != nil || trace() == seen {
		t.Errorf("renamed: %v", err)
	}
	if seen = trace(); seen != trace() {
		t.Error("it changes by itself")
	}
	if err := os.Remove(b); err != nil || trace() == seen {
		t.Errorf("removed: %v", err)
	}
	if got, err := filesTrace(t.Context(), dir, time.Now().Add(-time.Second)); err != nil || got != unseen {
		t.Errorf("without time: %q, %v", got, err)
	}
}
