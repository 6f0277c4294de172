package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// own leaves out the server's schemas and what belongs to extensions.
const ownObjects = `n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'`

const columnsQuery = `SELECT n.nspname || '.' || c.relname, coalesce(a.attname, ''), coalesce(format_type(a.atttypid, a.atttypmod), ''), coalesce(a.attnotnull, false),
	CASE WHEN a.attidentity <> '' THEN 'identity' ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '') END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ` + ownObjects + `
	AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')
ORDER BY 1, a.attnum`

// objectsQuery leaves out constraints that columns are not null, which only
// PostgreSQL from 18 on lists: columnsQuery says so of each column. What an
// extension or a partitioned table brings along has the definition
// database.Brought.
const objectsQuery = `SELECT 'index', n.nspname || '.' || c.relname, pg_get_indexdef(c.oid)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('i', 'I') AND ` + ownObjects + `
UNION ALL SELECT 'constraint', n.nspname || '.' || coalesce(c.relname || '.', '') || k.conname, pg_get_constraintdef(k.oid)
	FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace LEFT JOIN pg_class c ON c.oid = k.conrelid WHERE k.contype <> 'n' AND ` + ownObjects + `
UNION ALL SELECT 'view', n.nspname || '.' || c.relname, CASE WHEN EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e') THEN '-' ELSE pg_get_viewdef(c.oid) END
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND ` + ownObjects + `
UNION ALL SELECT 'sequence', n.nspname || '.' || c.relname, ''
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND ` + ownObjects + `
UNION ALL SELECT 'trigger', n.nspname || '.' || c.relname || '.' || t.tgname, CASE WHEN t.tgparentid <> 0 THEN '-' ELSE pg_get_triggerdef(t.oid) END
	FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND ` + ownObjects + `
UNION ALL SELECT 'function', n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
	CASE WHEN EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid AND x.deptype = 'e') THEN '-' ELSE md5(p.prosrc) END
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ` + ownObjects + `
UNION ALL SELECT 'type', n.nspname || '.' || t.typname, (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)
	FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' AND ` + ownObjects

// Inspect implements database.Engine.
func (e *Engine) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	var in database.Inspection
	c, err := e.reach(d)
	if err != nil {
		return in, err
	}
	err = c.with(ctx, d.Name, "look into database "+d.Name, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
			in, err = inspect(ctx, tx)
			return err
		})
	})
	return in, err
}

// Schema is Inspect without counting rows.
func (e *Engine) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	var s database.Schema
	c, err := e.reach(d)
	if err != nil {
		return s, err
	}
	err = c.with(ctx, d.Name, "look into database "+d.Name, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
			s, err = readSchema(ctx, tx)
			return err
		})
	})
	return s, err
}

func readSchema(ctx context.Context, tx pgx.Tx) (database.Schema, error) {
	var s database.Schema
	// An empty path makes the server write every name in full.
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = ''"); err != nil {
		return s, err
	}
	rows, err := tx.Query(ctx, columnsQuery)
	if err != nil {
		return s, err
	}
	var table string
	var col database.Column
	if _, err := pgx.ForEachRow(rows, []any{&table, &col.Name, &col.Type, &col.NotNull, &col.Default}, func() error {
		if n := len(s.Tables); n == 0 || s.Tables[n-1].Name != table {
			s.Tables = append(s.Tables, database.Table{Name: table})
		}
		if col.Name != "" {
			t := &s.Tables[len(s.Tables)-1]
			t.Columns = append(t.Columns, col)
		}
		return nil
	}); err != nil {
		return s, err
	}
	if rows, err = tx.Query(ctx, objectsQuery); err != nil {
		return s, err
	}
	var o database.Object
	var def *string
	_, err = pgx.ForEachRow(rows, []any{&o.Kind, &o.Name, &def}, func() error {
		o.Def = ""
		if def != nil {
			o.Def = *def
		}
		s.Objects = append(s.Objects, o)
		return nil
	})
	s.Sort()
	return s, err
}

