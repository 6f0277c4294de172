package serve

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/need"
)

// The processes that may die at any time.
const (
	theEdge     = "the edge"
	edgeShim    = "the shim of the edge"
	liveShim    = "the shim of live"
	liveApp     = "the application of live"
	newApp      = "the application that comes"
	newShim     = "the shim of the application that comes"
	killSlack   = 50 * time.Millisecond // between the kill and the death
	repairLimit = 15 * time.Second
)

// part gives the process that is a part now; zero if there is none.
func (w *world) part(name string) pid.ID {
	w.t.Helper()
	dir := filepath.Join(w.data, "run", "edge")
	if name != theEdge && name != edgeShim {
		i, err := w.s.store.Instance(w.t.Context(), "tiny", "live")
		if err != nil {
			w.t.Fatal(err)
		}
		id := i.ProcessID
		if name == newApp || name == newShim {
			id = deploy.SetID("tiny", "live", w.last().Number)
		}
		dir = w.s.instances.handle(i, id).RunDir
	}
	st, err := shim.ReadState(dir)
	if err != nil || len(st.Slots) == 0 {
		return pid.ID{}
	}
	if strings.HasPrefix(name, "the shim") {
		return st.Shim
	}
	return st.Slots[0].Run
}

// kill kills a part and gives the moment; the zero time if there is none.
func (w *world) kill(name string) time.Time {
	w.t.Helper()
	id := w.part(name)
	if !id.Alive() {
		return time.Time{}
	}
	at := time.Now()
	if err := syscall.Kill(id.PID, syscall.SIGKILL); err != nil {
		w.t.Logf("%s had ended: %v", name, err)
	}
	return at
}

// servedBut fails the test if a request failed that was not in flight at one
// moment.
func (w *world) servedBut(p *probe, killed time.Time) {
	w.t.Helper()
	asked, failures, slowest := p.take()
	for _, f := range failures {
		if killed.IsZero() || f.begun.After(killed.Add(killSlack)) || f.ended.Before(killed) {
			w.t.Errorf("of %d requests to live, one that was not in flight at %s failed: %s", asked, killed.Format("15:04:05.000"), f)
		}
	}
	w.t.Logf("%d requests, %d failed, the slowest took %s", asked, len(failures), slowest.Round(time.Millisecond))
}

// Each part is killed while nothing goes on and while a deployment is at some
// step: what is killed comes back, live serves, and nothing is left over.
func TestKillParts(t *testing.T) {
	need.Slow(t, "kills each process of a running Bosman")
	t.Parallel()
	w := upAndRunning(t, "none")
	p := w.watch()
	for _, name := range []string{theEdge, edgeShim, liveShim, liveApp} {
		t.Run("idle/"+name, func(t *testing.T) {
			w.t = t
			time.Sleep(300 * time.Millisecond)
			was := w.part(name)
			at := w.kill(name)
			w.until(name+" is back", repairLimit, func() bool { now := w.part(name); return now != was && now.Alive() })
			time.Sleep(500 * time.Millisecond)
			w.tidy()
			w.servedBut(p, at)
			w.serves(2)
		})
	}
	release := 2
	for n, name := range []string{theEdge, edgeShim, liveShim, liveApp, newApp, newShim, theEdge, liveShim} {
		t.Run(fmt.Sprintf("deploying/%d/%s", n, name), func(t *testing.T) {
			w.t = t
			p.take()
			op, err := ask(t.Context(), w.s, "deploy", "live", fmt.Sprint(3-release))
			if err != nil {
				t.Fatal(err)
			}
			delay := rand.N(1500 * time.Millisecond)
			time.Sleep(delay)
			at := w.kill(name)
			op = w.op(op, nil)
			var at2 string
			for _, s := range op.Steps {
				if !at.IsZero() && !s.StartedAt.IsZero() && s.StartedAt.Before(at) {
					at2 = s.Name
				}
			}
			t.Logf("%s killed after %s at %s: %s %v", name, delay, at2, op.State, op.Error)
			if op.State == bosman.OpDone {
				release = 3 - release
			} else if name != newApp { // one whose new processes die may say that the release is not well
				t.Errorf("%s: %v", op.State, op.Error)
			}
			w.until("every part lives", repairLimit, func() bool {
				for _, n := range []string{theEdge, edgeShim, liveShim, liveApp} {
					if !w.part(n).Alive() {
						return false
					}
				}
				return true
			})
			w.tidy()
			w.servedBut(p, at)
			w.serves(release)
			if t.Failed() {
				w.dump()
			}
		})
	}
}

// belongs says whether a process, a folder in /proc, is of this world: it
// works in the data folder, holds files there, or names it.
func (w *world) belongs(proc string) bool {
	cwd, _ := os.Readlink(filepath.Join(proc, "cwd")) // it may have ended
	if strings.HasPrefix(cwd, w.data) {
		return true
	}
	for _, file := range []string{"environ", "cmdline"} {
		b, _ := os.ReadFile(filepath.Join(proc, file))
		if strings.Contains(string(b), w.data) {
			return true
		}
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name())); strings.HasPrefix(to, w.data) {
			return true
		}
	}
	return false
}

// powerCut kills everything of this world at once.
func (w *world) powerCut() {
	w.t.Helper()
	w.until("everything is dead", 20*time.Second, func() bool {
		dead := true
		for _, proc := range w.processes() {
			var n int
			if _, err := fmt.Sscanf(proc, "/proc/%d", &n); err == nil && w.belongs(proc) {
				dead = false
				_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended
			}
		}
		return dead
	})
}

