package mariadb

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

const buildPrefix = "build_"

// buildUser is the user of a build, and the name of its first database.
func buildUser(id string) string { return buildPrefix + database.Mangle(id) }

// BuildDatabase gives a build a user of its own on the scratch server and an
// empty database. The user may also make databases whose names are that one's
// with "test_" before it or "_" and more behind it, as test runners do. id
// names the build among all apps, like "rms-b412"; asking again gives the same.
func (c *Cluster) BuildDatabase(ctx context.Context, id string) (bosman.Database, error) {
	if err := bosman.CheckName("build", id); err != nil {
		return bosman.Database{}, err
	}
	if c.Profile != Scratch {
		return bosman.Database{}, bosman.Invalid("builds get databases on the scratch server, not on %s", c.Name)
	}
	user := buildUser(id)
	release, err := c.names.Claim(ctx, user)
	if err != nil {
		return bosman.Database{}, err
	}
	defer release()
	err = c.with(ctx, "", "make a database for build "+id, func(conn *sql.Conn) error {
		if err := c.ensureUser(ctx, conn, user); err != nil {
			return err
		}
		exact, more := pattern(user), strings.TrimSuffix(pattern(user+"_"), "`")+"%`"
		for _, p := range []string{exact, more, "`test\\_" + exact[1:], "`test\\_" + more[1:]} {
			if err := run(ctx, conn, "GRANT ALL PRIVILEGES ON "+p+".* TO "+account(user)); err != nil {
				return err
			}
		}
		return run(ctx, conn, "CREATE DATABASE IF NOT EXISTS "+quote(user))
	})
	return c.database(user, user), err
}

// CleanBuild drops a build's user and every database it may have made, also
// while they are in use.
func (c *Cluster) CleanBuild(ctx context.Context, id string) error {
	if err := bosman.CheckName("build", id); err != nil {
		return err
	}
	return c.cleanUser(ctx, buildUser(id))
}

// CleanBuilds cleans up after all builds but those alive, and says how many.
func (c *Cluster) CleanBuilds(ctx context.Context, alive []string) (int, error) {
	keep := make([]string, len(alive))
	for i, id := range alive {
		keep[i] = buildUser(id)
	}
	var users []string
	err := c.with(ctx, "", "look for databases of builds", func(conn *sql.Conn) (err error) {
		users, err = column(ctx, conn, "SELECT User FROM mysql.global_priv WHERE LEFT(User, ?) = ?", len(buildPrefix), buildPrefix)
		return err
	})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, u := range users {
		if slices.Contains(keep, u) {
			continue
		}
		if err := c.cleanUser(ctx, u); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (c *Cluster) cleanUser(ctx context.Context, user string) error {
	release, err := c.names.Claim(ctx, user)
	if err != nil {
		return err
	}
	defer release()
	return c.with(ctx, "", "clean up after "+user, func(conn *sql.Conn) error {
		// Without a way in nothing new can appear meanwhile.
		if err := shutOut(ctx, conn, user); err != nil {
			return err
		}
		var all []string
		for _, base := range []string{user, "test_" + user} {
			names, err := column(ctx, conn, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ? OR LEFT(SCHEMA_NAME, ?) = ?", base, len(base)+1, base+"_")
			if err != nil {
				return err
			}
			all = append(all, names...)
		}
		for _, db := range all {
			if err := c.dropSchema(ctx, conn, db); err != nil {
				return err
			}
		}
		return run(ctx, conn, "DROP USER IF EXISTS "+account(user))
	})
}
