package postgres

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

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
	return databasetest.World{Engine: e, Source: source, Trial: trial, Copies: trial, Blob: "bytea", Open: openSQL, Files: home.writtenFiles}, errors.Join(err1, err2, err3)
}

func openSQL(d bosman.Database) (*sql.DB, error) { return sql.Open("pgx", database.URL(d)) }

// writtenFiles gives the folder of a database, written out.
func (c *Cluster) writtenFiles(ctx context.Context, d bosman.Database) (string, error) {
	if err := c.exec(ctx, "write out the tables", "CHECKPOINT"); err != nil {
		return "", err
	}
	return c.filesOf(ctx, d.Name)
}

func TestMasks(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Masks(t, "sgoldmask", func(app string) (databasetest.World, error) { return world(app, scratch, main, scratch) }, databasetest.MaskPoints()...)
}

func TestSuiteOnMain(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "smain", func(app string) (databasetest.World, error) { return world(app, main, main, scratch) }, append(databasetest.Verbs(), "wayback", "drill")...)
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
	if strings.HasPrefix(app, "smanydrill") {
		return manyWorld(app, main, scratch)
	}
	if strings.HasPrefix(app, "sgold") {
		return world(app, scratch, main, scratch)
	}
	return world(app, main, main, scratch)
}
