package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// Tree is what a copy of a folder holds.
type Tree struct {
	Files int
	Bytes int64 // as the files say; what they share takes no room
}

// batch is how many files of one folder a worker takes at a time.
const batch = 64

// Clone copies the folder from to the folder to, which must not exist: every
// file shares its blocks with its original, owner and mode stay. skip leaves
// out files and folders by their path below from; it may be nil. What is
// neither file nor folder nor symbolic link is left out. After an error the
// half-made folder is there. KindUnavailable if blocks cannot be shared or the
// disk is full.
//
// Nobody may write to from meanwhile: the copy is not of one moment.
func Clone(ctx context.Context, from, to string, skip func(path string) bool) (Tree, error) {
	c := &cloner{from: from, to: to, skip: skip}
	// Twice the processors: a part of the work is waiting for the file system.
	work := make(chan job, 8*runtime.NumCPU())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		workers.Go(func() {
			for j := range work {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := c.files(j); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := c.folder(ctx, ".", work)
	close(work)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return Tree{}, cloneError(to, err)
	}
	return Tree{Files: int(c.count.Load()), Bytes: c.bytes.Load()}, nil
}

type cloner struct {
	from, to     string
	skip         func(string) bool
	count, bytes atomic.Int64
}

type job struct {
	dir   string // below from
	names []string
}

// folder makes a folder, then those in it, and hands its files to the workers.
func (c *cloner) folder(ctx context.Context, rel string, work chan<- job) error {
	from, to := filepath.Join(c.from, rel), filepath.Join(c.to, rel)
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := alike(to, info); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		path := filepath.Join(rel, e.Name())
		switch {
		case c.skip != nil && c.skip(path):
		case e.IsDir():
			if err := c.folder(ctx, path, work); err != nil {
				return err
			}
		case e.Type()&fs.ModeSymlink != 0:
			if err := c.link(path); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if names = append(names, e.Name()); len(names) == batch {
				work <- job{rel, names}
				names = nil
			}
		}
	}
	if len(names) > 0 {
		work <- job{rel, names}
	}
	return context.Cause(ctx)
}

func alike(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, info.Mode().Perm())
}

func (c *cloner) link(rel string) error {
	target, err := os.Readlink(filepath.Join(c.from, rel))
	if err != nil {
		return err
	}
	return os.Symlink(target, filepath.Join(c.to, rel))
}

// files clones files of one folder.
func (c *cloner) files(j job) error {
	src, err := unix.Open(filepath.Join(c.from, j.dir), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Join(c.from, j.dir), Err: err}
	}
	dst, err := unix.Open(filepath.Join(c.to, j.dir), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(&fs.PathError{Op: "open", Path: filepath.Join(c.to, j.dir), Err: err}, unix.Close(src))
	}
	for _, name := range j.names {
		if err = c.file(src, dst, name); err != nil {
			err = &fs.PathError{Op: "clone", Path: filepath.Join(c.to, j.dir, name), Err: err}
			break
		}
	}
	return errors.Join(err, unix.Close(src), unix.Close(dst))
}

func (c *cloner) file(srcDir, dstDir int, name string) error {
	src, err := unix.Openat(srcDir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	dst, err := c.share(src, dstDir, name)
	if dst >= 0 {
		err = errors.Join(err, unix.Close(dst))
	}
	return errors.Join(err, unix.Close(src))
}

func (c *cloner) share(src, dstDir int, name string) (dst int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return -1, err
	}
	dst, err = unix.Openat(dstDir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, st.Mode&0o777)
	if err != nil {
		return -1, err
	}
	if st.Size > 0 {
		if err := unix.IoctlFileClone(dst, src); err != nil {
			return dst, err
		}
	}
	if st.Mode&0o022 != 0 { // our own mask took it away
		if err := unix.Fchmod(dst, st.Mode&0o777); err != nil {
			return dst, err
		}
	}
	if os.Geteuid() == 0 {
		if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return dst, err
		}
	}
	c.count.Add(1)
	c.bytes.Add(st.Size)
	return dst, nil
}

// cloneError tells a full disk and a file system that cannot from the rest.
func cloneError(to string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return bosman.Unavailable("the disk that holds %s is full", filepath.Dir(to)).
			WithKept("what was there before is untouched").WithNext("free some space: copies nobody needs and kept databases are the first to look at").Because(err)
	case noReflink(err):
		return bosman.Unavailable("files cannot be copied to %s by sharing their blocks", filepath.Dir(to)).
			WithNext("see what bosman doctor says about storage").Because(err)
	}
	return bosman.Unavailable("the folder %s could not be copied", filepath.Base(filepath.Dir(to))).Because(err)
}

// Sync writes all that the file system of path holds in memory to its disk.
func Sync(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return unix.Syncfs(int(f.Fd()))
}
