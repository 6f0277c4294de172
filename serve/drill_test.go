package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// goldens lists the golden copies of an instance as anybody sees them, newest
// first.
func (w *world) goldens() (out []bosman.StoredDatabase) {
	w.t.Helper()
	s, err := w.s.helm.DatabasesOf(w.t.Context(), bosman.Actor{Person: "anna", From: "test"}, "tiny")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range s.Databases {
		if d.Role == bosman.StoredGolden {
			out = append(out, d)
		}
	}
	for i := range out {
		for j := range i {
			if out[i].Copy.TakenAt.After(out[j].Copy.TakenAt) {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

// The proof of staging's backup is the next golden copy: testers get it, and
// none is made beside it although something was written since.
func TestTheDrillMakesTheNextGoldenCopy(t *testing.T) {
	need.Slow(t, "deploys and tries a release with a database")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	t.Parallel()
	w := newWorld(t, "postgres")
	ctx := t.Context()
	anna := bosman.Actor{Person: "anna", From: "test"}
	w.write("bosman.yaml", strings.Replace(strings.Replace(tinyManifest, "DATABASE", "postgres", 1), "instances:", "instances:\n  staging: {backup: {keep: 2, at: '30 2 * * *'}}", 1))
	w.commit("staging is backed up")
	w.push("anna", "main")
	w.staging(1)
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("piotr", "feature")
	w.until("the golden copy of the deployment", time.Minute, func() bool { return len(w.goldens()) == 1 })
	w.run("staging", `psql -q "$DATABASE_URL" -c "CREATE TABLE word (w text)" -c "INSERT INTO word VALUES ('backed'), ('up')"`)

	op := w.op(w.s.helm.MakeBackup(ctx, bosman.System(), "tiny", "staging"))
	if op.State != bosman.OpDone {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
	b, err := w.s.store.Backup(ctx, "tiny", op.Backup)
	if err != nil || b.VerifiedAt.IsZero() || b.VerifyTook <= 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	c, err := w.s.helm.BackupContents(ctx, bosman.System(), "tiny", b.Number)
	if err != nil {
		t.Fatal(err)
	}
	w.run("staging", `psql -q "$DATABASE_URL" -c "INSERT INTO word VALUES ('since')"`)
	if err := w.s.databases.renew(ctx, "tiny", false, 0); err != nil { // as every minute, and after the backup
		t.Fatal(err)
	}
	all := w.goldens()
	if len(all) != 2 || all[0].Copy.Backup != b.Number || !all[0].Copy.TakenAt.Equal(c.TakenAt) || all[0].Copy.Release != 1 || all[0].Copy.From != "staging" {
		t.Fatalf("golden copies %+v of %+v", all, c)
	}
	if all[1].Copy.Backup != 0 {
		t.Errorf("the first one: %+v", all[1])
	}

	if op := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna")); op.State != bosman.OpDone || !strings.Contains(stepNote(op, "fit"), "knows the data of staging") {
		t.Fatalf("%s: %v, %q", op.State, op.Error, stepNote(op, "fit"))
	}
	if got := w.run("testing-anna", `psql -At "$DATABASE_URL" -c "SELECT string_agg(w, ' ' ORDER BY w) FROM word"`); got != "backed up\n" {
		t.Errorf("the tester's copy holds %q", got)
	}
	if i := w.copyOf(t); i.Copy.Backup != b.Number || !i.Copy.TakenAt.Equal(c.TakenAt) {
		t.Errorf("%+v", i.Copy)
	}

	// Proven again it makes nothing: there is one as new.
	if _, err := w.s.helm.VerifyBackup(ctx, bosman.System(), "tiny", b.Number, false); err != nil {
		t.Fatal(err)
	}
	w.until("it is proven again", time.Minute, func() bool {
		now, err := w.s.store.Backup(ctx, "tiny", b.Number)
		if err != nil {
			t.Fatal(err)
		}
		return now.VerifiedAt.After(b.VerifiedAt)
	})
	if again := w.goldens(); len(again) != 2 || again[0].Name != all[0].Name {
		t.Errorf("golden copies %+v", again)
	}
}
