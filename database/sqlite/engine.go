// Package sqlite drives database files of SQLite, one folder for each
// instance, so that a database and its -wal and -shm files always move
// together.
//
// It must not know apps beyond their folder, nor plans or processes.
package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// The files of a database's folder, and of a backup.
const (
	fileName   = "db.sqlite3"
	labelName  = "bosman.json" // where the data came from
	backupName = "database.sqlite3"
	infoName   = "database.json"
)

// Engine keeps the databases of one app in the folder Dir: Dir/NAME/db.sqlite3.
type Engine struct {
	dir string

	mu      sync.Mutex
	working map[string]bool

	masking database.Masking // nil: copies hold what their source holds
	turn    ground.Names     // who makes a golden copy
	golden  sync.RWMutex     // read by copies of golden ones, written to drop these
	faker   faker
}

var (
	_ database.Engine    = (*Engine)(nil)
	_ database.Checker   = (*Engine)(nil)
	_ database.Owner     = (*Engine)(nil)
	_ database.Refresher = (*Engine)(nil)
	_ database.Masker    = (*Engine)(nil)
)

// NewEngine keeps databases in the folder dir, which is made if missing.
func NewEngine(dir string) (*Engine, error) {
	if !filepath.IsAbs(dir) {
		return nil, bosman.Invalid("the folder %q for databases is not absolute", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, trouble("make the folder for databases", err)
	}
	return &Engine{dir: dir, working: map[string]bool{}}, nil
}

func (e *Engine) folder(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) database(name string) bosman.Database {
	return bosman.Database{Engine: "sqlite", Name: filepath.Join(e.folder(name), fileName)}
}

// nameOf gives the name of one of our databases.
func (e *Engine) nameOf(d bosman.Database) (string, error) {
	folder := filepath.Dir(d.Name)
	if d.Engine != "sqlite" || filepath.Dir(folder) != filepath.Clean(e.dir) || filepath.Base(d.Name) != fileName {
		return "", bosman.Invalid("%s is not a database kept in %s", d.Name, e.dir)
	}
	name := filepath.Base(folder)
	return name, database.CheckName(name)
}

func (e *Engine) claim(ctx context.Context, name string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.working[name] {
		return nil, bosman.Busy("the database %s is being worked on", name).WithNext("wait until that has ended")
	}
	e.working[name] = true
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.working, name)
	}, nil
}

// Find implements database.Engine.
func (e *Engine) Find(ctx context.Context, name string) (bosman.Database, error) {
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	d := e.database(name)
	return d, exists(d.Name)
}

// address is how the driver opens an existing database, with more settings.
func address(path, more string) string {
	u := url.URL{
		Scheme: "file", OmitHost: true, Path: path,
		RawQuery: "mode=rw&_pragma=busy_timeout(10000)" + more,
	}
	return u.String()
}

