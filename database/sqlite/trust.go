package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// A database's folder belongs to its instance, which may put anything in the
// place of the files in it: a link to the database of another instance, a pipe
// that nobody writes to. Bosman, who may read everything, must not be led there.

// exists says whether a database file lies at path.
func exists(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return bosman.NotFound("there is no database %s", path).Because(err)
	}
	if err == nil && !info.Mode().IsRegular() {
		return notItsOwn(path)
	}
	return trouble("look at database "+path, err)
}

func notItsOwn(path string) error {
	return bosman.Conflict("in the place of the database file %s stands something else, such as a link", path).
		WithKept("it was not opened, and nothing was changed").
		WithNext("look at what the instance's processes do; bosman reset gives a testing instance a fresh copy, bosman backup restore another its last backup")
}

// ownFile says whether what a connection opened is the file at path. SQLite
// resolves links and opens what that gives without following a further one, so
// this holds also if somebody exchanged the file after exists looked.
func ownFile(ctx context.Context, conn *sql.Conn, path string) error {
	folder, err := filepath.EvalSymlinks(filepath.Dir(path)) // Bosman's own folder may be a link
	if err != nil {
		return err
	}
	var file string
	if err := conn.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		return err
	}
	if file != filepath.Join(folder, filepath.Base(path)) {
		return notItsOwn(path)
	}
	return nil
}

// maxLabel is how long the note of where a database came from may be.
const maxLabel = 64 << 10

// readLabel reads that note, which the application may have changed: a file and
// not a pipe, a device or a link.
func readLabel(folder string, into any) (err error) {
	f, err := os.OpenFile(filepath.Join(folder, labelName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errors.New("it is not a file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLabel))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
