package postgres

import (
	"slices"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
)

// A backup as it was made before there were vaults can still be restored.
func TestFormat1(t *testing.T) {
	main, scratch := clusters(t)
	databasetest.Format1(t, func(app string) (databasetest.World, error) { return world(app, main, main, scratch) }, "testdata/format1")
}

func TestRolesOfTheApp(t *testing.T) {
	got := rolesOf("my-shop", `SET x = y;
CREATE ROLE app_my_shop;
ALTER ROLE app_my_shop WITH NOSUPERUSER NOLOGIN;
CREATE ROLE "my_shop__live";
CREATE ROLE my_shop2__live;
CREATE ROLE bosman;
ALTER ROLE my_shop__live SET role TO 'app_my_shop';
GRANT app_my_shop TO my_shop__live GRANTED BY bosman;
GRANT bosman_workers TO work_my_shop GRANTED BY bosman;
`)
	want := []string{
		"CREATE ROLE app_my_shop;", "ALTER ROLE app_my_shop WITH NOSUPERUSER NOLOGIN;", `CREATE ROLE "my_shop__live";`,
		"ALTER ROLE my_shop__live SET role TO 'app_my_shop';", "GRANT app_my_shop TO my_shop__live GRANTED BY bosman;",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A dump of a newer server, or of another kind, is refused before anything is
// made; roles and extensions with their versions are in the manifest.
func TestBackupSaysWhatItNeeds(t *testing.T) {
	main, scratch := clusters(t)
	e, trial := engine(t, "needs", main), engine(t, "needs", scratch, main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Drop(cleanCtx(), d); err != nil {
			t.Error(err)
		}
	})
	k := &database.Keeper{Engine: e, Scratch: trial, State: t.TempDir()}
	at := database.Place{Vault: databasetest.Vault(t, t.TempDir()), Name: database.NameIn("needs", "live", 1, time.Now())}
	m, err := k.Backup(t.Context(), database.Snapshot{Database: d}, at, database.About{App: "needs", Instance: "live"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(m.Database.Roles, "GRANT app_needs TO needs__live GRANTED BY bosman;") || len(m.Database.Roles) > 12 {
		t.Errorf("roles %q", m.Database.Roles)
	}
	for _, b := range []database.BackupInfo{{Engine: "postgres", Version: "99.1"}, {Engine: "mariadb", Version: "10.11"}} {
		if err := trial.Accepts(t.Context(), b); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%+v: %v", b, err)
		}
	}
	if err := trial.Accepts(t.Context(), *m.Database); err != nil {
		t.Error(err)
	}
}
