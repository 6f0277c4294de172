// Package storage knows what the file system of a folder can do for copies:
// share blocks between files, take snapshots, hold so much more. It copies
// folders by sharing, and makes a file system that can on a host that has none.
//
// It must not know databases: it sees files.
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// Abilities is what a folder's file system can do.
type Abilities struct {
	Dir     string // the folder that was looked at: the nearest one that exists
	Type    string // "ext4", "xfs", "btrfs", "zfs", "tmpfs", …; a number if it has no name here
	Reflink bool   // files can share blocks (FICLONE), tried on files without a name
	Free    int64  // bytes for us
	Size    int64  // bytes in all
	Why     string // why not Reflink; "" if it can
}

// types are the magic numbers of statfs(2) and of the systems' own headers.
var types = map[int64]string{
	0xEF53:     "ext4",
	0x58465342: "xfs",
	0x9123683E: "btrfs",
	0x2FC12FC1: "zfs",
	0x01021994: "tmpfs",
	0x794C7630: "overlay",
	0xCA451A4E: "bcachefs",
	0x6969:     "nfs",
}

// Probe looks at the file system of dir, or of the nearest folder above that
// exists. It leaves nothing there.
func Probe(dir string) (Abilities, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Abilities{}, err
	}
	for {
		if _, err = os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	a := Abilities{Dir: dir}
	var s unix.Statfs_t
	if err == nil {
		err = unix.Statfs(dir, &s)
	}
	if err != nil {
		return a, bosman.Unavailable("the folder %s cannot be looked at", dir).Because(err)
	}
	a.Free, a.Size = int64(s.Bavail)*s.Bsize, int64(s.Blocks)*s.Bsize //nolint:gosec // sizes of disks fit
	a.Type = types[int64(uint32(s.Type))]                             //nolint:gosec // the low 32 bits are the number
	if a.Type == "" {
		a.Type = fmt.Sprintf("%#x", uint32(s.Type)) //nolint:gosec // as above
	}
	a.Why = why(a.Type, tryReflink(dir))
	a.Reflink = a.Why == ""
	return a, nil
}

// why says what a try on a file system of a type means.
//
// OpenZFS shares blocks from 2.2 on, if the pool has the feature block_cloning
// and zfs_bclone_enabled is set (it was off in 2.2.1); of a file written within
// the last seconds only with zfs_bclone_wait_dirty: zfs(4). Golden copies are
// copied as soon as they are made, so nothing less will do.
func why(fs string, err error) string {
	switch {
	case err == nil:
		return ""
	case fs == "zfs" && errors.Is(err, syscall.EAGAIN):
		return "files on this zfs share blocks only some seconds after they were written (echo 1 > /sys/module/zfs/parameters/zfs_bclone_wait_dirty lets it wait for them)"
	case fs == "zfs" && noReflink(err):
		return "files on this zfs cannot share blocks (that needs OpenZFS 2.2 or newer, the pool's feature block_cloning, and zfs_bclone_enabled=1)"
	case fs == "xfs" && noReflink(err):
		return "files on this xfs cannot share blocks (it was made without reflink)"
	case noReflink(err):
		return "files on " + fs + " cannot share blocks"
	}
	return err.Error()
}

// String is one clause for people: "xfs, files share blocks, 12.3 GB free".
func (a Abilities) String() string {
	can := "files share blocks"
	if !a.Reflink {
		can = a.Why
	}
	return strings.Join([]string{a.Type, can, size(a.Free) + " free"}, ", ")
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KB", n>>10)
}

// tryReflink clones a small file, as fresh as a golden copy may be.
func tryReflink(dir string) error {
	var files [2]*os.File
	for i := range files {
		f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it has no name and goes
		files[i] = f
	}
	if _, err := files[0].Write(make([]byte, 8192)); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err // on a full disk empty files tell as much
	}
	return unix.IoctlFileClone(int(files[1].Fd()), int(files[0].Fd()))
}

// File makes to, which must not exist, with the content of from by sharing
// its blocks. The error is the system's own where it cannot.
func File(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}

// noReflink says whether the file system, or the pair of them, cannot.
func noReflink(err error) bool {
	for _, e := range []error{syscall.EOPNOTSUPP, syscall.EXDEV, syscall.EINVAL, syscall.ENOTTY, syscall.ENOSYS, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
