package clone

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/faults"
)

// killEnv tells a child process what to do before it is killed: "APP VERB".
const killEnv = "BOSMAN_TEST_CLONES_KILL"

// killChild does what TestKills asked for.
func killChild(job string) int {
	ctx := context.Background()
	app, verb, _ := strings.Cut(job, " ")
	err := func() error {
		h, main, err := open(os.Getenv(childEnv))
		if err != nil {
			return err
		}
		e, err := h.Engine(app, main)
		if err != nil {
			return err
		}
		staging, err := postgres.NewEngine(app, main)
		if err != nil {
			return err
		}
		from, err := staging.Find(ctx, "staging")
		if err != nil {
			return err
		}
		switch verb {
		case "create":
			_, err = e.Create(ctx, "testing-anna")
		case "fill":
			_, err = e.Fill(ctx, from, 1)
		case "copy":
			_, _, err = e.Copy(ctx, from, "testing-anna", database.CopyOptions{Release: 1})
		case "drop":
			err = e.Drop(ctx, e.describe("testing-anna"))
		case "recover":
			err = e.Recover(ctx)
		}
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKills kills a process in what the suite does not come to: making a
// server, having one ready, handing it out, dropping it, giving a lost one up.
// After the next start nothing half-made is left and it can be done again.
func TestKills(t *testing.T) {
	s := newScene(t, "kills")
	if _, err := s.Refresh(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ point, verb string }{
		{"clone.filled", "create"},
		{"clone.entered", "create"},
		{"clone.planted", "fill"},
		{"clone.launched", "fill"},
		{"clone.pool.renamed", "copy"},
		{"clone.pool.handed", "copy"},
		{"clone.dropped", "drop"},
		{"clone.lost", "recover"},
	} {
		t.Run(c.verb+" "+c.point, func(t *testing.T) { s.killAt(t, c.point, c.verb) })
	}
}

func (s scene) killAt(t *testing.T, point, verb string) {
	t.Helper()
	const anna = "testing-anna"
	switch verb {
	case "copy":
		if p, err := s.Fill(t.Context(), s.from, 1); err != nil || p.Ready != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
	case "drop":
		s.copy(t, anna)
	case "recover":
		s.crash(t, s.dir(t, s.copy(t, anna)))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+shared.dir, killEnv+"="+s.app+" "+verb, faults.Env+"="+point+"=kill")
	out, err := cmd.CombinedOutput()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the child should have been killed: %v %s", err, out)
	}
	// The next start, with nothing in memory.
	h, main, err := open(shared.dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Engine, err = h.Engine(s.app, main); err != nil {
		t.Fatal(err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	x, err := s.host.read(s.app)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, en := range x.Entries {
		if en.Golden == nil {
			named++
		}
	}
	if dirs, err := filepath.Glob(filepath.Join(s.host.Dir, s.app, "servers", "*")); err != nil || len(dirs) != named {
		t.Errorf("%d servers are named, and there are %q, %v", named, dirs, err)
	}
	d, err := s.Find(t.Context(), anna)
	switch {
	case bosman.KindOf(err) == bosman.KindNotFound:
		if (verb == "recover") != strings.Contains(err.Error(), "bosman reset") {
			t.Errorf("it says %v", err)
		}
		if verb == "create" {
			if d, err = s.Create(t.Context(), anna); err == nil {
				s.sql(t, d, "SELECT 1")
			}
		} else {
			d = s.copy(t, anna)
		}
	case err == nil && verb == "create":
		s.sql(t, d, "SELECT 1")
	}
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		t.Fatal(err)
	}
	if verb != "create" && s.rows(t, d) != 1000 {
		t.Errorf("it has %d rows", s.rows(t, d))
	}
	if err := s.Drop(t.Context(), d); err != nil {
		t.Error(err)
	}
	if p, err := s.Fill(t.Context(), s.from, 0); err != nil || p.Ready != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// crash makes it look as if the host had stopped while the server in dir ran.
func (s scene) crash(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Kill(pidIn(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the server is gone", func() bool {
		runs, err := s.host.server(dir).Runs()
		if err != nil {
			t.Fatal(err)
		}
		return !runs
	})
	if err := os.WriteFile(filepath.Join(dir, "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s scene) until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !yes(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to this: " + what)
		}
	}
}
