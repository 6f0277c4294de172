package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
)

// Version is that of the running server: "15.18".
func (c *Cluster) Version() string {
	v := c.serverVersion()
	return fmt.Sprintf("%d.%d", v/10000, v%10000)
}

// collationQuery finds collations that columns of the database use and whose
// library sorts differently by now: indexes over them may be out of order.
const collationQuery = `SELECT DISTINCT c.collname FROM pg_collation c JOIN pg_attribute a ON a.attcollation = c.oid
	JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace
	WHERE c.collversion IS NOT NULL AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) AND ` + ownObjects + ` ORDER BY 1`

// WrongCollations lists databases of a running cluster, with the collations
// whose version is not that of the libraries of this machine any more. It
// starts and makes nothing; KindUnavailable if the server does not run.
func (c *Cluster) WrongCollations(ctx context.Context) ([]string, error) {
	if !c.initialised() {
		return nil, nil
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	pid, err := c.runningPid()
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, bosman.Unavailable("the database cluster %s does not run", c.Name)
	}
	var names []string
	err = c.with(ctx, "postgres", "list databases", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		var wrong []string
		err := c.with(ctx, name, "look at collations of "+name, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, collationQuery)
			if err != nil {
				return err
			}
			wrong, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		if len(wrong) > 0 {
			out = append(out, name+" ("+strings.Join(wrong, ", ")+")")
		}
	}
	return out, nil
}
