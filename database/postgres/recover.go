package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/bosman-cd/bosman/database"
)

// Recover removes what killed operations of all apps left half done, and
// dumps on their way. Call it once after Ensure, before other work.
func (c *Cluster) Recover(ctx context.Context) error {
	if err := c.ground().EmptyTmp(); err != nil {
		return err
	}
	return c.recoverDatabases(ctx, "")
}

// recoverDatabases drops the unfinished databases whose names have the prefix.
func (c *Cluster) recoverDatabases(ctx context.Context, prefix string) error {
	var names []string
	err := c.with(ctx, "postgres", "look for half-made databases", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range names {
		if database.HasTag(n, database.TagMaking) || database.HasTag(n, database.TagVerify) || database.HasTag(n, database.TagRehearsal) {
			c.log().Info("half-made database dropped", "database", n)
			if err := c.dropDatabase(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}
