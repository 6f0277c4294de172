package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

var _ database.Extender = (*Engine)(nil)

// Extend implements database.Extender as superuser, in the schema public
// unless the extension has one of its own.
func (e *Engine) Extend(ctx context.Context, d bosman.Database, names []string) error {
	c, err := e.reach(d)
	if err != nil {
		return err
	}
	return c.Extend(ctx, d.Name, names)
}

// Extend makes the extensions that the database name lacks.
func (c *Cluster) Extend(ctx context.Context, name string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var missing []extension
	err := c.with(ctx, name, "look for extensions in "+name, func(conn *pgx.Conn) (err error) {
		missing, err = lacking(ctx, conn, names)
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return c.withPath(ctx, name, "add extensions to "+name, "public", func(conn *pgx.Conn) error {
		for _, x := range missing {
			statement := "CREATE EXTENSION IF NOT EXISTS " + quote(x.name)
			if x.schema == "" {
				statement += " WITH SCHEMA public"
			}
			if err := run(ctx, conn, statement+" CASCADE"); err != nil {
				return fmt.Errorf("extension %s: %w", x.name, err)
			}
		}
		return nil
	})
}

type extension struct{ name, schema string }

// lacking gives the extensions that a database has not, with the schema that
// each insists on. KindUnavailable if the server has not got one.
func lacking(ctx context.Context, conn *pgx.Conn, names []string) ([]extension, error) {
	var out []extension
	for _, name := range names {
		var there, available bool
		var schema *string
		var version int
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = $1), EXISTS (SELECT FROM pg_available_extensions WHERE name = $1),
			(SELECT schema::text FROM pg_available_extension_versions v JOIN pg_available_extensions a ON a.name = v.name AND a.default_version = v.version WHERE v.name = $1),
			current_setting('server_version_num')::int / 10000`, name).Scan(&there, &available, &schema, &version); err != nil {
			return nil, err
		}
		switch {
		case there:
		case !available:
			return nil, bosman.Unavailable("bosman.yaml asks for the extension %s, which this PostgreSQL %d has not got", name, version).
				WithKept("the data is as it was").WithNext("install it on the database's host: apt-get install " + debianPackage(name, version))
		default:
			x := extension{name: name}
			if schema != nil {
				x.schema = *schema
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// debianPackage is where Debian and PostgreSQL's own archive have an
// extension.
func debianPackage(name string, version int) string {
	switch {
	case strings.HasPrefix(name, "postgis") || name == "address_standardizer":
		return fmt.Sprintf("postgresql-%d-postgis-3", version)
	case name == "vector":
		return fmt.Sprintf("postgresql-%d-pgvector", version)
	case strings.HasSuffix(name, "u") && strings.HasPrefix(name, "pl"), slices.Contains([]string{"plperl", "plpython3u", "pltcl"}, name):
		return fmt.Sprintf("postgresql-%s-%d", strings.TrimSuffix(name, "u"), version)
	case strings.HasPrefix(name, "pg_") && !slices.Contains(contrib, name):
		return fmt.Sprintf("postgresql-%d-%s", version, strings.ReplaceAll(strings.TrimPrefix(name, "pg_"), "_", "-"))
	case !slices.Contains(contrib, name):
		return fmt.Sprintf("postgresql-%d-%s", version, strings.ReplaceAll(name, "_", "-"))
	}
	return fmt.Sprintf("postgresql-%d", version) // its contrib modules come with it
}

// contrib are the extensions of PostgreSQL's own sources.
var contrib = strings.Fields(`adminpack amcheck bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance file_fdw fuzzystrmatch hstore intagg intarray isn lo ltree
	pageinspect pg_buffercache pg_freespacemap pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto pgrowlocks pgstattuple postgres_fdw refint seg sslinfo
	tablefunc tcn tsm_system_rows tsm_system_time unaccent uuid-ossp xml2`)
