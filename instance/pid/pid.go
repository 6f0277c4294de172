// Package pid identifies processes beyond the reuse of their numbers: by pid,
// start time and boot. It knows nothing of what the processes do.
package pid

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ID names one process of one boot. The zero ID names none.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
	Boot  string `json:"boot"`
}

// Boot is the kernel's name for this boot of the machine.
var Boot = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
})

// Of identifies a process that exists.
func Of(pid int) (ID, error) {
	boot, err := Boot()
	if err != nil {
		return ID{}, err
	}
	st, err := Read(pid)
	if err != nil {
		return ID{}, err
	}
	return ID{PID: pid, Start: st.Start, Boot: boot}, nil
}

// Alive says whether this very process still runs; a zombie does not.
func (id ID) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	boot, err := Boot()
	if err != nil || boot != id.Boot {
		return false
	}
	st, err := Read(id.PID)
	if err != nil || st.Start != id.Start || st.State == 'X' {
		return false
	}
	return st.State != 'Z' || threads(id.PID) > 1
}

// threads counts the threads of a process: one whose first thread has ended
// looks like a zombie while the others go on, or have not let go of its files.
func threads(pid int) int {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return 0
	}
	return len(tasks)
}

// ErrGone says that the process does not exist any more.
var ErrGone = errors.New("the process is gone")

// Open gives a pidfd (close-on-exec, non-blocking) of this very process.
func (id ID) Open() (*os.File, error) {
	if !id.Alive() {
		return nil, ErrGone
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !id.Alive() { // the number may have changed hands before we opened it
		return nil, errors.Join(ErrGone, f.Close())
	}
	return f, nil
}

// Signal sends a signal to this very process; ErrGone when it is no more.
func (id ID) Signal(sig unix.Signal) error {
	f, err := id.Open()
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return errors.Join(err, cerr, f.Close())
}

// Stat is a part of /proc/PID/stat.
type Stat struct {
	State   byte
	PPID    int
	Session int
	Start   uint64
}

// Read reads /proc/PID/stat.
func Read(pid int) (Stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	if i < 0 {
		return Stat{}, fmt.Errorf("/proc/%d/stat is not readable", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return Stat{}, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	var st Stat
	var errs [3]error
	st.State = f[0][0]
	st.PPID, errs[0] = strconv.Atoi(f[1])
	st.Session, errs[1] = strconv.Atoi(f[3])
	st.Start, errs[2] = strconv.ParseUint(f[19], 10, 64)
	return st, errors.Join(errs[:]...)
}

// All lists the processes of the host.
func All() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range names {
		if p, err := strconv.Atoi(n); err == nil {
			pids = append(pids, p)
		}
	}
	return pids, nil
}

// Children lists the direct children of a process.
func Children(parent int) []int {
	all, err := All()
	if err != nil {
		return nil
	}
	var kids []int
	for _, p := range all {
		if st, err := Read(p); err == nil && st.PPID == parent && st.State != 'Z' {
			kids = append(kids, p)
		}
	}
	return kids
}

// Marked lists the running processes in whose first environment a variable
// begins with mark ("NAME=value…").
func Marked(mark string) []int {
	all, err := All()
	if err != nil {
		return nil
	}
	var found []int
	for _, p := range all {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/environ")
		if err != nil {
			continue // gone, or not ours to see
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.HasPrefix(v, []byte(mark)) {
				if st, err := Read(p); err == nil && st.State != 'Z' {
					found = append(found, p)
				}
				break
			}
		}
	}
	return found
}
