package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/faults"
)

var _ database.Masker = (*Engine)(nil)

// MaskWith implements database.Masker.
func (e *Engine) MaskWith(m database.Masking) { e.masking = m }

// maskSpec gives what is to be masked in a golden copy of from, and its
// version.
func (e *Engine) maskSpec(ctx context.Context, from bosman.Database, release int) (mask.Spec, string, error) {
	if e.masking == nil {
		return mask.Spec{}, "", nil
	}
	source, err := e.NameOf(ctx, from)
	if err != nil {
		return mask.Spec{}, "", err
	}
	return e.masking.Spec(ctx, source, release)
}

// Offered implements database.Refresher: a golden copy that was made before a
// mask was added is not handed out any more.
func (e *Engine) Offered(ctx context.Context, from bosman.Database, release int) ([]database.Golden, error) {
	_, version, err := e.maskSpec(ctx, from, release)
	if err != nil {
		return nil, err
	}
	all, err := e.generations(ctx, from)
	var out []database.Golden
	for _, l := range all {
		if l.Mask == version {
			out = append(out, e.asGolden(l))
		}
	}
	return out, err
}

// MaskPlan implements database.Masker.
func (e *Engine) MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (mask.Plan, error) {
	c, err := e.reach(d)
	if err != nil {
		return mask.Plan{}, err
	}
	return c.maskPlan(ctx, d.Name, s)
}

func (c *Cluster) maskPlan(ctx context.Context, name string, s mask.Spec) (p mask.Plan, err error) {
	err = c.with(ctx, name, "look for personal data in "+name, func(conn *pgx.Conn) error {
		cat, err := maskCatalog(ctx, conn)
		if err != nil {
			return err
		}
		p, err = mask.New(s, cat)
		return err
	})
	return p, err
}

// mask replaces the personal data in a database that nobody was shown yet.
// All SQL on the data runs as the app's worker: what the application defined
// (functions of indexes, checks, views) must not be called by a superuser.
func (e *Engine) mask(ctx context.Context, making string, s mask.Spec) error {
	if s.Empty() {
		return nil
	}
	c := e.home
	plan, err := c.maskPlan(ctx, making, s)
	if err != nil {
		return err
	}
	if err := plan.Refuse(); err != nil {
		return err
	}
	if err := e.quietly(ctx, making, func() error { return e.maskColumns(ctx, making, plan, s.Salt) }); err != nil {
		return err
	}
	if err := faults.Point("database.golden.masked"); err != nil {
		return err
	}
	if err := e.maskFiles(ctx, making, s.SQL); err != nil {
		return err
	}
	return e.forget(ctx, making, plan, len(s.SQL) > 0)
}

// Mask masks a database of this engine that nobody uses: one on a server of
// its own that becomes a golden copy.
func (e *Engine) Mask(ctx context.Context, name string, s mask.Spec) error {
	db, worker := database.NameOnServer(e.app, name), quote(workerRole(e.app))
	if s.Empty() {
		return nil
	}
	if err := e.home.exec(ctx, "let the worker into "+db, "GRANT CONNECT ON DATABASE "+quote(db)+" TO "+worker); err != nil {
		return err
	}
	if err := e.mask(ctx, db, s); err != nil {
		return err
	}
	return e.home.exec(ctx, "let the worker out of "+db, "REVOKE CONNECT ON DATABASE "+quote(db)+" FROM "+worker)
}

// quietly runs fn while triggers, rules and foreign keys rest in sessions of
// the worker in this database. Only a superuser may set that, for others too.
func (e *Engine) quietly(ctx context.Context, making string, fn func() error) error {
	worker := "ALTER ROLE " + quote(workerRole(e.app)) + " IN DATABASE " + quote(making)
	if err := e.home.exec(ctx, "let triggers rest in "+making, worker+" SET session_replication_role = replica"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err // the database goes, and the setting with it
	}
	return e.home.exec(ctx, "wake the triggers of "+making, worker+" RESET session_replication_role")
}

// asWorker runs fn with a connection of the app's worker.
func (e *Engine) asWorker(ctx context.Context, making, doing string, fn func(*pgx.Conn) error) error {
	conn, err := connect(ctx, e.home.database(making, workerRole(e.app)))
	if err != nil {
		return e.home.sqlError(doing, err)
	}
	err = fn(conn)
	// The work is done or failed by now; a failed goodbye changes neither.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = conn.Close(end)
	return e.home.sqlError(doing, err)
}

