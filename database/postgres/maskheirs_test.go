package postgres

import (
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// Tables that inherit a masked column keep nothing of it, neither in their
// files nor in their statistics.
func TestMaskedWithWhatInherits(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "heirs", main), engine(t, "heirs", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "heirs__"}) })
	mustSQL(t, from, "CREATE TABLE person (id int, email text)",
		"CREATE TABLE employee (salary int) INHERITS (person)", "CREATE TABLE boss (car text) INHERITS (employee)",
		"INSERT INTO employee SELECT n, CASE WHEN n % 3 = 0 THEN 'secretstaff@firma.pl' ELSE 'secretstaff' || n || '@firma.pl' END, n FROM generate_series(1, 500) n",
		"INSERT INTO boss SELECT n, CASE WHEN n % 3 = 0 THEN 'secretboss@firma.pl' ELSE 'secretboss' || n || '@firma.pl' END, n FROM generate_series(1, 500) n")
	masks(testers, &mask.Spec{Salt: "salt", Types: bosman.MaskTypes, Columns: map[string]string{"person.email": "email"}})
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d, "SELECT count(*)::text FROM person WHERE email LIKE '%@example.invalid'"); got != "1000" {
		t.Errorf("%s rows are masked, want 1000", got)
	}
	if got := ask(t, d, "SELECT string_agg(tablename || ' ' || most_common_vals::text, ' ') FROM pg_stats WHERE attname = 'email'"); strings.Contains(got, "secret") || !strings.Contains(got, "boss ") {
		t.Errorf("the statistics: %.200s", got)
	}
	nothingIsLeft(t, testers, d, "secretstaff", "secretboss")
}
