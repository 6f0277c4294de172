package serve

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// Data of an older release does not come under newer code as it is: it is
// refused, or migrated with the release command that runs.
func TestRestoreOfAnOlderRelease(t *testing.T) {
	need.Slow(t, "builds and deploys two releases with a database")
	t.Parallel()
	w, create := migratedWorld(t)
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	w.release(1, "old", create)
	w.must("deploy", "live", "1")
	b := w.op(w.s.helm.MakeBackup(ctx, bosman.System(), "tiny", "live"))
	w.release(2, "added", create+"ALTER TABLE note ADD COLUMN IF NOT EXISTS added text\n")
	w.must("deploy", "live", "2")
	req := helm.RestoreRequest{App: "tiny", Backup: b.Backup, ConfirmLoss: true}
	_, err := w.s.helm.Restore(ctx, admin, req)
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "the data of r1, but live runs r2") || !strings.Contains(bosman.AsError(err).Next, "--migrate") {
		t.Errorf("as it is: %v", err)
	}
	req.Migrate, req.ConfirmLoss = true, false
	if _, err = w.s.helm.Restore(ctx, admin, req); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(bosman.AsError(err).Next, "confirm_loss") {
		t.Errorf("without a word: %v", err)
	}
	req.ConfirmLoss = true
	op := w.op(w.s.helm.Restore(ctx, admin, req))
	if op.State != bosman.OpDone || !strings.Contains(stepNote(op, "migrate"), "the release command ran") {
		w.dump()
		t.Fatalf("%s %v; %s", op.State, op.Error, stepNote(op, "migrate"))
	}
	i, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil {
		t.Fatal(err)
	}
	if schema, err := w.s.databases.Schema(ctx, i); err != nil || !strings.Contains(schema, "added") {
		t.Errorf("the column of r2: %s, %v", schema, err)
	}
}
