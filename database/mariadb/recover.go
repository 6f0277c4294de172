package mariadb

import (
	"context"
	"database/sql"

	"github.com/bosman-cd/bosman/database"
)

// Recover finishes or removes what killed operations of all apps left half
// done, and dumps on their way. Call it once after Ensure, before other work.
func (c *Cluster) Recover(ctx context.Context) error {
	if err := c.ground().EmptyTmp(); err != nil {
		return err
	}
	if err := c.forgetRecording(ctx); err != nil {
		return err
	}
	return c.recoverDatabases(ctx, "")
}

// recoverDatabases finishes swaps and drops unfinished databases of app; "" is
// all apps.
func (c *Cluster) recoverDatabases(ctx context.Context, app string) error {
	if err := c.recoverSwaps(ctx, app); err != nil {
		return err
	}
	return c.with(ctx, "", "look for half-made databases", func(conn *sql.Conn) error {
		all, err := c.labels(ctx, conn)
		if err != nil {
			return err
		}
		for _, l := range all {
			if app != "" && l.App != app || l.ready && !database.HasTag(l.Name, database.TagVerify) && !database.HasTag(l.Name, database.TagMaking) && l.Name != database.TagRehearsal {
				continue
			}
			c.log().Info("half-made database dropped", "database", l.db)
			if err := c.dropDatabase(ctx, conn, l.db); err != nil {
				return err
			}
			if err := dropUser(ctx, conn, loginUser(l.App, l.Name)); err != nil {
				return err
			}
		}
		return nil
	})
}
