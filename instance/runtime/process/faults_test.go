package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	rt "github.com/bosman-cd/bosman/instance/runtime/runtimetest"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/internal/need"
)

func setup(t *testing.T, id string) (*process.Driver, runtime.Spec) {
	t.Helper()
	need.Root(t)
	need.File(t, "/usr/bin/python3", "python3")
	d := driver(t)
	return d, rt.Spec(t, rt.Harness{Runtime: d, UID: testUID, Confine: true}, id)
}

func begin(t *testing.T, d *process.Driver, s runtime.Spec) {
	t.Helper()
	if _, err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, d *process.Driver, s runtime.Spec) runtime.Status {
	t.Helper()
	st, err := d.Status(t.Context(), s.Handle())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func kill(t *testing.T, p int) {
	t.Helper()
	id, err := pid.Of(p)
	if err == nil {
		err = syscall.Kill(p, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	rt.Eventually(t, 5*time.Second, "the killed process is gone", func() bool { return !id.Alive() })
}

// nothingLeft checks what a stop promises.
func nothingLeft(t *testing.T, s runtime.Spec) {
	t.Helper()
	if left := pid.Marked(shim.MarkEnv + "=" + shim.GroupName(s.ID, s.RunDir) + "/"); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
	v2, _, err := cgroup.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(v2, "bosman", shim.GroupName(s.ID, s.RunDir))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its control group is left: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), s.RunDir) || strings.Contains(string(mounts), s.Tree) {
		t.Error("a mount is left")
	}
	for _, name := range []string{shim.SocketFile, "out.web.1", shim.AppFolder, shim.TmpFolder} {
		if _, err := os.Lstat(filepath.Join(s.RunDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestShimKilledAppGoesOnAndIsAdopted(t *testing.T) {
	d, s := setup(t, "fault.live.d1")
	begin(t, d, s)
	_, app := rt.Get(t, s, "/pid")
	kill(t, state(t, d, s).Keeper)
	if st := state(t, d, s); st.State != runtime.StateUnwatched || fmt.Sprint(st.Processes[0].PID) != app {
		t.Errorf("without a shim: %+v", st)
	}
	if err := d.Adopt(t.Context(), s.Handle()); err == nil {
		t.Error("Adopt is content without a keeper")
	}
	if _, still := rt.Get(t, s, "/pid"); still != app {
		t.Fatal("the application went down with the shim")
	}
	rt.Get(t, s, "/say?while-nobody-listened")
	begin(t, d, s)
	if _, still := rt.Get(t, s, "/pid"); still != app {
		t.Fatal("adopting disturbed the application")
	}
	rt.Eventually(t, 3*time.Second, "what it said meanwhile is in the log", func() bool {
		return strings.Contains(rt.Log(s), "web.1 while-nobody-listened")
	})
	if st := state(t, d, s); !st.Adopted || st.State != runtime.StateRunning {
		t.Errorf("adopted: %+v", st)
	}
	// A crash after the adoption is noticed and repaired.
	rt.Get(t, s, "/daemon")
	n, err := strconv.Atoi(app)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, n)
	rt.Eventually(t, 5*time.Second, "a new process", func() bool {
		_, fresh, err := rt.TryGet(s.Processes[0].Socket, "/pid", 0)
		return err == nil && fresh != app
	})
	if last := state(t, d, s).LastExit(); last == nil || !last.Unseen {
		t.Errorf("the end of an adopted process: %+v", last)
	}
	if err := d.Stop(t.Context(), s.Handle(), 0); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, s)
}

func TestAppKilledIsBackAtOnce(t *testing.T) {
	d, s := setup(t, "fault.live.d2")
	s.Processes[0].Run = "exec sleep 1000"
	s.Processes[0].Socket = ""
	begin(t, d, s)
	rt.Eventually(t, 3*time.Second, "it runs", func() bool { return state(t, d, s).State == runtime.StateRunning })
	before := state(t, d, s).Processes[0].PID
	began := time.Now()
	kill(t, before)
	var now int
	rt.Eventually(t, 5*time.Second, "a new process", func() bool {
		now = state(t, d, s).Processes[0].PID
		return now != 0 && now != before
	})
	if took := time.Since(began); took > 300*time.Millisecond {
		t.Errorf("back after %s", took)
	} else {
		t.Logf("back after %s", took)
	}
	if last := state(t, d, s).LastExit(); last == nil || last.String() != "killed by signal 9" {
		t.Errorf("on record: %+v", last)
	}
	b, err := os.ReadFile(filepath.Join(s.RunDir, shim.StateFile))
	if err != nil || !strings.Contains(string(b), `"Signal": 9`) {
		t.Errorf("the exit is not on the disk: %v", err)
	}
}

// The program that started it, as serve does, is killed with all it has.
func TestStarterKilledNothingDies(t *testing.T) {
	d, s := setup(t, "fault.live.d3")
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	starter := exec.Command(self, "starter")
	starter.Stdin = bytes.NewReader(b)
	starter.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, app := rt.Get(t, s, "/pid")
	if err := syscall.Kill(-starter.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := starter.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	if _, still := rt.Get(t, s, "/pid"); still != app {
		t.Error("the application was disturbed")
	}
	if err := d.Adopt(t.Context(), s.Handle()); err != nil {
		t.Error(err)
	}
}

// serve is killed in the middle of a migration, which goes on; the resumed
// deployment runs it again, and never beside the first.
func TestNoTwoCommandsOfOneLabel(t *testing.T) {
	d, s := setup(t, "fault.live.d12")
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(self, "execer")
	serve.Stdin = bytes.NewReader(b)
	out, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if err := serve.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	mark := shim.MarkEnv + "=" + shim.GroupName(s.ID, s.RunDir) + ".exec-"
	if len(pid.Marked(mark)) == 0 {
		t.Fatal("the command went down with serve: the test shows nothing")
	}
	var said bytes.Buffer
	exit, err := d.Exec(t.Context(), s, runtime.Command{Label: "d37.release", Shell: "echo again", Stdout: &said})
	if err != nil || !exit.OK() || said.String() != "again\n" {
		t.Errorf("%v %v %q", exit, err, said.String())
	}
	if left := pid.Marked(mark); len(left) != 0 {
		t.Errorf("the first run lives on as %v", left)
	}
}

func TestStopTakesDaemonsAlong(t *testing.T) {
	for _, how := range []string{"kept", "unwatched"} {
		t.Run(how, func(t *testing.T) {
			d, s := setup(t, "fault.live.d4"+how)
			begin(t, d, s)
			_, out := rt.Get(t, s, "/daemon")
			daemon, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				t.Fatal(err)
			}
			id, err := pid.Of(daemon)
			if err != nil {
				t.Fatal(err)
			}
			if how == "unwatched" {
				kill(t, state(t, d, s).Keeper)
			}
			if err := d.Stop(t.Context(), s.Handle(), 0); err != nil {
				t.Fatal(err)
			}
			if id.Alive() {
				t.Error("the daemon lives")
			}
			nothingLeft(t, s)
		})
	}
}

// A process whose number is in the state file, but which is another one (the
// number was reused, or the machine restarted), is left alone.
func TestReusedPidIsLeftAlone(t *testing.T) {
	d, s := setup(t, "fault.live.d5")
	begin(t, d, s)
	rt.Get(t, s, "/")
	st := state(t, d, s)
	kill(t, st.Keeper)
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(stranger.Process.Kill()); err != nil {
			t.Error(err)
		}
		_ = stranger.Wait() // killed
	}()
	real, err := pid.Of(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]pid.ID{
		"another start time": {PID: real.PID, Start: real.Start - 100, Boot: real.Boot},
		"another boot":       {PID: real.PID, Start: real.Start, Boot: "00000000-0000-0000-0000-000000000000"},
	} {
		if id.Alive() {
			t.Errorf("%s: counted as ours", name)
		}
		if err := id.Signal(syscall.SIGKILL); !errors.Is(err, pid.ErrGone) {
			t.Errorf("%s: Signal gives %v", name, err)
		}
		file := filepath.Join(s.RunDir, shim.StateFile)
		old, err := shim.ReadState(s.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		old.Slots[0].Run = id
		b, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		begin(t, d, s)
		rt.Get(t, s, "/")
		if now := state(t, d, s); now.Processes[0].PID == real.PID || now.Adopted {
			t.Errorf("%s: adopted", name)
		}
		if name == "another boot" {
			break
		}
		kill(t, state(t, d, s).Keeper)
	}
	if err := d.Stop(t.Context(), s.Handle(), 0); err != nil {
		t.Fatal(err)
	}
	if !real.Alive() {
		t.Error("a stranger was killed")
	}
	nothingLeft(t, s)
}

// The shim dies between fork and the state file: the half-made child leaves.
func TestShimDiesInMidStart(t *testing.T) {
	d, s := setup(t, "fault.live.d6")
	once := filepath.Join(t.TempDir(), "once")
	t.Setenv(faults.Env, "shim.after-fork=kill")
	t.Setenv(faults.Env+"_ONCE", once)
	if _, err := d.Start(t.Context(), s); err == nil {
		t.Fatal("the shim did not die")
	}
	rt.Eventually(t, 3*time.Second, "the child leaves", func() bool {
		return len(pid.Marked(shim.MarkEnv+"="+shim.GroupName(s.ID, s.RunDir)+"/")) == 0
	})
	begin(t, d, s)
	rt.Get(t, s, "/")
	if n := len(rt.Running("server.py")); n == 0 {
		t.Error("it does not run")
	}
}

// A start during a stop begins when that is over.
func TestStartWhileStopping(t *testing.T) {
	d, s := setup(t, "fault.live.d11")
	s.Processes = append(s.Processes, runtime.Process{Name: "slow", Run: "trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done"})
	begin(t, d, s)
	_, before := rt.Get(t, s, "/pid")
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop(context.Background(), s.Handle(), 3*time.Second) }()
	rt.Eventually(t, 3*time.Second, "the stop has begun", func() bool { return state(t, d, s).Note == runtime.NoteStopping })
	begin(t, d, s)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, now := rt.Get(t, s, "/pid"); now == before {
		t.Error("it did not start afresh")
	}
}

func TestFloodOfOutput(t *testing.T) {
	d, s := setup(t, "fault.live.d7")
	begin(t, d, s)
	began := time.Now()
	if code, _ := rt.Get(t, s, "/flood?100000000"); code != 200 {
		t.Fatal(code)
	}
	t.Logf("100 MB in %s", time.Since(began))
	st := state(t, d, s)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", st.Keeper))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil || kb > 64<<10 {
		t.Errorf("the shim grew to %d KB (%v)", kb, err)
	}
	rt.Get(t, s, "/say?the-end")
	rt.Eventually(t, 10*time.Second, "the end in the log", func() bool { return strings.Contains(rt.Log(s), "the-end") })
	files, err := filepath.Glob(s.LogFile() + "*")
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 60<<20 {
		t.Errorf("the log keeps %d MB", total>>20)
	}
	if end, err := logfile.End(s.LogFile()); err != nil || end < 100_000_000 {
		t.Errorf("the log ends at %d (%v)", end, err)
	}
}

func TestFullDiskDoesNotStopTheApp(t *testing.T) {
	d, s := setup(t, "fault.live.d8")
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Stop(context.Background(), s.Handle(), time.Second), syscall.Unmount(disk, 0)); err != nil {
			t.Error(err)
		}
	})
	s.LogDir = filepath.Join(disk, "log")
	begin(t, d, s)
	if code, _ := rt.Get(t, s, "/flood?3000000"); code != 200 {
		t.Fatal(code)
	}
	rt.Get(t, s, "/")
	rt.Eventually(t, 5*time.Second, "the loss is counted", func() bool { return state(t, d, s).Dropped > 1000 })
}