func (e *Engine) maskColumns(ctx context.Context, making string, plan mask.Plan, salt string) error {
	script := mask.Postgres(plan, salt)
	if len(script.Updates) == 0 {
		return nil
	}
	return e.asWorker(ctx, making, "mask "+making, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			// With row_security off a policy that would hide rows is an error.
			if _, err := tx.Exec(ctx, "SELECT set_config($1, $2, false), set_config('row_security', 'off', false)", mask.SaltSetting, salt); err != nil {
				return err
			}
			wake, err := rest(ctx, tx)
			if err != nil {
				return err
			}
			if err := run(ctx, tx, script.Functions...); err != nil {
				return err
			}
			for _, u := range script.Updates {
				if err := maskTable(ctx, tx, u); err != nil {
					return err
				}
			}
			for _, o := range script.Orphans {
				var lost bool
				if err := tx.QueryRow(ctx, o.SQL).Scan(&lost); err != nil {
					return fmt.Errorf("foreign key %s: %w", o.Name, err)
				}
				if lost {
					return database.MaskOrphans(o.Name)
				}
			}
			return run(ctx, tx, wake...)
		})
	})
}

func maskTable(ctx context.Context, tx pgx.Tx, u mask.Update) error {
	var want int64
	if err := tx.QueryRow(ctx, u.Count).Scan(&want); err != nil {
		return fmt.Errorf("count %s: %w", u.Table, err)
	}
	done, err := tx.Exec(ctx, u.SQL)
	if err != nil {
		return database.MaskFailed(u.Table, sqlMessage(err), err)
	}
	if done.RowsAffected() != want {
		return database.MaskShort(u.Table, want, done.RowsAffected())
	}
	return nil
}

