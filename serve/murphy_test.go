package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// fill fills a file system to its last byte and gives what frees it again.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	file := filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		_, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
}

// mount puts a small disk in the place of a folder, with its content.
func mount(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// serverEnded says whether serve ended by itself, and with what.
func (w *world) serverEnded() (bool, error) {
	select {
	case err := <-w.ended:
		w.stop = func() {}
		return true, err
	default:
		return false, nil
	}
}

// killServers kills all database servers of this world.
func (w *world) killServers() {
	w.t.Helper()
	killed := 0
	for _, proc := range w.processes() {
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd")) // it may have ended
		var n int
		if _, err := fmt.Sscanf(proc, "/proc/%d", &n); err == nil && strings.HasPrefix(cwd, filepath.Join(w.data, "postgres")) {
			if syscall.Kill(n, syscall.SIGKILL) == nil {
				killed++
			}
		}
	}
	if killed == 0 {
		w.t.Error("there was no database server to kill")
	}
}

// A backup that finds no room stops the deployment: live goes on as it was,
// and the message says why.
func TestNoRoomForTheBackup(t *testing.T) {
	need.Slow(t, "plays a whole road")
	w := upAndRunning(t, "sqlite")
	mount(t, filepath.Join(w.data, "backups"), "1m")
	free := fill(t, filepath.Join(w.data, "backups"))
	p := w.watch()
	op := w.op(ask(t.Context(), w.s, "deploy", "live", "1"))
	if op.State != bosman.OpFailed || op.Error == nil || !strings.HasPrefix(op.Error.Kept, "live still runs r2") || !strings.Contains(op.Error.Message, "full") || op.Error.Next == "" {
		w.dump()
		t.Errorf("%s: %+v", op.State, op.Error)
	}
	t.Logf("it says: %v", op.Error)
	w.serves(2)
	w.tidy()
	w.servedBut(p, time.Time{})
	free()
	w.must("deploy", "live", "1")
	w.serves(1)
	w.tidy()
}

// With the whole disk full nothing new happens, live serves, and when there is
// room again Bosman goes on where it stood.
func TestDiskFull(t *testing.T) {
	need.Slow(t, "plays a whole road")
	for _, step := range []string{"idle", "deploying"} {
		t.Run(step, func(t *testing.T) {
			disk, err := os.MkdirTemp("", "disk")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Remove(disk); err != nil {
					t.Error(err)
				}
			})
			mount(t, disk, "200m")
			t.Setenv("TMPDIR", disk)
			w := upAndRunning(t, "none")
			p := w.watch()
			if step == "deploying" {
				if _, err := ask(t.Context(), w.s, "deploy", "live", "1"); err != nil {
					t.Fatal(err)
				}
				w.until("the check has begun", 10*time.Second, func() bool {
					for _, s := range w.last().Steps {
						if s.Name == "check" && s.State != bosman.StepWaiting {
							return true
						}
					}
					return false
				})
			}
			free := fill(t, disk)
			if step == "idle" {
				_, err = ask(t.Context(), w.s, "deploy", "live", "1")
				if e := bosman.AsError(err); err == nil || e.Kind != bosman.KindUnavailable || e.Kept == "" || e.Next == "" {
					t.Errorf("asked for a deployment on a full disk: %v", err)
				}
				t.Logf("it says: %v", err)
			}
			time.Sleep(3 * time.Second)
			if code, _ := w.get("live", "/"); code != 200 {
				t.Errorf("live answers %d on a full disk", code)
			}
			ended, why := w.serverEnded()
			t.Logf("serve ended: %v (%v)", ended, why)
			free()
			if ended {
				if bosman.KindOf(why) != bosman.KindUnavailable {
					t.Errorf("why serve ended is not clear: %v", why)
				}
				w.start()
			}
			op := w.op(w.last(), nil) // what was asked for happens when there is room again
			if op.State != bosman.OpDone {
				t.Errorf("%s is %s: %v", opRef(op.Number), op.State, op.Error)
			}
			w.serves(1)
			w.tidyAfter(15 * time.Second) // what could not be written is found missing by the next comparison
			w.servedBut(p, time.Time{})
		})
	}
}

// The database server dies while a deployment is under way: it is started
// again, and whichever way the deployment ends, live serves.
func TestDatabaseServerKilledWhileDeploying(t *testing.T) {
	need.Slow(t, "plays a whole road")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	t.Parallel()
	w := upAndRunning(t, "postgres")
	p := w.watch()
	release := 2
	for _, at := range []string{"backup", "check"} {
		op, err := ask(t.Context(), w.s, "deploy", "live", map[int]string{1: "2", 2: "1"}[release])
		if err != nil {
			t.Fatal(err)
		}
		w.until(at+" has begun", 20*time.Second, func() bool {
			for _, s := range w.last().Steps {
				if s.Name == at && s.State != bosman.StepWaiting {
					return true
				}
			}
			return false
		})
		w.killServers()
		op = w.op(op, nil)
		t.Logf("the servers killed at %s: %s %v", at, op.State, op.Error)
		if op.State == bosman.OpDone {
			release = 3 - release
		} else if op.Error == nil || op.Error.Message == "" || op.Error.Kept == "" {
			t.Errorf("the message says too little: %+v", op.Error)
		}
		w.serves(release)
		w.until("the servers run", 20*time.Second, func() bool {
			i, err := w.s.store.Instance(t.Context(), "tiny", "live")
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.s.databases.Schema(t.Context(), i)
			return err == nil
		})
		w.tidyAfter(10 * time.Second)
	}
	w.servedBut(p, time.Time{})
	w.must("deploy", "live", map[int]string{1: "2", 2: "1"}[release])
	w.tidy()
}
