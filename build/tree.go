package build

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
)

// give makes uid the owner of everything below dir.
func give(dir string, uid int) error {
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	})
}

// copyTree copies files, folders and links from one path to another, which
// must not exist, with modes and times. With share, files are hard links.
func copyTree(from, to string, share bool) error {
	var times []struct {
		path string
		info fs.FileInfo
	}
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dest := to
		if rel != "." {
			dest = filepath.Join(to, rel)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			times = append(times, struct {
				path string
				info fs.FileInfo
			}{dest, info})
			return os.Mkdir(dest, info.Mode().Perm()|0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, dest)
		case !info.Mode().IsRegular():
			return nil // sockets and pipes are nothing to keep
		case share:
			return os.Link(p, dest)
		}
		return copyFile(p, dest, info)
	})
	for i := len(times) - 1; i >= 0 && err == nil; i-- {
		t := times[i].info.ModTime()
		err = os.Chtimes(times[i].path, t, t)
	}
	return err
}

func copyFile(from, to string, info fs.FileInfo) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = io.Copy(out, in)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// inTree gives the host path of the slash-separated p below dir. It refuses
// paths that leave dir, also through a link that a step has put in the way.
func inTree(dir, p string) (string, error) {
	clean := path.Clean(p)
	if clean == "." || !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", bosman.Invalid("%q does not lie in the app's folder", p)
	}
	at := dir
	parts := strings.Split(clean, "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		if i == len(parts)-1 {
			break
		}
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", bosman.Invalid("%q leads through %q, which is no folder", p, strings.Join(parts[:i+1], "/"))
		}
	}
	return filepath.Join(dir, filepath.FromSlash(clean)), nil
}

// exists says whether something lies at path, be it a dangling link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// full says whether err, or the state of dir's file system, is a full disk.
func full(dir string, err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false
	}
	const enough = 1 << 20
	return fs.Bavail*uint64(fs.Bsize) < enough || fs.Files > 0 && fs.Ffree < 16
}

func diskFull(cause error) *bosman.Error {
	return bosman.Unavailable("the disk is full").Because(cause).
		WithKept("the releases that run are untouched").WithNext("free space or prune old releases, then retry the build")
}
