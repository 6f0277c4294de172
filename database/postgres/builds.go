package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

const buildPrefix = "build_"

// buildRole is the role of a build, and the name of its first database.
func buildRole(id string) string { return buildPrefix + database.Mangle(id) }

// BuildDatabase gives a build a role of its own on the scratch cluster that
// may create databases (test runners do), and an empty database. id names the
// build among all apps, like "rms-b412"; asking again gives the same.
func (c *Cluster) BuildDatabase(ctx context.Context, id string) (bosman.Database, error) {
	if err := bosman.CheckName("build", id); err != nil {
		return bosman.Database{}, err
	}
	if c.Profile != Scratch {
		return bosman.Database{}, bosman.Invalid("builds get databases on the scratch cluster, not on %s", c.Name)
	}
	role := buildRole(id)
	release, err := c.names.Claim(ctx, role)
	if err != nil {
		return bosman.Database{}, err
	}
	defer release()
	err = c.with(ctx, "postgres", "make a database for build "+id, func(conn *pgx.Conn) error {
		if err := ensureRole(ctx, conn, role, "LOGIN CREATEDB NOSUPERUSER NOCREATEROLE CONNECTION LIMIT 40 PASSWORD "+literal(c.password(role))); err != nil {
			return err
		}
		if err := run(ctx, conn, "GRANT "+groupBuilds+" TO "+quote(role)); err != nil {
			return err
		}
		there, err := c.exists(ctx, role)
		if err != nil || there {
			return err
		}
		return run(ctx, conn, "CREATE DATABASE "+quote(role)+" OWNER "+quote(role)+" TEMPLATE template0 ENCODING 'UTF8'",
			"REVOKE ALL ON DATABASE "+quote(role)+" FROM PUBLIC")
	})
	return c.database(role, role), err
}

// BuildFurther makes a further database of a build that has its first; asking
// again gives the same.
func (c *Cluster) BuildFurther(ctx context.Context, id, name string) (bosman.Database, error) {
	role := buildRole(id)
	db := role + "__" + name
	if len(db) > 63 { // PostgreSQL would cut it
		sum := sha256.Sum256([]byte(db))
		db = db[:54] + "_" + hex.EncodeToString(sum[:4])
	}
	release, err := c.names.Claim(ctx, db)
	if err != nil {
		return bosman.Database{}, err
	}
	defer release()
	err = c.with(ctx, "postgres", "make a database for build "+id, func(conn *pgx.Conn) error {
		there, err := c.exists(ctx, db)
		if err != nil || there {
			return err
		}
		return run(ctx, conn, "CREATE DATABASE "+quote(db)+" OWNER "+quote(role)+" TEMPLATE template0 ENCODING 'UTF8'",
			"REVOKE ALL ON DATABASE "+quote(db)+" FROM PUBLIC")
	})
	return c.database(db, role), err
}

// CleanBuild drops a build's role and every database it made, also while they
// are in use.
func (c *Cluster) CleanBuild(ctx context.Context, id string) error {
	if err := bosman.CheckName("build", id); err != nil {
		return err
	}
	return c.cleanRole(ctx, buildRole(id))
}

// CleanBuilds cleans up after all builds but those alive, and says how many.
func (c *Cluster) CleanBuilds(ctx context.Context, alive []string) (int, error) {
	keep := make([]string, len(alive))
	for i, id := range alive {
		keep[i] = buildRole(id)
	}
	var roles []string
	err := c.with(ctx, "postgres", "look for databases of builds", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
			JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = $1`, groupBuilds)
		if err != nil {
			return err
		}
		roles, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, r := range roles {
		if !strings.HasPrefix(r, buildPrefix) || slices.Contains(keep, r) {
			continue
		}
		if err := c.cleanRole(ctx, r); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (c *Cluster) cleanRole(ctx context.Context, role string) error {
	release, err := c.names.Claim(ctx, role)
	if err != nil {
		return err
	}
	defer release()
	return c.with(ctx, "postgres", "clean up after "+role, func(conn *pgx.Conn) error {
		// Without a way in and without CREATEDB nothing new can appear meanwhile.
		var there bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil || !there {
			return err
		}
		if err := run(ctx, conn, "ALTER ROLE "+quote(role)+" NOLOGIN NOCREATEDB",
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = "+literal(role)); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, "SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = $1", role)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := run(ctx, conn, "ALTER DATABASE "+quote(n)+" IS_TEMPLATE false", "DROP DATABASE IF EXISTS "+quote(n)+" WITH (FORCE)"); err != nil {
				return err
			}
		}
		return run(ctx, conn, "REVOKE ALL ON DATABASE postgres FROM "+quote(role), "DROP ROLE IF EXISTS "+quote(role))
	})
}
