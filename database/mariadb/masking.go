package mariadb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

var _ database.Masker = (*Engine)(nil)

// MaskWith implements database.Masker.
func (e *Engine) MaskWith(m database.Masking) { e.masking = m }

// MaskPlan implements database.Masker.
func (e *Engine) MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (mask.Plan, error) {
	c, err := e.reach(d)
	if err != nil {
		return mask.Plan{}, err
	}
	return c.maskPlan(ctx, d.Name, s)
}

func (c *Cluster) maskPlan(ctx context.Context, name string, s mask.Spec) (p mask.Plan, err error) {
	err = c.with(ctx, "", "look for personal data in "+name, func(conn *sql.Conn) error {
		cat, err := maskCatalog(ctx, conn, name)
		if err != nil {
			return err
		}
		p, err = mask.New(s, cat)
		return err
	})
	return p, err
}

// maskSpec gives what is to be masked in a golden copy of from, and its
// version.
func (e *Engine) maskSpec(ctx context.Context, from bosman.Database, release int) (mask.Spec, string, error) {
	if e.masking == nil {
		return mask.Spec{}, "", nil
	}
	src, err := e.reach(from)
	if err != nil {
		return mask.Spec{}, "", err
	}
	var l label
	err = src.with(ctx, "", "look at database "+from.Name, func(conn *sql.Conn) (err error) {
		l, err = e.readOn(ctx, src, conn, from.Name)
		return err
	})
	if err != nil {
		return mask.Spec{}, "", err
	}
	return e.masking.Spec(ctx, l.Name, release)
}

// mask replaces the personal data in a database that nobody was shown yet: its
// tables are there, the rest of what is theirs is not, so no trigger runs. All
// SQL on the data is the worker's, who may do nothing elsewhere. Afterwards
// the database is dressed; what.objects are those that still wait.
func (e *Engine) mask(ctx context.Context, worker bosman.Database, s mask.Spec, what *content) error {
	if s.Empty() {
		return nil
	}
	plan, err := e.home.maskPlan(ctx, worker.Name, s)
	if err != nil {
		return err
	}
	if err := plan.Refuse(); err != nil {
		return err
	}
	if err := e.asMasker(ctx, worker, func(conn *sql.Conn) error { return dropHistory(ctx, conn, worker.Name) }); err != nil {
		return err
	}
	if err := e.maskColumns(ctx, worker, plan, s.Salt); err != nil {
		return err
	}
	if err := e.home.point("database.golden.masked"); err != nil {
		return err
	}
	now, parked := park(what.objects, false)
	err = e.home.with(ctx, "", "dress database "+worker.Name, func(conn *sql.Conn) error {
		if err := e.home.dress(ctx, conn, worker.Name, worker.User, now); err != nil {
			return err
		}
		return e.home.setUser(ctx, conn, worker.User, "UNLOCK") // for the files; show locks it out again
	})
	if err != nil {
		return err
	}
	what.objects = parked
	for _, f := range s.SQL {
		if err := e.maskFile(ctx, worker, f); err != nil {
			return err
		}
	}
	return e.anew(ctx, worker, plan, len(s.SQL) > 0)
}

// asMasker opens connections of the worker whose statements count the rows
// they find, not those they change.
func (e *Engine) asMasker(ctx context.Context, worker bosman.Database, fn func(conn *sql.Conn) error) (err error) {
	cfg := Config(worker)
	cfg.ClientFoundRows = true
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES'"
	cfg.Params["foreign_key_checks"] = "0"
	cfg.Params["innodb_lock_wait_timeout"] = "10"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }() // the work is done or failed by then
	conn, err := db.Conn(ctx)
	if err == nil {
		err = fn(conn)
	}
	return e.home.sqlError("mask "+worker.Name, ended(ctx, err))
}

func (e *Engine) maskColumns(ctx context.Context, worker bosman.Database, plan mask.Plan, salt string) error {
	if len(plan.Masked) == 0 {
		return nil
	}
	return e.asMasker(ctx, worker, func(conn *sql.Conn) error {
		stay, err := stamps(ctx, conn, worker.Name)
		if err != nil {
			return err
		}
		script := mask.MariaDB(plan, salt, func(table string) []string { return stay[table] })
		var held []mask.Orphans
		for _, o := range script.Orphans {
			if lost, err := orphans(ctx, conn, o); err != nil {
				return err
			} else if !lost {
				held = append(held, o)
			}
		}
		if err := run(ctx, conn, mask.MariaDBFakes); err != nil {
			return err
		}
		at := 0
		for _, u := range script.Updates {
			for _, m := range u.Columns {
				if m.Invents() {
					if err := e.invent(ctx, worker, conn, at, m, salt); err != nil {
						return err
					}
				}
				at++
			}
			if err := database.MaskTable(ctx, conn, u, maskFailed); err != nil {
				return err
			}
			if err := run(ctx, conn, "TRUNCATE TABLE bosman_fakes"); err != nil {
				return err
			}
		}
		for _, o := range held {
			if lost, err := orphans(ctx, conn, o); err != nil {
				return err
			} else if lost {
				return database.MaskOrphans(o.Name)
			}
		}
		return nil
	})
}

