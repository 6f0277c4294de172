package serve

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/vault"
)

// say runs SQL with psql and gives what it prints.
func say(t *testing.T, d bosman.Database, sql string) string {
	t.Helper()
	out, err := exec.Command("psql", database.URL(d), "-v", "ON_ERROR_STOP=1", "-Atqc", sql).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v %s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

// With PostgreSQL: a backup that was damaged, cut short or sealed with another
// key is not restored, a server that is killed meanwhile is said, and each time
// live goes on with what it had. Whole again it is restored, also while the
// application holds connections, and what it replaced is kept. The doctor names
// indexes that a new library sorts differently.
func TestBadBackupsOfPostgres(t *testing.T) {
	need.Slow(t, "plays a whole road")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	t.Parallel()
	w := backedUp(t, "postgres")
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	i, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil {
		t.Fatal(err)
	}
	k, err := w.s.databases.keeper(ctx, i, bosman.EnginePostgres)
	if err != nil {
		t.Fatal(err)
	}
	live, err := k.Engine.Find(ctx, "live")
	if err != nil {
		t.Fatal(err)
	}
	say(t, live, "CREATE TABLE note AS SELECT n, repeat(md5(n::text), 60) AS words FROM generate_series(1, 40000) n")
	b := w.backup()
	say(t, live, "DELETE FROM note WHERE n > 7")
	rows := func() string { return say(t, live, "SELECT count(*) FROM note") }
	restore := func() bosman.Operation { return w.op(w.s.helm.RestoreBackup(ctx, admin, "tiny", b.Number, "")) }

	dump := w.sealedFile(b, "database.dump")
	whole, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for what, bad := range map[string][]byte{"a byte is flipped": flipped, "it is cut short": whole[:len(whole)/3], "it is empty": nil, "it is sealed with another key": sealedByOthers(t, b.Name+"/database.dump")} {
		if err := os.WriteFile(dump, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		op := restore()
		if op.State != bosman.OpFailed || op.Error == nil || op.Error.Kept == "" || op.Error.Next == "" {
			t.Errorf("%s: %s %+v", what, op.State, op.Error)
		}
		t.Logf("%s: %v", what, op.Error)
		if n := rows(); n != "7" {
			t.Errorf("%s: live has %s rows", what, n)
		}
		if code, _ := w.get("live", "/"); code != 200 {
			t.Errorf("%s: live answers %d", what, code)
		}
	}
	if err := os.WriteFile(dump, whole, 0o600); err != nil {
		t.Fatal(err)
	}

	// Its server is killed meanwhile.
	op, err := w.s.helm.RestoreBackup(ctx, admin, "tiny", b.Number, "")
	if err != nil {
		t.Fatal(err)
	}
	w.until("it restores", time.Minute, func() bool {
		for _, s := range w.last().Steps {
			if s.Name == "restore" && s.State != bosman.StepWaiting {
				return true
			}
		}
		return false
	})
	w.killServers()
	op = w.op(op, nil)
	t.Logf("its servers were killed: %s %v", op.State, op.Error)
	if op.State != bosman.OpDone && (op.Error == nil || op.Error.Message == "" || op.Error.Kept == "") {
		t.Errorf("its servers were killed: %s %+v", op.State, op.Error)
	}
	w.until("the servers run", time.Minute, func() bool {
		_, err := w.s.databases.Schema(ctx, i)
		return err == nil
	})
	if n := rows(); n != "7" && op.State != bosman.OpDone {
		t.Errorf("its servers were killed: live has %s rows", n)
	}

	// While the application holds connections, and opens others.
	say(t, live, "DELETE FROM note WHERE n > 7")
	holding, let := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for holding.Err() == nil { // each ends with its connection
			_ = exec.CommandContext(holding, "psql", database.URL(live), "-qc", "SELECT pg_sleep(100)").Run()
		}
	}()
	op = restore()
	let()
	<-ended
	if n := rows(); op.State != bosman.OpDone || n != "40000" {
		w.dump()
		t.Errorf("restored: %s %v, live has %s rows", op.State, op.Error, n)
	}
	kept, err := w.s.helm.KeptCopies(ctx, admin, "tiny", "live")
	if err != nil || len(kept) == 0 {
		t.Errorf("kept: %+v, %v", kept, err)
	}

	// Another library sorts differently than when the index was made.
	say(t, live, `CREATE TABLE person (name text COLLATE "pl-x-icu")`)
	say(t, live, "CREATE INDEX ON person (name)")
	secret, err := os.ReadFile(filepath.Join(w.data, "postgres", "main", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	boss := live
	boss.User, boss.Password = "bosman", strings.TrimSpace(string(secret))
	say(t, boss, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'pl-x-icu'")
	if said := w.doctor(); !strings.Contains(said, live.Name+" (pl-x-icu)") || !strings.Contains(said, "REINDEX DATABASE") {
		t.Errorf("the doctor says:\n%s", said)
	}
}

// sealedByOthers gives an object as another Bosman would have sealed it.
func sealedByOthers(t *testing.T, name string) []byte {
	t.Helper()
	dir := t.TempDir()
	keys, err := vault.OpenKeys(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := vault.Open(t.Context(), filepath.Join(dir, "vault"), vault.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), name, func(w io.Writer) error { _, err := io.WriteString(w, "PGDMP"); return err }); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "vault", filepath.Dir(name), "*"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%q, %v", all, err)
	}
	b, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}
