package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// prepared makes storage for a data folder on a file system that cannot share
// blocks, and takes it away at the end.
func prepared(t *testing.T, kind string) (data string, p Prepared) {
	t.Helper()
	need.Root(t)
	need.Program(t, kinds[kind].mkfs[0], kinds[kind].pkg)
	data, err := os.MkdirTemp("/dev/shm", "bosman-storage-") // tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := Undo(context.Background(), data)
		if bosman.KindOf(err) == bosman.KindNotFound {
			err = nil
		}
		if err := errors.Join(err, os.RemoveAll(data)); err != nil {
			t.Error(err)
		}
	})
	p, needed, err := Propose(data, Prepared{Size: 400 << 20, Type: kind})
	if err != nil || !needed || p.Dir != filepath.Join(data, "storage") {
		t.Fatalf("%+v %v %v", p, needed, err)
	}
	if err := Prepare(t.Context(), data, p); err != nil {
		t.Fatal(err)
	}
	return data, p
}

func TestPrepareMountUndo(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) { prepareMountUndo(t, kind) })
	}
}

func prepareMountUndo(t *testing.T, kind string) {
	data, p := prepared(t, kind)
	home, err := Home(data)
	if err != nil || home != p.Dir {
		t.Fatalf("home %s, %v", home, err)
	}
	a, err := Probe(home)
	if err != nil || !a.Reflink || a.Type != kind || a.Why != "" || a.Free <= 0 {
		t.Errorf("prepared: %+v, %v", a, err)
	}
	if b, err := Probe(filepath.Join(data, "not", "yet")); err != nil || b.Reflink || b.Type != "tmpfs" || b.Why == "" || b.Dir != data {
		t.Errorf("the data folder: %+v, %v", b, err)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("probing left %v, %v", left, err)
	}
	if _, needed, err := Propose(data, Prepared{}); err != nil || needed {
		t.Errorf("needed again: %v, %v", needed, err)
	}
	if err := os.WriteFile(filepath.Join(home, "copy"), []byte("of anna"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(t.Context(), data, p); err != nil {
		t.Errorf("done twice: %v", err)
	}
	if err := syscall.Unmount(home, 0); err != nil { // the host was started anew
		t.Fatal(err)
	}
	if _, err := Home(data); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("not mounted: %v", err)
	}
	for range 2 {
		if on, err := Mount(t.Context(), data); err != nil || !on {
			t.Fatalf("mounted again: %v, %v", on, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(home, "copy")); err != nil || string(b) != "of anna" {
		t.Errorf("what was in it: %q, %v", b, err)
	}
	held, err := os.Open(filepath.Join(home, "copy"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Undo(t.Context(), data); bosman.KindOf(err) != bosman.KindBusy {
		t.Errorf("taken away while it is used: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Undo(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if on, err := Mount(t.Context(), data); err != nil || on {
		t.Errorf("nothing to mount: %v, %v", on, err)
	}
}

func TestRefusals(t *testing.T) {
	data, p := prepared(t, "xfs")
	if err := syscall.Unmount(p.Dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(t.Context(), data, p); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("over somebody's files: %v", err)
	}
	if err := os.Remove(filepath.Join(p.Dir, "mine")); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if _, _, err := Propose(other, Prepared{Size: 1 << 20}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("too small: %v", err)
	}
	if _, _, err := Propose(other, Prepared{Size: 1 << 60}); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("bigger than the disk: %v", err)
	}
	if _, _, err := Propose(other, Prepared{Type: "ntfs"}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a file system that Bosman does not make: %v", err)
	}
	if err := os.Rename(p.Image, p.Image+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := Mount(t.Context(), data); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("the file is gone: %v", err)
	}
	if err := os.Rename(p.Image+".away", p.Image); err != nil {
		t.Fatal(err)
	}
}

func TestClone(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) { cloneOn(t, kind) })
	}
}

func cloneOn(t *testing.T, kind string) {
	_, p := prepared(t, kind)
	from, to := filepath.Join(p.Dir, "from"), filepath.Join(p.Dir, "to")
	for i := range 3 {
		dir := filepath.Join(from, fmt.Sprint("d", i), "deep")
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for n := range 150 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("ż", n)), []byte(fmt.Sprint(i, n)), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	big := make([]byte, 50<<20)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(from, "big"), big, 0o666), os.Chmod(filepath.Join(from, "big"), 0o666), os.Chown(filepath.Join(from, "big"), 12, 34),
		os.WriteFile(filepath.Join(from, "postmaster.pid"), []byte("1"), 0o600), os.WriteFile(filepath.Join(from, "empty"), nil, 0o600),
		os.Symlink("/etc/passwd", filepath.Join(from, "link")), syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	before, err := Probe(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Clone(t.Context(), from, to, func(path string) bool { return path == "postmaster.pid" })
	if err != nil || tree.Files != 452 || tree.Bytes < 50<<20 {
		t.Fatalf("%+v, %v", tree, err)
	}
	if after, err := Probe(p.Dir); err != nil || before.Free-after.Free > 20<<20 {
		t.Errorf("the copy took %d bytes, %v", before.Free-after.Free, err)
	}
	if err := os.Remove(filepath.Join(from, "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(from, "pipe")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("diff", "-r", "--no-dereference", from, to).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	info, err := os.Stat(filepath.Join(to, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || info.Mode().Perm() != 0o666 || st.Uid != 12 || st.Gid != 34 {
		t.Errorf("mode and owner: %v %+v", info.Mode(), st)
	}
	if err := os.WriteFile(filepath.Join(to, "big"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(from, "big")); err != nil || string(b) != string(big) {
		t.Errorf("the original changed: %d bytes, %v", len(b), err)
	}
	if _, err := Clone(t.Context(), from, to, nil); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("over another: %v", err)
	}
	if _, err := Clone(t.Context(), from, filepath.Join(t.TempDir(), "x"), nil); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("to another file system: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Clone(gone, from, filepath.Join(p.Dir, "x"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestWhy: a try that fails is told in the words of its file system.
func TestWhy(t *testing.T) {
	for _, c := range []struct {
		fs   string
		err  error
		want string
	}{
		{"btrfs", nil, ""},
		{"zfs", nil, ""}, // OpenZFS 2.2 with block cloning
		{"zfs", syscall.EOPNOTSUPP, "OpenZFS 2.2"},
		{"zfs", &fs.PathError{Op: "clone", Err: syscall.EAGAIN}, "zfs_bclone_wait_dirty"},
		{"xfs", syscall.EOPNOTSUPP, "without reflink"},
		{"ext4", syscall.EOPNOTSUPP, "files on ext4 cannot share blocks"},
		{"ext4", syscall.EROFS, "read-only"},
	} {
		if got := why(c.fs, c.err); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, %v: %q", c.fs, c.err, got)
		}
	}
}
