package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/confine"
	rt "github.com/bosman-cd/bosman/instance/runtime/runtimetest"
	"github.com/bosman-cd/bosman/internal/need"
)

// Real applications: gunicorn with the workers it forks.
func TestGunicorn(t *testing.T) {
	d, s := setup(t, "real.live.d1")
	need.Program(t, "/usr/bin/gunicorn", "gunicorn")
	app := "def application(env, start):\n    start('200 OK', [])\n    import os\n    return [str(os.getppid()).encode()]\n"
	if err := os.WriteFile(filepath.Join(s.Tree, "app.py"), []byte(app), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Processes[0].Run = "/usr/bin/gunicorn app --workers 2 --bind unix:$BOSMAN_SOCKET"
	begin(t, d, s)
	_, master := rt.Get(t, s, "/")
	st := state(t, d, s)
	if fmt.Sprint(st.Processes[0].PID) != master {
		t.Errorf("the shell did not become gunicorn: %s, %+v", master, st)
	}
	kill(t, st.Processes[0].PID)
	rt.Eventually(t, 10*time.Second, "gunicorn is back", func() bool {
		_, now, err := rt.TryGet(s.Processes[0].Socket, "/", 0)
		return err == nil && now != master
	})
	began := time.Now()
	if err := d.Stop(t.Context(), s.Handle(), 0); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %s", time.Since(began))
	nothingLeft(t, s)
}

// Without root: real paths, no isolation, the same promises otherwise.
func TestConformanceWithoutRoot(t *testing.T) {
	if os.Getenv("BOSMAN_TEST_NOBODY") != "" {
		d := driver(t)
		if lacking := d.Lacking(); len(lacking) == 0 {
			t.Error("nobody is told that isolation is missing")
		}
		rt.Run(t, rt.Harness{Runtime: d})
		return
	}
	need.Root(t)
	dir, err := os.MkdirTemp("/var/tmp", "bn") //nolint:usetesting // another user needs to reach it
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "process.test")
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(copied, b, 0o755)); err != nil { //nolint:gosec // nobody must work in it
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run=^TestConformanceWithoutRoot$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + confine.DefaultPath, "BOSMAN_TEST_NOBODY=1", "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
