package postgres

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
)

// world is an app whose instances live on home; backups are tried out on
// scratch. With home scratch, copies come from main by way of golden copies.
func world(app string, home, main, scratch *Cluster) (databasetest.World, error) {
	e, err1 := NewEngine(app, home, main)
	source, err2 := NewEngine(app, main)
	trial, err3 := NewEngine(app, scratch, main)
	return databasetest.World{Engine: e, Source: source, Trial: trial, Blob: "bytea", Open: openSQL, Files: home.filesOf}, errors.Join(err1, err2, err3)
}

func openSQL(d bosman.Database) (*sql.DB, error) { return sql.Open("pgx", database.URL(d)) }

// filesOf gives the folder of a database, written out.
func (c *Cluster) filesOf(ctx context.Context, d bosman.Database) (dir string, err error) {
	err = c.with(ctx, "postgres", "write out the tables", func(conn *pgx.Conn) error {
		var oid string
		if err := conn.QueryRow(ctx, "SELECT oid::text FROM pg_database WHERE datname = $1", d.Name).Scan(&oid); err != nil {
			return err
		}
		dir = filepath.Join(c.dataDir(), "base", oid)
		return run(ctx, conn, "CHECKPOINT")
	})
	return dir, err
}

func TestMasks(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Masks(t, "sgoldmask", func(app string) (databasetest.World, error) { return world(app, scratch, main, scratch) }, databasetest.MaskPoints()...)
}

func TestSuiteOnMain(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "smain", func(app string) (databasetest.World, error) { return world(app, main, main, scratch) }, append(databasetest.Verbs(), "wayback")...)
}

func TestSuiteOnScratch(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "sgold", func(app string) (databasetest.World, error) { return world(app, scratch, main, scratch) }, "replace")
}

// childWorld is the same in a process that will be killed.
func childWorld(app string) (databasetest.World, error) {
	main, scratch := sharedClusters(os.Getenv(childEnv))
	for _, c := range []*Cluster{main, scratch} {
		if _, err := c.Ensure(context.Background()); err != nil {
			return databasetest.World{}, err
		}
	}
	if strings.HasPrefix(app, "sgold") {
		return world(app, scratch, main, scratch)
	}
	return world(app, main, main, scratch)
}
