package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/faults"
)

// MaskWith implements database.Masker.
func (e *Engine) MaskWith(m database.Masking) { e.masking = m }

// MaskPlan implements database.Masker.
func (e *Engine) MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (p mask.Plan, err error) {
	err = with(ctx, d.Name, "look for personal data in "+d.Name, func(conn *sql.Conn) error {
		p, err = maskPlan(ctx, conn, s)
		return err
	})
	return p, err
}

func maskPlan(ctx context.Context, conn *sql.Conn, s mask.Spec) (mask.Plan, error) {
	cat, err := maskCatalog(ctx, conn)
	if err != nil {
		return mask.Plan{}, err
	}
	return mask.New(s, cat)
}

// isMasked says whether copies of from are masked while it runs a release.
func (e *Engine) isMasked(ctx context.Context, from bosman.Database, release int) (bool, error) {
	if e.masking == nil {
		return false, nil
	}
	name, err := e.nameOf(from)
	if err != nil {
		return false, err
	}
	s, _, err := e.masking.Spec(ctx, name, release)
	return !s.Empty(), err
}

// faker is a driver of SQLite whose connections know mask's functions. What is
// registered with a driver stays for ever, so there is one for each engine and
// the functions ask what is being masked now: one golden copy at a time.
type faker struct {
	once   sync.Once
	driver *driver.Driver
	err    error
	now    atomic.Pointer[masked]
}

type masked struct {
	plan mask.Plan
	salt string
}

// connector opens connections of a driver that is registered nowhere.
type connector struct {
	driver  *driver.Driver
	address string
}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (sqldriver.Conn, error) { return c.driver.Open(c.address) }

// Driver implements driver.Connector.
func (c connector) Driver() sqldriver.Driver { return c.driver }

// with opens the database at path for fn, in which the functions mask as m
// says. Nothing of the database is kept in files beside it when fn has ended.
func (f *faker) with(ctx context.Context, path string, m *masked, fn func(*sql.Conn) error) error {
	f.once.Do(func() {
		f.driver = &driver.Driver{}
		f.err = errors.Join(
			f.driver.RegisterScalarFunction(mask.SQLiteFake, 2, func(_ *driver.FunctionContext, args []sqldriver.Value) (sqldriver.Value, error) {
				return f.fake(args[0], args[1])
			}),
			f.driver.RegisterScalarFunction(mask.SQLiteDate, 1, func(_ *driver.FunctionContext, args []sqldriver.Value) (sqldriver.Value, error) {
				now := f.now.Load()
				if now == nil {
					return nil, errors.New("nothing is being masked")
				}
				return mask.MoveDate(args[0], mask.DateShift(now.salt))
			}),
		)
	})
	if f.err != nil {
		return f.err
	}
	f.now.Store(m)
	defer f.now.Store(nil)
	db := sql.OpenDB(connector{f.driver, address(path, "&_pragma=foreign_keys(0)&_pragma=journal_mode(delete)&_pragma=synchronous(off)")})
	db.SetMaxOpenConns(1)
	return use(ctx, db, "mask the copy", fn)
}

func (f *faker) fake(at, value any) (sqldriver.Value, error) {
	now := f.now.Load()
	i, ok := at.(int64)
	if !ok || now == nil || i < 0 || i >= int64(len(now.plan.Masked)) {
		return nil, errors.New("nothing is being masked there")
	}
	var text string
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		text = v
	case []byte:
		text = string(v)
	default:
		text = fmt.Sprint(v)
	}
	return now.plan.Masked[i].Fake(now.salt, text), nil
}

