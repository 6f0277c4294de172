package serve

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// A database server that cannot be started, for its programs are gone, keeps
// Bosman from nothing else: it serves, says what is missing, tries again, and
// what needs the server comes up with it.
func TestServesWithoutADatabaseServer(t *testing.T) {
	need.Slow(t, "plays a whole road")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	w := newWorld(t, "postgres")
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	w.push("anna", "main")
	w.staging(1)
	i, err := w.s.store.Instance(ctx, "tiny", "staging")
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	if err := StopAll(ctx, w.data, ""); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(w.data, "postgres", "main", "data", "PG_VERSION")
	was, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	mend := func() { put(t, version, was) }
	t.Cleanup(mend) // what stops the servers in the end asks it
	put(t, version, []byte("99\n"))

	w.start()
	if said := w.doctor(); !strings.Contains(said, "✕ the PostgreSQL servers do not work") || !strings.Contains(said, "99") {
		t.Error("the doctor does not say it:\n" + said)
	}
	if _, err := w.s.databases.keeper(ctx, i, bosman.EnginePostgres); !errors.Is(err, errServerDown) || bosman.KindOf(err) != bosman.KindUnavailable || bosman.AsError(err).Next == "" {
		t.Errorf("what needs it is told %v", err)
	}
	if _, err := w.s.databases.keeper(ctx, i, "sqlite"); err != nil {
		t.Errorf("what does not need it is told %v", err)
	}
	w.until("the instance says why it does not run", time.Minute, func() bool {
		now, err := w.s.store.Instance(ctx, "tiny", "staging")
		return err == nil && now.State == bosman.InstanceFailed && strings.Contains(now.Note, "PostgreSQL servers do not work")
	})
	op := w.op(w.s.helm.MakeBackup(ctx, admin, "tiny", "staging"))
	if op.State != bosman.OpFailed || op.Error == nil || !strings.Contains(op.Error.Message, "PostgreSQL servers do not work") {
		t.Errorf("a backup: %s %v", op.State, op.Error)
	}

	mend()
	w.until("the instance runs again", 2*time.Minute, func() bool {
		now, err := w.s.store.Instance(ctx, "tiny", "staging")
		return err == nil && now.State == bosman.InstanceRunning && now.Note == ""
	})
	if said := w.doctor(); strings.Contains(said, "servers do not work") {
		t.Error("the doctor still says it:\n" + said)
	}
	if op := w.op(w.s.helm.MakeBackup(ctx, admin, "tiny", "staging")); op.State != bosman.OpDone {
		t.Errorf("a backup: %s %v", op.State, op.Error)
	}
}
