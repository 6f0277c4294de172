package postgres

import (
	"testing"

	bosman "github.com/bosman-cd/bosman"
)

// What a database is set to, by itself or for its application's role, outlives
// a backup that takes its place.
func TestSettingsOutliveARestore(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "settings", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, bosman.Database{Name: "settings__"}) })
	mustSQL(t, d, "CREATE SCHEMA app", "CREATE TABLE app.cart (id int)")
	mustSQL(t, main.admin("postgres"), "ALTER ROLE "+quote(d.User)+" IN DATABASE "+quote(d.Name)+" SET search_path = app, public",
		"ALTER DATABASE "+quote(d.Name)+" SET timezone = 'Asia/Tokyo'", "ALTER DATABASE "+quote(d.Name)+" SET search_path = wrong", "ALTER DATABASE "+quote(d.Name)+" SET statement_timeout = '1min'")
	dir := t.TempDir()
	if _, err := e.Backup(t.Context(), d, dir); err != nil {
		t.Fatal(err)
	}
	next, err := e.Restore(t.Context(), dir, "live__next")
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, main.admin(next.Name), "SELECT array_to_string(setconfig, '; ') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE setrole = 0 AND datname = current_database()"); got != "TimeZone=Asia/Tokyo; search_path=app, public; statement_timeout=1min" {
		t.Errorf("restored, it is set to %s", got)
	}
	if _, err := e.Swap(t.Context(), d, next); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d, "SELECT current_setting('search_path'), current_setting('TimeZone'), (SELECT count(*)::text FROM cart)"); got != "app, public|Asia/Tokyo|0" {
		t.Errorf("in its place: %s", got)
	}
}
