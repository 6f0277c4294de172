package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
)

// quote makes an SQL identifier of any text without NUL.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal makes an SQL string of any text.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// dsn is the address of d for pgx and libpq, in keyword form.
func dsn(d bosman.Database, withPassword bool) string {
	q := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	s := "host=" + q(d.Host) + " port=" + strconv.Itoa(d.Port) + " user=" + q(d.User) + " dbname=" + q(d.Name) + " application_name=bosman connect_timeout=10"
	if d.Params != "" || IsAdopted(d) {
		s += settings(d.Params)
	} else {
		s += " sslmode=disable"
	}
	if withPassword {
		s += " password=" + q(d.Password)
	}
	return s
}

// connect opens a connection; the caller closes it.
func connect(ctx context.Context, d bosman.Database) (*pgx.Conn, error) {
	// What an application defines must not be called by a superuser.
	return connectOn(ctx, d, "pg_catalog")
}

// connectOn is connect with the search path of a superuser's session.
func connectOn(ctx context.Context, d bosman.Database, path string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn(d, true))
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if !IsAdopted(d) { // what a database is set to is for the application; poolers may refuse what they do not know
		cfg.RuntimeParams["statement_timeout"] = "0"
	}
	if d.User == superuser { // what we say is done must outlive a killed server, also on scratch
		cfg.RuntimeParams["synchronous_commit"] = "on"
		cfg.RuntimeParams["search_path"] = path
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// with runs fn with a superuser's connection to the database name.
func (c *Cluster) with(ctx context.Context, name, doing string, fn func(*pgx.Conn) error) error {
	return c.withPath(ctx, name, doing, "pg_catalog", fn)
}

// withPath is with for extensions, some of which add themselves to the search
// path that their maker's session began with (postgis_topology) and need what
// else is there. While they are made PostgreSQL itself says where names are
// looked for.
func (c *Cluster) withPath(ctx context.Context, name, doing, path string, fn func(*pgx.Conn) error) error {
	if c.secret == "" && c.remote == nil {
		return bosman.Internal("database cluster %s is used before Ensure", c.Name)
	}
	conn, err := connectOn(ctx, c.admin(name), path)
	if err != nil {
		return c.sqlError(doing, err)
	}
	err = fn(conn)
	// The work is done or failed by now; a failed goodbye changes neither.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = conn.Close(end)
	return c.sqlError(doing, err)
}

// exec runs statements on the maintenance database, one by one, each in a
// transaction of its own.
func (c *Cluster) exec(ctx context.Context, doing string, statements ...string) error {
	return c.with(ctx, "postgres", doing, func(conn *pgx.Conn) error { return run(ctx, conn, statements...) })
}

func run(ctx context.Context, conn interface {
	Exec(context.Context, string, ...any) (tag, error)
}, statements ...string,
) error {
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// batch runs statements in one message, which PostgreSQL takes as one
// transaction unless one is under way.
func batch(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	_, err := conn.PgConn().Exec(ctx, strings.Join(statements, ";")).ReadAll()
	return err
}

// ping says whether the server takes connections.
func (c *Cluster) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.exec(ctx, "reach it", "SELECT 1")
}

// errDied is why a server that is waited for will not answer.
var errDied = errors.New("its process ended")

// await waits until the server takes connections, or has died.
func (c *Cluster) await(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		err := c.ping(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(err, ctx.Err())
		}
		if pid, perr := c.runningPid(); perr != nil || pid == 0 {
			return errors.Join(perr, c.down("reach it", errDied))
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// prepare brings roles and rights of the cluster itself into order.
func (c *Cluster) prepare(ctx context.Context) error {
	return c.with(ctx, "postgres", "prepare database cluster "+c.Name, func(conn *pgx.Conn) error {
		if err := c.learn(ctx, conn); err != nil {
			return err
		}
		for _, group := range []string{groupWorkers, groupBuilds} {
			if err := ensureRole(ctx, conn, group, "NOLOGIN"); err != nil {
				return err
			}
		}
		return run(ctx, conn,
			"REVOKE ALL ON DATABASE postgres FROM PUBLIC", "REVOKE ALL ON DATABASE template1 FROM PUBLIC",
			"GRANT CONNECT ON DATABASE postgres TO "+groupBuilds)
	})
}

// ensureRole makes a role or sets its options.
func ensureRole(ctx context.Context, conn *pgx.Conn, name, options string) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&exists); err != nil {
		return err
	}
	verb := "CREATE ROLE "
	if exists {
		verb = "ALTER ROLE "
	}
	_, err := conn.Exec(ctx, verb+quote(name)+" WITH "+options)
	return err
}

// exists says whether there is a database of this name.
func (c *Cluster) exists(ctx context.Context, name string) (bool, error) {
	var yes bool
	err := c.talk(ctx, "look for database "+name, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&yes)
	})
	return yes, err
}

// dropDatabase drops a database with all its connections, if it exists.
func (c *Cluster) dropDatabase(ctx context.Context, name string) error {
	return c.exec(ctx, "drop database "+name, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
}
