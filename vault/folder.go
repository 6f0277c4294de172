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

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// folder keeps objects as files. Nothing outside of it is touched, whatever
// links somebody put there.
type folder struct{ root *os.Root }

// making marks files that are not finished.
const making = ".making-"

func openFolder(dir string) (*folder, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, bosman.Unavailable("the backup target %s is not there and cannot be made", dir).Because(err).
			WithNext("see that its disk is mounted, then make the folder")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, bosman.Unavailable("the backup target %s cannot be used", dir).Because(err).WithNext("name a folder that Bosman may write to")
	}
	return &folder{root}, nil
}

func (f *folder) close() error { return f.root.Close() }

func (f *folder) put(ctx context.Context, name string, r io.Reader) (err error) {
	dir := path.Dir(name)
	if err := f.mkdirs(dir); err != nil {
		return err
	}
	tmp := path.Join(dir, making+strings.ToLower(rand.Text()))
	out, err := f.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if rerr := f.root.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	_, err = io.Copy(out, r)
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

// publish gives a finished file its name, which nothing may have.
func (f *folder) publish(tmp, name string) error {
	err := f.root.Link(tmp, name)
	if err == nil {
		if err := faults.Point("vault.folder.linked"); err != nil {
			return err
		}
		return f.root.Remove(tmp)
	}
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	// The file system knows no hard links.
	if _, serr := f.root.Lstat(name); !errors.Is(serr, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, serr)
	}
	return f.root.Rename(tmp, name)
}

// mkdirs makes the folders of an object and syncs where they were made.
func (f *folder) mkdirs(dir string) error {
	if dir == "." {
		return nil
	}
	err := f.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.mkdirs(path.Dir(dir)); err != nil {
			return err
		}
		err = f.root.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.sync(path.Dir(dir))
}

func (f *folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // some network file systems cannot
	}
	return errors.Join(err, d.Close())
}

func (f *folder) get(_ context.Context, name string) (io.ReadCloser, error) {
	in, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, in.Close(), &broken{"it is not a file", nil})
	}
	return in, nil
}

func (f *folder) stat(_ context.Context, name string) (object, error) {
	info, err := f.root.Lstat(name)
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return object{}, err
	}
	return object{name: name, size: info.Size(), at: info.ModTime().UTC()}, nil
}

func (f *folder) list(ctx context.Context, prefix string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		all, err := f.walk(ctx, prefix)
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

// walk gives the finished files, sorted as S3 sorts: by the whole name.
func (f *folder) walk(ctx context.Context, prefix string) (all []object, err error) {
	start := path.Dir(prefix + "x")
	err = fs.WalkDir(f.root.FS(), start, func(name string, d fs.DirEntry, err error) error {
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
func (f *folder) remove(_ context.Context, name string) error {
	if err := f.root.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		return err
	}
	if err := f.sync(path.Dir(name)); err != nil {
		return err
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if err := f.root.Remove(dir); err != nil {
			return nil //nolint:nilerr // it holds other objects
		}
	}
	return nil
}

func (f *folder) sweep(ctx context.Context, before time.Time) error {
	return fs.WalkDir(f.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
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
		return f.root.Remove(filepath.FromSlash(name))
	})
}