// mask replaces the personal data in a database file that nobody was shown
// yet, and then writes the file anew: no page of it has held the old values.
func (e *Engine) mask(ctx context.Context, file string, s mask.Spec) error {
	m := &masked{salt: s.Salt}
	var mode string
	err := with(ctx, file, "look for personal data in the copy", func(conn *sql.Conn) (err error) {
		if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
			return err
		}
		m.plan, err = maskPlan(ctx, conn, s)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.plan.Refuse(); err != nil {
		return err
	}
	if err := e.faker.with(ctx, file, m, func(conn *sql.Conn) error { return maskColumns(ctx, conn, m.plan) }); err != nil {
		return err
	}
	if err := faults.Point("database.golden.masked"); err != nil {
		return err
	}
	for _, f := range s.SQL {
		if err := maskFile(ctx, file, f); err != nil {
			return err
		}
	}
	return anew(ctx, file, mode)
}

// maskColumns masks the columns of a plan while triggers are away.
func maskColumns(ctx context.Context, conn *sql.Conn, plan mask.Plan) error {
	script := mask.SQLite(plan)
	held, err := heldKeys(ctx, conn, script)
	if err != nil {
		return err
	}
	if err := run(ctx, conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	var back []string // triggers
	for _, u := range script.Updates {
		triggers, err := query(ctx, conn, "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY rowid", u.Table)
		if err != nil {
			return err
		}
		for _, t := range triggers {
			back = append(back, t[1])
			if err := run(ctx, conn, "DROP TRIGGER "+quote(t[0])); err != nil {
				return err
			}
		}
		if err := database.MaskTable(ctx, conn, u, maskFailed); err != nil {
			return err
		}
	}
	if err := run(ctx, conn, append(back, "COMMIT")...); err != nil {
		return err
	}
	for _, o := range held {
		if lost, err := orphans(ctx, conn, o); err != nil {
			return err
		} else if lost {
			return database.MaskOrphans(o.Name)
		}
	}
	return nil
}

// heldKeys gives the foreign keys that hold now: SQLite vouches for none.
func heldKeys(ctx context.Context, conn *sql.Conn, script mask.Script) (held []mask.Orphans, err error) {
	for _, o := range script.Orphans {
		lost, err := orphans(ctx, conn, o)
		if err != nil {
			return nil, err
		}
		if !lost {
			held = append(held, o)
		}
	}
	return held, nil
}

func orphans(ctx context.Context, conn *sql.Conn, o mask.Orphans) (lost bool, err error) {
	if err := conn.QueryRowContext(ctx, o.SQL).Scan(&lost); err != nil {
		return false, fmt.Errorf("foreign key %s: %w", o.Name, err)
	}
	return lost, nil
}

// maskFailed leaves to trouble what is not about the table: a full disk, the
// end of the context.
func maskFailed(table string, err error) error {
	var s *driver.Error
	if errors.As(err, &s) && s.Code()&0xff != lib.SQLITE_FULL && s.Code()&0xff != lib.SQLITE_INTERRUPT {
		return database.MaskFailed(table, s.Error(), err)
	}
	return err
}

// maskFile runs the team's own SQL on the copy and on nothing else: it may
// attach no other file and write none.
func maskFile(ctx context.Context, file string, f mask.File) error {
	db, err := sql.Open("sqlite", address(file, "&_defensive=1&_pragma=foreign_keys(1)"))
	if err != nil {
		return err
	}
	return use(ctx, db, "run "+f.Name, func(conn *sql.Conn) error {
		if _, err := driver.Limit(conn, lib.SQLITE_LIMIT_ATTACHED, 0); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, f.Text); err != nil {
			var s *driver.Error
			if errors.As(err, &s) && s.Code()&0xff != lib.SQLITE_FULL && s.Code()&0xff != lib.SQLITE_INTERRUPT {
				return database.MaskFileFailed(f.Name, s.Error(), err)
			}
			return err
		}
		if err := run(ctx, conn, "BEGIN", "ROLLBACK"); err != nil {
			return database.MaskFileFailed(f.Name, "it leaves a transaction open", err)
		}
		return nil
	})
}

// anew clears what still knows the old values, and writes the file anew.
func anew(ctx context.Context, file, mode string) error {
	fresh := file + ".anew"
	err := with(ctx, file, "write the masked copy", func(conn *sql.Conn) error {
		if err := run(ctx, conn, "PRAGMA journal_mode = DELETE"); err != nil {
			return err
		}
		indexes, err := query(ctx, conn, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%'")
		if err != nil {
			return err
		}
		for _, t := range indexes {
			if !fullText.MatchString(t[1]) {
				continue
			}
			if err := run(ctx, conn, "INSERT INTO "+quote(t[0])+" ("+quote(t[0])+") VALUES ('rebuild')"); err != nil {
				return bosman.Failed("the full-text index %s cannot be made anew of masked values", t[0]).
					WithKept("no copy was made of this data").WithNext("drop it in a file of mask_sql").Because(err)
			}
		}
		samples, err := query(ctx, conn, "SELECT name FROM sqlite_schema WHERE name IN ('sqlite_stat3', 'sqlite_stat4')")
		if err != nil {
			return err
		}
		for _, t := range samples {
			if err := run(ctx, conn, "DELETE FROM "+t[0]); err != nil {
				return err
			}
		}
		_, err = conn.ExecContext(ctx, "VACUUM INTO ?", fresh)
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(fresh, 0o640), os.Rename(fresh, file)); err != nil {
		return err
	}
	for _, more := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Remove(file + more); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !strings.EqualFold(mode, "wal") {
		return nil
	}
	return with(ctx, file, "write the masked copy", func(conn *sql.Conn) error { return run(ctx, conn, "PRAGMA journal_mode = WAL") })
}
