package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
)

// Run puts a driver through the suite.
func Run(t *testing.T, h Harness) {
	t.Run("serves, is found again, stops", func(t *testing.T) { lifecycle(t, h) })
	t.Run("does not mix up sets", func(t *testing.T) { mixups(t, h) })
	t.Run("surroundings", func(t *testing.T) { surroundings(t, h) })
	t.Run("restarts what dies", func(t *testing.T) { restarts(t, h) })
	t.Run("crash loop is told", func(t *testing.T) { crashes(t, h) })
	t.Run("cannot start is told", func(t *testing.T) { cannotStart(t, h) })
	t.Run("stops the stubborn", func(t *testing.T) { stubborn(t, h) })
	t.Run("refuses nonsense", func(t *testing.T) { nonsense(t, h) })
	t.Run("exec", func(t *testing.T) { execs(t, h) })
	if !h.Confine {
		return
	}
	t.Run("mounts and hides", func(t *testing.T) { mounts(t, h) })
}

func start(t *testing.T, h Harness, s runtime.Spec) runtime.Handle {
	t.Helper()
	got, err := h.Runtime.Start(t.Context(), s)
	if err != nil {
		t.Fatalf("start: %v\n%s", err, Log(s))
	}
	return got
}

func status(t *testing.T, h Harness, handle runtime.Handle) runtime.Status {
	t.Helper()
	st, err := h.Runtime.Status(t.Context(), handle)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func lifecycle(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d1")
	s.Processes = append(s.Processes, runtime.Process{Name: "worker", Run: "echo working; sleep 1000", Count: 2})
	if st := status(t, h, s.Handle()); st.State != runtime.StateGone {
		t.Errorf("before the start: %+v", st)
	}
	handle := start(t, h, s)
	_, pid := Get(t, s, "/pid")
	if again := start(t, h, s); again != handle {
		t.Errorf("a second start gives %v, not %v", again, handle)
	}
	if _, still := Get(t, s, "/pid"); still != pid {
		t.Error("a second start disturbed the first")
	}
	if err := h.Runtime.Adopt(t.Context(), handle); err != nil {
		t.Errorf("adopt: %v", err)
	}
	st := status(t, h, handle)
	if st.State != runtime.StateRunning || len(st.Processes) != 3 || fmt.Sprint(st.Processes[0].PID) != pid {
		t.Errorf("running: %+v, pid %s", st, pid)
	}
	Eventually(t, 3*time.Second, "output of every process in the log", func() bool {
		log := Log(s)
		return strings.Contains(log, "web.1 listening") && strings.Contains(log, "worker.1 working") && strings.Contains(log, "worker.2 working")
	})
	for range 2 { // stopping what has stopped is no error
		if err := h.Runtime.Stop(t.Context(), handle, 0); err != nil {
			t.Fatalf("stop: %v", err)
		}
	}
	if _, _, err := TryGet(s.Processes[0].Socket, "/", 0); err == nil {
		t.Error("it still answers")
	}
	if st := status(t, h, handle); st.State != runtime.StateStopped && st.State != runtime.StateGone {
		t.Errorf("after the stop: %+v", st)
	}
	start(t, h, s)
	if _, fresh := Get(t, s, "/pid"); fresh == pid {
		t.Error("the old process answers after a stop and a start")
	}
}

// A folder taken by one process set is refused to another, and the handle of
// another neither sees nor stops it.
func mixups(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d37.work")
	start(t, h, s)
	second := s
	second.ID = "suite.live.d38.work"
	if _, err := h.Runtime.Start(t.Context(), second); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("start in the folder of another: %v", err)
	}
	if st := status(t, h, second.Handle()); st.State != runtime.StateGone {
		t.Errorf("the status of the other: %+v", st)
	}
	if err := h.Runtime.Stop(t.Context(), second.Handle(), time.Second); err != nil {
		t.Error(err)
	}
	if code, _ := Get(t, s, "/"); code != 200 {
		t.Error("it was stopped by the handle of another")
	}
	if err := h.Runtime.Stop(t.Context(), s.Handle(), time.Second); err != nil {
		t.Error(err)
	}
	start(t, h, second)
	Get(t, second, "/")
	if err := h.Runtime.Stop(t.Context(), second.Handle(), time.Second); err != nil {
		t.Error(err)
	}
}

