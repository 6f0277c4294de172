package ground

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What is done gently is done at the same time as live and staging work on the
// same disk, in pieces that a sync of theirs is not held up by for long.
const (
	gentlePiece   = 256 << 10             // written at once, in bytes
	gentleCut     = 4 << 20               // given back at once, in bytes
	betweenCuts   = 10 * time.Millisecond // for the file system's journal
	lowNice       = 10                    // not the smallest: somebody may come to wait for it
	lowSlice      = 100 * time.Millisecond
	schedBatch    = 3 // SCHED_BATCH of sched(7)
	ioprioProcess = 1
	ioprioLast    = 2<<13 | 7 // best effort, the last of eight: ioprio_set(2)
)

// Yield gives a process a small share of processor and disk, and has it make
// way at once for what others want to do. Best effort: elsewhere than on
// Linux, or for another user's process, it stays as it is.
func Yield(pid int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, lowNice)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(pid), ioprioLast)
	// Whoever has asked for a shorter slice of time interrupts one with a
	// longer (EEVDF, since Linux 6.12); else they wait until its own is over.
	_ = unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedBatch, Nice: lowNice, Runtime: uint64(lowSlice)}, 0)
	// With autogroups (sched(7)) the niceness of a process counts only within
	// its session: that of the session counts among others. A server process
	// of PostgreSQL has one of its own; one that is shared is left alone.
	if sid, err := unix.Getsid(pid); err == nil && sid == pid {
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/autogroup", []byte(strconv.Itoa(lowNice)), 0)
	}
}

// GentleWriter writes a file in pieces, each of them brought to the disk
// before the next but one: whoever writes goes no faster than the disk, and
// never is much under way to it. It does not sync.
type GentleWriter struct {
	To    *os.File
	at    int64 // where the piece under way ends
	begun int64 // where it begins
}

// Write implements io.Writer.
func (w *GentleWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		var n int
		n, err = w.To.Write(b[:min(len(b), gentlePiece)])
		b = b[n:]
		written += n
		w.bring(int64(n))
	}
	return written, err
}

// bring begins to bring to the disk what was written, and waits for what was
// begun before.
func (w *GentleWriter) bring(n int64) {
	const begin = unix.SYNC_FILE_RANGE_WRITE
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	_ = unix.SyncFileRange(int(w.To.Fd()), w.at, n, begin) // best effort
	if w.at > w.begun {
		_ = unix.SyncFileRange(int(w.To.Fd()), w.begun, w.at-w.begun, wait)
	}
	w.begun, w.at = w.at, w.at+n
}

// RemoveGently removes a file or a folder. Large files are cut off bit by bit:
// a file system gives back all of a file in one go, and for one of 700 MB
// syncs waited 50 ms instead of 5. When ctx ends, the rest goes at once.
func RemoveGently(ctx context.Context, path string) error {
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // it is removed below, where errors are told
		}
		if i, err := d.Info(); err == nil && i.Size() > gentleCut {
			cut(ctx, p, i.Size())
		}
		return nil
	})
	return os.RemoveAll(path)
}

func cut(ctx context.Context, path string, size int64) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return // it goes at once
	}
	defer func() { _ = f.Close() }() // there is nothing in it
	t := time.NewTicker(betweenCuts)
	defer t.Stop()
	for size -= gentleCut; size > 0 && f.Truncate(size) == nil; size -= gentleCut {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
