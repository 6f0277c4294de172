package database_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// noClones says whether the temporary folder's file system has to copy bytes.
func noClones(t *testing.T) bool {
	t.Helper()
	in, err1 := os.Create(filepath.Join(t.TempDir(), "a"))
	out, err2 := os.Create(filepath.Join(t.TempDir(), "b"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(in.Close(), out.Close()); err != nil {
			t.Error(err)
		}
	}()
	return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil
}

// A copy made in advance is brought up to date by what changed, is exact when
// it is handed out, and nobody who has one can change another.
func TestFilesAreCopiedInAdvance(t *testing.T) {
	need.Slow(t, "waits until files have rested")
	if !noClones(t) {
		t.Setenv("TMPDIR", "/dev/shm") // where blocks are shared nothing is made in advance
	}
	k := keep(t)
	stock := func() database.Tree {
		t.Helper()
		got, err := k.StockFiles(t.Context(), "staging", k.files, 1)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := stock(); got.Bytes < 5<<20 {
		t.Errorf("stocked %+v", got)
	}
	time.Sleep(2100 * time.Millisecond)
	stock() // what was too young to be trusted is written again, once
	time.Sleep(2100 * time.Millisecond)
	if got := stock(); got.Bytes != 0 || got.Files < 300 {
		t.Errorf("nothing changed, yet %+v", got)
	}
	put(t, k.files, "small/9", []byte("changed meanwhile"))
	put(t, k.files, "new/er", []byte("new"))
	if err := errors.Join(os.RemoveAll(filepath.Join(k.files, "small/8")), os.RemoveAll(filepath.Join(k.files, "empty")), os.Mkdir(filepath.Join(k.files, "empty"), 0o755)); err != nil {
		t.Fatal(err)
	}
	into := database.Snapshot{Files: filepath.Join(k.root, "anna")}
	begun := read(t)
	_, _, info, err := k.Replace(t.Context(), database.Snapshot{Files: k.files}, "testing-anna", into, database.CopyOptions{From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if n := read(t) - begun; n > 1<<20 || info.Bytes != int64(len("changed meanwhile")+len("new")) {
		t.Errorf("%d bytes were read, %d written", n, info.Bytes)
	}
	same(t, "handed out", k.files, into.Files)

	// Anna's own; the next one is whole again, stocked or not.
	put(t, into.Files, "media/big", []byte("anna's"))
	for _, name := range []string{"ben", "eva"} {
		other := database.Snapshot{Files: filepath.Join(k.root, name)}
		if _, _, _, err := k.Replace(t.Context(), database.Snapshot{Files: k.files}, "testing-"+name, other, database.CopyOptions{From: "staging"}); err != nil {
			t.Fatal(err)
		}
		same(t, name, k.files, other.Files)
		stock()
	}
	if b, err := os.ReadFile(filepath.Join(k.files, "media/big")); err != nil || bytes.Equal(b, []byte("anna's")) {
		t.Errorf("staging was touched: %v", err)
	}

	// What somebody broke on the shelf is mended, and few files need no shelf.
	ready := filepath.Join(k.State, "files", "staging", "ready")
	time.Sleep(2100 * time.Millisecond)
	put(t, ready, "small/5", []byte("broken!!!"))
	put(t, ready, "too/much", []byte("x"))
	last := database.Snapshot{Files: filepath.Join(k.root, "last")}
	if _, _, _, err := k.Replace(t.Context(), database.Snapshot{Files: k.files}, "testing-last", last, database.CopyOptions{From: "staging"}); err != nil {
		t.Fatal(err)
	}
	same(t, "last", k.files, last.Files)
	stock()
	if _, err := k.StockFiles(t.Context(), "staging", k.files, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(ready); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("few files, yet a shelf: %v", err)
	}
	if _, err := k.StockFiles(t.Context(), "../x", k.files, 1); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a name that leads away: %v", err)
	}
}
