package sqlite

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// xfs mounts a small file system that shares blocks between files.
func xfs(t *testing.T) string {
	t.Helper()
	need.Root(t)
	need.Program(t, "mkfs.xfs", "xfsprogs")
	image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"truncate", "-s", "320M", image}, {"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func statements(t *testing.T, d bosman.Database, list ...string) {
	t.Helper()
	if err := with(t.Context(), d.Name, "test", func(c *sql.Conn) error { return run(t.Context(), c, list...) }); err != nil {
		t.Fatal(err)
	}
}

func TestCopySharesBlocks(t *testing.T) {
	dir := xfs(t)
	e, err := NewEngine(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	from, err := e.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	held, err := open(from.Name) // keeps a -wal file with what it wrote
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range []string{"CREATE TABLE t (x)", "INSERT INTO t VALUES (zeroblob(30000000))", "INSERT INTO t VALUES (1)"} {
		if _, err := held.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	var before, after syscall.Statfs_t
	if err := syscall.Statfs(dir, &before); err != nil {
		t.Fatal(err)
	}
	to, info, err := e.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
	if err != nil || info.Strategy != "clone" || info.Bytes < 30_000_000 {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := syscall.Statfs(dir, &after); err != nil {
		t.Fatal(err)
	}
	if used := int64(before.Bfree-after.Bfree) * before.Bsize; used > 5_000_000 {
		t.Errorf("the copy took %d bytes", used)
	}
	statements(t, to, "DELETE FROM t")
	in, err := e.Inspect(t.Context(), from)
	if err != nil || in.Rows["t"] != 2 {
		t.Errorf("the source holds %v, %v", in.Rows, err)
	}
	if err := e.Check(t.Context(), to); err != nil {
		t.Error(err)
	}
	tree, err := database.CopyTree(t.Context(), filepath.Join(dir, "db"), filepath.Join(dir, "files"), 0)
	if err != nil || !tree.Cloned || tree.Files == 0 {
		t.Errorf("files: %+v, %v", tree, err)
	}
}

func TestFullDiskAndDamage(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e, err := NewEngine(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	statements(t, d, "PRAGMA journal_mode = delete", "CREATE TABLE t (x)", "INSERT INTO t VALUES (randomblob(1800000))")
	if _, _, err := e.Copy(t.Context(), d, "other", database.CopyOptions{}); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("copy to a full disk: %v", err)
	}
	all, err := e.List(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("left %+v, %v", all, err)
	}
	f, err := os.OpenFile(d.Name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 100), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Check(t.Context(), d); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestOwn(t *testing.T) {
	need.Root(t)
	e, err := NewEngine(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Own(t.Context(), d, 23456); err != nil {
		t.Fatal(err)
	}
	statements(t, d, "CREATE TABLE t (x)") // by root, who must not leave files of its own
	for _, path := range []string{d.Name, filepath.Dir(d.Name)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 23456 {
			t.Errorf("%s belongs to %d", path, s.Uid)
		}
	}
	if err := e.Own(t.Context(), bosman.Database{Engine: "sqlite", Name: "/etc/passwd"}, 1); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a foreign file: %v", err)
	}
}
