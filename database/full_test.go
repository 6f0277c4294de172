package database_test

import (
	crand "crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/need"
)

// A target that fills up half-way, and a disk without room for what is to be
// restored, lose nothing and say what to do; with room again it goes on.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	k := keep(t)
	small := filepath.Join(k.root, "target")
	k.backup(1)
	kept := t.TempDir()
	if err := os.CopyFS(kept, os.DirFS(small)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(small, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	k.vault = reopened(t, small)
	noise := make([]byte, 8<<20)
	if _, err := crand.Read(noise); err != nil {
		t.Fatal(err)
	}
	put(t, k.files, "noise", noise)
	_, err := k.Keeper.Backup(t.Context(), database.Snapshot{Files: k.files}, k.at(2), database.About{App: "rms", Instance: "live"})
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(e.Message, "full") || e.Next == "" {
		t.Errorf("the target is full: %v", err)
	}
	if _, err := database.ReadManifest(t.Context(), k.at(2)); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("half a backup: %v", err)
	}
	if _, err := k.Verify(t.Context(), k.at(1), true); err != nil {
		t.Error(err)
	}

	into := filepath.Join(small, "restored") // 5 MB do not fit there
	_, _, _, err = k.Restore(t.Context(), k.at(1), "live", database.Snapshot{Files: into})
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(e.Message, "too full") || e.Kept == "" || e.Next == "" {
		t.Errorf("no room to restore: %v", err)
	}
	if left, err := filepath.Glob(into + "*"); err != nil || len(left) != 0 {
		t.Errorf("%q is left, %v", left, err)
	}
	if err := os.Remove(filepath.Join(k.files, "noise")); err != nil {
		t.Fatal(err)
	}
	k.backup(2)
	same(t, "after", k.files, k.restored(2))
}

// reopened is the vault of a folder that something was mounted over.
func reopened(t *testing.T, dir string) database.Vault {
	t.Helper()
	return databasetest.Vault(t, dir)
}
