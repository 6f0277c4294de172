package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman/instance/pid"
	"golang.org/x/sys/unix"
)

// socket is a listening socket that the shim holds for its processes: while
// they are down, new connections wait in its backlog.
type socket struct {
	addr  string // as in Spec.Listen
	fd    int
	inode uint64
}

// openListen opens the sockets of the spec; those that a surviving process
// still has are taken from it, so that no waiting connection is lost.
func openListen(addrs []string, old State) ([]socket, error) {
	var out []socket
	for _, addr := range addrs {
		s, err := recoverSocket(addr, old)
		if err == nil && s == nil {
			s, err = newSocket(addr)
		}
		if err != nil {
			for _, s := range out {
				_ = unix.Close(s.fd) // given up
			}
			return nil, err
		}
		out = append(out, *s)
	}
	return out, nil
}

func newSocket(addr string) (*socket, error) {
	network, address, ok := strings.Cut(addr, ":")
	if !ok || (network != "tcp" && network != "unix") {
		return nil, fmt.Errorf("%q is not tcp:HOST:PORT or unix:PATH", addr)
	}
	if network == "unix" {
		if err := clearStale(address); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer func() { _ = l.Close() }() // its descriptor was duplicated
	conn, ok := l.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("the listener on %s has no descriptor", addr)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{addr: addr}
	cerr := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 10) })
	if err = errors.Join(err, cerr); err != nil {
		return nil, err
	}
	s.inode, err = inode(s.fd)
	return s, err
}

// clearStale removes a socket file that nobody listens on any more.
func clearStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is in the way of a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("somebody else listens on %s", path), conn.Close())
	}
	return os.Remove(path)
}

func inode(fd int) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, err
}

// recoverSocket takes a listening socket from a surviving process with
// pidfd_getfd; nil if none has it.
func recoverSocket(addr string, old State) (*socket, error) {
	for _, was := range old.Listen {
		if was.Addr != addr {
			continue
		}
		for _, sl := range old.Alive() {
			if s := takeSocket(sl.Run, was); s != nil {
				return s, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // no socket is an ordinary answer
}

func takeSocket(id pid.ID, was Listening) *socket {
	want := "socket:[" + strconv.FormatUint(was.Inode, 10) + "]"
	dir := "/proc/" + strconv.Itoa(id.PID) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	f, err := id.Open()
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only borrowed from
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	for _, e := range entries {
		at, err := os.Readlink(dir + "/" + e.Name())
		n, nerr := strconv.Atoi(e.Name())
		if err != nil || nerr != nil || at != want {
			continue
		}
		got := -1
		if cerr := raw.Control(func(fd uintptr) { got, err = unix.PidfdGetfd(int(fd), n, 0) }); cerr != nil || err != nil {
			continue
		}
		unix.CloseOnExec(got)
		if ino, err := inode(got); err == nil && ino == was.Inode && unix.SetNonblock(got, true) == nil {
			return &socket{addr: was.Addr, fd: got, inode: ino}
		}
		_ = unix.Close(got) // it was something else by now
	}
	return nil
}
