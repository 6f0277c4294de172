package pid_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/pid"
	"golang.org/x/sys/unix"
)

func TestIdentity(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000; true")
	cmd.Env = []string{"BOSMAN_TEST=pid-" + t.Name() + "/1/"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := pid.Of(cmd.Process.Pid)
	if err != nil || !id.Alive() || id == (pid.ID{}) {
		t.Fatalf("%+v %v", id, err)
	}
	for end := time.Now().Add(3 * time.Second); len(pid.Children(id.PID)) != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its child is not seen")
		}
	}
	if got := pid.Marked("BOSMAN_TEST=pid-" + t.Name() + "/"); len(got) != 2 || !slices.Contains(got, id.PID) {
		t.Errorf("marked: %v", got)
	}
	for _, kid := range pid.Marked("BOSMAN_TEST=pid-" + t.Name() + "/1/") {
		k, err := pid.Of(kid)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Signal(unix.SIGKILL); err != nil && !errors.Is(err, pid.ErrGone) {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(3 * time.Second); id.Alive(); time.Sleep(time.Millisecond) { // a zombie now
		if time.Now().After(end) {
			t.Fatal("a zombie counts as alive")
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	if _, err := id.Open(); !errors.Is(err, pid.ErrGone) {
		t.Errorf("Open of the gone: %v", err)
	}
	if (pid.ID{}).Alive() {
		t.Error("no process is alive")
	}
	me, err := pid.Of(os.Getpid())
	if err != nil || !me.Alive() {
		t.Errorf("we ourselves: %v", err)
	}
}
