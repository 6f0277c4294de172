package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// filesQuery names the file of each table: TRUNCATE, VACUUM FULL, CLUSTER and
// some ALTER TABLE give it another one, rows that are written do not.
const filesQuery = `SELECT n.nspname || '.' || c.relname, coalesce(pg_relation_filenode(c.oid), 0)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND ` + ownObjects

// largeQuery counts large objects and what was written to their pages, which
// pg_stat_user_tables leaves out.
const largeQuery = `SELECT (SELECT count(*) FROM pg_largeobject_metadata), (SELECT coalesce(max(oid), 0)::bigint FROM pg_largeobject_metadata),
	(SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_sys_tables
		WHERE schemaname = 'pg_catalog' AND relname IN ('pg_largeobject', 'pg_largeobject_metadata'))`

// sessionsQuery counts sessions in $1 that began after $3 and are of the role
// $2, or somebody else's in the middle of writing.
const sessionsQuery = `SELECT count(*) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND backend_start >= $3 AND (usename = $2 OR backend_xid IS NOT NULL)`

// Traces implements database.Tracer.
func (e *Engine) Traces(ctx context.Context, d bosman.Database) (map[string]string, error) {
	c, err := e.reach(d)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	err = c.with(ctx, d.Name, "read what was written to "+d.Name, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			schema, err := readSchema(ctx, tx)
			if err != nil {
				return err
			}
			out[database.TraceSchema] = schema.Fingerprint()
			var objects, last, written int64
			if err := tx.QueryRow(ctx, largeQuery).Scan(&objects, &last, &written); err != nil {
				return err
			}
			out[database.TraceObjects] = fmt.Sprint(objects, last, written)
			rows, err := tx.Query(ctx, filesQuery)
			if err != nil {
				return err
			}
			var table, file string
			_, err = pgx.ForEachRow(rows, []any{&table, &file}, func() error {
				out[table] = file
				return nil
			})
			return err
		})
	})
	return out, err
}

// Deleted implements database.DeletionCounter.
func (e *Engine) Deleted(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	return e.counted(ctx, d, "read what was deleted from "+d.Name, "n_tup_del")
}

// Deleted implements database.DeletionCounter.
func (m *Many) Deleted(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	got, err := m.Engine.Deleted(ctx, d)
	if err != nil {
		return nil, err
	}
	return got, m.each(ctx, d, func(f further, own bosman.Database) error {
		rows, err := f.Deleted(ctx, own)
		addRows(&got, f.name, rows)
		return err
	})
}

// Deleted implements database.DeletionCounter.
func (a *Adopted) Deleted(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	return a.in.Deleted(ctx, d)
}

// Settled implements database.Settler. A session reports what it wrote when it
// ends, before it leaves the list of sessions.
func (e *Engine) Settled(ctx context.Context, d bosman.Database, since time.Time, limit time.Duration) (ended bool, err error) {
	c, err := e.reach(d)
	if err != nil {
		return false, err
	}
	err = c.with(ctx, d.Name, "wait for the sessions of "+d.Name, func(conn *pgx.Conn) error {
		for begun := time.Now(); ; {
			var n int
			if err := conn.QueryRow(ctx, sessionsQuery, d.Name, d.User, since).Scan(&n); err != nil {
				return err
			}
			if ended = n == 0; ended || time.Since(begun) > limit {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return ended, err
}

// Traces implements database.Tracer.
func (m *Many) Traces(ctx context.Context, d bosman.Database) (map[string]string, error) {
	got, err := m.Engine.Traces(ctx, d)
	if err != nil {
		return nil, err
	}
	return got, m.each(ctx, d, func(f further, own bosman.Database) error {
		more, err := f.Traces(ctx, own)
		for what, trace := range more {
			got[marked(f.name, what)] = trace
		}
		return err
	})
}

// Settled implements database.Settler.
func (m *Many) Settled(ctx context.Context, d bosman.Database, since time.Time, limit time.Duration) (bool, error) {
	all, err := m.Engine.Settled(ctx, d, since, limit)
	if err != nil {
		return false, err
	}
	return all, m.each(ctx, d, func(f further, own bosman.Database) error {
		one, err := f.Settled(ctx, own, since, limit)
		all = all && one
		return err
	})
}

// Traces implements database.Tracer.
func (a *Adopted) Traces(ctx context.Context, d bosman.Database) (map[string]string, error) {
	return a.in.Traces(ctx, d)
}

// Settled implements database.Settler.
func (a *Adopted) Settled(ctx context.Context, d bosman.Database, since time.Time, limit time.Duration) (bool, error) {
	return a.in.Settled(ctx, d, since, limit)
}

var (
	_ database.Tracer  = (*Engine)(nil)
	_ database.Tracer  = (*Many)(nil)
	_ database.Tracer  = (*Adopted)(nil)
	_ database.Settler = (*Engine)(nil)
	_ database.Settler = (*Many)(nil)
	_ database.Settler = (*Adopted)(nil)
)
