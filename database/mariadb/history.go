package mariadb

import (
	"context"
	"database/sql"
	"regexp"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Tables with system versioning keep what their rows were. A dump holds that
// from MariaDB 10.11 on (mariadb-dump --dump-history), and only of tables
// that go by time: of a database with one that goes by transactions the
// client refuses it (https://mariadb.com/kb/en/mariadb-dump/).

// historySince is the series that dumps history and reads it back.
const historySince = "10.11"

var clientSeries = regexp.MustCompile(`(\d+\.\d+)\.\d+-MariaDB`)

// history says what a dump of a database holds of its tables' history.
type history struct {
	tables []string // that keep one
	dumped bool
	why    string // not dumped
}

// history finds out about the database name.
func (c *Cluster) history(ctx context.Context, conn *sql.Conn, name string) (h history, err error) {
	h.tables, err = column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'SYSTEM VERSIONED' ORDER BY TABLE_NAME", name)
	if err != nil || len(h.tables) == 0 {
		return h, err
	}
	counted, err := column(ctx, conn, "SELECT DISTINCT TABLE_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND GENERATION_EXPRESSION = 'ROW START' AND DATA_TYPE = 'bigint'", name)
	if err != nil {
		return h, err
	}
	if len(counted) > 0 {
		h.why = "that of " + strings.Join(counted, ", ") + " goes by transactions, which mariadb-dump cannot write"
		return h, nil
	}
	var server string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&server); err != nil {
		return h, err
	}
	said, err := c.client(ctx, c.database("", superuser), c.Dir, nil, nil, "mariadb-dump", "--version")
	if err != nil {
		return h, err
	}
	h.dumped, h.why = dumpsHistory(server, string(said))
	return h, nil
}

// dumpsHistory says whether a server and what its client prints as its
// version know how to dump history, and why not.
func dumpsHistory(server, client string) (bool, string) {
	of := clientSeries.FindStringSubmatch(client)
	switch {
	case newer(historySince, series(server)):
		return false, "MariaDB " + series(server) + " cannot read it back; " + historySince + " can"
	case of == nil || newer(historySince, of[1]):
		return false, "mariadb-dump does not write it before " + historySince
	}
	return true, ""
}

// lacks says what a dump does not hold; "" if nothing.
func (h history) lacks() string {
	if len(h.tables) == 0 || h.dumped {
		return ""
	}
	return "the history of " + strings.Join(h.tables, ", ") + " (system versioning): " + h.why
}

// rows is what is counted of a table.
func (h history) rows(name, table string) string {
	from := quote(name) + "." + quote(table)
	for _, t := range h.tables {
		if t == table && h.dumped {
			return from + " FOR SYSTEM_TIME ALL"
		}
	}
	return from
}

var _ database.Lacking = (*Engine)(nil)

// Lacks implements database.Lacking.
func (e *Engine) Lacks(ctx context.Context, d bosman.Database) (string, error) {
	c, err := e.reach(d)
	if err != nil {
		return "", err
	}
	var h history
	err = c.with(ctx, "", "look at the history of "+d.Name, func(conn *sql.Conn) (err error) {
		h, err = c.history(ctx, conn, d.Name)
		return err
	})
	return h.lacks(), err
}

// dropHistory takes from all tables what their rows were.
func dropHistory(ctx context.Context, conn *sql.Conn, name string) error {
	all, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'SYSTEM VERSIONED'", name)
	for _, t := range all {
		if err == nil {
			err = run(ctx, conn, "DELETE HISTORY FROM "+quote(t))
		}
	}
	return err
}
