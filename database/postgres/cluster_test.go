package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

func TestEnsureIsIdempotentAndSurvivesAKill(t *testing.T) {
	c := ownCluster(t, Main)
	if got := ensure(t, c); !got.Created || !got.Started {
		t.Fatalf("first Ensure: %+v", got)
	}
	pid := pidOf(t, c)
	if got := ensure(t, c); got != (Ensured{}) || pidOf(t, c) != pid {
		t.Fatalf("second Ensure: %+v", got)
	}
	e := engine(t, "rms", c)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, d, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")

	kill(t, pid, syscall.SIGKILL)
	if err := c.ping(t.Context()); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "testing instances and builds go on") {
		t.Fatalf("a dead cluster should be unavailable and say what goes on: %v", err)
	}
	// After a reboot the pid may be somebody else's: this test's own, here.
	pidFile := filepath.Join(c.dataDir(), "postmaster.pid")
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n")
	if err := os.WriteFile(pidFile, []byte("1\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	other := &Cluster{Name: "main", Profile: Main, Dir: c.Dir} // a new serve
	if got := ensure(t, other); got.Created || !got.Started {
		t.Fatalf("Ensure after a kill: %+v", got)
	}
	if n := count(t, d, "candidate"); n != 1 {
		t.Fatalf("%d rows after the crash", n)
	}
	if err := other.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Stop(t.Context()); err != nil {
		t.Fatalf("stopping twice: %v", err)
	}
}

// A backend that is busy does not notice that its server was killed, and holds
// its memory: it is ended before another server is started.
func TestKilledWhileABackendIsBusy(t *testing.T) {
	c := ownCluster(t, Main)
	ensure(t, c)
	d, err := engine(t, "busyback", c).Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, d, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
	conn, err := connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	backend := int(conn.PgConn().PID())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = conn.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b") // ends with its backend
		_ = conn.Close(context.Background())
	}()
	for busy := ""; busy != "active"; time.Sleep(10 * time.Millisecond) {
		if err := c.talk(t.Context(), "look", func(conn *pgx.Conn) error {
			return conn.QueryRow(t.Context(), "SELECT coalesce(max(state), '') FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%generate_series%'", backend).Scan(&busy)
		}); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, pidOf(t, c), syscall.SIGKILL)
	if gone(backend) {
		t.Error("the backend noticed; the test proves nothing")
	}
	if got := ensure(t, c); !got.Started || !gone(backend) {
		t.Errorf("%+v, the backend of before is gone: %v", got, gone(backend))
	}
	<-ended
	if n := count(t, d, "candidate"); n != 1 {
		t.Errorf("%d rows afterwards", n)
	}
}

// A server that dies while it is waited for is started again at once, not
// when there is no more patience.
func TestDiesWhileAwaited(t *testing.T) {
	c := ownCluster(t, Scratch)
	ensure(t, c)
	pid := pidOf(t, c)
	lock := filepath.Join(c.SocketDir, ".s.PGSQL."+strconv.Itoa(c.Port))
	if err := os.Remove(lock); err != nil { // nobody is answered from now on
		t.Fatal(err)
	}
	go func() {
		time.Sleep(time.Second)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone when the test fails
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done, err := c.Ensure(ctx)
	if err != nil || !done.Started {
		t.Fatalf("a server that died while it was waited for: %+v, %v", done, err)
	}
}

func TestServerRunsApartFromUs(t *testing.T) {
	main, _ := clusters(t)
	sid, err := getsid(pidOf(t, main))
	if err != nil {
		t.Fatal(err)
	}
	own, err := getsid(os.Getpid())
	if err != nil || sid == own {
		t.Fatalf("the server shares our session %d: %v", own, err)
	}
}

func getsid(pid int) (int, error) {
	r, _, e := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

func TestScratchIsMadeAnewAfterTheHostCrashed(t *testing.T) {
	c := ownCluster(t, Scratch)
	ensure(t, c)
	d, err := engine(t, "rms", c).Create(t.Context(), "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	kill(t, pidOf(t, c), syscall.SIGKILL)
	if got := ensure(t, c); got.Recreated {
		t.Fatal("the server alone died: nothing is lost")
	}
	rebooted := func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Dir, "boot"), []byte("another boot"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustSQL(t, d, "CREATE TABLE candidate (name text)")
	if err := c.Stop(t.Context()); err != nil { // and writes all to the disk
		t.Fatal(err)
	}
	rebooted()
	if got := ensure(t, c); got.Recreated {
		t.Fatalf("it was stopped before the host was: %+v", got)
	}
	mustSQL(t, d, "SELECT name FROM candidate")
	// Stopped by somebody else: "shut down", and nobody knows what of it is on
	// the disk.
	if out, err := c.asOwner(t.Context(), "pg_ctl", "stop", "-D", c.dataDir(), "-m", "fast", "-w"); err != nil {
		t.Fatal(err, out)
	}
	rebooted()
	if got := ensure(t, c); !got.Recreated {
		t.Fatalf("the host died: %+v", got)
	}
	if _, err := connect(t.Context(), d); err == nil {
		t.Fatal("the old database should be gone")
	}
	e := engine(t, "rms", c)
	if _, err := e.Find(t.Context(), "testing-anna"); !errors.Is(err, database.ErrLostWithHost) || bosman.KindOf(err) != bosman.KindNotFound || bosman.AsError(err).Next != "take a fresh copy: bosman reset testing-anna" {
		t.Errorf("whoever looks for it is told: %v", err)
	}
	if _, err := e.Create(t.Context(), "testing-anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Find(t.Context(), "testing-anna"); err != nil {
		t.Error(err)
	}
}

func TestLongFolderGetsAShortSocket(t *testing.T) {
	c := ownCluster(t, Scratch)
	c.Dir = filepath.Join(filepath.Dir(c.Dir), strings.Repeat("long-", 20))
	ensure(t, c)
	if len(c.SocketDir) > ground.MaxSocketDir {
		t.Fatalf("socket folder %s", c.SocketDir)
	}
}

func TestVersionAndProgramsAreChecked(t *testing.T) {
	c := ownCluster(t, Scratch)
	if err := os.MkdirAll(c.dataDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dataDir(), "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "secret"), []byte(strings.Repeat("x", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bin := range []string{"", "/usr/lib/postgresql/15/bin"} {
		c.BinDir = bin
		_, err := c.Ensure(t.Context())
		if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "postgresql-9") {
			t.Errorf("BinDir %q: %v", bin, err)
		}
	}
	none := &Cluster{Name: "x", Profile: Scratch, Dir: t.TempDir(), SocketDir: t.TempDir(), BinDir: "/nonexistent"}
	if os.Geteuid() == 0 {
		none.User = "root"
		if _, err := none.Ensure(t.Context()); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("running as root: %v", err)
		}
		none.User = ""
		if err := os.Chmod(filepath.Dir(none.Dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newestBin("/nonexistent", ""); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("missing programs: %v", err)
	}
}

func mustSQL(t testing.TB, d bosman.Database, statements ...string) {
	t.Helper()
	if err := trySQL(d, statements...); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func trySQL(d bosman.Database, statements ...string) error {
	ctx := context.Background()
	conn, err := connect(ctx, d)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return run(ctx, conn, statements...)
}

func count(t testing.TB, d bosman.Database, table string) (n int) {
	t.Helper()
	conn, err := connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+pgx.Identifier{table}.Sanitize()).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
