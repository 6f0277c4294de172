package postgres

import (
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/mask"
)

// What was restored to prove a backup is masked before it is a golden copy. If
// that cannot be, the backup counts all the same and nothing is left of it.
func TestDrillIsMasked(t *testing.T) {
	main, scratch := clusters(t)
	live, testers := engine(t, "drilled", main), engine(t, "drilled", scratch, main)
	from, err := live.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, live, from); drop(t, testers, bosman.Database{Name: "drilled__"}) })
	mustSQL(t, from, "CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, phone text)",
		"INSERT INTO users SELECT n, 'secret' || n || '@firma.pl', '+48 ' || 600000000 + n FROM generate_series(1, 500) n")
	spec := &mask.Spec{Salt: "salt of the app", Types: bosman.MaskTypes, Columns: map[string]string{"users.email": "email"}}
	masks(testers, spec)
	root := t.TempDir()
	k := &database.Keeper{Engine: live, Scratch: testers, State: filepath.Join(root, "state")}
	at := database.Place{Vault: databasetest.Vault(t, filepath.Join(root, "vault")), Name: "backups/rms/live/one"}
	if _, err := k.Backup(t.Context(), database.Snapshot{Database: from}, at, database.About{App: "rms", Instance: "live", Release: 2, Number: 12}); err != nil {
		t.Fatal(err)
	}

	d, err := k.Drill(t.Context(), at, false, testers, from)
	if err != nil || d.ProvenAt.IsZero() || d.Made || d.Why == nil || !strings.Contains(bosman.AsError(d.Why).Error()+bosman.AsError(d.Why).Next, "phone") {
		t.Errorf("a column that nobody masked: %+v, %v", d, err)
	}
	if left := ask(t, scratch.admin("postgres"), "SELECT count(*)::text FROM pg_database WHERE starts_with(datname, 'drilled__')"); left != "0" {
		t.Fatalf("%s databases were left where unmasked data could be read", left)
	}

	spec.Columns["users.phone"] = "phone"
	if d, err = k.Drill(t.Context(), at, false, testers, from); err != nil || !d.Made || d.Why != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := trySQL(scratch.admin(d.Golden.Database.Name), "SELECT 1"); err == nil {
		t.Error("somebody may enter the golden copy")
	}
	copied, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{From: "live"})
	if err != nil || info.Backup != 12 || info.Release != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	if got := ask(t, copied, "SELECT count(*)::text, count(*) FILTER (WHERE email LIKE 'secret%' OR phone = '+48 ' || 600000000 + id)::text FROM users"); got != "500|0" {
		t.Errorf("rows and unmasked ones: %s", got)
	}
	if got := ask(t, scratch.admin(copied.Name), "SELECT count(*)::text FROM pg_extension WHERE extname = 'amcheck'"); got != "0" {
		t.Error("the extension that checks for damage was left")
	}
	nothingIsLeft(t, testers, copied, "secret")
}