// maskFiles runs the team's own SQL, with triggers and foreign keys at work.
func (e *Engine) maskFiles(ctx context.Context, making string, files []mask.File) error {
	for _, f := range files {
		err := e.asWorker(ctx, making, "run "+f.Name, func(conn *pgx.Conn) error {
			_, err := conn.PgConn().Exec(ctx, f.Text).ReadAll()
			if err != nil {
				return database.MaskFileFailed(f.Name, sqlMessage(err), err)
			}
			if conn.PgConn().TxStatus() != 'I' {
				return database.MaskFileFailed(f.Name, "it leaves a transaction open", nil)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes what is left of the old values beside the rows themselves:
// materialised views, dead rows, statistics.
func (e *Engine) forget(ctx context.Context, making string, plan mask.Plan, everything bool) error {
	err := e.asWorker(ctx, making, "clear "+making, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid`)
		if err != nil {
			return err
		}
		views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v [2]string, err error) { return v, row.Scan(&v[0], &v[1]) })
		if err != nil {
			return err
		}
		for _, v := range views {
			if err := run(ctx, conn, "REFRESH MATERIALIZED VIEW "+pgx.Identifier(v[:]).Sanitize()); err != nil {
				return fmt.Errorf("refresh %s: %w", v[1], err)
			}
		}
		if everything {
			return run(ctx, conn, "VACUUM (FULL, ANALYZE)")
		}
		for _, v := range views {
			if err := run(ctx, conn, "ANALYZE "+pgx.Identifier(v[:]).Sanitize()); err != nil {
				return err
			}
		}
		for _, u := range mask.Postgres(plan, "").Updates {
			heirs, err := inheriting(ctx, conn, u.Schema, u.Table)
			if err != nil {
				return err
			}
			for _, name := range append(heirs, []string{u.Schema, u.Table}) {
				if err := run(ctx, conn, "VACUUM (FULL, ANALYZE) "+pgx.Identifier(name).Sanitize()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.home.with(ctx, making, "clear the statistics of "+making, func(conn *pgx.Conn) error {
		return run(ctx, conn, "VACUUM FULL pg_catalog.pg_statistic", "VACUUM FULL pg_catalog.pg_statistic_ext_data")
	})
}

// inheriting gives the tables that inherit a table's columns, over any number
// of steps. Partitions are left out: VACUUM of their table reaches them.
func inheriting(ctx context.Context, conn *pgx.Conn, schema, table string) ([][]string, error) {
	rows, err := conn.Query(ctx, `WITH RECURSIVE heir AS (
			SELECT i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relname = $2
			UNION SELECT i.inhrelid FROM pg_inherits i JOIN heir h ON h.inhrelid = i.inhparent)
		SELECT n.nspname, c.relname FROM heir h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND NOT c.relispartition ORDER BY c.oid`, schema, table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		name := make([]string, 2)
		return name, row.Scan(&name[0], &name[1])
	})
}

// maskColumnsQuery leaves out partitions and children: what is done to the
// parent is done to them.
// Domains are followed to what they are made of.
const maskColumnsQuery = `WITH RECURSIVE domain AS (
		SELECT oid AS id, oid AS base, -1 AS mod, false AS must FROM pg_type
		UNION ALL SELECT d.id, t.typbasetype, CASE WHEN d.mod >= 0 THEN d.mod ELSE t.typtypmod END, d.must OR t.typnotnull
			FROM domain d JOIN pg_type t ON t.oid = d.base WHERE t.typtype = 'd'),
	made AS (SELECT d.id, d.mod, d.must, t.oid AS base, t.typname::text AS name, t.typcategory, t.typelem, t.typtype FROM domain d JOIN pg_type t ON t.oid = d.base WHERE t.typtype <> 'd')
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), b.name, b.typtype = 'c', coalesce(e.name, ''), coalesce(e.typtype = 'c', false),
	CASE WHEN b.name IN ('varchar', 'bpchar') THEN greatest((CASE WHEN b.base <> b.id THEN b.mod ELSE a.atttypmod END) - 4, 0) ELSE 0 END,
	a.attnotnull OR b.must,
	EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion) AND (a.attnum = ANY (i.indkey)
		OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
	a.attgenerated <> ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
JOIN made b ON b.id = a.atttypid LEFT JOIN made e ON e.id = b.typelem AND b.typcategory = 'A'
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition AND ` + ownObjects + `
	AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')
ORDER BY 1, 2, a.attnum`

const maskReferencesQuery = `SELECT k.conname, n.nspname, c.relname, m.nspname, f.relname, NOT k.convalidated,
	(SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.conkey) WITH ORDINALITY u(att, i) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.att),
	(SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.confkey) WITH ORDINALITY u(att, i) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.att)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace m ON m.oid = f.relnamespace
WHERE k.contype = 'f' AND NOT c.relispartition AND NOT f.relispartition ORDER BY 2, 3, 1`

// maskCatalog reads what masks need to know of the database of conn.
func maskCatalog(ctx context.Context, conn *pgx.Conn) (mask.Catalog, error) {
	cat := mask.Catalog{Schemas: []string{"public"}}
	rows, err := conn.Query(ctx, maskColumnsQuery)
	if err != nil {
		return cat, err
	}
	var col mask.Column
	var base, element string
	var record, ofRecords bool
	_, err = pgx.ForEachRow(rows, []any{&col.Schema, &col.Table, &col.Name, &col.Type, &base, &record, &element, &ofRecords, &col.Length, &col.NotNull, &col.Unique, &col.Generated}, func() error {
		col.Class, col.Fold = classOf(base), base == "citext"
		switch of := classOf(element); {
		case record, ofRecords, element != "" && (of == mask.Text || of == mask.Mixed):
			col.Class = mask.Mixed
		case element != "":
			col.Class = mask.Other
		}
		cat.Columns = append(cat.Columns, col)
		if n := len(cat.Schemas); cat.Schemas[n-1] != col.Schema && col.Schema != "public" {
			cat.Schemas = append(cat.Schemas, col.Schema)
		}
		return nil
	})
	if err != nil {
		return cat, err
	}
	if rows, err = conn.Query(ctx, maskReferencesQuery); err != nil {
		return cat, err
	}
	var r mask.Reference
	_, err = pgx.ForEachRow(rows, []any{&r.Name, &r.Schema, &r.Table, &r.TargetSchema, &r.TargetTable, &r.Unchecked, &r.Columns, &r.Targets}, func() error {
		cat.References = append(cat.References, r)
		r.Columns, r.Targets = nil, nil
		return nil
	})
	return cat, err
}

func classOf(typ string) mask.Class {
	switch typ {
	case "text", "varchar", "bpchar", "citext", "name":
		return mask.Text
	case "date", "timestamp", "timestamptz":
		return mask.Date
	case "int2", "int4", "int8", "numeric":
		return mask.Number
	case "inet", "cidr":
		return mask.Network
	case "bytea":
		return mask.Bytes
	case "uuid":
		return mask.UUID
	case "json", "jsonb", "hstore", "xml":
		return mask.Mixed
	case "tsvector":
		return mask.Words
	}
	return mask.Other
}

// sqlMessage is what the server said, without the row it said it of.
func sqlMessage(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return err.Error()
}
