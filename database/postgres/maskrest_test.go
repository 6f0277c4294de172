package postgres

import (
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// TestTriggersThatNeverRest: a trigger or rule that fires ALWAYS, or in a
// replica, writes down what a row held before. While columns are masked it rests
// too; in the copy it is awake as it was.
func TestTriggersThatNeverRest(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "wakeful", main), engine(t, "wakeful", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "wakeful__"}) })
	mustSQL(t, from, "CREATE TABLE users (id int PRIMARY KEY, email text)", "INSERT INTO users VALUES (1, 'secret@firma.pl')", "CREATE TABLE audit (entry text)",
		"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (OLD.email || coalesce(current_setting(''"+mask.SaltSetting+"'', true), '''')); RETURN NEW; END'",
		"CREATE TRIGGER always AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note()", "ALTER TABLE users ENABLE ALWAYS TRIGGER always",
		`CREATE TRIGGER "Re""plica" AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note()`, `ALTER TABLE users ENABLE REPLICA TRIGGER "Re""plica"`,
		"CREATE RULE rule AS ON UPDATE TO users DO ALSO INSERT INTO audit VALUES (OLD.email)", "ALTER TABLE users ENABLE ALWAYS RULE rule",
	)
	masks(testers, &mask.Spec{Salt: "salt of the app", Columns: map[string]string{"users.email": "email"}})
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d, "SELECT entry FROM audit"); got != "" {
		t.Errorf("while it was masked, somebody wrote down %q", got)
	}
	if got := ask(t, d, "SELECT email FROM users"); got == "secret@firma.pl" {
		t.Error("it is not masked")
	}
	if got := ask(t, d, "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"); got != "Re\"plica|R\nalways|A" {
		t.Errorf("in the copy: %q", got)
	}
	if got := ask(t, d, "SELECT ev_enabled::text FROM pg_rewrite WHERE rulename = 'rule'"); got != "A" {
		t.Errorf("in the copy the rule is %q", got)
	}
}
