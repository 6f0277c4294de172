package sqlite

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

var _ database.Recorder = (*Engine)(nil)

// blind is what nobody can see of others who use a file.
const blind = "An SQLite file has no server that could tell which statements ran: the schema is compared before and after, and locks are those of the whole file."

// Record implements database.Recorder. The file's openings are counted by
// inotify, its locks read from /proc/locks every few milliseconds.
func (e *Engine) Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	const doing = "record what is done to a database"
	if _, err := e.nameOf(d); err != nil {
		return rec, nil, err
	}
	if err := exists(d.Name); err != nil {
		return rec, nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return rec, nil, trouble(doing, err)
	}
	opened := os.NewFile(uintptr(fd), "inotify")
	defer func() { err = errors.Join(err, trouble(doing, opened.Close())) }()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(d.Name), unix.IN_OPEN); err != nil {
		return rec, nil, trouble(doing, err)
	}
	count := make(chan int, 1)
	go func() { count <- openings(opened, filepath.Base(d.Name)) }() // waited for below
	var locks database.Held
	_, done = database.While(ctx, func(context.Context) error {
		// Without /proc nothing is seen, as on a host that hides it.
		locks.Look(time.Now(), locksOf(d.Name))
		return nil
	}, fn)
	// What was opened lies ready by now.
	if err := opened.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return rec, done, errors.Join(trouble(doing, err), opened.Close())
	}
	rec.Sessions, rec.Locks, rec.Blind = <-count, locks.Locks(), blind
	return rec, done, nil
}

// openings counts until reading ends how often a file of the folder was
// opened; see inotify(7).
func openings(from *os.File, name string) int {
	count := 0
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return count
		}
		for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			size := int(binary.NativeEndian.Uint32(rest[12:]))
			if len(rest) < unix.SizeofInotifyEvent+size {
				break
			}
			of := rest[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+size]
			if strings.TrimRight(string(of), "\x00") == name {
				count++
			}
			rest = rest[unix.SizeofInotifyEvent+size:]
		}
	}
}

// Where SQLite locks a file, see "File Locking And Concurrency" and, for the
// -shm file, "WAL-mode File Format" in its documentation.
const (
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
	sharedFirst  = pendingByte + 2
	walWriteByte = 120
)

// locksOf gives the locks that stop others from using a database file now.
func locksOf(file string) []database.SeenLock {
	main, shm := inode(file), inode(file+"-shm")
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was read
	var out []database.SeenLock
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		l, ok := parseLock(lines.Text())
		if !ok || !l.write || l.inode == "" {
			continue
		}
		seen := database.SeenLock{Table: "the whole database"}
		covers := func(at uint64) bool { return l.first <= at && at <= l.last }
		switch {
		case l.inode == main && (covers(pendingByte) || covers(sharedFirst)):
			seen.Mode, seen.Rank, seen.Stops = "EXCLUSIVE", 2, "reads and writes"
		case l.inode == main && covers(reservedByte):
			seen.Mode, seen.Rank, seen.Stops = "RESERVED", 1, "writes"
		case l.inode == shm && covers(walWriteByte):
			seen.Mode, seen.Rank, seen.Stops = "WAL write", 1, "writes"
		default:
			continue
		}
		out = append(out, seen)
	}
	return out
}

// fileLock is a line of /proc/locks, see proc(5):
// "1: POSIX  ADVISORY  WRITE 708 08:02:131 1073741826 1073742335".
type fileLock struct {
	write       bool
	inode       string
	first, last uint64
}

func parseLock(line string) (l fileLock, ok bool) {
	f := strings.Fields(line)
	if len(f) != 8 || f[1] != "POSIX" && f[1] != "OFDLCK" { // eight but for those that wait ("->")
		return l, false
	}
	l.write = f[3] == "WRITE"
	l.inode = f[5][strings.LastIndexByte(f[5], ':')+1:]
	var err error
	if l.first, err = strconv.ParseUint(f[6], 10, 64); err != nil {
		return l, false
	}
	if f[7] == "EOF" {
		l.last = 1<<63 - 1
		return l, true
	}
	l.last, err = strconv.ParseUint(f[7], 10, 64)
	return l, err == nil
}

// inode is the file's number; "" without one. The device is left out: some
// file systems name another one in /proc/locks.
func inode(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return strconv.FormatUint(sys.Ino, 10)
}
