package database

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// CopyFile copies a file's content, sharing its blocks where the file system
// can (cloned is true then). dst must not exist; it gets mode. A link in the
// place of src is not followed.
func CopyFile(src, dst string, mode fs.FileMode) (cloned bool, err error) {
	// Not waiting at a pipe either.
	in, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	return copyOpen(in, dst, mode)
}

// copyOpen is CopyFile of an open file, which it closes: as much as it held
// when it began. Holes stay holes.
func copyOpen(in *os.File, dst string, mode fs.FileMode) (cloned bool, err error) {
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, &fs.PathError{Op: "copy", Path: in.Name(), Err: errors.New("not a regular file")}
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode.Perm())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		cloned = true
	} else if err := copyData(in, out, info); err != nil {
		return false, err
	}
	return cloned, out.Chmod(mode.Perm())
}

// copyData copies what a file holds, but not its holes.
func copyData(in, out *os.File, info fs.FileInfo) error {
	size := info.Size()
	if allocated(info) >= size {
		_, err := io.Copy(out, io.LimitReader(in, size))
		return err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to its end
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if end = min(end, size); end <= data {
			break
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, end-data)); err != nil {
			return err
		}
		at = end
	}
	return out.Truncate(size)
}

// allocated is the room a file takes on the disk.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// holes writes to a file and leaves out what is nothing but zeros.
type holes struct {
	f  *os.File
	at int64
}

var zeros [32 << 10]byte

func (h *holes) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), len(zeros))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			if m, err := h.f.WriteAt(part, h.at); err != nil {
				return n + m, err
			}
		}
		n, h.at, b = n+len(part), h.at+int64(len(part)), b[len(part):]
	}
	return n, nil
}

// end gives the file its size.
func (h *holes) end() error { return h.f.Truncate(h.at) }

// Tree says what CopyTree copied.
type Tree struct {
	Files, Skipped int // Skipped: sockets, pipes and devices
	Bytes          int64
	Cloned         bool // all blocks are shared with the source
}

// CopyTree copies the folder src to dst, which must not exist. Symbolic links
// are copied as links and never followed; sockets, pipes and devices are left
// out; what vanishes meanwhile, or becomes something else, is left out too.
// Everything belongs to the user and group uid, or, for 0, to whom it
// belonged. A missing src makes an empty dst.
//
// Whoever owns the files may change them meanwhile, also put a link in the
// place of a folder: nothing outside of src is ever read.
func CopyTree(ctx context.Context, src, dst string, uid int) (Tree, error) {
	t := Tree{Cloned: true}
	err := t.copyRoot(ctx, src, dst, uid)
	return t, diskError("copy the files", dst, err)
}

func (t *Tree) copyRoot(ctx context.Context, src, dst string, uid int) error {
	root, info, err := openTree(src)
	if err != nil {
		return err
	}
	if root == nil {
		if err := os.Mkdir(dst, 0o750); err != nil {
			return err
		}
		return chown(dst, uid, uid)
	}
	return errors.Join(t.copyFolder(ctx, root, dst, info, uid), root.Close())
}

// copyFolder copies what lies in an open folder to the new folder dst.
func (t *Tree) copyFolder(ctx context.Context, from *os.Root, dst string, info fs.FileInfo, uid int) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	entries, err := list(from)
	if err != nil && !errors.Is(err, errVanished) {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.copyEntry(ctx, from, e, filepath.Join(dst, e.Name()), uid); err != nil && !errors.Is(err, errVanished) {
			return err
		}
	}
	return errors.Join(own(dst, info, uid), os.Chmod(dst, info.Mode().Perm()), os.Chtimes(dst, info.ModTime(), info.ModTime()))
}

func (t *Tree) copyEntry(ctx context.Context, from *os.Root, e fs.FileInfo, to string, uid int) (err error) {
	name := e.Name()
	switch {
	case e.IsDir():
		in, err := from.OpenRoot(name)
		if err != nil {
			return vanished(err)
		}
		return errors.Join(t.copyFolder(ctx, in, to, e, uid), in.Close())
	case e.Mode()&fs.ModeSymlink != 0:
		link, err := from.Readlink(name)
		if err != nil {
			return vanished(err)
		}
		t.Files++
		return errors.Join(os.Symlink(link, to), own(to, e, uid))
	case !e.Mode().IsRegular():
		t.Skipped++
		return nil
	}
	in, err := openIn(from, name)
	if err != nil {
		return err
	}
	cloned, err := copyOpen(in, to, e.Mode())
	if err != nil {
		return err
	}
	t.Files++
	t.Bytes += e.Size()
	t.Cloned = t.Cloned && cloned
	return errors.Join(own(to, e, uid), os.Chtimes(to, e.ModTime(), e.ModTime()))
}

// list gives what lies in an open folder, by name.
func list(in *os.Root) ([]fs.FileInfo, error) {
	d, err := in.Open(".")
	if err != nil {
		return nil, vanished(err)
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, vanished(err)
	}
	slices.Sort(names)
	out := make([]fs.FileInfo, 0, len(names))
	for _, name := range names {
		info, err := in.Lstat(name)
		if errors.Is(vanished(err), errVanished) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// openIn opens a regular file below an open folder to read it, and does not
// wait at a pipe.
func openIn(in *os.Root, name string) (*os.File, error) {
	f, err := in.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, vanished(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errVanished
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// errVanished says that what was there a moment ago is there no more, or is
// something else now: its owner goes on meanwhile.
var errVanished = errors.New("it is gone")

// vanished turns what the system says of that into errVanished.
func vanished(err error) error {
	for _, e := range []error{fs.ErrNotExist, unix.ELOOP, unix.ENOTDIR, unix.ENXIO, unix.EINVAL, unix.ESTALE} {
		if errors.Is(err, e) {
			return errVanished
		}
	}
	var number unix.Errno
	if err != nil && !errors.As(err, &number) {
		return errVanished // a link that leads out of the folder, which os.Root refuses
	}
	return err
}

// own gives a copied path to uid, or to the owner of what it was copied from.
func own(path string, info fs.FileInfo, uid int) error {
	if uid != 0 {
		return chown(path, uid, uid)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return chown(path, int(s.Uid), int(s.Gid))
	}
	return nil
}

// chown does what can be done: without root, everything is ours anyway.
func chown(path string, uid, gid int) error {
	if os.Geteuid() != 0 || uid == 0 && gid == 0 {
		return nil
	}
	return os.Lchown(path, uid, gid)
}

// diskError makes an error for people of one from the file system.
func diskError(doing, path string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *bosman.Error
	if errors.As(err, &known) {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return bosman.Unavailable("could not %s: the disk that holds %s is full", doing, path).
			WithKept("what was there before is untouched").
			WithNext("free some space: old backups and kept databases are the first to look at").Because(err)
	case errors.Is(err, fs.ErrNotExist):
		return bosman.NotFound("could not %s: %s does not exist", doing, path).Because(err)
	}
	return bosman.Unavailable("could not %s", doing).Because(err)
}

// swapFolder puts the folder next in the place of current, which is kept
// under the name kept. Called again after a crash it finishes. A missing
// current is fine.
func swapFolder(current, next, kept string) error {
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		return nil // done before
	} else if err != nil {
		return err
	}
	if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(current, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(next, current); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(current))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
