package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Rows are written, a moment is named, rows are deleted, and both the point and
// the moments before and after are recovered, beside live, which stays.
func TestEveryMomentCanBeRecovered(t *testing.T) { onVersions(t, everyMoment) }

func everyMoment(t *testing.T, w *world) {
	ctx := t.Context()
	w.must(w.engine.With("reports").Complete(ctx, "live"))
	reports, err := w.engine.With("reports").Further()["reports"].Find(ctx, "live")
	w.must(err)
	w.do(reports, "CREATE TABLE note (words text)")
	early := time.Now()
	base := w.based()
	w.do(w.live, "INSERT INTO note SELECT 'first' FROM generate_series(1, 3)")
	w.do(reports, "INSERT INTO note VALUES ('report')")
	three := w.do(w.live, "SELECT 1")
	w.do(w.live, "INSERT INTO note VALUES ('fourth')")
	point, err := w.Mark(ctx, "rms-d37")
	w.must(err)
	w.do(w.live, "DELETE FROM note")
	w.do(reports, "DELETE FROM note")
	w.stored()
	quiet := w.Covered() // nothing was changed since the deletion

	for what, c := range map[string]struct {
		target Target
		want   int
	}{
		"the point":                     {Target{Point: "rms-d37"}, 4},
		"before the fourth":             {Target{At: three}, 3},
		"before the first":              {Target{At: base.At}, 0},
		"when all was quiet for a time": {Target{At: quiet}, 0},
	} {
		d := w.recovered(c.target)
		if n := w.count(d); n != c.want {
			t.Errorf("%s: %d rows instead of %d", what, n, c.want)
		}
		w.must(w.engine.Drop(ctx, d))
	}

	_, err = w.Find(ctx, Target{At: time.Now().Add(time.Hour)})
	wantError(t, "the future", err, bosman.KindInvalid, "future")
	_, err = w.Find(ctx, Target{At: early})
	wantError(t, "before the window", err, bosman.KindNotFound, "moments that can be reached: "+base.At.Format(moment))
	_, err = w.Find(ctx, Target{Point: "rms-d38"})
	wantError(t, "no such point", err, bosman.KindNotFound, "rms-d38")

	// What was recovered is kept beside live until somebody puts it in its place.
	w.further = []string{"reports"}
	d := w.recovered(Target{Point: "rms-d37"})
	for _, x := range []string{"reports"} {
		own, err := w.engine.With(x).Further()[x].Find(ctx, database.RecoveredName("live", w.at))
		w.must(err)
		if n := w.count(own); n != 1 {
			t.Errorf("%s was recovered with %d rows", x, n)
		}
	}
	k := &database.Keeper{Engine: w.engine.With(w.further...), State: filepath.Join(w.dir, "state")}
	files := filepath.Join(w.dir, "files")
	w.must(os.Mkdir(files, 0o755))
	w.must(os.WriteFile(filepath.Join(files, "upload"), []byte("of now"), 0o600))
	kept, err := k.Kept(ctx, "live", files)
	w.must(err)
	if len(kept) != 1 || !kept[0].AsOf.Equal(point.At) || w.count(w.live) != 0 {
		t.Fatalf("kept: %+v; the point is of %s; live has %d rows", kept, point.At, w.count(w.live))
	}
	if _, err := sqlOpen(d); err == nil {
		t.Error("the application gets into what is not in its place yet")
	}
	w.must(k.PrepareKept(ctx, "live", kept[0].Snapshot, database.Snapshot{Database: w.live, Files: files}))
	old, err := k.SwapIn(ctx, "live")
	w.must(err)
	if n, m := w.count(w.live), w.count(reports); n != 4 || m != 1 || old.Database.Name == "" || old.Files != "" {
		t.Errorf("after the swap: %d and %d rows, kept %+v", n, m, old)
	}
	w.do(w.live, "INSERT INTO note VALUES ('fifth')")
	if b, err := os.ReadFile(filepath.Join(files, "upload")); err != nil || string(b) != "of now" {
		t.Errorf("the uploaded files were touched: %q, %v", b, err)
	}
	if _, err := os.Stat(w.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the throw-away server is left: %v", err)
	}
}

func wantError(t *testing.T, what string, err error, kind bosman.ErrorKind, words string) {
	t.Helper()
	e := bosman.AsError(err)
	if bosman.KindOf(err) != kind || !strings.Contains(e.Error(), words) || !strings.Contains(e.Kept, "nothing was changed") {
		t.Errorf("%s: %v", what, err)
	}
}

// A server that an older Bosman started does not archive, and cannot be told
// to: it is restarted once. All others are only told.
func TestKeepingBeginsAndEnds(t *testing.T) { onVersions(t, keeping) }

func keeping(t *testing.T, w *world) {
	ctx := t.Context()
	told := func(spool string, restarts bool) {
		t.Helper()
		w.Cluster.Spool = spool
		restarted, err := w.Cluster.Reload(ctx)
		w.must(err)
		if restarted != restarts {
			t.Errorf("restarted: %v", restarted)
		}
		w.until("the server does as it was told", func() bool {
			a, err := w.Cluster.Archiver(ctx)
			w.must(err)
			return a.On == (spool != "")
		})
	}
	spool := w.Cluster.Spool
	told("", false)
	told(spool, false)
	db := w.live
	db.User, db.Password, db.Name = "bosman", w.Cluster.Secret(), "postgres"
	w.do(db, "ALTER SYSTEM SET archive_mode = off")
	w.must(w.Cluster.Stop(ctx))
	_, err := w.Cluster.Ensure(ctx)
	w.must(err)
	w.do(db, "ALTER SYSTEM RESET archive_mode")
	told(spool, true)
	told(spool, false)
	w.stored()

	// Begun anew while nothing is written, it knows that all is stored.
	again := &Keeper{Cluster: w.Cluster, Vault: w.Vault}
	w.must(again.Advance(ctx))
	w.until("it knows that all is stored", func() bool {
		_, err := again.Ship(ctx)
		w.must(err)
		return !again.Covered().IsZero()
	})
}
