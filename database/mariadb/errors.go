package mariadb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"syscall"

	"github.com/go-sql-driver/mysql"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
)

// Numbers of MariaDB's errors: https://mariadb.com/kb/en/mariadb-error-codes/.
const (
	errNoFiles         = 23 // EE_OUT_OF_FILERESOURCES, of the server's library
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
			return c.ground().Full(doing, err)
		case errNoFiles:
			return c.tooFewFiles(doing, err)
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
		if ground.NoRoom(c.Dir) {
			return c.ground().Full(doing, err)
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

// tooFewFiles: a server opens some files for each table that is in use, and the
// system allows it only so many.
func (c *Cluster) tooFewFiles(doing string, err error) error {
	allowed := "no more"
	if pid, perr := c.runningPid(); perr == nil && pid != 0 {
		limits, rerr := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits") // also of a process of another user
		if m := openFiles.FindSubmatch(limits); rerr == nil && m != nil {
			allowed = "only " + string(m[1])
		}
	}
	return bosman.Unavailable("could not %s: the database server %s may have %s files open", doing, c.Name, allowed).
		WithNext("allow the service more (LimitNOFILE=65536 in its unit, or ulimit -n), then stop the database server; Bosman starts it anew").Because(err)
}

// openFiles is the line of /proc/PID/limits: proc_pid_limits(5).
var openFiles = regexp.MustCompile(`(?m)^Max open files +(\d+) `)

// clientNumber finds the number of the server's error in what one of its client
// programs said: "ERROR 23 (HY000)" by mariadb, "(23)" at the end by mariadb-dump.
var clientNumber = regexp.MustCompile(`(?m)ERROR (\d+) \(|\((\d+)\)\s*$`)

func saidNumber(stderr []byte) int64 {
	m := clientNumber.FindSubmatch(stderr)
	if m == nil {
		return 0
	}
	return integer(string(m[1]) + string(m[2]))
}

func (c *Cluster) down(doing string, err error) error {
	return c.ground().Down(doing, c.Profile == Main, err)
}
