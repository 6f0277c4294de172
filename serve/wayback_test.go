package serve

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// notesApp keeps notes in its database and names the files of its folder.
// NEEDS is the column without which it is not well.
const notesApp = `import http.server, os, socketserver, psycopg2
def sql(q):
    c = psycopg2.connect(os.environ["DATABASE_URL"]); c.autocommit = True
    k = c.cursor(); k.execute(q); out = k.fetchall() if k.description else []; c.close()
    return out
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/healthz":
                sql("SELECT NEEDS FROM note LIMIT 1"); body = '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"]
            elif self.path.startswith("/add/"):
                name = self.path[5:]; sql("INSERT INTO note (words) VALUES ('%s')" % name)
                open("/app/media/" + name, "w").close(); body = "added"
            else:
                body = "hello %s notes, files %s" % (sql("SELECT count(*) FROM note")[0][0], " ".join(sorted(os.listdir("/app/media"))))
            self.send_response(200)
        except Exception as e:
            self.send_response(500); body = str(e)
        self.end_headers(); self.wfile.write(body.encode())
    def address_string(self): return "edge"
class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
S(os.environ["BOSMAN_SOCKET"], H).serve_forever()
`

const migrateApp = `import os, psycopg2
c = psycopg2.connect(os.environ["DATABASE_URL"]); c.autocommit = True
for line in open("/app/migrations.sql"):
    c.cursor().execute(line)
`

// release writes and pushes a release of the notes.
func (w *world) release(number int, needs, sql string) {
	w.t.Helper()
	w.write("server.py", strings.Replace(notesApp, "NEEDS", needs, 1))
	w.write("migrations.sql", sql)
	w.write("words.txt", fmt.Sprintf("hello %d\n", number))
	w.commit(fmt.Sprint(number))
	w.push("anna", "main")
	w.staging(number)
}

// deployment gives the newest deployment of an instance.
func (w *world) deployment(instance string) bosman.Operation {
	w.t.Helper()
	ops, err := w.s.store.Operations(w.t.Context(), "tiny", instance, 20)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy {
			return o
		}
	}
	w.t.Fatalf("%s was never deployed to", instance)
	return bosman.Operation{}
}

func stepNote(o bosman.Operation, name string) string {
	for _, s := range o.Steps {
		if s.Name == name {
			return s.Note
		}
	}
	return ""
}

// migratedWorld is one whose app migrates its database by the statements of
// each release; create are those of the first.
func migratedWorld(t *testing.T) (w *world, create string) {
	t.Helper()
	need.File(t, "/usr/lib/postgresql", "postgresql")
	need.File(t, "/usr/lib/python3/dist-packages/psycopg2", "python3-psycopg2")
	w = newWorld(t, "postgres")
	w.write("migrate.py", migrateApp)
	m := strings.Replace(tinyManifest, "DATABASE", "postgres", 1)
	m = strings.Replace(m, `"echo migrated"`, "/usr/bin/python3 migrate.py", 1)
	w.write("bosman.yaml", strings.Replace(m, "for: 3s", "for: 1s", 1))
	return w, "CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, words text, old text DEFAULT '-')\n"
}

