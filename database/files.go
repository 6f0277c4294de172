package database

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// CopyFile copies a file's content, sharing its blocks where the file system
// can (cloned is true then). dst must not exist; it gets mode.
func CopyFile(src, dst string, mode fs.FileMode) (cloned bool, err error) {
	// Not following a link that somebody put there between looking and opening,
	// and not waiting at a pipe.
	in, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, &fs.PathError{Op: "copy", Path: src, Err: errors.New("not a regular file")}
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode.Perm())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		cloned = true
	} else if _, err := io.Copy(out, in); err != nil {
		return false, err
	}
	return cloned, out.Chmod(mode.Perm())
}

// Tree says what CopyTree copied.
type Tree struct {
	Files, Skipped int // Skipped: sockets, pipes and devices
	Bytes          int64
	Cloned         bool // all blocks are shared with the source
}

// CopyTree copies the folder src to dst, which must not exist. Symbolic links
// are copied as links and never followed; sockets, pipes and devices are left
// out; a file that vanishes meanwhile is left out too. Everything belongs to
// the user and group uid, or, for 0, to whom it belonged. A missing src makes
// an empty dst.
func CopyTree(ctx context.Context, src, dst string, uid int) (Tree, error) {
	t := Tree{Cloned: true}
	err := t.copy(ctx, src, dst, uid)
	return t, diskError("copy the files", dst, err)
}

func (t *Tree) copy(ctx context.Context, src, dst string, uid int) error {
	info, err := os.Lstat(src)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(dst, 0o750); err != nil {
			return err
		}
		return chown(dst, uid, uid)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return bosman.Conflict("%s is not a folder", src)
	}
	type folder struct {
		path string
		info fs.FileInfo
	}
	var folders []folder
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != src {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			folders = append(folders, folder{to, info})
			return os.Mkdir(to, 0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			t.Files++
			return errors.Join(os.Symlink(link, to), own(to, info, uid))
		case !info.Mode().IsRegular():
			t.Skipped++
			return nil
		}
		cloned, err := CopyFile(path, to, info.Mode())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		t.Files++
		t.Bytes += info.Size()
		t.Cloned = t.Cloned && cloned
		return errors.Join(own(to, info, uid), os.Chtimes(to, info.ModTime(), info.ModTime()))
	})
	for i := len(folders) - 1; i >= 0 && err == nil; i-- { // inner first: a folder may be read-only
		f := folders[i]
		err = errors.Join(own(f.path, f.info, uid), os.Chmod(f.path, f.info.Mode().Perm()), os.Chtimes(f.path, f.info.ModTime(), f.info.ModTime()))
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
