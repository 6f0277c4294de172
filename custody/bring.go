package custody

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/vault"
)

// Newest finds the newest state that can be read, or the named one.
// KindNotFound if the vault holds none. skipped tells of newer ones that
// cannot be read.
func Newest(ctx context.Context, v *vault.Store, named string) (st State, skipped []string, err error) {
	if named != "" {
		st, err = about(ctx, v, statePrefix+named)
		return st, nil, err
	}
	names, err := States(ctx, v)
	if err != nil {
		return st, nil, err
	}
	if len(names) == 0 {
		return st, nil, bosman.NotFound("there is no backup of Bosman's own state in %s", v.Target()).
			WithNext("see that this is the target of --backup-target, with its prefix")
	}
	var first error
	for _, name := range names {
		if err := proveState(ctx, v, name); err != nil {
			if kind := bosman.KindOf(err); kind != bosman.KindFailed {
				return st, skipped, err
			}
			skipped = append(skipped, bosman.AsError(err).Message)
			first = errors.Join(first, err)
			continue
		}
		st, err = about(ctx, v, name)
		return st, skipped, err
	}
	return st, skipped, first
}

// Bring puts the rows and keys of a state into the folder data. Files that
// were brought by an earlier run are written again. The file of the rows
// comes last and at once.
func Bring(ctx context.Context, v *vault.Store, st State, data string) error {
	dir := filepath.Join(data, folder, "work")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return bosman.Unavailable("the state cannot be written to %s", data).Because(err)
	}
	got, err := readState(ctx, v, st.Name, func(name string) (io.WriteCloser, error) {
		if filepath.Base(name) != name || name == "." {
			return nil, damaged(st.Name, "it names a file outside of it")
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, bosman.Unavailable("the state cannot be written to %s", data).Because(err)
		}
		return synced{f}, nil
	})
	if err != nil {
		return err
	}
	if err := faults.Point("custody.bring.read"); err != nil {
		return err
	}
	for _, f := range got.Files { // the rows are the last of them
		if err := os.Rename(filepath.Join(dir, f.Name), filepath.Join(data, f.Name)); err != nil {
			return bosman.Unavailable("the state cannot be put in its place").Because(err)
		}
	}
	return errors.Join(syncFolder(data), os.RemoveAll(dir), faults.Point("custody.bring.placed"))
}

// synced is a file that is on the disk when it is closed.
type synced struct{ *os.File }

// Close syncs and closes.
func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// BringBundle fetches the bundle of a repository into a new file in DATA and
// hands it to use.
func BringBundle(ctx context.Context, v *vault.Store, p Part, data string, use func(file string) error) error {
	if p.Object == "" {
		return use("")
	}
	dir := filepath.Join(data, folder, "work")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return bosman.Unavailable("a repository cannot be fetched").Because(err)
	}
	file := filepath.Join(dir, p.App+".bundle")
	_, err := v.Get(ctx, p.Object, func(r io.Reader) error {
		out, err := os.Create(file)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		return errors.Join(err, out.Close())
	})
	if err == nil {
		err = use(file)
	}
	if rerr := os.Remove(file); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// BringRelease makes the folder dir of a sealed release. It appears when it
// is complete; one that is there is left.
func BringRelease(ctx context.Context, v *vault.Store, p Part, dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	making := dir + ".recovering"
	if err := errors.Join(os.RemoveAll(making), os.MkdirAll(filepath.Dir(dir), 0o755)); err != nil {
		return bosman.Unavailable("the folder of a release cannot be made").Because(err)
	}
	if _, err := v.Get(ctx, p.Object, func(r io.Reader) error { return unpackTree(ctx, r, making) }); err != nil {
		return fmt.Errorf("bring back %s of %s: %w", bosman.Ref(bosman.LetterRelease, p.Number), p.App, err)
	}
	if err := faults.Point("custody.bring.release"); err != nil {
		return err
	}
	if err := os.Rename(making, dir); err != nil {
		return bosman.Unavailable("a release cannot be put in its place").Because(err)
	}
	return syncFolder(filepath.Dir(dir))
}
