package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/internal/need"
)

// The two clusters that all tests of this package share.
var shared struct {
	once          sync.Once
	dir           string
	main, scratch *Cluster
	err           error
}

// childEnv names the folder of the shared clusters for a child process that
// is to be killed.
const childEnv = "BOSMAN_TEST_CLUSTERS"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	code := m.Run()
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "tear down:", err)
		code = 1
	}
	os.Exit(code)
}

func tearDown() error {
	if shared.dir == "" {
		return nil
	}
	var errs []error
	for _, c := range []*Cluster{shared.main, shared.scratch} {
		errs = append(errs, remove(c))
	}
	return errors.Join(append(errs, os.RemoveAll(shared.dir))...)
}

// remove kills a cluster by its pid and removes its folders.
func remove(c *Cluster) error {
	if c == nil {
		return nil
	}
	if pid, err := c.runningPid(); err == nil && pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
			return err
		}
		for range 200 {
			if syscall.Kill(pid, 0) != nil {
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

// clusters gives the shared clusters, started.
func clusters(t testing.TB) (main, scratch *Cluster) {
	t.Helper()
	need.Slow(t, "starts PostgreSQL")
	if _, err := newestBin("/usr/lib/postgresql", ""); err != nil {
		t.Fatal(err)
	}
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

// openTemp makes a folder that the server's user can enter.
func openTemp() (string, error) {
	dir, err := os.MkdirTemp("", "bosman-pg-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// ownCluster gives a cluster of this test's own, removed at its end.
func ownCluster(t testing.TB, p Profile) *Cluster {
	t.Helper()
	need.Slow(t, "starts PostgreSQL")
	dir, err := openTemp()
	if err != nil {
		t.Fatal(err)
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

// psql runs the program with the server's own environment for libpq.
func run1(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func pidOf(t testing.TB, c *Cluster) int {
	t.Helper()
	pid, err := c.runningPid()
	if err != nil || pid == 0 {
		t.Fatalf("cluster %s does not run: %d, %v", c.Name, pid, err)
	}
	return pid
}

func kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	for range 250 {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
			return
		}
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("process %d is still there", pid)
}

func cleanCtx() context.Context { return context.Background() }

func child() int { return 2 }