// inspect reads schema and row counts in the snapshot of tx.
func inspect(ctx context.Context, tx pgx.Tx) (database.Inspection, error) {
	in := database.Inspection{Rows: map[string]int64{}}
	var err error
	if in.Schema, err = readSchema(ctx, tx); err != nil {
		return in, err
	}
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND `+ownObjects+`
		AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')`)
	if err != nil {
		return in, err
	}
	var names [][2]string
	var name [2]string
	if _, err := pgx.ForEachRow(rows, []any{&name[0], &name[1]}, func() error {
		names = append(names, name)
		return nil
	}); err != nil {
		return in, err
	}
	// By one process, which takes its time: others are to have theirs.
	if err := run(ctx, tx, "SET LOCAL max_parallel_workers_per_gather = 0", "SET LOCAL jit = off"); err != nil {
		return in, err
	}
	for some := range slices.Chunk(names, countAtOnce) {
		if err := countRows(ctx, tx, some, in.Rows); err != nil {
			return in, err
		}
	}
	var objects int64
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM pg_largeobject_metadata").Scan(&objects); err != nil {
		return in, err
	}
	if objects > 0 {
		in.Rows["large objects"] = objects
	}
	return in, nil
}

// countAtOnce is how many tables are counted before their locks are let go:
// with those of their indexes, fewer than any server has room for.
const countAtOnce = 50

// countRows counts the rows of tables. What is locked for it is let go with
// the savepoint; the snapshot stays.
func countRows(ctx context.Context, tx pgx.Tx, names [][2]string, into map[string]int64) error {
	if err := run(ctx, tx, "SAVEPOINT counted"); err != nil {
		return err
	}
	for _, n := range names {
		var count int64
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier(n[:]).Sanitize()).Scan(&count); err != nil {
			return fmt.Errorf("count %s.%s: %w", n[0], n[1], err)
		}
		into[n[0]+"."+n[1]] = count
	}
	return run(ctx, tx, "ROLLBACK TO SAVEPOINT counted", "RELEASE SAVEPOINT counted")
}

// Activity implements database.ActivityCounter.
func (e *Engine) Activity(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	return e.counted(ctx, d, "read what was written to "+d.Name, "n_tup_ins + n_tup_upd + n_tup_del")
}

// counted gives a sum of the counters of pg_stat_user_tables for each table.
func (e *Engine) counted(ctx context.Context, d bosman.Database, doing, sum string) (map[string]int64, error) {
	c, err := e.reach(d)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	err = c.with(ctx, d.Name, doing, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT schemaname || '.' || relname, "+sum+" FROM pg_stat_user_tables")
		if err != nil {
			return err
		}
		var table string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error {
			out[table] = n
			return nil
		})
		return err
	})
	return out, err
}

// Check implements database.Checker with pg_amcheck; nil if that or its
// extension is not installed.
func (e *Engine) Check(ctx context.Context, d bosman.Database) (err error) {
	c, err := e.reach(d)
	if err != nil {
		return err
	}
	if c.major() < 14 { // its amcheck does not know what pg_amcheck asks
		return nil
	}
	program, err := c.dumper("pg_amcheck")
	if err != nil {
		return nil
	}
	if _, err := os.Stat(program); err != nil {
		return nil
	}
	var installed, there bool
	err = c.with(ctx, d.Name, "check database "+d.Name, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck'),
			EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')`).Scan(&installed, &there)
	})
	if err != nil || !installed {
		return err
	}
	if !there { // it may become a golden copy, or somebody's own: what it does not need goes again
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(err, c.exec1(end, d.Name, "clear up "+d.Name, "DROP EXTENSION IF EXISTS amcheck"))
		}()
	}
	_, err = c.client(ctx, c.admin(d.Name), c.Dir, program, "--install-missing=pg_catalog", "--host="+d.Host, fmt.Sprintf("--port=%d", d.Port), "--username="+superuser, "--database="+d.Name)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return bosman.Failed("the database %s is damaged", d.Name).Because(err)
	}
	return err
}
