package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	bosman "github.com/bosman-cd/bosman"
)

// quote makes an SQL identifier of any text without NUL.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// literal makes an SQL string of any text, in the default SQL mode.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(s) + "'"
}

// account is a user in SQL: ours come over the socket alone.
func account(user string) string { return quote(user) + "@`localhost`" }

// pattern is a database's name in a GRANT, where _ and % stand for others.
func pattern(db string) string {
	return quote(strings.NewReplacer(`_`, `\_`, `%`, `\%`).Replace(db))
}

// Config is how the driver reaches d with the given SQL mode; tests use it
// too.
func Config(d bosman.Database) *mysql.Config {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = d.User, d.Password, d.Name
	cfg.Net, cfg.Addr = "tcp", d.Host
	if s := d.Socket(); s != "" {
		cfg.Net, cfg.Addr = "unix", s
	}
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.Timeout = 10 * time.Second
	cfg.MaxAllowedPacket = 0 // what the server says
	cfg.InterpolateParams = true
	cfg.Collation = "utf8mb4_general_ci"
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	cfg.Logger = &mysql.NopLogger{} // what goes wrong comes back as an error
	return cfg
}

// open opens d with one connection for each Conn; the caller closes it.
func open(d bosman.Database) (*sql.DB, error) {
	connector, err := mysql.NewConnector(Config(d))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(0)
	return db, nil
}

// with runs fn with a superuser's connection whose database is name; "" for
// none.
func (c *Cluster) with(ctx context.Context, name, doing string, fn func(*sql.Conn) error) error {
	if c.secret == "" {
		return bosman.Internal("database server %s is used before Ensure", c.Name)
	}
	return c.withAs(ctx, c.database(name, superuser), doing, fn)
}

func (c *Cluster) withAs(ctx context.Context, d bosman.Database, doing string, fn func(*sql.Conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	db, err := open(d)
	if err != nil {
		return c.sqlError(doing, err)
	}
	// The work is done or failed by then; a failed goodbye changes neither.
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return c.sqlError(doing, ended(ctx, err))
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, net_read_timeout = 600, net_write_timeout = 600"); err != nil {
		return c.sqlError(doing, ended(ctx, err))
	}
	return c.sqlError(doing, ended(ctx, fn(conn)))
}

// ended prefers the end of ctx over what the driver made of it.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func run(ctx context.Context, conn *sql.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// exec runs statements one by one.
func (c *Cluster) exec(ctx context.Context, doing string, statements ...string) error {
	return c.with(ctx, "", doing, func(conn *sql.Conn) error { return run(ctx, conn, statements...) })
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// table reads all rows of a query as texts; NULL is "".
func table(ctx context.Context, q querier, query string, args ...any) (out [][]string, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = v.String
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// column reads the first column of a query.
func column(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := table(ctx, q, query, args...)
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, r[0])
	}
	return out, err
}

// ping says whether the server takes connections.
func (c *Cluster) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.exec(ctx, "reach it", "SELECT 1")
}

// kill ends the connections of the users and to the databases, but Bosman's.
func kill(ctx context.Context, conn *sql.Conn, users, databases []string) error {
	in := func(names []string) string {
		if len(names) == 0 {
			return "('')"
		}
		quoted := make([]string, len(names))
		for i, n := range names {
			quoted[i] = literal(n)
		}
		return "(" + strings.Join(quoted, ", ") + ")"
	}
	ids, err := column(ctx, conn, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND (USER IN "+in(users)+
		" OR DB IN "+in(databases)+" AND USER <> "+literal(superuser)+")")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := conn.ExecContext(ctx, "KILL CONNECTION "+id); err != nil && number(err) != errNoSuchThread {
			return err
		}
	}
	return nil
}

const errNoSuchThread = 1094

// ensureUser makes a user who is let in, or sets the password of one.
func (c *Cluster) ensureUser(ctx context.Context, conn *sql.Conn, user string) error {
	return c.setUser(ctx, conn, user, "UNLOCK")
}

func (c *Cluster) setUser(ctx context.Context, conn *sql.Conn, user, lock string) error {
	return run(ctx, conn, "CREATE USER IF NOT EXISTS "+account(user)+" IDENTIFIED BY "+literal(c.password(user))+" ACCOUNT LOCK",
		"ALTER USER "+account(user)+" IDENTIFIED BY "+literal(c.password(user))+" ACCOUNT "+lock)
}

// metadata is Bosman's own database on each server.
const metadata = "bosman"

// prepare makes what Bosman itself needs on the server.
func (c *Cluster) prepare(ctx context.Context) error {
	return c.with(ctx, "", "prepare database server "+c.Name, func(conn *sql.Conn) error {
		if err := c.ensureUser(ctx, conn, dumper); err != nil {
			return err
		}
		return run(ctx, conn,
			"GRANT SELECT, SHOW VIEW, LOCK TABLES ON *.* TO "+account(dumper),
			"CREATE DATABASE IF NOT EXISTS "+metadata+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			"CREATE TABLE IF NOT EXISTS "+metadata+".labels (name VARCHAR(64) PRIMARY KEY, ready BOOLEAN NOT NULL, doc LONGTEXT NOT NULL) ENGINE=InnoDB",
			"CREATE TABLE IF NOT EXISTS "+metadata+".swaps (name VARCHAR(64) PRIMARY KEY, doc LONGTEXT NOT NULL) ENGINE=InnoDB")
	})
}