// A migration takes something away on live, people write, and the way back
// with the data is a change of places that loses no request; what it replaced
// is kept, listed and comes back in turn.
func TestWayBack(t *testing.T) {
	need.Slow(t, "builds and deploys three releases with a database")
	t.Parallel()
	w, create := migratedWorld(t)
	ctx := t.Context()
	admin := bosman.Actor{Person: firstAdmin, From: "test"}
	w.release(1, "old", create)
	w.must("deploy", "live", "1")
	if code, body := w.get("live", "/add/first"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}

	// One that only adds is proven on staging: the release before works on it.
	add := create + "ALTER TABLE note ADD COLUMN IF NOT EXISTS fresh text\n"
	w.release(2, "old", add)
	if d := w.deployment("staging"); d.WayBack == nil || d.WayBack.Proof != bosman.ProofGood || d.WayBack.Destructive {
		t.Errorf("staging's way back: %+v", d.WayBack)
	}
	// One that drops is not asked.
	w.release(3, "fresh", add+"ALTER TABLE note DROP COLUMN IF EXISTS old\n")
	if d := w.deployment("staging"); d.WayBack == nil || !d.WayBack.Destructive || !strings.Contains(d.WayBack.Schema, "public.note.old dropped") {
		t.Errorf("staging's way back: %+v", d.WayBack)
	}
	d := w.must("deploy", "live", "3")
	if note := stepNote(d, "admit"); !strings.Contains(note, "not additive") {
		t.Errorf("admit: %s", note)
	}
	if d.WayBack.Kept == "" || !strings.Contains(stepNote(d, "backup"), "kept for a quick way back") || !d.WayBack.Held {
		t.Fatalf("backup: %s, way back %+v", stepNote(d, "backup"), d.WayBack)
	}
	if code, body := w.get("live", "/add/second"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}

	_, err := w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live"})
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "rollback floor") {
		t.Errorf("with the code alone: %v", err)
	}
	w.until("the write is counted", 15*time.Second, func() bool {
		p, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live")
		if err != nil || p.Policy != bosman.RevertAsk || !p.Kept || p.Release != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
		return p.Written.Known && p.Written.Total() >= 1 && p.Written.Tables[0].Table == "public.note"
	})
	_, err = w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live", Restore: true})
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "public.note 1") {
		t.Errorf("without a word: %v", err)
	}

	asked := w.askAllTheTime()
	back := w.op(w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live", Restore: true, ConfirmLoss: true}))
	if failures := asked(); len(failures) > 0 {
		t.Errorf("requests lost: %v", failures)
	}
	if back.State != bosman.OpDone || !strings.Contains(stepNote(back, "restore"), "the kept copy takes the place") {
		w.dump()
		t.Fatalf("revert: %s %v", back.State, back.Error)
	}
	var swap time.Duration
	for _, s := range back.Steps {
		if s.Name == "swap" {
			swap = s.EndedAt.Sub(s.StartedAt)
		}
	}
	t.Logf("the data changed places in %s, all took %s", swap, back.EndedAt.Sub(back.StartedAt))
	if code, body := w.get("live", "/"); code != http.StatusOK || body != "hello 1 notes, files first" {
		t.Errorf("live after the revert: %d %q", code, body)
	}

	kept, err := w.s.helm.KeptCopies(ctx, admin, "tiny", "live")
	if err != nil || len(kept) != 1 || kept[0].ID == "" || kept[0].Files == "" {
		t.Fatalf("kept: %+v, %v", kept, err)
	}
	if _, err := os.Stat(filepath.Join(kept[0].Files, "media", "second")); err != nil {
		t.Errorf("the replaced files: %v", err)
	}
	// It is of the release that was taken back, and not put under another.
	_, err = w.s.helm.RestoreKept(ctx, admin, "tiny", "live", kept[0].ID, false)
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "it holds the data of r3, but live runs r1") {
		t.Errorf("under another release: %v", err)
	}
	// The release comes again, and with it what was replaced.
	w.must("deploy", "live", "3")
	if op := w.op(w.s.helm.RestoreKept(ctx, admin, "tiny", "live", kept[0].ID, false)); op.State != bosman.OpDone {
		w.dump()
		t.Fatalf("%s %v", op.State, op.Error)
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || body != "hello 2 notes, files first second" {
		t.Errorf("live with the kept data: %d %q", code, body)
	}
	if kept, err = w.s.helm.KeptCopies(ctx, admin, "tiny", "live"); err != nil || len(kept) != 2 || kept[0].ID == "" || kept[1].Operation == 0 {
		t.Fatalf("kept in turn, and the way back: %+v, %v", kept, err)
	}
	// Killed while the data changes places, the next start finishes it.
	w.stop()
	if !w.child("database.replace.database=kill", "restore", "live") {
		t.Error("not killed")
	}
	w.start()
	if op := w.op(w.last(), nil); op.Plan != bosman.PlanRevert || op.State != bosman.OpDone {
		w.dump()
		t.Fatalf("killed in a swap: %s %s %v", op.Plan, op.State, op.Error)
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || body != "hello 1 notes, files first" {
		t.Errorf("live after a kill: %d %q", code, body)
	}
	if kept, err = w.s.helm.KeptCopies(ctx, admin, "tiny", "live"); err != nil || len(kept) != 2 || kept[1].Operation != 0 {
		t.Fatalf("kept both times, and no way back any more: %+v, %v", kept, err)
	}
	if err := w.s.helm.RemoveKept(ctx, admin, "tiny", "live", kept[0].ID); err != nil {
		t.Error(err)
	}
	if kept, err = w.s.helm.KeptCopies(ctx, admin, "tiny", "live"); err != nil || len(kept) != 1 {
		t.Errorf("kept: %+v, %v", kept, err)
	}
}

// askAllTheTime asks live until it is told to stop, and gives what was not
// answered with 200.
func (w *world) askAllTheTime() (stop func() []string) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if code, body := w.get("live", "/"); code != http.StatusOK {
					mu.Lock()
					failures = append(failures, fmt.Sprintf("%d %s", code, body))
					mu.Unlock()
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() []string { cancel(); wg.Wait(); return failures }
}

// What was written since is the difference of the counters, less what the
// release command wrote.
func TestWrittenSince(t *testing.T) {
	counts := func(note, user int64) map[string]int64 {
		return map[string]int64{"public.note": note, "public.user": user}
	}
	m := func(migrate, migrated map[string]int64, held bool) marks {
		out := marks{At: map[deploy.Moment]time.Time{}, Counts: map[deploy.Moment]map[string]int64{deploy.MomentBackup: counts(10, 5)}}
		if migrate != nil {
			out.Counts[deploy.MomentMigrate] = migrate
		}
		if migrated != nil {
			out.Counts[deploy.MomentMigrated] = migrated
		}
		if held {
			out.At[deploy.MomentHeld] = time.Now()
		}
		return out
	}
	for name, c := range map[string]struct {
		m             marks
		now           map[string]int64
		all           bool
		want          string
		none, unknown bool
	}{
		"nothing":            {m(counts(10, 5), counts(10, 5), false), counts(10, 5), true, "nothing was written", true, false},
		"before it migrated": {m(counts(12, 5), counts(12, 5), false), counts(12, 5), true, "public.note 2", false, false},
		"after it migrated":  {m(counts(10, 5), counts(10, 5), false), counts(10, 8), true, "public.user 3", false, false},
		"the command wrote, everybody was kept out":  {m(counts(10, 5), counts(90, 5), true), counts(90, 5), true, "nothing was written", true, false},
		"the command wrote, others may have":         {m(counts(10, 5), counts(90, 5), false), counts(90, 5), true, "nothing is known", false, false},
		"the command did not end":                    {m(counts(10, 5), nil, false), counts(10, 5), true, "nothing is known", false, false},
		"a table that the command dropped, not used": {m(counts(10, 5), map[string]int64{"public.note": 10}, true), map[string]int64{"public.note": 10}, true, "nothing was written", true, false},
		"a table that it dropped had been written":   {m(counts(10, 7), map[string]int64{"public.note": 10}, true), map[string]int64{"public.note": 10}, true, "public.user 2", false, false},
		"another database":                           {m(nil, nil, false), counts(0, 0), true, "not known", false, true},
		"rows are all that can be counted":           {m(nil, nil, false), counts(8, 5), false, "public.note 2", false, false},
		"as many rows as before":                     {m(nil, nil, false), counts(10, 5), false, "nothing is known", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.m.since(c.now, c.all)
			if w.None() != c.none || w.Known == c.unknown || !strings.Contains(w.String(), c.want) {
				t.Errorf("%+v: %s", w, w)
			}
		})
	}
}
