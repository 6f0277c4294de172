package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

const columnsQuery = `SELECT TABLE_NAME, COLUMN_NAME, CONCAT(COLUMN_TYPE, COALESCE(CONCAT(' ', COLLATION_NAME), '')), IS_NULLABLE,
	CASE WHEN EXTRA LIKE '%auto_increment%' THEN 'identity' WHEN GENERATION_EXPRESSION <> '' THEN GENERATION_EXPRESSION ELSE COALESCE(COLUMN_DEFAULT, '') END
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, ORDINAL_POSITION`

const indexesQuery = `SELECT 'index', CONCAT(TABLE_NAME, '.', INDEX_NAME), CONCAT(IF(NON_UNIQUE, '', 'unique '), INDEX_TYPE, ' ',
	GROUP_CONCAT(CONCAT(COLUMN_NAME, COALESCE(CONCAT('(', SUB_PART, ')'), '')) ORDER BY SEQ_IN_INDEX SEPARATOR ', '))
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? GROUP BY TABLE_NAME, INDEX_NAME`

const foreignQuery = `SELECT 'constraint', CONCAT(k.TABLE_NAME, '.', k.CONSTRAINT_NAME), CONCAT(
	GROUP_CONCAT(k.COLUMN_NAME ORDER BY k.ORDINAL_POSITION SEPARATOR ', '), ' references ', k.REFERENCED_TABLE_NAME, ' ',
	GROUP_CONCAT(k.REFERENCED_COLUMN_NAME ORDER BY k.ORDINAL_POSITION SEPARATOR ', '), ' on delete ', r.DELETE_RULE, ' on update ', r.UPDATE_RULE)
FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
	ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.TABLE_SCHEMA = ? AND k.REFERENCED_TABLE_NAME IS NOT NULL GROUP BY k.TABLE_NAME, k.CONSTRAINT_NAME`

const checksQuery = `SELECT 'constraint', CONCAT(TABLE_NAME, '.', CONSTRAINT_NAME), CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ?`

// tablesAtOnce are counted or checked by one statement: a database may have
// thousands, and each statement costs a way there and back.
const tablesAtOnce = 100

// Inspect implements database.Engine.
func (e *Engine) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	return e.look(ctx, d, true)
}

// Schema is Inspect without counting rows.
func (e *Engine) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	in, err := e.look(ctx, d, false)
	return in.Schema, err
}

func (e *Engine) look(ctx context.Context, d bosman.Database, count bool) (in database.Inspection, err error) {
	c, err := e.reach(d)
	if err != nil {
		return in, err
	}
	doing := "look into database " + d.Name
	err = c.with(ctx, "", doing, func(conn *sql.Conn) error {
		l, err := e.readOn(ctx, c, conn, d.Name)
		if err != nil {
			return err
		}
		if err := run(ctx, conn, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
			return err
		}
		in, err = c.inspect(ctx, conn, d.Name, count)
		for _, o := range l.Parked {
			in.Schema.Objects = append(in.Schema.Objects, o.described())
		}
		in.Schema.Sort()
		return errors.Join(err, run(context.WithoutCancel(ctx), conn, "COMMIT"))
	})
	return in, err
}

func (o object) described() database.Object {
	name := o.Name
	if o.Table != "" {
		name = o.Table + "." + o.Name
	}
	return database.Object{Kind: strings.ToLower(o.Kind), Name: name, Def: o.SQL}
}

// inspect reads schema and row counts of the database name in the
// transaction of conn. The server's catalogue knows no transactions: a schema
// that is changed meanwhile may be seen half changed.
func (c *Cluster) inspect(ctx context.Context, conn *sql.Conn, name string, count bool) (database.Inspection, error) {
	in := database.Inspection{Rows: map[string]int64{}}
	s := &in.Schema
	if err := run(ctx, conn, "SET SESSION group_concat_max_len = 1048576"); err != nil {
		return in, err
	}
	all, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE') ORDER BY TABLE_NAME", name)
	if err != nil {
		return in, err
	}
	at := map[string]int{}
	for i, t := range all {
		at[t] = i
		s.Tables = append(s.Tables, database.Table{Name: t})
	}
	columns, err := table(ctx, conn, columnsQuery, name)
	if err != nil {
		return in, err
	}
	for _, r := range columns {
		if i, ok := at[r[0]]; ok {
			s.Tables[i].Columns = append(s.Tables[i].Columns, database.Column{Name: r[1], Type: r[2], NotNull: r[3] == "NO", Default: r[4]})
		}
	}
	for _, q := range []string{indexesQuery, foreignQuery, checksQuery, "SELECT 'sequence', TABLE_NAME, '' FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'SEQUENCE'"} {
		rows, err := table(ctx, conn, q, name)
		if err != nil {
			return in, err
		}
		for _, r := range rows {
			s.Objects = append(s.Objects, database.Object{Kind: r[0], Name: r[1], Def: r[2]})
		}
	}
	objects, err := readObjects(ctx, conn, name)
	if err != nil {
		return in, err
	}
	for _, o := range objects {
		s.Objects = append(s.Objects, o.described())
	}
	s.Sort()
	if !count {
		return in, nil
	}
	h, err := c.history(ctx, conn, name)
	if err != nil {
		return in, err
	}
	for some := range slices.Chunk(all, tablesAtOnce) {
		var counts []string
		for i, t := range some {
			counts = append(counts, "SELECT "+strconv.Itoa(i)+", COUNT(*) FROM "+h.rows(name, t))
		}
		rows, err := table(ctx, conn, strings.Join(counts, " UNION ALL "))
		if err != nil {
			return in, fmt.Errorf("count rows: %w", err)
		}
		for _, r := range rows {
			in.Rows[some[integer(r[0])]] = integer(r[1])
		}
	}
	return in, nil
}

// Activity implements database.ActivityCounter. The counters begin anew when
// the server is started.
func (e *Engine) Activity(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	c, err := e.reach(d)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	err = c.with(ctx, "", "read what was written to "+d.Name, func(conn *sql.Conn) error {
		rows, err := table(ctx, conn, "SELECT TABLE_NAME, ROWS_CHANGED FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = ?", d.Name)
		for _, r := range rows {
			out[r[0]] = integer(r[1])
		}
		return err
	})
	return out, err
}

// Check implements database.Checker with CHECK TABLE.
func (e *Engine) Check(ctx context.Context, d bosman.Database) error {
	c, err := e.reach(d)
	if err != nil {
		return err
	}
	return c.with(ctx, "", "check database "+d.Name, func(conn *sql.Conn) error {
		all, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE')", d.Name)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(all, tablesAtOnce) {
			var names []string
			for _, t := range some {
				names = append(names, quote(d.Name)+"."+quote(t))
			}
			said, err := table(ctx, conn, "CHECK TABLE "+strings.Join(names, ", "))
			if err != nil {
				return err
			}
			for _, r := range said { // Table, Op, Msg_type, Msg_text
				if strings.EqualFold(r[2], "error") || r[2] == "status" && r[3] != "OK" && !strings.Contains(r[3], "doesn't support") {
					return bosman.Failed("the table %s of database %s is damaged", strings.TrimPrefix(r[0], d.Name+"."), d.Name).WithNext("restore a backup").Because(errors.New(r[3]))
				}
			}
		}
		return nil
	})
}