func orphans(ctx context.Context, conn *sql.Conn, o mask.Orphans) (lost bool, err error) {
	if err := conn.QueryRowContext(ctx, o.SQL).Scan(&lost); err != nil {
		return false, fmt.Errorf("foreign key %s: %w", o.Name, err)
	}
	return lost, nil
}

// How many invented values go to the server at once.
const (
	fakesAtOnce = 500
	fakesBytes  = 1 << 20
)

// invent puts what stands in for each value of a column into the table of
// fakes that conn has; another connection reads the column meanwhile.
func (e *Engine) invent(ctx context.Context, worker bosman.Database, conn *sql.Conn, at int, m mask.Masked, salt string) error {
	text := mask.MariaDBText(m.Column)
	return e.asMasker(ctx, worker, func(reading *sql.Conn) (err error) {
		rows, err := reading.QueryContext(ctx, "SELECT DISTINCT CAST("+text+" AS BINARY) FROM "+quote(m.Column.Table)+" WHERE CHAR_LENGTH("+text+") > 0")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		var values []any
		size := 0
		put := func() error {
			if len(values) == 0 {
				return nil
			}
			_, err := conn.ExecContext(ctx, "INSERT INTO bosman_fakes (c, k, v) VALUES "+strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(values)/3), ", "), values...)
			values, size = values[:0], 0
			return err
		}
		for rows.Next() {
			var value []byte
			if err := rows.Scan(&value); err != nil {
				return err
			}
			sum := sha256.Sum256(value)
			fake := m.Fake(salt, string(value))
			values, size = append(values, at, sum[:], fake), size+len(fake)
			if len(values)/3 >= fakesAtOnce || size >= fakesBytes {
				if err := put(); err != nil {
					return err
				}
			}
		}
		return errors.Join(rows.Err(), put())
	})
}

// maskFailed leaves to sqlError what is not about the table.
func maskFailed(table string, err error) error {
	var said *mysql.MySQLError
	if !errors.As(err, &said) {
		return err
	}
	switch said.Number {
	case errDiskFull, errTableFull, errLockWait, errDeadlock, errShutdown, errKilled, errInterrupted:
		return err
	}
	return database.MaskFailed(table, withoutValues(said.Message), nil) // the cause holds values
}

// stamps gives by table the columns that the server changes with any other.
func stamps(ctx context.Context, conn *sql.Conn, db string) (map[string][]string, error) {
	rows, err := table(ctx, conn, "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND EXTRA LIKE '%on update%'", db)
	out := map[string][]string{}
	for _, r := range rows {
		out[r[0]] = append(out[r[0]], r[1])
	}
	return out, err
}

// fileEnded is what the client prints after a file: whether a transaction is open.
const fileEnded = "bosman: the file has ended "

// maskFile runs the team's own SQL with MariaDB's client, which knows
// DELIMITER, as the worker. It may read no file.
func (e *Engine) maskFile(ctx context.Context, worker bosman.Database, f mask.File) error {
	var out bytes.Buffer
	text := f.Text + "\n;\nDELIMITER ;\nSELECT CONCAT('" + fileEnded + "', @@in_transaction);\n"
	_, err := e.home.client(ctx, worker, e.home.Dir, strings.NewReader(text), &out, "mariadb",
		"--batch", "--skip-column-names", "--binary-mode", "--local-infile=0", "--default-character-set=utf8mb4", "--max-allowed-packet=1G", worker.Name)
	if err != nil {
		cause := err.Error()
		if why := bosman.AsError(err).Unwrap(); why != nil {
			cause = why.Error()
		}
		if _, said, ok := strings.Cut(cause, "ERROR "); ok && bosman.KindOf(err) == bosman.KindFailed {
			return database.MaskFileFailed(f.Name, withoutValues("ERROR "+said), nil) // the cause holds values
		}
		return err
	}
	if !strings.HasSuffix(strings.TrimSpace(out.String()), fileEnded+"0") {
		return database.MaskFileFailed(f.Name, "it leaves a transaction, a comment or a text open", nil)
	}
	return nil
}

var valueInMessage = regexp.MustCompile(`(?is)(entry|value:?|string:?) '.*?' for`)

// withoutValues takes out of what the server said the values that it said it
// of.
func withoutValues(message string) string {
	return strings.TrimSpace(valueInMessage.ReplaceAllString(message, "$1 for"))
}

// anew writes tables anew, so that no page of their files has held the old
// values: those that were masked or had a history, or all of them. History
// that tables keep of their rows goes.
func (e *Engine) anew(ctx context.Context, worker bosman.Database, plan mask.Plan, all bool) error {
	masked := map[string]bool{}
	for _, m := range plan.Masked {
		masked[m.Column.Table] = true
	}
	return e.asMasker(ctx, worker, func(conn *sql.Conn) error {
		if err := dropHistory(ctx, conn, worker.Name); err != nil {
			return err
		}
		tables, err := table(ctx, conn, "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')", worker.Name)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if !all && !masked[t[0]] && t[1] != "SYSTEM VERSIONED" {
				continue
			}
			if err := run(ctx, conn, "ALTER TABLE "+quote(t[0])+" FORCE"); err != nil {
				return fmt.Errorf("write %s anew: %w", t[0], err)
			}
		}
		return nil
	})
}
