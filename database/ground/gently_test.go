package ground

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGentleWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &GentleWriter{To: f}
	var want bytes.Buffer
	for i := range 40 {
		piece := bytes.Repeat([]byte{byte(i)}, 1+i*7001)
		want.Write(piece)
		if n, err := w.Write(piece); err != nil || n != len(piece) {
			t.Fatal(n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes instead of %d, %v", len(got), want.Len(), err)
	}
	if n, err := w.Write([]byte("more")); n != 0 || err == nil {
		t.Errorf("a closed file took %d bytes, %v", n, err)
	}
}

func TestRemoveGently(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	large := bytes.Repeat([]byte("x"), 3*gentleCut+1)
	if err := os.WriteFile(outside, large, 0o600); err != nil {
		t.Fatal(err)
	}
	fill := func() string {
		t.Helper()
		inside := filepath.Join(dir, "inside")
		if err := os.MkdirAll(filepath.Join(inside, "deeper"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"small", "deeper/large"} {
			if err := os.WriteFile(filepath.Join(inside, name), large[:len(large)*(len(name)-5)/7], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(outside, filepath.Join(inside, "link")); err != nil {
			t.Fatal(err)
		}
		return inside
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{t.Context(), ended} {
		inside := fill()
		if err := RemoveGently(ctx, inside); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(inside); !os.IsNotExist(err) {
			t.Errorf("it is still there: %v", err)
		}
	}
	if i, err := os.Stat(outside); err != nil || i.Size() != int64(len(large)) {
		t.Errorf("what a link leads to was cut: %v", err)
	}
	if err := RemoveGently(t.Context(), filepath.Join(dir, "missing")); err != nil {
		t.Error(err)
	}
}

func TestYield(t *testing.T) {
	run := func(own bool) (pid int, group string) {
		t.Helper()
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: own, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		pid = cmd.Process.Pid
		for range 100 { // until it has its session
			if sid, err := unix.Getsid(pid); err == nil && (sid == pid) == own {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		Yield(pid)
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/autogroup")
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return pid, string(b)
	}
	pid, group := run(true)
	// The system call gives 20 less the niceness: getpriority(2).
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || n != 20-lowNice {
		t.Errorf("niceness %d, %v", 20-n, err)
	}
	if group != "" && !strings.Contains(group, "nice 10") {
		t.Errorf("the session is %q", group)
	}
	if _, group := run(false); strings.Contains(group, "nice 10") {
		t.Errorf("the session of others became %q", group)
	}
}
