package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/databasetest"
)

// world is an app whose instances live on home; backups are tried out on
// scratch.
func world(app string, home, main, scratch *Cluster) (databasetest.World, error) {
	e, err1 := NewEngine(app, home, main)
	source, err2 := NewEngine(app, main)
	trial, err3 := NewEngine(app, scratch, main)
	return databasetest.World{Engine: e, Source: source, Trial: trial, Copies: trial, Blob: "longblob", Text: "varchar(200)", Mark: "?", Large: 4 << 20, Open: openSQL, Files: home.writtenOut}, errors.Join(err1, err2, err3)
}

// openSQL opens d as its instance does, but with names quoted as in standard
// SQL, which the suite speaks.
func openSQL(d bosman.Database) (*sql.DB, error) {
	cfg := Config(d)
	cfg.Params["sql_mode"] = "'ANSI_QUOTES,STRICT_TRANS_TABLES'"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// writtenOut gives the folder of a database, written out.
func (c *Cluster) writtenOut(ctx context.Context, d bosman.Database) (string, error) {
	return filepath.Join(c.dataDir(), d.Name), c.exec(ctx, "write out the tables", "FLUSH TABLES", "SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.0", "SET GLOBAL innodb_max_dirty_pages_pct = 0.0")
}

func TestMasks(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	mk := func(app string) (databasetest.World, error) { return world(app, scratch, main, scratch) }
	databasetest.Masks(t, "scopymask", mk, databasetest.MaskPoints()...)
	databasetest.MasksRefused(t, "scopybad", mk)
}

func TestSuiteOnMain(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "smain", func(app string) (databasetest.World, error) { return world(app, main, main, scratch) }, append(databasetest.Verbs(), "wayback", "drill")...)
}

func TestMaskedDrill(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.MaskedDrill(t, "smain", func(app string) (databasetest.World, error) { return world(app, main, main, scratch) }, "database.golden.masked", "database.promote.")
}

func TestSuiteOnScratch(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Test(t, "scopy", func(app string) (databasetest.World, error) {
		w, err := world(app, scratch, main, scratch)
		w.Copies = nil // drilled by TestSuiteOnMain
		return w, err
	}, "replace")
}

// childWorld is the same in a process that will be killed.
func childWorld(app string) (databasetest.World, error) {
	main, scratch := sharedClusters(os.Getenv(childEnv))
	for _, c := range []*Cluster{main, scratch} {
		if _, err := c.Ensure(context.Background()); err != nil {
			return databasetest.World{}, err
		}
	}
	if strings.HasPrefix(app, "scopy") {
		return world(app, scratch, main, scratch)
	}
	return world(app, main, main, scratch)
}
