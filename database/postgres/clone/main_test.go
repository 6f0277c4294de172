package clone

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/need"
)

// What all tests of this package share: a file system that shares blocks, in
// a file, and a durable cluster to copy from.
var shared struct {
	once sync.Once
	dir  string
	host *Host
	main *postgres.Cluster
	err  error
}

// childEnv names the shared folder for a child process that is to be killed.
const childEnv = "BOSMAN_TEST_CLONES"

func TestMain(m *testing.M) {
	if code, ok := databasetest.Child(childWorld); ok {
		os.Exit(code)
	}
	if code, ok := databasetest.Janitor(clear); ok {
		os.Exit(code)
	}
	code := m.Run()
	if shared.dir != "" {
		if err := clear(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, "tear down:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// clear ends all servers below dir by their pid, and removes it.
func clear(dir string) error {
	ctx := context.Background()
	var errs []error
	for _, depth := range []string{"main/data", "scratch/data", "disk/clones/*/*/data", "disk/clones/*/*/*/data"} {
		found, err := filepath.Glob(filepath.Join(dir, depth))
		if err != nil {
			return err
		}
		for _, data := range found {
			errs = append(errs, postgres.NewSolo("x", filepath.Dir(data), "", "x", nil).Halt(ctx))
		}
	}
	disk := filepath.Join(dir, "disk")
	err := syscall.Unmount(disk, 0)
	for range 100 { // what collects a server's log ends after it
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
		err = syscall.Unmount(disk, 0)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
		errs = append(errs, fmt.Errorf("unmount %s: %w", disk, err))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// disk mounts a new XFS of a size at dir/disk, from a file in dir.
func disk(dir, size string) error {
	at, image := filepath.Join(dir, "disk"), filepath.Join(dir, "image")
	for _, c := range [][]string{
		{"mkdir", at}, {"truncate", "-s", size, image}, {"mkfs.xfs", "-q", "-m", "reflink=1", image}, {"mount", "-o", "loop", image, at},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", c, err, out)
		}
	}
	return nil
}

// tempDir makes a folder that is cleared whatever happens.
func tempDir(root string) (string, error) {
	dir, err := os.MkdirTemp(root, "bosman-clone-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), databasetest.Watch(dir))
}

// world gives the shared host and cluster.
func world(t testing.TB) (*Host, *postgres.Cluster) {
	t.Helper()
	need.Root(t)
	need.Program(t, "mkfs.xfs", "xfsprogs")
	shared.once.Do(func() {
		if shared.dir, shared.err = tempDir("/dev/shm"); shared.err != nil {
			return
		}
		if shared.err = disk(shared.dir, "4G"); shared.err != nil {
			return
		}
		shared.host, shared.main, shared.err = open(shared.dir)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.host, shared.main
}

// open opens what is in a folder made before.
func open(dir string) (*Host, *postgres.Cluster, error) {
	h := &Host{Dir: filepath.Join(dir, "disk", "clones")}
	main := &postgres.Cluster{Name: "main", Profile: postgres.Main, Dir: filepath.Join(dir, "main")}
	if err := h.Open(); err != nil {
		return nil, nil, err
	}
	_, err := main.Ensure(context.Background())
	return h, main, err
}

func suiteWorld(app string, h *Host, main *postgres.Cluster) (databasetest.World, error) {
	e, err1 := h.Engine(app, main)
	source, err2 := postgres.NewEngine(app, main)
	return databasetest.World{Engine: e, Source: source, Trial: e, Copies: e, Blob: "bytea", Open: openSQL, Files: e.filesOf}, errors.Join(err1, err2)
}

// filesOf gives the folder of the server of a database, with all that is in
// it.
func (e *Engine) filesOf(_ context.Context, d bosman.Database) (string, error) {
	x, err := e.entryOf(d)
	return e.folder(x), err
}

func TestMasks(t *testing.T) {
	h, main := world(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Masks(t, "sclonemask", func(app string) (databasetest.World, error) { return suiteWorld(app, h, main) },
		"database.golden.masked")
}

func childWorld(app string) (databasetest.World, error) {
	h, main, err := open(os.Getenv(childEnv))
	if err != nil {
		return databasetest.World{}, err
	}
	if strings.HasPrefix(app, "sdrill") {
		return drillWorld(app, h, main)
	}
	return suiteWorld(app, h, main)
}

// drillWorld is an app whose instances live on main; backups are tried out
// where their copies are.
func drillWorld(app string, h *Host, main *postgres.Cluster) (databasetest.World, error) {
	w, err := suiteWorld(app, h, main)
	w.Engine = w.Source
	return w, err
}

func openSQL(d bosman.Database) (*sql.DB, error) { return sql.Open("pgx", database.URL(d)) }

func TestSuite(t *testing.T) {
	h, main := world(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "sclone", func(app string) (databasetest.World, error) { return suiteWorld(app, h, main) }, "replace")
}

func TestKilledDrill(t *testing.T) {
	h, main := world(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Kill(t, "sdrill", func(app string) (databasetest.World, error) { return drillWorld(app, h, main) }, "drill", "database.drill.", "clone.promote.")
}
