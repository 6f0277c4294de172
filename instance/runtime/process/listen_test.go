package process_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	rt "github.com/bosman-cd/bosman/instance/runtime/runtimetest"
)

// edge is a stand-in for the edge: it answers each connection on its
// inherited socket with its pid and version, says when it is ready, and on
// TERM finishes what it accepted.
const edge = `
import fcntl, os, signal, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
assert os.environ["LISTEN_FDS"] == os.environ["BOSMAN_LISTEN_FDS"] == "2"
l = socket.socket(fileno=3)
assert fcntl.fcntl(3, fcntl.F_GETFL) & os.O_NONBLOCK, "the socket came blocking"
assert sorted(int(f) for f in os.listdir("/proc/self/fd"))[:5] == [0, 1, 2, 3, 4]
l.settimeout(0.1)
stop = []
signal.signal(signal.SIGTERM, lambda *a: stop.append(1))
version = os.environ.get("VERSION", "1")
if version == "broken": sys.exit(7)
if version != "mute" and "BOSMAN_READY_FD" in os.environ: os.write(int(os.environ["BOSMAN_READY_FD"]), b"!")
while not stop:
    try: c, _ = l.accept()
    except TimeoutError: continue
    c.sendall(("%d v%s" % (os.getpid(), version)).encode())
    c.close()
`

func edgeSpec(t *testing.T) (*process.Driver, runtime.Spec, string) {
	t.Helper()
	d, s := setup(t, "edge.self.d1")
	port, err := instance.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(s.LogDir, "edge.py")
	if err := os.WriteFile(script, []byte(edge), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s.Tree, s.UID = "", 0
	s.Listen = []string{"tcp:" + addr, "unix:" + filepath.Join(s.RunDir, "e.sock")}
	s.Processes = []runtime.Process{{Name: "edge", Argv: []string{"/usr/bin/python3", script}, StopTimeout: 3 * time.Second}}
	begin(t, d, s)
	return d, s, addr
}

func answer(t *testing.T, s runtime.Spec, addr string) string {
	t.Helper()
	got, err := dial(t, addr)
	if err != nil || got == "" {
		t.Fatalf("%q %v\n%s", got, err, rt.Log(s))
	}
	return got
}

// Connections made while the process is down wait for the next one.
func TestListeningSocketOutlivesTheProcess(t *testing.T) {
	d, s, addr := edgeSpec(t)
	first := answer(t, s, addr)
	st := state(t, d, s)
	kill(t, st.Processes[0].PID)
	for range 20 {
		if got := answer(t, s, addr); got == first {
			t.Errorf("the dead answers: %s", got)
		}
	}
}

// The socket survives the shim, also when the old port would be lost: the new
// shim takes it from the process, so that a later crash loses nothing.
func TestAdoptingShimTakesTheSocketsBack(t *testing.T) {
	d, s, addr := edgeSpec(t)
	first := answer(t, s, addr)
	kill(t, state(t, d, s).Keeper)
	if got := answer(t, s, addr); got != first {
		t.Errorf("%s, then %s", first, got)
	}
	begin(t, d, s)
	st := state(t, d, s)
	if !st.Adopted {
		t.Fatalf("%+v", st)
	}
	kill(t, st.Processes[0].PID)
	for range 20 {
		answer(t, s, addr)
	}
	// Both at once: the port is opened anew.
	st = state(t, d, s)
	kill(t, st.Keeper)
	kill(t, st.Processes[0].PID)
	begin(t, d, s)
	answer(t, s, addr)
}

func TestUpgradeLosesNoConnection(t *testing.T) {
	d, s, addr := edgeSpec(t)
	answer(t, s, addr)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var asked, lost int
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
			asked++
			if got, err := dial(t, addr); err != nil || got == "" {
				lost++
			}
		}
	})
	for v := 2; v <= 4; v++ {
		s.Env = []string{fmt.Sprintf("VERSION=%d", v)}
		if err := d.Upgrade(t.Context(), s, "edge", 5*time.Second); err != nil {
			t.Fatalf("%v\n%s", err, rt.Log(s))
		}
		rt.Eventually(t, 5*time.Second, "the new one alone answers", func() bool {
			return len(rt.Running(s.Processes[0].Argv[1])) == 1 && strings.HasSuffix(answer(t, s, addr), fmt.Sprintf("v%d", v))
		})
	}
	close(quit)
	wg.Wait()
	if lost > 0 || asked < 20 {
		t.Errorf("%d of %d connections lost", lost, asked)
	}
	for _, version := range []string{"broken", "mute"} {
		bad := s
		bad.Env = []string{"VERSION=" + version}
		err := d.Upgrade(t.Context(), bad, "edge", 500*time.Millisecond)
		if bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(err.Error(), "the old one goes on") {
			t.Errorf("%s: %v", version, err)
		}
		if got := answer(t, s, addr); !strings.HasSuffix(got, "v4") {
			t.Errorf("after a %s upgrade %s answers", version, got)
		}
	}
	st := state(t, d, s)
	if st.State != runtime.StateRunning || st.LastExit() != nil {
		t.Errorf("%+v", st)
	}
	kill(t, st.Processes[0].PID)
	if got := answer(t, s, addr); !strings.HasSuffix(got, "v4") {
		t.Errorf("a crash after a failed upgrade brings back %s", got)
	}
}

// dial connects to a listening address of a spec.
func dial(t *testing.T, addr string) (string, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // read to its end
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(conn)
	return b.String(), err
}
