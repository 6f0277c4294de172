package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	bosman "github.com/bosman-cd/bosman"
)

// sqlError turns what PostgreSQL or the way to it answered into an error for
// people. doing completes "could not …".
func (c *Cluster) sqlError(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *bosman.Error
	if errors.As(err, &known) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "3D000": // invalid_catalog_name
			return bosman.NotFound("could not %s: there is no such database", doing).Because(err)
		case "42P04", "42710": // duplicate database, object
			return bosman.Conflict("could not %s: it exists already", doing).WithKept("what was there is untouched").Because(err)
		case "53100": // disk_full
			return c.ground().Full(doing, err)
		case "53200": // out_of_memory: the server's own, mostly that for locks
			return bosman.Unavailable("could not %s: the database server has no memory for it", doing).
				WithKept("what was there before is untouched").
				WithNext(moreLocks).Because(err)
		case "53300": // too_many_connections
			return bosman.Unavailable("could not %s: the database cluster %s has no free connection", doing, c.Name).
				WithNext("close connections or try again").Because(err)
		case "55006": // object_in_use
			return bosman.Busy("could not %s: the database is in use", doing).WithNext("try again").Because(err)
		case "57P01": // the connection was ended: by a swap, a drop or a shutdown
			return bosman.Busy("could not %s: its connection was ended meanwhile", doing).WithNext("try again").Because(err)
		case "57P02", "57P03": // crash, cannot connect now
			return c.down(doing, err)
		}
		return bosman.Failed("could not %s", doing).Because(err)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, syscall.ECONNREFUSED) {
		return c.down(doing, err)
	}
	if pgconn.SafeToRetry(err) { // the connection had ended before anything was said on it
		return c.down(doing, err)
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return c.down(doing, err)
	}
	return bosman.Internal("could not %s", doing).Because(err)
}

// moreLocks is what to do for a server without room for locks of all tables.
const moreLocks = "if it holds thousands of tables, raise max_locks_per_transaction in its configuration (64 when left out) and restart it; else look at the memory of its host"

// crowded says whether a server has not got room for a lock on each table of
// the database name, which pg_dump takes at once; nil if it has, or does not say.
func (c *Cluster) crowded(ctx context.Context, doing, name string, said error) error {
	var tables, room int64
	err := c.with(ctx, name, "count the tables of "+name, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND `+ownObjects+`),
			current_setting('max_locks_per_transaction')::bigint * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)`).Scan(&tables, &room)
	})
	if err != nil || tables < room {
		return nil
	}
	return bosman.Unavailable("could not %s: the database %s has %d tables, and its server has room for %d locks", doing, name, tables, room).
		WithKept("what was there before is untouched").WithNext(moreLocks).Because(said)
}

func (c *Cluster) down(doing string, err error) error {
	if c.remote != nil {
		return c.remote.unanswered(doing, err)
	}
	return c.ground().Down(doing, c.Profile == Main, err)
}
