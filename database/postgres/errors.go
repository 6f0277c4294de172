package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

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
		case "53100", "53200": // disk_full, out_of_memory
			return c.ground().Full(doing, err)
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

func (c *Cluster) down(doing string, err error) error {
	if c.remote != nil {
		return c.remote.unanswered(doing, err)
	}
	return c.ground().Down(doing, c.Profile == Main, err)
}
