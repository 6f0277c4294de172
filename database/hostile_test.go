package database_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// strange makes files of all the sorts that an application, or somebody who
// uploads to it, can leave in its folders.
func strange(t *testing.T) string {
	t.Helper()
	need.Root(t)
	root := filepath.Join(t.TempDir(), "data")
	put(t, root, "m/plain", []byte("plain"))
	put(t, root, "m/line\nbreak \t\x01", []byte("odd"))
	put(t, root, "m/"+strings.Repeat("ż", 127), []byte("long"))
	put(t, root, "m/setuid", []byte("#!"))
	put(t, root, "-rf", []byte("option"))
	deep := filepath.Join(root, strings.Repeat("deep/", 60))
	holes, err := os.Create(filepath.Join(root, "m/holes"))
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := holes.WriteAt([]byte("begin"), 0)
	_, err2 := holes.WriteAt([]byte("middle"), 100<<20)
	if err := errors.Join(err1, err2, holes.Truncate(150<<20), holes.Close(), os.MkdirAll(deep, 0o755), os.WriteFile(deep+"/x", []byte("deep"), 0o600),
		os.Link(filepath.Join(root, "m/plain"), filepath.Join(root, "m/hard")), os.Symlink("/etc/shadow", filepath.Join(root, "m/out")),
		unix.Mkfifo(filepath.Join(root, "m/fifo"), 0o600), unix.Mknod(filepath.Join(root, "m/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Chown(filepath.Join(root, "m"), 71500, 71500), os.Chown(filepath.Join(root, "m/plain"), 71500, 71501), os.Lchown(filepath.Join(root, "m/out"), 71500, 71500),
		os.Chmod(filepath.Join(root, "m/setuid"), 0o4755|fs.ModeSetuid), os.Mkdir(filepath.Join(root, "none"), 0)); err != nil {
		t.Fatal(err)
	}
	return root
}

// checkStrange says what of them is there as it was.
func checkStrange(t *testing.T, what, got string, uid uint32) {
	t.Helper()
	for name, want := range map[string]string{
		"m/plain": "plain", "m/hard": "plain", "m/line\nbreak \t\x01": "odd", "m/" + strings.Repeat("ż", 127): "long", "-rf": "option",
		strings.Repeat("deep/", 60) + "x": "deep",
	} {
		if b, err := os.ReadFile(filepath.Join(got, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q is %q, %v", what, name, b, err)
		}
	}
	for _, name := range []string{"m/fifo", "m/null"} {
		if _, err := os.Lstat(filepath.Join(got, name)); err == nil {
			t.Errorf("%s: %s is there", what, name)
		}
	}
	if to, err := os.Readlink(filepath.Join(got, "m/out")); err != nil || to != "/etc/shadow" {
		t.Errorf("%s: the link leads to %q, %v", what, to, err)
	}
	owner := func(name string) (uint32, fs.FileMode, int64) {
		info, err := os.Lstat(filepath.Join(got, name))
		if err != nil {
			t.Error(what, err)
			return 0, 0, 0
		}
		s, _ := info.Sys().(*syscall.Stat_t)
		return s.Uid, info.Mode(), s.Blocks * 512
	}
	if _, mode, _ := owner("m/setuid"); mode&fs.ModeSetuid != 0 || mode.Perm() != 0o755 {
		t.Errorf("%s: a file of the instance is %s", what, mode)
	}
	for _, name := range []string{"m", "m/plain", "m/out"} {
		if u, _, _ := owner(name); u != uid {
			t.Errorf("%s: %s belongs to %d", what, name, u)
		}
	}
	if _, mode, _ := owner("none"); mode.Perm() != 0 {
		t.Errorf("%s: a locked folder is %s", what, mode)
	}
	if _, _, held := owner("m/holes"); held > 1<<20 {
		t.Errorf("%s: a file of holes takes %d bytes", what, held)
	}
	f, err := os.Open(filepath.Join(got, "m/holes"))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{0: "begin\x00", 100 << 20: "middle\x00", 150<<20 - 4: "\x00\x00\x00\x00"} {
		b := make([]byte, len(want))
		if _, err := f.ReadAt(b, at); err != nil || string(b) != want {
			t.Errorf("%s: at %d is %q, %v", what, at, b, err)
		}
	}
	if info, err := f.Stat(); err != nil || info.Size() != 150<<20 {
		t.Errorf("%s: a file of holes: %v", what, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestStrangeFiles: holes, hard links, devices, pipes, setuid, names with line
// breaks, deep and locked folders, other owners: in a copy, one made in
// advance, and a backup that is restored.
func TestStrangeFiles(t *testing.T) {
	need.Slow(t, "reads and seals many zeros")
	root := strange(t)
	copied := filepath.Join(t.TempDir(), "copy")
	if _, err := database.CopyTree(t.Context(), root, copied, 0); err != nil {
		t.Fatal(err)
	}
	checkStrange(t, "copied", copied, 71500)
	given := filepath.Join(t.TempDir(), "given")
	if _, err := database.CopyTree(t.Context(), root, given, 71502); err != nil {
		t.Fatal(err)
	}
	checkStrange(t, "given to an instance", given, 71502)

	k := keep(t)
	k.files = root
	if _, err := k.StockFiles(t.Context(), "staging", root, 1); err != nil {
		t.Fatal(err)
	}
	into := database.Snapshot{Files: filepath.Join(k.root, "anna"), UID: 71503}
	if _, _, _, err := k.Replace(t.Context(), database.Snapshot{Files: root}, "testing-anna", into, database.CopyOptions{From: "staging"}); err != nil {
		t.Fatal(err)
	}
	checkStrange(t, "made in advance", into.Files, 71503)

	k.backup(1)
	back := database.Snapshot{Files: filepath.Join(k.root, "live")}
	if _, _, _, err := k.Restore(t.Context(), k.at(1), "live", back); err != nil {
		t.Fatal(err)
	}
	checkStrange(t, "restored", back.Files, 71500)
	if _, err := k.Verify(t.Context(), k.at(1), true); err != nil {
		t.Error(err)
	}
}

// TestFolderBecomesALink: whoever owns the files puts a link in the place of a
// folder again and again while they are copied and backed up. What it leads to
// must never be read.
func TestFolderBecomesALink(t *testing.T) {
	k := keep(t)
	secret := t.TempDir()
	for i := range 40 {
		put(t, secret, fmt.Sprintf("%03d", i), []byte("a secret of Bosman"))
		put(t, k.files, fmt.Sprintf("d/%03d", i), []byte("mine"))
	}
	stop, cancel := context.WithCancel(t.Context())
	var owner sync.WaitGroup
	owner.Go(func() {
		d, aside := filepath.Join(k.files, "d"), filepath.Join(k.files, "aside")
		for stop.Err() == nil {
			if err := errors.Join(os.Rename(d, aside), os.Symlink(secret, d), os.Remove(d), os.Rename(aside, d)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer owner.Wait()
	defer cancel()
	leaked := func(what, root string) {
		t.Helper()
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte("a secret")) {
				t.Errorf("%s: %s holds what the link led to", what, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	end := time.Now().Add(time.Second)
	for n := 1; time.Now().Before(end) && !t.Failed(); n++ {
		dst := filepath.Join(t.TempDir(), "copy")
		if _, err := database.CopyTree(t.Context(), k.files, dst, 0); err != nil {
			t.Fatal(err)
		}
		leaked("copied", dst)
		if n <= 3 {
			if _, err := k.StockFiles(t.Context(), "staging", k.files, 1); err != nil {
				t.Fatal(err)
			}
			into := database.Snapshot{Files: filepath.Join(k.root, fmt.Sprintf("c%d", n))}
			if _, _, _, err := k.Replace(t.Context(), database.Snapshot{Files: k.files}, fmt.Sprintf("testing-%d", n), into, database.CopyOptions{From: "staging"}); err != nil {
				t.Fatal(err)
			}
			leaked("made in advance", into.Files)
			k.backup(n)
			back := database.Snapshot{Files: filepath.Join(k.root, fmt.Sprintf("b%d", n))}
			if _, _, _, err := k.Restore(t.Context(), k.at(n), fmt.Sprintf("back-%d", n), back); err != nil {
				t.Fatal(err)
			}
			leaked("backed up", back.Files)
		}
	}
}

// TestNoRoomForCopiedFiles: a copy of the files that would leave no room for
// live is refused before a byte is written, with what to do.
func TestNoRoomForCopiedFiles(t *testing.T) {
	need.Root(t)
	k := keep(t)
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=20m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	from := filepath.Join(small, "staging")
	put(t, from, "a", bytes.Repeat([]byte("a"), 6<<20))
	copied := func(name string) error {
		_, _, _, err := k.Replace(t.Context(), database.Snapshot{Files: from}, name, database.Snapshot{Files: filepath.Join(small, name)}, database.CopyOptions{From: "staging"})
		return err
	}
	if err := copied("testing-anna"); err != nil {
		t.Fatal(err)
	}
	put(t, from, "b", []byte("more")) // 6 MB fit into the 8 that are free, but a tenth must stay
	put(t, from, "c", bytes.Repeat([]byte("c"), 400<<10))
	err := copied("testing-ben")
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(e.Message, "no room") || e.Kept == "" || !strings.Contains(e.Next, "bosman instances remove") {
		t.Errorf("it goes too far: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(small, "testing-ben*")); err != nil || len(left) != 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

// A link in the place of the whole folder is not followed either.
func TestFolderThatIsALink(t *testing.T) {
	dir := t.TempDir()
	other, link := filepath.Join(dir, "other"), filepath.Join(dir, "files")
	if err := errors.Join(os.Mkdir(other, 0o750), os.WriteFile(filepath.Join(other, "secret"), []byte("x"), 0o600), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy")
	if _, err := database.CopyTree(t.Context(), link, copied, 0); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("copied: %v", err)
	}
	if _, err := os.Lstat(copied); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was copied: %v", err)
	}
	if n, err := database.FilesSize(t.Context(), link); bosman.KindOf(err) != bosman.KindConflict || n != 0 {
		t.Errorf("it takes %d bytes: %v", n, err)
	}
}
