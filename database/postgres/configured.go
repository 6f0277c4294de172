package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// addExtensions makes the extensions of a dump, each in its schema, before
// those that build on it: CASCADE would put what is missing into the schema of
// whatever asked for it.
func (e *Engine) addExtensions(ctx context.Context, conn *pgx.Conn, extensions map[string]string) error {
	names, err := inOrder(ctx, conn, extensions)
	if err != nil {
		return err
	}
	for _, x := range names {
		schema := extensions[x]
		if schema != "pg_catalog" {
			if err := run(ctx, conn, "CREATE SCHEMA IF NOT EXISTS "+quote(schema)+" AUTHORIZATION "+quote(ownerRole(e.app))); err != nil {
				return err
			}
		}
		if err := run(ctx, conn, "CREATE EXTENSION IF NOT EXISTS "+quote(x)+" WITH SCHEMA "+quote(schema)+" CASCADE"); err != nil {
			return fmt.Errorf("extension %s: %w", x, err)
		}
	}
	return nil
}

// inOrder sorts extensions so that each comes behind those that it requires.
func inOrder(ctx context.Context, conn *pgx.Conn, extensions map[string]string) ([]string, error) {
	names := slices.Sorted(maps.Keys(extensions))
	rows, err := conn.Query(ctx, `SELECT v.name, coalesce(v.requires::text[], '{}') FROM pg_available_extension_versions v
		JOIN pg_available_extensions a ON a.name = v.name AND a.default_version = v.version WHERE v.name = ANY ($1::text[])`, names)
	if err != nil {
		return nil, err
	}
	requires := map[string][]string{}
	var name string
	var on []string
	if _, err := pgx.ForEachRow(rows, []any{&name, &on}, func() error {
		requires[name], on = on, nil
		return nil
	}); err != nil {
		return nil, err
	}
	var out []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if _, wanted := extensions[name]; !wanted || seen[name] {
			return
		}
		seen[name] = true
		for _, other := range requires[name] {
			add(other)
		}
		out = append(out, name)
	}
	for _, name := range names {
		add(name)
	}
	return out, nil
}

// configuredQuery finds the tables and sequences of extensions whose content
// is part of a dump (pg_extension_config_dump): PostGIS's spatial_ref_sys.
const configuredQuery = `SELECT n.nspname, c.relname, c.relkind = 'S' FROM pg_extension x CROSS JOIN LATERAL unnest(x.extconfig) AS k(id)
	JOIN pg_class c ON c.oid = k.id JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2`

// lend lets the app's owner write what extensions keep in tables of their own,
// for as long as a dump is read: they belong to the superuser. takeBack gives
// the statements that end it; a database in which they were not run is never
// shown, it is dropped.
func (e *Engine) lend(ctx context.Context, conn *pgx.Conn) (takeBack []string, err error) {
	rows, err := conn.Query(ctx, configuredQuery)
	if err != nil {
		return nil, err
	}
	type configured struct {
		Schema, Name string
		Sequence     bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[configured])
	if err != nil {
		return nil, err
	}
	owner := quote(ownerRole(e.app))
	schemas := map[string]bool{}
	lendOne := func(what string) error {
		takeBack = append(takeBack, "REVOKE "+what+" FROM "+owner)
		return run(ctx, conn, "GRANT "+what+" TO "+owner)
	}
	for _, c := range all {
		what := "SELECT, INSERT ON TABLE "
		if c.Sequence {
			what = "SELECT, UPDATE ON SEQUENCE "
		}
		if err := lendOne(what + pgx.Identifier{c.Schema, c.Name}.Sanitize()); err != nil {
			return nil, err
		}
		schemas[c.Schema] = true
	}
	for _, s := range slices.Sorted(maps.Keys(schemas)) {
		var may bool
		if err := conn.QueryRow(ctx, "SELECT has_schema_privilege($1, $2, 'USAGE')", ownerRole(e.app), s).Scan(&may); err != nil {
			return nil, err
		}
		if may { // its own, or everybody's: nothing to take back
			continue
		}
		if err := lendOne("USAGE ON SCHEMA " + quote(s)); err != nil {
			return nil, err
		}
	}
	return takeBack, nil
}
