package ground

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

func TestSecretIsMadeOnceAndNeverAgain(t *testing.T) {
	g := Ground{Dir: t.TempDir(), What: "database server test"}
	empty, holds := func() bool { return false }, func() bool { return true }
	if _, err := g.Secret(holds); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("without its secret a server that holds data gave %v", err)
	}
	made, err := g.Secret(empty)
	if err != nil || len(made) < 32 {
		t.Fatalf("%q, %v", made, err)
	}
	again, err := g.Secret(holds)
	if err != nil || again != made {
		t.Fatalf("%q became %q, %v", made, again, err)
	}
	if a, b := Password(made, "role a"), Password(made, "role b"); a == b || a != Password(made, "role a") || len(a) != 32 {
		t.Fatalf("passwords %q and %q", a, b)
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Secret(empty); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("a damaged secret gave %v", err)
	}
}

func TestSocketFoldersAreShort(t *testing.T) {
	if got := SocketDir("/srv/a"); got != "/srv/a/socket" {
		t.Fatal(got)
	}
	long := "/srv/" + strings.Repeat("long-", 20)
	a, b := SocketDir(long+"a"), SocketDir(long+"b")
	if len(a) > MaxSocketDir || a == b || a != SocketDir(long+"a") {
		t.Fatalf("%s and %s", a, b)
	}
}

func TestNamesAreClaimedTogetherOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Names
		release, err := n.Claim(t.Context(), "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Claim(t.Context(), "c", "b"); bosman.KindOf(err) != bosman.KindBusy {
			t.Fatalf("a claimed name gave %v", err)
		}
		c, err := n.Claim(t.Context(), "c")
		if err != nil {
			t.Fatalf("a refused claim kept a name: %v", err)
		}
		c()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Wait(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("waiting for a claimed name gave %v", err)
		}
		time.AfterFunc(time.Second, release)
		release, err = n.Wait(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
}

func TestRunningPidIsThatOfTheServerAlone(t *testing.T) {
	g := Ground{Dir: t.TempDir(), What: "database server test"}
	file := filepath.Join(g.Dir, "pid")
	want := func(what string, pid int) {
		t.Helper()
		if got, err := g.RunningPid(file); err != nil || got != pid {
			t.Fatalf("%s: %d, %v, want %d", what, got, err, pid)
		}
	}
	want("no pid file", 0)
	if err := os.Mkdir(g.Data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("somebody else's pid", 0)
	cmd := exec.Command("sleep", "60")
	cmd.Dir = g.Data()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"+g.Data()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("the server's", cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	want("the pid of one that ended", 0)
}

func TestLost(t *testing.T) {
	g := Ground{Dir: t.TempDir(), What: "database server test"}
	if !g.Lost() {
		t.Error("nobody knows when it was started")
	}
	started := func() {
		t.Helper()
		if err := g.NoteStart(os.WriteFile); err != nil {
			t.Fatal(err)
		}
		if g.Lost() {
			t.Error("the host was not started again")
		}
	}
	otherBoot := func(was string) {
		t.Helper()
		if err := os.WriteFile(g.bootPath(), []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	started()
	for _, was := range []string{"another", ""} {
		if otherBoot(was); !g.Lost() {
			t.Errorf("not lost although nothing was written to the disk before the host crashed, boot %q", was)
		}
	}
	if err := g.NoteRest(); err != nil || !g.Lost() {
		t.Errorf("what was lost is trusted when it is stopped once more: %v", err)
	}
	started()
	if err := errors.Join(g.NoteRest(), g.NoteRest()); err != nil {
		t.Fatal(err)
	}
	if otherBoot("another"); g.Lost() {
		t.Error("lost although all was on the disk")
	}
	started()
	if otherBoot("another"); !g.Lost() || g.Rests() {
		t.Error("what was noted before the start counts after it")
	}
	if at := g.LostAt(); !at.IsZero() {
		t.Errorf("lost at %s", at)
	}
	now := time.Now().UTC().Truncate(time.Second)
	if err := g.NoteLoss(now); err != nil || !g.LostAt().Equal(now) {
		t.Errorf("lost at %s, %v", g.LostAt(), err)
	}
}

func TestRunGivesTheEndOfWhatWasSaid(t *testing.T) {
	g := Ground{Dir: t.TempDir(), What: "database server test"}
	if err := os.Mkdir(g.Tmp(), 0o700); err != nil {
		t.Fatal(err)
	}
	said, err := g.Run(g.Command(t.Context(), Owner{}, "/", "/bin/sh", "-c", "yes begin | head -n 1000; echo the end >&2; pwd; exit 3"))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || len(said) > 2000 || !strings.HasSuffix(said, "the end\n/") {
		t.Fatalf("%q, %v", said, err)
	}
	if left, err := os.ReadDir(g.Tmp()); err != nil || len(left) != 0 {
		t.Fatalf("left over: %v, %v", left, err)
	}
}