func surroundings(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d2")
	start(t, h, s)
	want := map[string]string{
		"/env?GREETING":      "good day",
		"/env?BOSMAN_SOCKET": s.Processes[0].Socket,
		"/env?HOME":          "-", // nothing leaks in
		"/uid":               fmt.Sprint(os.Geteuid()),
		"/cwd":               s.Tree,
	}
	if h.UID != 0 && os.Geteuid() == 0 {
		want["/uid"] = fmt.Sprint(h.UID)
	}
	if h.Confine {
		want["/cwd"] = runtime.AppDir
	}
	for path, text := range want {
		if code, got := Get(t, s, path); code != 200 || got != text {
			t.Errorf("%s: %d %q, want %q", path, code, got, text)
		}
	}
}

func restarts(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d3")
	handle := start(t, h, s)
	_, pid := Get(t, s, "/pid")
	if _, _, err := TryGet(s.Processes[0].Socket, "/exit?3", 0); err == nil {
		t.Fatal("it answered instead of ending")
	}
	Eventually(t, 5*time.Second, "a new process", func() bool {
		_, fresh, err := TryGet(s.Processes[0].Socket, "/pid", 0)
		return err == nil && fresh != pid
	})
	st := status(t, h, handle)
	last := st.LastExit()
	if last == nil || last.Code != 3 || last.String() != "exit status 3" || last.Process != "web.1" {
		t.Errorf("the exit on record is %+v", last)
	}
	if st.State != runtime.StateRunning || st.Processes[0].Restarts != 1 {
		t.Errorf("after one restart: %+v", st)
	}
}

func crashes(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d4")
	s.Processes[0].Run = "echo cannot import rms; exit 3"
	handle := start(t, h, s)
	Eventually(t, 15*time.Second, "the verdict", func() bool { return status(t, h, handle).State == runtime.StateCrashed })
	st := status(t, h, handle)
	if !strings.Contains(st.Note, "exit status 3") || st.LastExit().Code != 3 {
		t.Errorf("crashed: %+v", st)
	}
	if !strings.Contains(Log(s), "cannot import rms") {
		t.Errorf("the log lacks what it said: %s", Log(s))
	}
}

func cannotStart(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d5")
	s.Processes[0].Run, s.Processes[0].Argv = "", []string{"no-such-program"}
	handle := start(t, h, s)
	Eventually(t, 5*time.Second, "the reason", func() bool {
		last := status(t, h, handle).LastExit()
		return last != nil && strings.Contains(last.String(), "no-such-program")
	})
}

func stubborn(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d6")
	s.Processes = []runtime.Process{{Name: "mule", Run: "trap '' TERM; echo ready; while :; do sleep 0.1; done"}}
	handle := start(t, h, s)
	Eventually(t, 5*time.Second, "ready", func() bool { return strings.Contains(Log(s), "mule.1 ready") })
	pid := status(t, h, handle).Processes[0].PID
	began := time.Now()
	if err := h.Runtime.Stop(t.Context(), handle, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Error("the process is still there")
	}
}

func nonsense(t *testing.T, h Harness) {
	for name, spoil := range map[string]func(*runtime.Spec){
		"no ID":          func(s *runtime.Spec) { s.ID = "" },
		"ID with slash":  func(s *runtime.Spec) { s.ID = "../../etc" },
		"no processes":   func(s *runtime.Spec) { s.Processes = nil },
		"twice the same": func(s *runtime.Spec) { s.Processes = append(s.Processes, s.Processes[0]) },
		"no command":     func(s *runtime.Spec) { s.Processes[0].Run = "" },
		"two listen":     func(s *runtime.Spec) { s.Processes[0].Count = 2 },
		"relative":       func(s *runtime.Spec) { s.RunDir = "run" },
		"long":           func(s *runtime.Spec) { s.RunDir = "/tmp/" + strings.Repeat("x", 110) },
		"bad variable":   func(s *runtime.Spec) { s.Env = []string{"A=b\x00c"} },
	} {
		s := Spec(t, h, "suite.live.d7")
		spoil(&s)
		if _, err := h.Runtime.Start(t.Context(), s); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%s: %v, want an invalid-input error", name, err)
		}
	}
}

