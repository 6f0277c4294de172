package mariadb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestServerKilled kills the server while it is at work: what was there is
// there after its next start, and what was half done is done or gone.
func TestServerKilled(t *testing.T) {
	c := ownCluster(t, Main, "")
	if done := ensure(t, c); !done.Created || !done.Started {
		t.Errorf("the first start did %+v", done)
	}
	if done := ensure(t, c); done != (Ensured{}) {
		t.Errorf("the second start did %+v", done)
	}
	e := engine(t, "killed", c)
	live := rich(t, e, "live")
	again := func(what string, err error) {
		t.Helper()
		if bosman.KindOf(err) != bosman.KindUnavailable && bosman.KindOf(err) != bosman.KindBusy {
			t.Errorf("%s: %v", what, err)
		}
		if done := ensure(t, c); !done.Started || done.Created {
			t.Errorf("%s: started again it did %+v", what, done)
		}
		if err := c.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(names(t, e), " "); got != "live" && !strings.HasPrefix(got, "live live__kept_") {
			t.Errorf("%s: there is %q", what, got)
		}
		works(t, live)
	}
	works(t, live)
	for _, point := range []string{"database.copy.made", "database.copy.filled"} {
		killAt(t, c, point)
		_, _, err := e.Copy(t.Context(), live, "copy", database.CopyOptions{})
		again(point, err)
	}
	for _, point := range []string{"mariadb.swap.noted", "mariadb.swap.bare", "mariadb.swap.moved", "mariadb.swap.dressed", "mariadb.swap.labelled"} {
		next, _, err := e.Copy(t.Context(), live, database.Beside("live", database.TagNext), database.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		do(t, live, "INSERT INTO parted VALUES (0)")
		before := ask(t, live, "SELECT COUNT(*) FROM parted")
		killAt(t, c, point)
		_, err = e.Swap(t.Context(), live, next)
		if done := ensure(t, c); !done.Started {
			t.Errorf("%s: the server was not killed: %v", point, err)
		}
		if err := c.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		works(t, live)
		moved := point != "mariadb.swap.noted" && point != "mariadb.swap.bare"
		if after := ask(t, live, "SELECT COUNT(*) FROM parted"); (after != before) != moved {
			t.Errorf("%s: %s rows before, %s after: %v", point, before, after, err)
		}
		for _, name := range names(t, e) {
			if strings.Contains(name, database.TagNext) == moved && name != "live" && !strings.Contains(name, "kept") {
				t.Errorf("%s: %s is there", point, name)
			}
			if name != "live" {
				d, err := e.Find(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				if in, err := e.Inspect(t.Context(), d); err != nil || in.Rows["cv"] != 1 || len(in.Schema.Objects) < 10 {
					t.Errorf("%s: %s holds %v, %v", point, name, in.Rows, err)
				}
				if err := e.Drop(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// In the middle of a dump and of a load.
	do(t, live, "CREATE TABLE big (id INT AUTO_INCREMENT PRIMARY KEY, x LONGBLOB)")
	for range 6 {
		do(t, live, "INSERT INTO big (x) VALUES (REPEAT('0123456789abcdef', 200000))")
	}
	timer := time.AfterFunc(250*time.Millisecond, func() { killServer(t, c) })
	var err error
	for err == nil { // until it is killed in one
		_, err = e.Backup(t.Context(), live, t.TempDir())
	}
	timer.Stop()
	again("killed in a dump", err)
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
	_, err = e.List(t.Context())
	if bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("a stopped server: %v", err)
	}
	// After a crash of the host a scratch server is thrown away; not after a stop.
	c.Profile = Scratch
	if err := os.WriteFile(filepath.Join(c.Dir, "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil || !c.lost() {
		t.Errorf("nothing was written to the disk, yet not lost: %v", err)
	}
	if err := c.ground().NoteStart(os.WriteFile); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.lost() {
		t.Error("all is on the disk, yet lost")
	}
	if err := c.ground().NoteStart(os.WriteFile); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if done := ensure(t, c); !done.Recreated {
		t.Errorf("after a crash of the host it did %+v", done)
	}
	if _, err := e.Find(t.Context(), "live"); !errors.Is(err, database.ErrLostWithHost) || bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("whoever looks for it is told: %v", err)
	}
}

// killAt kills the server when the point is passed, once.
func killAt(t *testing.T, c *Cluster, point string) {
	c.at = func(p string) {
		if p == point {
			c.at = nil
			killServer(t, c)
		}
	}
}

func names(t *testing.T, e *Engine) (out []string) {
	t.Helper()
	all, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		out = append(out, x.Name)
	}
	return out
}

// TestDiskFull fills the server's disk in a copy, a swap and a backup.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	need.Program(t, "mkfs.xfs", "xfsprogs")
	dir := disk(t, "1000M")
	c := ownCluster(t, Main, dir)
	ensure(t, c)
	e := engine(t, "full", c)
	live := rich(t, e, "live")
	do(t, live, "CREATE TABLE big (id INT AUTO_INCREMENT PRIMARY KEY, x LONGBLOB)")
	for range 5 { // nothing makes this smaller
		do(t, live, "INSERT INTO big (x) VALUES (x'"+hex.EncodeToString(noise(4<<20))+"')")
	}
	next, _, err := e.Copy(t.Context(), live, database.Beside("live", database.TagNext), database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, dir)
	out := filepath.Join(dir, "backup")
	for what, fn := range map[string]func() error{
		"copy":   func() error { _, _, err := e.Copy(t.Context(), live, "copy", database.CopyOptions{}); return err },
		"backup": func() error { _, err := e.Backup(t.Context(), live, out); return err },
	} {
		if err := os.MkdirAll(out, 0o700); err != nil {
			t.Log(err) // full
		}
		if err := fn(); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "full") {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	if _, err := e.Swap(t.Context(), live, next); err != nil {
		t.Log("swap on a full disk:", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ensure(t, c) // what could not be undone is, once there is room
	works(t, live)
	if err := c.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	works(t, live)
	for _, n := range names(t, e) {
		if n == "copy" {
			t.Error("half a copy is there")
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// disk mounts a file system of its own.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir, err := openTemp()
	if err != nil {
		t.Fatal(err)
	}
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{{"truncate", "-s", size, image}, {"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if b, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, b)
		}
	}
	t.Cleanup(func() {
		for i := 0; ; i++ { // the killed server's last writes hold it for a moment
			b, err := exec.Command("umount", at).CombinedOutput()
			if err == nil {
				return
			}
			if i > 50 {
				t.Errorf("umount: %v %s", err, b)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	inner := filepath.Join(at, "db")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	return inner
}

// fill writes until the disk has 4 MB left.
func fill(t *testing.T, path, dir string) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-4<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGolden: copies come from golden ones, which follow their source.
func TestGolden(t *testing.T) {
	main, scratch := clusters(t)
	e, home := engine(t, "gold", scratch, main), engine(t, "gold", main, scratch)
	staging := rich(t, home, "staging")
	first, err := e.Refresh(t.Context(), staging, 1)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.Refresh(t.Context(), staging, 1); err != nil || again.Database.Name != first.Database.Name {
		t.Errorf("nothing was written, yet %+v, %v", again, err)
	}
	stale := func(want bool, after string) {
		t.Helper()
		if got, err := e.Stale(t.Context(), staging); err != nil || got != want {
			t.Errorf("after %s: stale %v, %v", after, got, err)
		}
	}
	stale(false, "a refresh")
	for _, s := range []string{"INSERT INTO parted VALUES (9)", "ALTER TABLE log ADD COLUMN more INT", "CREATE OR REPLACE VIEW zz AS SELECT id, twice(id) AS two FROM person WHERE id > 0", "ALTER TABLE log RENAME COLUMN more TO less"} {
		do(t, staging, s)
		stale(true, s)
		if _, err := e.Refresh(t.Context(), staging, 2); err != nil {
			t.Fatal(err)
		}
		stale(false, "a refresh")
	}
	all, err := e.Goldens(t.Context(), staging)
	if err != nil || len(all) != keepGoldens || all[0].Copy.Release != 2 || all[0].Copy.From != "staging" {
		t.Fatalf("goldens %+v, %v", all, err)
	}
	exports, err := filepath.Glob(filepath.Join(scratch.goldenDir(), "gold__*"))
	if err != nil || len(exports) != keepGoldens {
		t.Errorf("exports %q, %v", exports, err)
	}
	d, info, err := e.Copy(t.Context(), staging, "testing-a", database.CopyOptions{From: "staging", Accept: func(r int) bool { return r == 2 }})
	if err != nil || info.Strategy != "import" || info.Release != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	works(t, d)
	if err := e.Check(t.Context(), d); err != nil {
		t.Error(err)
	}
	if _, _, err := e.Copy(t.Context(), staging, "testing-b", database.CopyOptions{Accept: func(r int) bool { return r == 1 }}); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a copy for an old change: %v", err)
	}
	do(t, staging, "INSERT INTO parted VALUES (10)")
	exact, info, err := e.Copy(t.Context(), staging, "testing-b", database.CopyOptions{Exact: true, Release: 3})
	if err != nil || info.Strategy != "dump" || ask(t, exact, "SELECT COUNT(*) FROM parted") != "5" {
		t.Errorf("exact: %+v, %v", info, err)
	}
	if _, err := home.Refresh(t.Context(), staging, 1); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a golden copy on main: %v", err)
	}
}

// TestBuilds: a build may make databases of its own names and no others.
func TestBuilds(t *testing.T) {
	main, scratch := clusters(t)
	ctx := context.Background()
	d, err := scratch.BuildDatabase(ctx, "rms-b41")
	if err != nil {
		t.Fatal(err)
	}
	other, err := scratch.BuildDatabase(ctx, "rms-b412")
	if err != nil {
		t.Fatal(err)
	}
	do(t, d, "CREATE DATABASE test_build_rms_b41", "CREATE DATABASE test_build_rms_b41_1", "CREATE TABLE build_rms_b41.x (a INT)")
	for _, s := range []string{"CREATE DATABASE test_other", "CREATE DATABASE test_build_rms_b412", "USE build_rms_b412", "USE bosman", "USE mysql", "CREATE DATABASE test_buildXrms_b41"} {
		if err := try(ctx, d, s); number(err) != 1044 {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := main.BuildDatabase(ctx, "rms-b41"); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a build on main: %v", err)
	}
	if n, err := scratch.CleanBuilds(ctx, []string{"rms-b412"}); err != nil || n != 1 {
		t.Errorf("%d cleaned, %v", n, err)
	}
	do(t, other, "SELECT 1")
	left := ask(t, scratch.database("", superuser), `SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '%build\_rms\_b41' OR SCHEMA_NAME LIKE '%build\_rms\_b41\_%'`)
	if left != "0" {
		t.Errorf("%s databases are left", left)
	}
	if err := try(ctx, d, "SELECT 1"); err == nil {
		t.Error("the build still gets in")
	}
	if err := scratch.CleanBuild(ctx, "rms-b412"); err != nil {
		t.Fatal(err)
	}
}
