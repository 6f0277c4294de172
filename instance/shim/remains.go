package shim

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// Term asks a process, and what it runs if it is a shell, to end.
func Term(p int) {
	if id, err := pid.Of(p); err == nil {
		_ = (&run{id: id}).term(unix.SIGTERM) // gone already
	}
}

// StopRemains ends what a shim that died left: TERM, limit, kill; then it
// removes groups, sockets and FIFOs and writes down that it is stopped.
func StopRemains(ctx context.Context, runDir string, st State, limit time.Duration) error {
	lock, err := os.OpenFile(filepath.Join(runDir, LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // it only carries the lock
	for try := 0; unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil; try++ {
		if try == 100 {
			return bosman.Busy("a new keeper of %s has just taken over", st.ID).WithNext("stop it again")
		}
		time.Sleep(10 * time.Millisecond) // the old one is on its way out
	}
	for _, sl := range st.Alive() {
		Term(sl.Run.PID)
	}
	for end := time.Now().Add(limit); len(st.Alive()) > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	band := Band{Mark: MarkEnv + "=" + GroupName(st.ID, runDir) + "/"}
	band.Group, err = cgroup.Open(GroupName(st.ID, runDir))
	if err != nil && !errors.Is(err, cgroup.ErrNone) {
		return err
	}
	if err := band.Remove(); err != nil {
		return err
	}
	for _, sl := range st.Slots {
		err = errors.Join(err, ignoreMissing(os.Remove(filepath.Join(runDir, "out."+sl.Name))))
	}
	for _, l := range st.Listen {
		if path, ok := strings.CutPrefix(l.Addr, "unix:"); ok {
			err = errors.Join(err, ignoreMissing(os.Remove(path)))
		}
	}
	for _, name := range []string{AppFolder, TmpFolder, SocketFile} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(runDir, name)))
	}
	if err != nil {
		return err
	}
	st.Stopped, st.At = true, time.Now().UTC()
	b, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(runDir, StateFile), b, 0o600)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
