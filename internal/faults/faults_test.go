package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test run itself as the process that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("FAULTS_CHILD") != "" {
		if err := Point("a.before"); err != nil {
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, env ...string) (*os.ProcessState, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(env, "FAULTS_CHILD=1")...)
	err = cmd.Run()
	return cmd.ProcessState, err
}

func TestKillOnce(t *testing.T) {
	once := filepath.Join(t.TempDir(), "once")
	state, err := child(t, Env+"=a.before=kill", Env+"_ONCE="+once)
	if err == nil {
		t.Fatal("the child should have died")
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("died otherwise: %v", state)
	}
	if _, err := child(t, Env+"=a.before=kill", Env+"_ONCE="+once); err != nil {
		t.Fatalf("the second run should survive: %v", err)
	}
}

func TestFailAndRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "points")
	state, _ := child(t, Env+"=a.before=fail,record="+file)
	if state.ExitCode() != 3 {
		t.Fatalf("exit %d, want 3", state.ExitCode())
	}
	points, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(points)) != "a.before" {
		t.Fatalf("recorded %q, %v", points, err)
	}
}
