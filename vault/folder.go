package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// folder keeps objects as files. Nothing outside of it is touched, whatever
// links somebody put there. It is opened for each piece of work: a disk can be
// taken off and mounted again between them.
type folder struct{ dir string }

// opened is the folder while it is worked in.
type opened struct{ *os.Root }

// making marks files that are not finished.
const making = ".making-"

func openFolder(dir string) (*folder, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, bosman.Unavailable("the backup target %s is not there and cannot be made", dir).Because(err).
			WithNext("see that its disk is mounted, then make the folder")
	}
	f := &folder{dir}
	return f, f.in(func(opened) error { return nil })
}

func (f *folder) close() error { return nil }

// in works in the folder.
func (f *folder) in(work func(opened) error) error {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return bosman.Unavailable("the backup target %s cannot be used", f.dir).Because(err).WithNext("see that its disk is mounted and Bosman may write there")
	}
	return errors.Join(work(opened{root}), root.Close())
}

func (f *folder) put(ctx context.Context, name string, r io.Reader) error {
	return f.in(func(root opened) error { return root.put(ctx, name, r) })
}

func (f *folder) get(_ context.Context, name string) (in io.ReadCloser, err error) {
	err = f.in(func(root opened) error { in, err = root.get(name); return err })
	return in, err
}

func (f *folder) stat(_ context.Context, name string) (o object, err error) {
	err = f.in(func(root opened) error { o, err = root.stat(name); return err })
	return o, err
}

func (f *folder) remove(_ context.Context, name string) error {
	return f.in(func(root opened) error { return root.remove(name) })
}

func (f *folder) sweep(ctx context.Context, before time.Time) error {
	return f.in(func(root opened) error { return root.sweep(ctx, before) })
}

func (f *folder) list(ctx context.Context, prefix string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		var all []object
		err := f.in(func(root opened) (err error) { all, err = root.walk(ctx, prefix); return err })
		if err != nil {
			yield(object{}, err)
			return
		}
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (f opened) put(ctx context.Context, name string, r io.Reader) (err error) {
	dir := path.Dir(name)
	if err := f.mkdirs(dir); err != nil {
		return err
	}
	tmp := path.Join(dir, making+strings.ToLower(rand.Text()))
	out, err := f.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if rerr := f.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	_, err = io.Copy(&steady{to: out}, r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = faults.Point("vault.folder.written")
	}
	if err == nil {
		err = f.publish(tmp, name)
	}
	if err == nil {
		err = f.sync(dir)
	}
	return err
}

// steadyEvery is after how many bytes a file is begun to be written to the disk.
const steadyEvery = 4 << 20

// steady has the kernel write a file while it grows: a sync of all of it in
// the end would take its time, and hold up whoever else syncs on that disk.
type steady struct {
	to            *os.File
	end, begunEnd int64
}

func (s *steady) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	s.end += int64(n)
	if s.end-s.begunEnd >= steadyEvery {
		_ = unix.SyncFileRange(int(s.to.Fd()), s.begunEnd, s.end-s.begunEnd, unix.SYNC_FILE_RANGE_WRITE) // the sync in the end counts
		s.begunEnd = s.end
	}
	return n, err
}

// publish gives a finished file its name, which nothing may have.
func (f opened) publish(tmp, name string) error {
	err := f.Link(tmp, name)
	if err == nil {
		if err := faults.Point("vault.folder.linked"); err != nil {
			return err
		}
		return f.Remove(tmp)
	}
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	// The file system knows no hard links.
	if _, serr := f.Lstat(name); !errors.Is(serr, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, serr)
	}
	return f.Rename(tmp, name)
}

// mkdirs makes the folders of an object and syncs where they were made.
func (f opened) mkdirs(dir string) error {
	if dir == "." {
		return nil
	}
	err := f.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.mkdirs(path.Dir(dir)); err != nil {
			return err
		}
		err = f.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.sync(path.Dir(dir))
}

func (f opened) sync(dir string) error {
	d, err := f.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // some network file systems cannot
	}
	return errors.Join(err, d.Close())
}

func (f opened) get(name string) (io.ReadCloser, error) {
	in, err := f.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, in.Close(), &broken{"it is not a file", nil})
	}
	return in, nil
}

func (f opened) stat(name string) (object, error) {
	info, err := f.Lstat(name)
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return object{}, err
	}
	return object{name: name, size: info.Size(), at: info.ModTime().UTC()}, nil
}

// walk gives the finished files, sorted as S3 sorts: by the whole name.
func (f opened) walk(ctx context.Context, prefix string) (all []object, err error) {
	start := path.Dir(prefix + "x")
	err = fs.WalkDir(f.FS(), start, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // none yet, or removed meanwhile
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(name, prefix) || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		all = append(all, object{name: name, size: info.Size(), at: info.ModTime().UTC()})
		return nil
	})
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.name, b.name) })
	return all, err
}

// remove also takes away the folders that become empty.
func (f opened) remove(name string) error {
	if err := f.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		return err
	}
	if err := f.sync(path.Dir(name)); err != nil {
		return err
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if err := f.Remove(dir); err != nil {
			return nil //nolint:nilerr // it holds other objects
		}
	}
	return nil
}

func (f opened) sweep(ctx context.Context, before time.Time) error {
	return fs.WalkDir(f.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), making) {
			return err
		}
		info, err := d.Info()
		if err != nil || info.ModTime().After(before) {
			return err
		}
		return f.Remove(filepath.FromSlash(name))
	})
}
