package mariadb

import (
	"context"
	"database/sql"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// filesQuery names what InnoDB keeps of each table: TRUNCATE and an ALTER that
// copies give it another number. Of other engines it is the moment of creation.
const filesQuery = `SELECT t.TABLE_NAME, COALESCE(GROUP_CONCAT(s.TABLE_ID ORDER BY s.TABLE_ID), CONCAT('made ', MAX(t.CREATE_TIME)), '')
FROM information_schema.TABLES t LEFT JOIN information_schema.INNODB_SYS_TABLES s
	ON s.NAME = CONCAT(t.TABLE_SCHEMA, '/', t.TABLE_NAME) OR s.NAME LIKE CONCAT(REPLACE(REPLACE(t.TABLE_SCHEMA, '_', '\\_'), '%', '\\%'), '/', REPLACE(REPLACE(t.TABLE_NAME, '_', '\\_'), '%', '\\%'), '#P#%')
WHERE t.TABLE_SCHEMA = ? AND t.TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE') GROUP BY t.TABLE_NAME`

// Traces implements database.Tracer.
func (e *Engine) Traces(ctx context.Context, d bosman.Database) (map[string]string, error) {
	c, err := e.reach(d)
	if err != nil {
		return nil, err
	}
	schema, err := e.Schema(ctx, d)
	if err != nil {
		return nil, err
	}
	out := map[string]string{database.TraceSchema: schema.Fingerprint()}
	err = c.with(ctx, "", "read what was written to "+d.Name, func(conn *sql.Conn) error {
		rows, err := table(ctx, conn, filesQuery, d.Name)
		for _, r := range rows {
			out[r[0]] = r[1]
		}
		return err
	})
	return out, err
}

var _ database.Tracer = (*Engine)(nil)
