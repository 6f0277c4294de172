// Package nofollow reaches what lies where an instance may write. Whoever owns
// a folder can put a symbolic link in the place of anything in it, at any
// moment, and a path that Bosman follows as root would lead where the owner
// may not go. Nothing here follows a link below the folder it starts from.
package nofollow

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens what rel names below folder with flags of open(2). A link on the
// way, or at its end, is ENOTDIR or ELOOP.
func Open(folder, rel string, flags int) (*os.File, error) {
	return reach(folder, rel, flags, nil)
}

// MkdirAll makes the folder rel below folder, with all on the way to it, and
// opens it as a place (O_PATH).
func MkdirAll(folder, rel string, perm os.FileMode) (*os.File, error) {
	return reach(folder, rel, unix.O_PATH|unix.O_DIRECTORY, func(at int, name string) error {
		if err := unix.Mkdirat(at, name, uint32(perm.Perm())); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	})
}

// reach goes from folder to rel one name at a time; before is done for each.
func reach(folder, rel string, flags int, before func(at int, name string) error) (f *os.File, err error) {
	path := filepath.Join(folder, rel)
	fail := func(err error) error { return &os.PathError{Op: "open", Path: path, Err: err} }
	if !filepath.IsLocal(rel) {
		return nil, fail(unix.EXDEV)
	}
	at, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fail(err)
	}
	names := strings.Split(filepath.Clean(rel), "/")
	for i, name := range names {
		if before != nil && name != "." {
			err = before(at, name)
		}
		how := unix.O_PATH | unix.O_DIRECTORY
		if i == len(names)-1 {
			how = flags
		}
		next := -1
		if err == nil {
			next, err = unix.Openat(at, name, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		if err = errors.Join(err, unix.Close(at)); err != nil {
			if next >= 0 {
				_ = unix.Close(next) // given up
			}
			return nil, fail(err)
		}
		at = next
	}
	var st unix.Stat_t // O_PATH opens a link itself
	if err = unix.Fstat(at, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = unix.ELOOP
	}
	if err != nil {
		_ = unix.Close(at) // given up
		return nil, fail(err)
	}
	return os.NewFile(uintptr(at), path), nil
}

// Dial connects to the Unix socket at path, which must be a socket itself: a
// link there could lead to one that answers Bosman more than its owner.
func Dial(ctx context.Context, d *net.Dialer, path string) (net.Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: err}
	}
	at, err := Open(filepath.Dir(path), filepath.Base(path), unix.O_PATH)
	if err != nil {
		return nil, fail(err)
	}
	conn, err := d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(at.Fd())))
	_ = at.Close() // a place, not content
	var op *net.OpError
	if errors.As(err, &op) { // with the address that people know
		return nil, fail(op.Err)
	}
	return conn, err
}

// OpenRoot opens the folder that rel names below folder, to reach what lies in
// it; see os.Root.
func OpenRoot(folder, rel string) (*os.Root, error) {
	at, err := Open(folder, rel, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = at.Close() }() // a place, not content
	return os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(at.Fd())))
}