// open opens an existing database; the caller closes it.
func open(path string) (*sql.DB, error) {
	if err := exists(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", address(path, "&_pragma=foreign_keys(0)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// with opens the database at path for fn.
func with(ctx context.Context, path, doing string, fn func(*sql.Conn) error) (err error) {
	db, err := open(path)
	if err != nil {
		return trouble(doing, err)
	}
	return use(ctx, db, doing, func(conn *sql.Conn) error {
		if err := ownFile(ctx, conn, path); err != nil {
			return err
		}
		return fn(conn)
	})
}

// use runs fn with a connection of db and closes both.
func use(ctx context.Context, db *sql.DB, doing string, fn func(*sql.Conn) error) (err error) {
	defer func() { err = trouble(doing, errors.Join(err, db.Close())) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close())
}

func run(ctx context.Context, conn *sql.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// Create implements database.Engine.
func (e *Engine) Create(ctx context.Context, name string) (bosman.Database, error) {
	return e.make(ctx, name, func(file string) (label, error) {
		return label{}, createFile(ctx, file)
	})
}

// createFile makes an empty database in WAL mode.
func createFile(ctx context.Context, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return with(ctx, file, "create database", func(conn *sql.Conn) error { return run(ctx, conn, "PRAGMA journal_mode = WAL", "VACUUM") })
}

// make builds a folder out of sight and renames it into its place.
func (e *Engine) make(ctx context.Context, name string, fill func(file string) (label, error)) (d bosman.Database, err error) {
	if err := database.CheckName(name); err != nil {
		return d, err
	}
	d = e.database(name)
	release, err := e.claim(ctx, name)
	if err != nil {
		return d, err
	}
	defer release()
	if _, err := os.Lstat(e.folder(name)); !errors.Is(err, fs.ErrNotExist) {
		return d, bosman.Conflict("the database %s exists already", name).WithKept("it is untouched").Because(err)
	}
	making := e.folder(database.Beside(name, database.TagMaking))
	if err := errors.Join(os.RemoveAll(making), os.Mkdir(making, 0o750)); err != nil {
		return d, trouble("make database "+name, err)
	}
	if err := e.build(making, name, fill); err != nil {
		return d, errors.Join(trouble("make database "+name, err), os.RemoveAll(making))
	}
	return d, faults.Point("database.copy.shown")
}

func (e *Engine) build(making, name string, fill func(file string) (label, error)) error {
	if err := faults.Point("database.copy.made"); err != nil {
		return err
	}
	l, err := fill(filepath.Join(making, fileName))
	if err != nil {
		return err
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(making, labelName), b, 0o644); err != nil {
		return err
	}
	if err := errors.Join(syncPath(filepath.Join(making, fileName)), syncPath(making)); err != nil {
		return err
	}
	if err := faults.Point("database.copy.filled"); err != nil {
		return err
	}
	return errors.Join(os.Rename(making, e.folder(name)), syncPath(e.dir))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Swap implements database.Engine. It waits up to ten seconds for a writer;
// connections that stay open go on with the kept file, so the instance's
// processes are to be stopped before.
func (e *Engine) Swap(ctx context.Context, d, with bosman.Database) (kept bosman.Database, err error) {
	name, err := e.nameOf(d)
	if err != nil {
		return kept, err
	}
	next, err := e.nameOf(with)
	if err != nil {
		return kept, err
	}
	release, err := e.claim(ctx, name)
	if err != nil {
		return kept, err
	}
	defer release()
	if err := exists(with.Name); err != nil {
		return kept, err
	}
	if bosman.KindOf(exists(d.Name)) == bosman.KindNotFound {
		err := errors.Join(os.Rename(e.folder(next), e.folder(name)), syncPath(e.dir))
		return kept, trouble("put "+next+" in its place", err)
	}
	keptName := database.KeptName(name, time.Now())
	err = quiet(ctx, with.Name, func() error {
		return quiet(ctx, d.Name, func() error {
			if err := os.Rename(e.folder(name), e.folder(keptName)); err != nil {
				return err
			}
			if err := faults.Point("sqlite.swap.between"); err != nil {
				return errors.Join(err, os.Rename(e.folder(keptName), e.folder(name)))
			}
			if err := os.Rename(e.folder(next), e.folder(name)); err != nil {
				return errors.Join(err, os.Rename(e.folder(keptName), e.folder(name)))
			}
			return syncPath(e.dir)
		})
	})
	if err != nil {
		return kept, trouble("put "+next+" in the place of "+name, err)
	}
	return e.database(keptName), faults.Point("database.swap.renamed")
}

// quiet runs fn while nobody writes to the database at path, whose -wal file
// was written back as far as readers let it.
func quiet(ctx context.Context, path string, fn func() error) error {
	return with(ctx, path, "wait for writers", func(conn *sql.Conn) error {
		if err := run(ctx, conn, "PRAGMA wal_checkpoint(TRUNCATE)", "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		return errors.Join(fn(), run(context.WithoutCancel(ctx), conn, "ROLLBACK"))
	})
}

// Drop implements database.Engine.
func (e *Engine) Drop(ctx context.Context, d bosman.Database) error {
	name, err := e.nameOf(d)
	if err != nil {
		return err
	}
	release, err := e.claim(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	gone := e.folder(database.Beside(name, database.TagMaking))
	if err := os.RemoveAll(gone); err != nil {
		return trouble("drop database "+name, err)
	}
	if err := os.Rename(e.folder(name), gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return trouble("drop database "+name, err)
	}
	if err := faults.Point("database.drop.dropped"); err != nil {
		return err
	}
	return trouble("drop database "+name, os.RemoveAll(gone))
}

// Own implements database.Owner.
func (e *Engine) Own(ctx context.Context, d bosman.Database, uid int) error {
	name, err := e.nameOf(d)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	entries, err := os.ReadDir(e.folder(name))
	if err != nil {
		return trouble("give away database "+name, err)
	}
	err = os.Lchown(e.folder(name), uid, uid)
	for _, f := range entries {
		err = errors.Join(err, os.Lchown(filepath.Join(e.folder(name), f.Name()), uid, uid))
	}
	return trouble("give away database "+name, err)
}

// List implements database.Engine.
func (e *Engine) List(ctx context.Context) ([]database.Entry, error) {
	folders, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, trouble("list databases", err)
	}
	var out []database.Entry
	for _, f := range folders {
		name := f.Name()
		if !f.IsDir() || database.CheckName(name) != nil || database.HasTag(name, database.TagMaking) {
			continue
		}
		entry := database.Entry{Database: e.database(name), Name: name, Golden: database.HasTag(name, database.TagGolden)}
		info, err := os.Lstat(entry.Database.Name)
		if err != nil {
			continue // a folder without a database
		}
		entry.Bytes = info.Size()
		if readLabel(e.folder(name), &entry.Copy) != nil {
			entry.Copy = bosman.CopyInfo{} // the application may write there; it is only shown
		}
		if tags := database.Tags(name); len(tags) > 0 {
			if stamp, ok := strings.CutPrefix(tags[len(tags)-1], database.TagKept+"_"); ok {
				entry.KeptAt, _ = database.ParseStamp(stamp)
			}
		}
		out = append(out, entry)
	}
	return out, nil
}

// Recover implements database.Engine. A swap that was killed between its two
// renames is finished if the new database waits under its usual name, and
// undone if not.
func (e *Engine) Recover(ctx context.Context) error {
	all, err := e.List(ctx)
	if err != nil {
		return err
	}
	newest := map[string]database.Entry{} // by instance: what was replaced last
	for _, x := range all {
		if base := database.Base(x.Name); x.KeptAt.After(newest[base].KeptAt) {
			newest[base] = x
		}
	}
	for base, kept := range newest {
		if _, err := os.Lstat(e.folder(base)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		from := database.Beside(base, database.TagNext)
		if _, err := os.Lstat(e.folder(from)); err != nil {
			from = kept.Name
		}
		if err := errors.Join(os.Rename(e.folder(from), e.folder(base)), syncPath(e.dir)); err != nil {
			return trouble("finish the swap of "+base, err)
		}
	}
	folders, err := os.ReadDir(e.dir)
	if err != nil {
		return trouble("list databases", err)
	}
	for _, f := range folders {
		if database.HasTag(f.Name(), database.TagMaking) || database.HasTag(f.Name(), database.TagVerify) || f.Name() == database.TagRehearsal {
			if err := os.RemoveAll(e.folder(f.Name())); err != nil {
				return trouble("remove a half-made database", err)
			}
		}
	}
	return nil
}

// trouble turns an error of SQLite or the file system into one for people.
func trouble(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *bosman.Error
	if errors.As(err, &known) {
		return err
	}
	full := bosman.Unavailable("could not %s: the disk is full", doing).WithKept("what was there before is untouched").WithNext("free some space").Because(err)
	var s *driver.Error
	if errors.As(err, &s) {
		switch s.Code() & 0xff {
		case lib.SQLITE_FULL:
			return full
		case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
			return bosman.Busy("could not %s: the database is being written to", doing).WithNext("stop the instance's processes or try again").Because(err)
		case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
			return bosman.Failed("could not %s: the database is damaged", doing).WithNext("restore a backup").Because(err)
		}
		return bosman.Failed("could not %s", doing).Because(err)
	}
	if isFull(err) {
		return full
	}
	return bosman.Unavailable("could not %s", doing).Because(err)
}
