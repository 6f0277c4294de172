package postgres

import (
	"slices"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// What only its own server can have makes no backup of an adopted database
// unprovable and no copy impossible; settings go along, and what does not is
// said before.
func TestAdoptedWithWhatOnlyItsServerHas(t *testing.T) {
	main, scratch := clusters(t)
	boss, team := foreign(t, main.BinDir)
	admin := boss
	admin.Name = "live-db"
	mustSQL(t, boss, "CREATE ROLE authenticated", "CREATE ROLE reporting", "ALTER ROLE team SET timezone = 'Asia/Tokyo'",
		`ALTER DATABASE "live-db" SET search_path = app, "Odd one", public`, `ALTER DATABASE "live-db" SET app.key = 'k3y'`, `ALTER DATABASE "live-db" SET log_statement = 'all'`)
	mustSQL(t, team, "CREATE SCHEMA app", "CREATE TABLE app.users (id int PRIMARY KEY, email text)", "INSERT INTO app.users VALUES (1, 'x')",
		"ALTER TABLE app.users ENABLE ROW LEVEL SECURITY", "CREATE POLICY strict ON app.users FOR SELECT TO authenticated USING (true)", "COMMENT ON POLICY strict ON app.users IS 'why'",
		"CREATE POLICY loose ON app.users USING (true)", "GRANT SELECT ON app.users TO reporting", "CREATE FUNCTION app.ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
	mustSQL(t, admin, "CREATE PUBLICATION debezium FOR ALL TABLES", "CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION app.ev()",
		"CREATE EXTENSION postgres_fdw", "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO team", "CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere' PUBLICATION x WITH (connect = false)")
	t.Cleanup(func() { mustSQL(t, admin, "ALTER SUBSCRIPTION sub SET (slot_name = NONE)", "DROP SUBSCRIPTION sub") })
	mustSQL(t, team, "CREATE SERVER billing FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'billing')", "COMMENT ON SERVER billing IS 'theirs'",
		"CREATE USER MAPPING FOR team SERVER billing OPTIONS (user 'b', password 'hunter2')", "CREATE FOREIGN TABLE app.invoice (id int) SERVER billing OPTIONS (table_name 'i')",
		"CREATE VIEW app.invoices AS SELECT * FROM app.invoice", "CREATE TABLE app.log (at date) PARTITION BY RANGE (at)", "CREATE TABLE app.log_new PARTITION OF app.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
		"CREATE FOREIGN TABLE app.log_old PARTITION OF app.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') SERVER billing", "INSERT INTO app.log VALUES ('2026-02-02')")
	c, err := Adopt(t.Context(), "apart", "live", database.URL(team), nil)
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewAdopted("apart", c)
	if err != nil {
		t.Fatal(err)
	}
	d, err := live.Find(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	testers := engine(t, "apart", scratch)
	testers.AddSource(c)
	t.Cleanup(func() { drop(t, testers, bosman.Database{Name: "apart__"}) })

	said, err := live.Abilities(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	lost := strings.Join(bosman.Lost(said), "\n")
	dir := t.TempDir()
	info, err := live.Backup(t.Context(), d, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"publication debezium", "event trigger ev", "subscription sub", "address of the foreign server billing", "user mapping team on billing",
		"policy app users strict for the roles authenticated", "grants to the role reporting", "setting app.key", "setting log_statement",
	} {
		if !slices.Contains(info.Apart, want) {
			t.Errorf("the backup does not say that it goes without %s: %q", want, info.Apart)
		}
		if !strings.Contains(lost, want) {
			t.Errorf("nobody says before that %s does not go along: %s", want, lost)
		}
	}
	if len(info.Apart) != 9 || len(info.Settings) != 2 {
		t.Errorf("the backup goes without %q, with %v", info.Apart, info.Settings)
	}
	restored, err := testers.Restore(t.Context(), dir, "live__verify_x")
	if err != nil {
		t.Fatal(bosman.AsError(err), bosman.AsError(err).Cause)
	}
	if got, err := testers.Inspect(t.Context(), restored); err != nil || len(database.Differences(info, got)) > 0 {
		t.Errorf("restored, it differs: %v, %v", database.Differences(info, got), err)
	}
	copied, _, err := testers.Copy(t.Context(), d, "testing-anna", database.CopyOptions{Release: 1, From: "live"})
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := testers.Copy(t.Context(), copied, "testing-ben", database.CopyOptions{Release: 1, From: "live"})
	if err != nil {
		t.Fatalf("a copy of a copy: %v", err)
	}
	for what, one := range map[string]bosman.Database{"copy": copied, "copy of a copy": again} {
		if got := ask(t, one, "SELECT (SELECT count(*)::text FROM users), (SELECT string_agg(polname, ' ') FROM pg_policy), current_setting('search_path'), current_setting('TimeZone')"); got != `1|loose|app, "Odd one", public|Asia/Tokyo` {
			t.Errorf("the %s: %s", what, got)
		}
		if got := ask(t, scratch.admin(one.Name), `SELECT (SELECT count(*) FROM pg_event_trigger) + (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_subscription) + (SELECT count(*) FROM pg_user_mappings),
			(SELECT coalesce(srvoptions::text, 'none') FROM pg_foreign_server)`); got != "0|none" {
			t.Errorf("the %s acts on others: %s", what, got)
		}
		if err := trySQL(one, "SELECT * FROM app.invoices"); err == nil || !strings.Contains(err.Error(), "no handler") {
			t.Errorf("the %s reads a foreign server: %v", what, err)
		}
	}
}