// cut starts a serve of its own process for w to be killed with all the rest,
// after asking for an operation if there are words, and waits for ready.
func (w *world) cut(ready func(*world) bool, words ...string) {
	w.t.Helper()
	w.stop()
	cmd, out := w.command(nil, words...)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for end := time.Now().Add(30 * time.Second); !ready(w); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			w.t.Fatalf("serve ended: %v\n%s", err, out)
		default:
		}
		if time.Now().After(end) {
			w.t.Fatalf("serve is not ready:\n%s", out)
		}
	}
	w.powerCut()
	<-ended
}

// After a reboot every instance comes up, also one whose deployment was under
// way.
func TestReboot(t *testing.T) {
	t.Parallel()
	for _, database := range []string{"none", "postgres"} {
		t.Run(database, func(t *testing.T) {
			if database == "postgres" {
				need.File(t, "/usr/lib/postgresql", "postgresql")
			}
			w := upAndRunning(t, database)
			w.cut(func(w *world) bool {
				code, _ := w.get("live", "/api/v1/apps")
				_, err := os.Stat(filepath.Join(w.data, "bosman.sock"))
				return code == 200 && err == nil
			})
			if code, _ := w.get("live", "/"); code != 0 {
				t.Fatalf("live answers %d without a single process", code)
			}
			w.start()
			w.until("live answers", 20*time.Second, func() bool { code, _ := w.get("live", "/"); return code == http.StatusOK })
			w.serves(2)
			w.tidyAfter(20 * time.Second)
			for _, name := range []string{"staging", "testing-anna"} {
				i, err := w.s.store.Instance(t.Context(), "tiny", name)
				if err != nil {
					t.Fatal(err)
				}
				w.until(name+" is well", 20*time.Second, func() bool {
					_, err := w.s.instances.Check(t.Context(), deploy.Launch{Instance: i, Release: i.Release, ID: i.ProcessID, Part: deploy.PartWeb})
					return err == nil
				})
			}
			w.must("deploy", "live", "1")
			w.serves(1)
			w.tidy()
			if database == "postgres" {
				w.lostCopy()
			}
		})
	}
	t.Run("while a deployment is watched", func(t *testing.T) {
		w := upAndRunning(t, "none")
		w.git(w.work, "checkout", "-q", "main")
		b, err := os.ReadFile(filepath.Join(w.work, "bosman.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		w.write("bosman.yaml", strings.Replace(string(b), "for: 1s", "for: 20s", 1))
		w.commit("a longer look")
		w.push("anna", "main")
		w.staging(4)
		w.cut(func(w *world) bool { _, body := w.get("live", "/"); return strings.HasPrefix(body, "hello one") }, "deploy", "live", "1")
		w.start()
		w.until("live answers", 10*time.Second, func() bool { code, _ := w.get("live", "/"); return code == http.StatusOK })
		op := w.last()
		if op.State.Final() {
			t.Errorf("%s is %s already: live came up too late", opRef(op.Number), op.State)
		}
		w.serves(1)
		if op = w.op(op, nil); op.State != bosman.OpDone || op.Error != nil {
			t.Errorf("%s is %s: %v", opRef(op.Number), op.State, op.Error)
			w.dump()
		}
		w.serves(1)
		w.tidy()
	})
}

// lostCopy has the host crash: what was not synced is gone, and its tester is
// told. Shut down in order, everything is there again.
func (w *world) lostCopy() {
	t, ctx := w.t, w.t.Context()
	anna := func() bosman.Instance {
		t.Helper()
		i, err := w.s.store.Instance(ctx, "tiny", "testing-anna")
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	rebooted := func() { // the boot id of the host is another one now
		t.Helper()
		for _, cluster := range []string{mainCluster, scratchCluster} {
			if err := os.WriteFile(filepath.Join(w.data, "postgres", cluster, "boot"), []byte("another"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
	}
	w.stop()
	if err := w.s.databases.rest(ctx); err != nil { // as when the host is shut down
		t.Fatal(err)
	}
	rebooted()
	w.until("the copy of a host that was shut down is there", time.Minute, func() bool {
		_, err := w.s.databases.own(ctx, anna())
		return err == nil
	})
	w.cut(func(w *world) bool { code, _ := w.get("live", "/"); return code == http.StatusOK })
	rebooted()
	w.until("the tester is told that the copy is gone", time.Minute, func() bool {
		i := anna()
		return i.State == bosman.InstanceFailed && strings.Contains(i.Note, "the host stopped without warning") && strings.Contains(i.Note, "bosman reset testing-anna")
	})
	if f := lossFindings(w.data); len(f) != 1 || !strings.Contains(f[0].what, "PostgreSQL") {
		t.Errorf("the doctor says %+v", f)
	}
	if op := w.op(w.s.helm.Reset(ctx, bosman.Actor{Person: "anna", From: "test"}, "tiny", "testing-anna")); op.State != bosman.OpDone {
		w.dump()
		t.Fatalf("reset: %s %v", op.State, op.Error)
	}
	w.until("it is well, and nothing more is said", time.Minute, func() bool { i := anna(); return i.State == bosman.InstanceRunning && i.Note == "" })
	w.until("live answers", time.Minute, func() bool { code, _ := w.get("live", "/"); return code == http.StatusOK })
	w.serves(1)
	w.tidy()
}

// Two of them on one data folder would undo each other's work.
func TestSecondServeRefuses(t *testing.T) {
	need.Slow(t, "starts serve twice")
	w := newWorld(t, "none")
	cmd, out := w.command(nil)
	err := cmd.Run()
	if err == nil || !strings.Contains(out.String(), "another bosman serve uses "+w.data) || !strings.Contains(out.String(), "--data") {
		t.Errorf("the second serve: %v\n%s", err, out)
	}
	if out := w.push("anna", "main"); !strings.Contains(out, "is green") {
		t.Errorf("the first one does not go on:\n%s", out)
	}
}
