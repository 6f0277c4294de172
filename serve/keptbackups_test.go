package serve

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// flip spoils a byte of a file and gives what was in it.
func flip(t *testing.T, path string) []byte {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	put(t, path, bad)
	return whole
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A backup whose later proof fails once is not thrown away: it stays, is shown,
// and counts again when a proof succeeds. What is damaged in the target keeps
// no other backup from being taken up. What is being proven is not removed,
// and what was removed does not come back.
func TestBadBackupsStay(t *testing.T) {
	need.Slow(t, "plays a whole road")
	w := backedUp(t, "sqlite")
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	old, newest := w.backup(), w.backup()
	row, err := w.s.store.Backup(ctx, "tiny", old.Number)
	if err != nil {
		t.Fatal(err)
	}
	row.CreatedAt = row.CreatedAt.Add(-9 * 24 * time.Hour)
	if err := w.s.store.SaveBackup(ctx, row); err != nil {
		t.Fatal(err)
	}
	verify := func(what string, ok func(bosman.Backup) bool) {
		t.Helper()
		if _, err := w.s.helm.VerifyBackup(ctx, admin, "tiny", old.Number, true); err != nil {
			t.Fatal(err)
		}
		w.until(what, time.Minute, func() bool {
			b, err := w.s.store.Backup(ctx, "tiny", old.Number)
			return err == nil && ok(b)
		})
	}
	dump := glob(t, filepath.Join(w.data, "backups", old.Name, "database*"))[0]
	whole := flip(t, dump)
	verify("the damage is found", func(b bosman.Backup) bool { return b.Error != "" })
	put(t, dump, whole) // the disk reads well again
	if n, err := w.s.helm.PruneBackups(ctx, "tiny"); n != 0 || err != nil {
		t.Errorf("%d backups were removed, %v", n, err)
	}
	if health, err := w.s.helm.BackupHealth(ctx, admin, "tiny"); err != nil || len(health) != 1 || !slices.Equal(health[0].Bad, []int{old.Number}) || health[0].BadBytes != old.Bytes {
		t.Errorf("that it stays is not shown: %+v, %v", health, err)
	}
	verify("it counts again", func(b bosman.Backup) bool { return b.Error == "" && !b.VerifiedAt.IsZero() })

	// Removed while it was proven: the proof brings no row back, nor does it
	// take back that the removal began.
	gone := w.backup()
	proven := gone
	gone.VerifiedAt, gone.Error = time.Time{}, bosman.RemovalBegan
	if err := w.s.store.SaveBackup(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if err := w.s.backups.keep(ctx, proven); err != nil {
		t.Fatal(err)
	}
	if now, err := w.s.store.Backup(ctx, "tiny", gone.Number); err != nil || now.Error != bosman.RemovalBegan || !now.VerifiedAt.IsZero() {
		t.Errorf("a proof made count what is being removed: %+v, %v", now, err)
	}
	if n, err := w.s.helm.PruneBackups(ctx, "tiny"); n != 1 || err != nil {
		t.Errorf("%d backups were removed, %v", n, err)
	}
	if err := w.s.backups.keep(ctx, proven); err != nil {
		t.Fatal(err)
	}
	if got := numbers(w.backups()); slices.Contains(got, gone.Number) {
		t.Errorf("a proof brought back the row of a backup that was removed: %v", got)
	}

	// One damaged proof, one manifest of a later Bosman.
	flip(t, w.sealedFile(newest, "proof"))
	later := w.backup()
	at, err := w.s.vaults.place(ctx, later)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Vault.Delete(ctx, later.Name+"/backup.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := at.Vault.Put(ctx, later.Name+"/backup.json", textOf(`{"format": 9}`)); err != nil {
		t.Fatal(err)
	}
	good := w.backup()
	for _, b := range w.backups() {
		if err := w.s.store.RemoveBackup(ctx, "tiny", b.Number); err != nil {
			t.Fatal(err)
		}
	}
	found, err := w.s.helm.ImportBackups(ctx, admin, "tiny", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range found {
		counts := !b.VerifiedAt.IsZero()
		if counts != (b.Number == good.Number || b.Number == old.Number) || (b.Number == later.Number) != strings.Contains(b.Error, "format 9") {
			t.Errorf("k%d was taken up: verified %v, %q", b.Number, b.VerifiedAt, b.Error)
		}
	}
	if len(found) != 4 {
		t.Errorf("%v were taken up", numbers(found))
	}
}

// textOf writes a text into an object.
func textOf(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}