func TestDaemonsDieWithTheirProcessAndSignalsPass(t *testing.T) {
	d, s := setup(t, "fault.live.d9")
	s.Processes = append(s.Processes, runtime.Process{Name: "shell", Run: "trap 'echo hup' HUP; while :; do sleep 0.05; done"})
	begin(t, d, s)
	_, out := rt.Get(t, s, "/daemon")
	daemon, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	id, err := pid.Of(daemon)
	if err != nil {
		t.Fatal(err)
	}
	other := state(t, d, s).Processes[1].PID
	if err := d.Restart(t.Context(), s.Handle(), "web", time.Second); err != nil {
		t.Fatal(err)
	}
	rt.Get(t, s, "/")
	st := state(t, d, s)
	if id.Alive() || st.Processes[1].PID != other || st.LastExit() != nil {
		t.Errorf("after a restart of web: daemon alive %v, %+v", id.Alive(), st)
	}
	rt.Eventually(t, 5*time.Second, "the signal arrives", func() bool {
		if err := d.Signal(t.Context(), s.Handle(), "shell", int(syscall.SIGHUP)); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(rt.Log(s), "shell.1 hup")
	})
}

func TestMemoryLimitIsToldAsSuch(t *testing.T) {
	d, s := setup(t, "fault.live.d10")
	s.MemoryMax = 64 << 20
	s.Processes[0].Socket = ""
	s.Processes[0].Run = `exec /usr/bin/python3 -c "b = []
while True: b.append(bytearray(8 << 20))"`
	begin(t, d, s)
	if lacking := state(t, d, s).Lacking; lacking != nil {
		t.Skipf("no limits here: %v", lacking)
	}
	rt.Eventually(t, 20*time.Second, "the verdict", func() bool {
		last := state(t, d, s).LastExit()
		return last != nil && last.OOM
	})
}
