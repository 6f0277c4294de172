package postgres

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/need"
)

// xfs mounts a file with a file system that shares blocks.
func xfs(t testing.TB, bytes int64) string {
	t.Helper()
	need.Root(t)
	need.Program(t, "mkfs.xfs", "xfsprogs")
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "img"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(img, nil, 0o600), os.Truncate(img, bytes), os.Mkdir(mnt, 0o755)); err != nil {
		t.Fatal(err)
	}
	for p := mnt; p != "/"; p = filepath.Dir(p) { // the server's user must come in
		if err := ground.Reachable(p); err != nil {
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, args := range [][]string{{"mkfs.xfs", "-q", "-m", "reflink=1", img}, {"mount", "-o", "loop", img, mnt}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

func used(t testing.TB, dir string) int64 {
	t.Helper()
	unix.Sync()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

// TestClonesOf18 makes golden copies of a 15 server and clones of them.
func TestClonesOf18(t *testing.T) {
	main, _ := clusters(t)
	mnt := xfs(t, 2<<30)
	bin := databasetest.Postgres(t, "postgres18")
	c := &Cluster{Name: "scratch", Profile: Scratch, Dir: filepath.Join(mnt, "c"), BinDir: bin}
	t.Cleanup(func() {
		if err := remove(c); err != nil {
			t.Error(err)
		}
	})
	if s, err := Probe(c.Dir, bin); err != nil || s.Name != StrategyClone || s.Faster != "" {
		t.Errorf("probed before it is there: %+v, %v", s, err)
	}
	ensure(t, c)
	if s := c.Strategy(); s.Name != StrategyClone || s.Faster != "" {
		t.Fatalf("strategy %+v", s)
	}
	staging, testers := engine(t, "clones", main), engine(t, "clones", c, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from) })
	mustSQL(t, from, "CREATE TABLE big (id int PRIMARY KEY, body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 60000) n", "SELECT lo_create(7)")
	g, err := testers.Refresh(t.Context(), from, 3)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := c.bytesOf(t.Context(), g.Database.Name)
	if err != nil {
		t.Fatal(err)
	}
	before := used(t, mnt)
	d, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 3, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if info.Strategy != StrategyClone || count(t, d, "big") != 60000 {
		t.Errorf("info %+v", info)
	}
	if grown := used(t, mnt) - before; grown > bytes/4 {
		t.Errorf("a clone of %d bytes took %d", bytes, grown)
	}
	mustSQL(t, d, "UPDATE big SET body = '' WHERE id < 100")
	other, _, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{})
	if err != nil || count(t, other, "big") != 60000 {
		t.Errorf("another clone: %v", err)
	}
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
		t.Errorf("pool %+v, %v", p, err)
	}
	next, info, err := testers.Copy(t.Context(), from, "testing-anna__next", database.CopyOptions{})
	if err != nil || info.Strategy != "clone, made in advance" {
		t.Fatalf("handed out: %+v, %v", info, err)
	}
	kept, err := testers.Swap(t.Context(), d, next)
	if err != nil || count(t, d, "big") != 60000 {
		t.Errorf("swapped: %v", err)
	}
	if err := testers.Drop(t.Context(), kept); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Stop(t.Context()), errorOf(c.Ensure(t.Context())), c.Recover(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := count(t, d, "big"); n != 60000 {
		t.Errorf("%d rows after a restart", n)
	}
	// Debian's 15 does not dump this one, and says what would.
	_, err = testers.Backup(t.Context(), d, t.TempDir())
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "postgresql-client-18") {
		t.Errorf("a dump of 18 by 15: %v", err)
	}
}

func errorOf(_ Ensured, err error) error { return err }

func TestServerForCopiesIsNotOlder(t *testing.T) {
	main, _ := clusters(t)
	old := ownCluster(t, Scratch)
	old.BinDir = databasetest.Postgres(t, "postgres13")
	ensure(t, old)
	staging, testers := engine(t, "older", main), engine(t, "older", old, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from) })
	_, _, err = testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "an older one cannot hold its copies") {
		t.Errorf("15 copied to 13: %v", err)
	}
}

func TestClientPrograms(t *testing.T) {
	all := []Clients{{"/13", 13}, {"/15", 15}, {"/18", 18}}
	for _, c := range []struct {
		server, since     int
		dumper, restoring string
	}{
		{13, 12, "/13", "/13"},
		{14, 12, "/15", "/13"},
		{15, 12, "/15", "/15"},
		{16, 12, "/18", "/15"},
		{16, 17, "/18", "/18"},
		{13, 17, "/13", "/18"},
		{19, 19, "", ""},
		{18, 12, "/18", "/18"},
		{19, 12, "", "/18"},
	} {
		d, err := Dumper(c.server, all)
		if d.Dir != c.dumper || (err != nil) != (c.dumper == "") {
			t.Errorf("dumper of %d: %+v, %v", c.server, d, err)
		}
		r, err := Restorer(c.server, c.since, all)
		if r.Dir != c.restoring || (err != nil) != (c.restoring == "") {
			t.Errorf("restorer into %d of a dump for %d: %+v, %v", c.server, c.since, r, err)
		}
	}
	if _, err := Dumper(15, nil); err == nil || !strings.Contains(err.Error(), "there is none") || !strings.Contains(err.Error(), "apt-get install postgresql-client-15") {
		t.Errorf("no client: %v", err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cut, []byte("PGD"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readerOf(cut); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("a truncated dump: %v", err)
	}
}

func TestStrategies(t *testing.T) {
	for _, c := range []struct {
		major        int
		links        string
		name, faster string
	}{
		{18, "", StrategyClone, ""},
		{18, "/x is on ext4", StrategyTemplate, "ext4"},
		{15, "", StrategyTemplate, "needs PostgreSQL 18 and this is 15"},
		{15, "/x is on ext4", StrategyTemplate, "ext4; file_copy_method=clone also needs PostgreSQL 18"},
	} {
		s := strategyOf(c.major, c.links)
		if s.Name != c.name || !strings.Contains(s.Faster, c.faster) || (s.Faster == "") != (c.faster == "") || s.Why == "" {
			t.Errorf("%d %q: %+v", c.major, c.links, s)
		}
	}
	if why := reflinks(filepath.Join(t.TempDir(), "not", "yet")); why != "" && !strings.Contains(why, "share blocks") {
		t.Errorf("a folder that is not there yet: %q", why)
	}
}
