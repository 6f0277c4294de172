package mariadb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// Numbers of MariaDB's errors: https://mariadb.com/kb/en/mariadb-error-codes/.
const (
	errDatabaseExists  = 1007
	errDiskFull        = 1021
	errTooMany         = 1040
	errUnknownDatabase = 1049
	errUnknownColumn   = 1054
	errShutdown        = 1053
	errTableFull       = 1114
	errNoSuchTable     = 1146
	errLockWait        = 1205
	errDeadlock        = 1213
	errNoSuchRoutine   = 1305
	errInterrupted     = 1317
	errViewInvalid     = 1356
	errTableChanged    = 1412
	errBackupStage     = 4129 // a stage that was not started
	errKilled          = 1927
)

func number(err error) uint16 {
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return m.Number
	}
	return 0
}

// sqlError turns what MariaDB or the way to it answered into an error for
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
	if n := number(err); n != 0 {
		switch n {
		case errUnknownDatabase:
			return bosman.NotFound("could not %s: there is no such database", doing).Because(err)
		case errDatabaseExists:
			return bosman.Conflict("could not %s: it exists already", doing).WithKept("what was there is untouched").Because(err)
		case errDiskFull, errTableFull:
			return c.full(doing, err)
		case errTooMany:
			return bosman.Unavailable("could not %s: the database server %s has no free connection", doing, c.Name).
				WithNext("close connections or try again").Because(err)
		case errLockWait, errDeadlock, errTableChanged:
			return bosman.Busy("could not %s: the database is in use", doing).WithNext("try again").Because(err)
		case errKilled, errInterrupted:
			return bosman.Busy("could not %s: its connection was ended meanwhile", doing).WithNext("try again").Because(err)
		case errShutdown:
			return c.down(doing, err)
		}
		if noRoom(c.Dir) {
			return c.full(doing, err)
		}
		return bosman.Failed("could not %s", doing).Because(err)
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
		return c.down(doing, err)
	}
	return bosman.Internal("could not %s", doing).Because(err)
}

func (c *Cluster) down(doing string, err error) error {
	e := bosman.Unavailable("could not %s: the database server %s does not answer", doing, c.Name)
	e = e.WithNext("bosman doctor shows why; its log is in " + c.logDir())
	if c.Profile == Main {
		e = e.WithKept("testing instances and builds go on; staging and live serve only what needs no database")
	} else {
		e = e.WithKept("staging and live are not touched: their databases are elsewhere")
	}
	return e.Because(err)
}

func (c *Cluster) full(doing string, err error) error {
	return bosman.Unavailable("could not %s: the disk that holds %s is full", doing, c.Dir).
		WithKept("what was there before is untouched").
		WithNext("free some space: old backups and kept databases are the first to look at").Because(err)
}

// ioError tells a full disk from other failures of files in dir.
func ioError(doing, dir string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return bosman.Unavailable("could not %s: the disk that holds %s is full", doing, dir).
			WithNext("free some space").Because(err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return bosman.Unavailable("could not %s: no permission", doing).Because(err)
	}
	return bosman.Unavailable("could not %s", doing).Because(err)
}

// noRoom says whether the disk of path has less than 8 MB left: programs tell
// of a full disk only in words.
func noRoom(path string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return false
	}
	return s.Bavail*uint64(s.Bsize) < 8<<20
}

// missing is the error for a program that is not installed.
func missing(program, pkg string) error {
	return bosman.Unavailable("the program %s is missing", program).
		WithNext("install it: apt-get install " + pkg).Because(os.ErrNotExist)
}
