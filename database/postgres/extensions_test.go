package postgres

import (
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

func TestExtensions(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "extend", main), engine(t, "extend", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "extend__"}) })
	if err := trySQL(from, "CREATE EXTENSION pageinspect"); err == nil {
		t.Fatal("the application added what only a superuser may; the test proves nothing")
	}
	for range 2 { // once more changes nothing
		if err := staging.Extend(t.Context(), from, []string{"hstore", "pgcrypto", "pageinspect", "earthdistance"}); err != nil {
			t.Fatal(err)
		}
	}
	mustSQL(t, from, "CREATE TABLE t (h hstore)", "INSERT INTO t VALUES (hstore('a', encode(digest('x', 'md5'), 'hex')))")
	copied, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, copied, "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"); got != "cube earthdistance hstore pageinspect pgcrypto plpgsql" {
		t.Errorf("the copy has %s", got)
	}
	if got := ask(t, copied, "SELECT length(h->'a')::text FROM t"); got != "32" {
		t.Errorf("the copy's data: %s", got)
	}
	dir := t.TempDir()
	if _, err := staging.Backup(t.Context(), from, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := staging.Restore(t.Context(), dir, "staging__next"); err != nil {
		t.Errorf("restored: %v", err)
	}
	err = staging.Extend(t.Context(), from, []string{"hstore", "postgis_nowhere"})
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(bosman.AsError(err).Next, "-postgis-3") {
		t.Errorf("what is not installed: %v", err)
	}
}

func TestPackagesOfExtensions(t *testing.T) {
	for name, want := range map[string]string{
		"hstore": "postgresql-15", "postgis": "postgresql-15-postgis-3", "postgis_topology": "postgresql-15-postgis-3", "vector": "postgresql-15-pgvector",
		"pg_cron": "postgresql-15-cron", "plpython3u": "postgresql-plpython3-15", "pg_trgm": "postgresql-15", "hypopg": "postgresql-15-hypopg",
	} {
		if got := debianPackage(name, 15); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
