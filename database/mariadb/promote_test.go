package mariadb

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/mask"
)

// What was restored to prove a backup is masked before it is a golden copy, and
// no trigger of it runs meanwhile. If that cannot be, the backup counts all the
// same and nothing is left of it.
func TestDrillIsMasked(t *testing.T) {
	main, scratch := clusters(t)
	live, testers := engine(t, "drilled", main), engine(t, "drilled", scratch, main)
	t.Cleanup(func() {
		for _, e := range []*Engine{live, testers} {
			all, err := e.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, x := range all {
				if err := e.Drop(context.Background(), x.Database); err != nil {
					t.Error(err)
				}
			}
		}
	})
	from, err := live.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	do(t, from, "CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(80) UNIQUE, phone VARCHAR(20))", "CREATE TABLE noted (what VARCHAR(200))",
		"INSERT INTO users SELECT seq, CONCAT('secret', seq, '@firma.pl'), CONCAT('+48 ', 600000000 + seq) FROM seq_1_to_500",
		"CREATE TRIGGER noting AFTER UPDATE ON users FOR EACH ROW INSERT INTO noted VALUES (OLD.email)",
		"CREATE VIEW seen AS SELECT id, email FROM users", "CREATE PROCEDURE forget() DELETE FROM noted",
		"CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO CALL forget()")
	spec := &mask.Spec{
		Salt: "salt of the app", Types: bosman.MaskTypes, Columns: map[string]string{"users.email": "email"},
		SQL: []mask.File{{Name: "more.sql", Text: "UPDATE users SET phone = '1' WHERE id = 1"}},
	}
	testers.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return *spec, nil })
	root := t.TempDir()
	k := &database.Keeper{Engine: live, Scratch: testers, State: filepath.Join(root, "state")}
	at := database.Place{Vault: databasetest.Vault(t, filepath.Join(root, "vault")), Name: "backups/rms/live/one"}
	if _, err := k.Backup(t.Context(), database.Snapshot{Database: from}, at, database.About{App: "rms", Instance: "live", Release: 2, Number: 12}); err != nil {
		t.Fatal(err)
	}
	server := scratch.database("", superuser)

	d, err := k.Drill(t.Context(), at, false, testers, from)
	if err != nil || d.ProvenAt.IsZero() || d.Made || d.Why == nil || !strings.Contains(bosman.AsError(d.Why).Error()+bosman.AsError(d.Why).Next, "phone") {
		t.Errorf("a column that nobody masked: %+v, %v", d, err)
	}
	if left := ask(t, server, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'drilled%'"); left != "0" {
		t.Fatalf("%s databases were left where unmasked data could be read", left)
	}

	spec.Columns["users.phone"] = "phone"
	if d, err = k.Drill(t.Context(), at, false, testers, from); err != nil || !d.Made || d.Why != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if locked := ask(t, server, "SELECT JSON_VALUE(Priv, '$.account_locked') FROM mysql.global_priv WHERE User = "+literal(workerUser(d.Golden.Database.Name))); locked != "1" {
		t.Errorf("whoever masked it may log in: locked %q", locked)
	}
	copied, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{From: "live"})
	if err != nil || info.Backup != 12 || info.Release != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	for query, want := range map[string]string{
		"SELECT CONCAT(COUNT(*), '|', SUM(email LIKE 'secret%' OR phone = CONCAT('+48 ', 600000000 + id))) FROM users": "500|0",
		"SELECT phone FROM users WHERE id = 1":             "1",
		"SELECT SUM(what LIKE 'secret%') FROM noted":       "0", // by the file alone
		"SELECT COUNT(*) FROM noted":                       "1",
		"SELECT COUNT(*) FROM seen WHERE email LIKE '%@%'": "500",
		"SELECT COUNT(*) FROM information_schema.TRIGGERS": "1",
		"SELECT COUNT(*) FROM information_schema.EVENTS":   "1",
		"SELECT EVENT_NAME FROM information_schema.EVENTS": "tidy",
		"SELECT COUNT(*) FROM information_schema.ROUTINES": "1",
		"SELECT @@event_scheduler":                         "OFF",
	} {
		if got := ask(t, copied, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
