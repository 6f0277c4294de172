package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
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
			Engine: e, Source: e, Trial: e, Copies: e, Blob: "blob",
			Open:  func(d bosman.Database) (*sql.DB, error) { return open(d.Name) },
			Files: func(_ context.Context, d bosman.Database) (string, error) { return filepath.Dir(d.Name), nil },
		}, err
	}
}

func TestSuite(t *testing.T) {
	root := t.TempDir()
	t.Setenv(rootEnv, root)
	databasetest.Test(t, "lite", unmasked(maker(root)), append(databasetest.Verbs(), "verify", "remove", "wayback")...)
}

// unmasked is without golden copies: there are none of data that is not masked.
func unmasked(mk databasetest.Maker) databasetest.Maker {
	return func(app string) (databasetest.World, error) {
		w, err := mk(app)
		w.Copies = nil
		return w, err
	}
}

func TestMaskedDrill(t *testing.T) {
	root := t.TempDir()
	t.Setenv(rootEnv, root)
	databasetest.MaskedDrill(t, "litedrill", maker(root), "database.drill.", "database.golden.masked", "database.promote.")
}

// Without masks a backup on trial is dropped: copies are made of the source.
func TestNothingIsPromotedWithoutMasks(t *testing.T) {
	e, err := NewEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from, err1 := e.Create(t.Context(), "staging")
	trial, err2 := e.Create(t.Context(), "staging__verify")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if g, made, err := e.Promote(t.Context(), trial, from, database.Promotion{Backup: 1, Release: 1, TakenAt: time.Now()}); made || err != nil || exists(trial.Name) != nil {
		t.Errorf("%+v, %v, %v", g, made, err)
	}
}

func TestMasks(t *testing.T) {
	root := t.TempDir()
	t.Setenv(rootEnv, root)
	databasetest.Masks(t, "litemask", maker(root), databasetest.MaskPoints()...)
	databasetest.MasksRefused(t, "litebad", maker(root))
}

// A backup as it was made before there were vaults can still be restored.
func TestFormat1(t *testing.T) { databasetest.Format1(t, maker(t.TempDir()), "testdata/format1") }
