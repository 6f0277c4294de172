package serve

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// burn takes the server away, but for its backups, and brings Bosman back into
// another folder from them and the recovery key. It gives what that said.
func (w *world) burn(before func(backups string)) string {
	w.t.Helper()
	ctx := w.t.Context()
	key, err := w.s.custody.MakeKey(ctx, firstAdmin, false)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.s.custody.BackUpState(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.stop()
	if err := StopAll(context.Background(), w.data, ""); err != nil {
		w.t.Fatal(err)
	}
	target := filepath.Join(filepath.Dir(w.data), "target")
	if err := os.Rename(filepath.Join(w.data, "backups"), target); err != nil {
		w.t.Fatal(err)
	}
	if before != nil {
		before(target)
	}
	w.data = filepath.Join(filepath.Dir(w.data), "again")
	w.tune = func(o *Options) { o.BackupTarget = target }
	var out strings.Builder
	err = Recover(ctx, RecoverOptions{Data: w.data, From: target, Key: func() (string, error) { return key, nil }}, &out)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out.String())
	}
	w.t.Log(out.String())
	return out.String()
}

// The server burned down, the database that is not Bosman's did not: live goes
// on with it as it is, and gets back its files alone.
func TestRecoverLeavesAdoptedDatabase(t *testing.T) {
	need.Slow(t, "plays a road with a second database server")
	need.File(t, "/usr/lib/python3/dist-packages/psycopg2", "python3-psycopg2")
	t.Parallel()
	w := newWorld(t, "postgres")
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	address, theirs, _ := foreignServer(t)
	if err := w.s.helm.SetSecrets(ctx, admin, "tiny", "instance:live", map[string]string{"LIVE_DB": address}); err != nil {
		t.Fatal(err)
	}
	w.write("migrate.py", migrateApp)
	m := strings.Replace(tinyManifest, "database: DATABASE", "database: {engine: postgres, url_from: LIVE_DB}", 1)
	m = strings.Replace(m, `"echo migrated"`, "/usr/bin/python3 migrate.py", 1)
	w.write("bosman.yaml", strings.Replace(m, "for: 3s", "for: 1s", 1))
	w.release(1, "old", "CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, words text, old text DEFAULT '-')\n")
	w.must("deploy", "live", "1")
	w.get("live", "/add/one")
	w.op(w.s.helm.MakeBackup(ctx, bosman.System(), "tiny", "live"))
	w.get("live", "/add/afterwards")
	was, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil || !was.Database.Adopted() {
		t.Fatalf("%+v, %v", was.Database, err)
	}

	if said := w.burn(nil); !strings.Contains(said, "live of tiny: its database, "+was.Database.Name) || !strings.Contains(said, "was not on this server and is used again") {
		t.Error("nothing is said of the database")
	}
	w.start()
	i, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil || i.Database.Name != was.Database.Name || i.Database.Host != was.Database.Host || i.Database.Port != was.Database.Port {
		t.Errorf("live has the database %+v, %v", i.Database, err)
	}
	w.until("live answers", time.Minute, func() bool { code, _ := w.get("live", "/"); return code == http.StatusOK })
	if _, body := w.get("live", "/"); !strings.Contains(body, "2 notes, files one") || strings.Contains(body, "afterwards") {
		t.Errorf("live says %q: not what its database holds now, and the files of its backup", body)
	}
	w.get("live", "/add/third")
	if n := theirs("SELECT count(*) FROM note"); n != "3" {
		t.Errorf("their database has %s rows", n)
	}
}

// The newest backup is used though nobody proved it, for what is restored is
// compared; when that fails the next one is.
func TestRecoverFromUnprovenBackup(t *testing.T) {
	need.Slow(t, "plays a whole road")
	w := backedUp(t, "sqlite")
	w.backup()
	second, third := w.backup(), w.backup()
	said := w.burn(func(target string) {
		for _, name := range []string{second.Name + "/proof", third.Name + "/proof"} {
			if err := os.Remove(filepath.Join(target, name+".zst.age")); err != nil {
				t.Fatal(err)
			}
		}
		dump := glob(t, filepath.Join(target, third.Name, "database*"))[0]
		if err := os.Truncate(dump, 100); err != nil {
			t.Fatal(err)
		}
	})
	two, three := bosman.Ref(bosman.LetterBackup, second.Number), bosman.Ref(bosman.LetterBackup, third.Number)
	if !strings.Contains(said, "✓ live of tiny: "+two+" of") || !strings.Contains(said, "✕ live of tiny: "+three+": ") || !strings.Contains(said, "never verified") {
		t.Errorf("%s is to be passed over, %s to be used, and both said", three, two)
	}
}
