package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

type backupFetchCmd struct {
	onBackup
	To string `required:"" placeholder:"DIR" help:"A folder that does not exist yet."`
}

// Help gives examples.
func (backupFetchCmd) Help() string {
	return `The dump lies in the folder as the database's own programs read it, unsealed:
personal data too. Only on the server's own machine, and only for who may
restore there; the activity log says so. Uploaded files stay in the backup.

Examples:
  bosman backup fetch k12 --to /var/tmp/k12
  pg_restore --no-owner -d shop_restored /var/tmp/k12/database.dump`
}

// Run writes the files of a backup into a new folder.
func (c *backupFetchCmd) Run(e *env) error {
	app, n, err := c.named(e)
	if err != nil {
		return err
	}
	sums, err := fetchInto(c.To, func(put func(string, int64, io.Reader) error) (wire.Fetched, error) {
		return e.server().FetchBackup(e.ctx, app, n, func(name string, bytes int64, r io.Reader) error {
			if !e.global.JSON {
				if _, err := fmt.Fprintf(e.stderr, "%s, %s\n", name, size(bytes)); err != nil {
					return err
				}
			}
			return put(name, bytes, r)
		})
	})
	if err != nil {
		return err
	}
	return e.show(sums, func() error {
		return e.say("%d files of %s are in %s; remove them when they are not needed any more", len(sums), backupRef(n), c.To)
	})
}

// fetchInto has the files written into a new folder beside dir, which gets
// its name when all of them are there.
func fetchInto(dir string, get func(put func(name string, size int64, r io.Reader) error) (wire.Fetched, error)) (sums wire.Fetched, err error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return nil, bosman.Conflict("%s is there already", dir).WithKept("nothing was written").WithNext("name a folder that does not exist yet")
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-") // mode 0700
	if err != nil {
		return nil, writeError(dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	sums, err = get(func(name string, _ int64, r io.Reader) error { return writeNew(filepath.Join(partial, name), r) })
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, bosman.Conflict("%s has come to be meanwhile", dir).WithKept("it was left as it is").WithNext("name another folder")
	}
	if err := os.Rename(partial, dir); err != nil {
		return nil, writeError(dir, err)
	}
	return sums, nil
}

func writeNew(path string, r io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return writeError(path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return writeError(path, err)
	}
	return f.Sync()
}

func writeError(path string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return bosman.Unavailable("%s could not be written", path).Because(err).WithKept("nothing was left behind").WithNext("look at the room and the permissions there")
}
