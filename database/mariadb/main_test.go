package mariadb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/need"

	"github.com/bosman-cd/bosman/database/ground"
)

// The two servers that all tests of this package share.
var shared struct {
	once          sync.Once
	dir           string
	main, scratch *Cluster
	err           error
}

// childEnv names the folder of the shared servers for a child process that
// is to be killed.
const childEnv = "BOSMAN_TEST_MARIADB"

func TestMain(m *testing.M) {
	if code, ok := databasetest.Child(childWorld); ok {
		os.Exit(code)
	}
	if code, ok := databasetest.Janitor(clearUp); ok {
		os.Exit(code)
	}
	code := m.Run()
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "tear down:", err)
		code = 1
	}
	os.Exit(code)
}

// clearUp removes all servers below dir, and dir.
func clearUp(dir string) error {
	secrets, err := filepath.Glob(filepath.Join(dir, "*", "secret"))
	if err != nil {
		return err
	}
	for _, secret := range secrets {
		c := &Cluster{Dir: filepath.Dir(secret)}
		c.SocketDir = ground.SocketDir(c.Dir)
		if err := remove(c); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

func tearDown() error {
	if shared.dir == "" {
		return nil
	}
	return errors.Join(remove(shared.main), remove(shared.scratch), os.RemoveAll(shared.dir))
}

// remove kills a server by its pid and removes its folders.
func remove(c *Cluster) error {
	if c == nil {
		return nil
	}
	if pid, err := c.runningPid(); err == nil && pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		for range 200 {
			if gone(pid) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return errors.Join(os.RemoveAll(c.Dir), os.RemoveAll(c.SocketDir))
}

func sharedClusters(dir string) (*Cluster, *Cluster) {
	return &Cluster{Name: "main", Profile: Main, Dir: filepath.Join(dir, "main")},
		&Cluster{Name: "scratch", Profile: Scratch, Dir: filepath.Join(dir, "scratch")}
}

// needServer says that a test needs MariaDB.
func needServer(t testing.TB) {
	t.Helper()
	need.Slow(t, "starts MariaDB")
	if _, err := program("mariadbd"); err != nil {
		t.Fatal(err)
	}
}

// clusters gives the shared servers, started.
func clusters(t testing.TB) (main, scratch *Cluster) {
	t.Helper()
	needServer(t)
	shared.once.Do(func() {
		shared.dir, shared.err = openTemp()
		if shared.err != nil {
			return
		}
		shared.main, shared.scratch = sharedClusters(shared.dir)
		for _, c := range []*Cluster{shared.main, shared.scratch} {
			if _, err := c.Ensure(context.Background()); err != nil {
				shared.err = errors.Join(shared.err, err)
			}
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.main, shared.scratch
}

// openTemp makes a folder that the server's user can enter; in memory where
// that can be, for syncing to a busy disk takes most of the time of such
// tests and nothing here outlives a power cut.
func openTemp() (string, error) {
	root := os.TempDir()
	if os.Geteuid() == 0 && !ground.NoRoom("/dev/shm") {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "bosman-my-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), databasetest.Watch(dir))
}

// ownCluster gives a server of this test's own in dir ("" for a new folder),
// removed at its end.
func ownCluster(t testing.TB, p Profile, dir string) *Cluster {
	t.Helper()
	needServer(t)
	if dir == "" {
		var err error
		if dir, err = openTemp(); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{Name: string(p), Profile: p, Dir: filepath.Join(dir, "c")}
	t.Cleanup(func() {
		if err := errors.Join(remove(c), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return c
}

func ensure(t testing.TB, c *Cluster) Ensured {
	t.Helper()
	e, err := c.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func engine(t testing.TB, app string, home *Cluster, sources ...*Cluster) *Engine {
	t.Helper()
	e, err := NewEngine(app, home, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func pidOf(t testing.TB, c *Cluster) int {
	t.Helper()
	pid, err := c.runningPid()
	if err != nil || pid == 0 {
		t.Fatalf("server %s does not run: %d, %v", c.Name, pid, err)
	}
	return pid
}

func killServer(t testing.TB, c *Cluster) {
	t.Helper()
	pid := pidOf(t, c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 250 {
		if gone(pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("process %d is still there", pid)
}

// gone says whether a process has ended; nobody may have waited for it yet.
func gone(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}
