package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/databasetest"
)

const rootEnv = "BOSMAN_TEST_SQLITE"

func TestMain(m *testing.M) {
	if code, ok := databasetest.Child(maker(os.Getenv(rootEnv))); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func maker(root string) databasetest.Maker {
	return func(app string) (databasetest.World, error) {
		e, err := NewEngine(filepath.Join(root, app))
		return databasetest.World{
			Engine: e, Source: e, Trial: e, Blob: "blob",
			Open:  func(d bosman.Database) (*sql.DB, error) { return open(d.Name) },
			Files: func(_ context.Context, d bosman.Database) (string, error) { return filepath.Dir(d.Name), nil },
		}, err
	}
}

func TestSuite(t *testing.T) {
	root := t.TempDir()
	t.Setenv(rootEnv, root)
	databasetest.Test(t, "lite", maker(root), append(databasetest.Verbs(), "verify", "remove", "wayback")...)
}

func TestMasks(t *testing.T) {
	root := t.TempDir()
	t.Setenv(rootEnv, root)
	databasetest.Masks(t, "litemask", maker(root), databasetest.MaskPoints()...)
}

// A backup as it was made before there were vaults can still be restored.
func TestFormat1(t *testing.T) { databasetest.Format1(t, maker(t.TempDir()), "testdata/format1") }