func execs(t *testing.T, h Harness) {
	ex, ok := h.Runtime.(runtime.Execer)
	if !ok {
		t.Skip("this driver cannot run commands")
	}
	s := Spec(t, h, "suite.live.d8")
	run := func(ctx context.Context, c runtime.Command) (runtime.Exit, string, error) {
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		exit, err := ex.Exec(ctx, s, c)
		return exit, out.String(), err
	}
	exit, out, err := run(t.Context(), runtime.Command{Label: "release", Shell: "pwd; echo $GREETING $MORE; cat; exit 4", Env: []string{"MORE=indeed"}, Stdin: strings.NewReader("typed\n")})
	cwd := s.Tree
	if h.Confine {
		cwd = runtime.AppDir
	}
	if err != nil || exit.Code != 4 || out != cwd+"\ngood day indeed\ntyped\n" {
		t.Errorf("exec: %v %q %v", exit, out, err)
	}
	if bosman.KindOf(exit.Err("the release command")) != bosman.KindFailed {
		t.Errorf("exit.Err: %v", exit.Err("x"))
	}
	exit, _, err = run(t.Context(), runtime.Command{Shell: "kill -9 $$"})
	if err != nil || exit.Signal != 9 || exit.String() != "killed by signal 9" {
		t.Errorf("killed: %v %v", exit, err)
	}
	if _, _, err = run(t.Context(), runtime.Command{Argv: []string{"no-such-program"}}); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("no such program: %v", err)
	}
	if _, _, err = run(t.Context(), runtime.Command{}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("no command: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	mark := filepath.Join(t.TempDir(), "x")
	exit, _, err = run(ctx, runtime.Command{Shell: "setsid sleep 987654321 & trap '' TERM; while :; do sleep 0.1; done; touch " + mark, Grace: 200 * time.Millisecond})
	if err != nil || exit.Signal != 9 {
		t.Errorf("a command past its time: %v %v", exit, err)
	}
	if left := Running("sleep\x00987654321"); len(left) != 0 {
		t.Errorf("processes %v outlive the command", left)
	}
}

func mounts(t *testing.T, h Harness) {
	s := Spec(t, h, "suite.live.d9")
	data, secret, ro := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(secret, "key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ro, "style.css"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if h.UID != 0 {
		if err := os.Chown(data, h.UID, h.UID); err != nil {
			t.Fatal(err)
		}
	}
	outside := "/var/tmp/bosman-suite-hidden"
	if err := os.MkdirAll(outside+"/inside", 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(outside); err != nil {
			t.Error(err)
		}
	}()
	s.Mounts = []runtime.Mount{{Source: data, Target: "media", Writable: true}, {Source: ro, Target: outside + "/inside"}}
	s.Hide = []string{outside, "/no/such/folder", secret}
	start(t, h, s)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/write?media/photo.jpg", 200, "ok"},
		{"/write?/tmp/scratch", 200, "ok"},
		{"/write?server.py", 500, "Read-only"},
		{"/write?" + outside + "/inside/x", 500, "Read-only"},
		{"/ls?" + outside, 200, "inside"},
		{"/ls?" + outside + "/inside", 200, "style.css"},
		{"/ls?/tmp", 200, "scratch"},
	} {
		if code, body := Get(t, s, c.path); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %q", c.path, code, body)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "photo.jpg")); err != nil {
		t.Errorf("what the app wrote is not in its data: %v", err)
	}
	bad := Spec(t, h, "suite.live.d10")
	bad.Mounts = []runtime.Mount{{Source: data, Target: "uploads", Writable: true}}
	handle := start(t, h, bad)
	Eventually(t, 5*time.Second, "the missing mount point is told", func() bool {
		last := status(t, h, handle).LastExit()
		return last != nil && strings.Contains(last.String(), "the release has no place for uploads")
	})
}

// Running lists the processes whose command line holds text (arguments are
// separated by NUL).
func Running(text string) []string {
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var out []string
	for _, d := range dirs {
		if b, err := os.ReadFile(d); err == nil && strings.Contains(string(b), text) {
			out = append(out, filepath.Base(filepath.Dir(d)))
		}
	}
	return out
}
