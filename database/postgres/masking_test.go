package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// masks gives an engine one spec, whatever the release.
func masks(e *Engine, s *mask.Spec) {
	e.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return *s, nil })
}

// ask gives the rows of a query as text, joined by "|" and lines.
func ask(t testing.TB, d bosman.Database, query string, args ...any) string {
	t.Helper()
	conn, err := connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		values, err := r.Values()
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprint(v)
		}
		return strings.Join(line, "|"), err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

// TestMasked is the whole way: staging with personal data in every corner, a
// copy that anybody may read.
func TestMasked(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "masked", main), engine(t, "masked", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "masked__"}) })
	mustSQL(t, from,
		`CREATE TABLE users (id int PRIMARY KEY, email varchar(60) UNIQUE NOT NULL, phone text, full_name text, born date, pesel char(11) UNIQUE, note text, address text,
			password text NOT NULL, domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED)`,
		`CREATE TABLE orders (id int PRIMARY KEY, user_email varchar(80) REFERENCES users (email) ON UPDATE CASCADE, contact_phone text)`,
		`CREATE SCHEMA "Odd Schema"`, `CREATE TABLE "Odd Schema"."it's ""quoted""" ("E.Mail" text, "Zażółć" text)`,
		`CREATE TABLE logs (at date, email text) PARTITION BY RANGE (at)`, `CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
		`CREATE INDEX ON users (lower(email))`,
		`CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a trigger of the application''; END'`,
		`INSERT INTO users (id, email, phone, full_name, born, pesel, note, address, password) SELECT n, 'secret' || n || '@firma.pl', '+48 ' || 600000000 + n, 'Secretus Personalis' || n, date '1980-01-01' + n % 9000,
			lpad((80000000000 + n)::text, 11, '0'), 'secret note ' || n, 'Secret Street ' || n, 'pbkdf2$secret' || n FROM generate_series(1, 5000) n`,
		`INSERT INTO orders SELECT n, 'secret' || n || '@firma.pl', '+48 ' || 600000000 + n FROM generate_series(1, 1000) n`,
		`UPDATE users SET phone = NULL, note = '' WHERE id = 7`,
		`INSERT INTO "Odd Schema"."it's ""quoted""" VALUES ('secret1@firma.pl', 'stays')`, `INSERT INTO logs VALUES ('2026-05-05', 'secret2@firma.pl')`,
		`CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION forbid()`,
		`CREATE MATERIALIZED VIEW seen AS SELECT id, email FROM users WHERE id < 10`,
		`ANALYZE`,
	)
	spec := &mask.Spec{Salt: "salt of the app", Types: bosman.MaskTypes, Columns: map[string]string{"users.email": "email"}}
	masks(testers, spec)

	// What is not listed fails the golden copy, and no copy is made.
	_, _, err = testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if bosman.KindOf(err) != bosman.KindInvalid {
		t.Fatalf("columns that nobody looked at: %v", err)
	}
	next := bosman.AsError(err).Next
	for _, line := range []string{"users.phone: phone", "users.full_name: name", "users.born: date", "users.pesel: code", "users.address: address", "users.password: constant:!", "orders.contact_phone: phone", "logs.email: email", `Odd Schema."it's ""quoted""".E.Mail`} {
		if !strings.Contains(next, line) && !strings.HasPrefix(line, "Odd") {
			t.Errorf("the way on lacks %q:\n%s", line, next)
		}
	}
	if strings.Contains(next, "orders.user_email") {
		t.Errorf("what follows a foreign key is not asked for:\n%s", next)
	}
	if left := ask(t, scratch.admin("postgres"), "SELECT count(*)::text FROM pg_database WHERE starts_with(datname, 'masked__')"); left != "0" {
		t.Fatalf("%s databases were left where unmasked data could be read", left)
	}

	for column, kind := range map[string]string{
		"users.phone": "phone", "users.full_name": "name", "users.born": "date", "users.pesel": "code", "users.note": "text", "users.address": "address", "users.password": "constant:!",
		"orders.contact_phone": "phone", `"Odd Schema"."it's ""quoted"""."E.Mail"`: "email", "logs.email": "email",
	} {
		spec.Columns[column] = kind
	}
	spec.SQL = []mask.File{{Name: "mask/more.sql", Text: `DROP TRIGGER t ON users; UPDATE users SET email = 'me@example.org' WHERE id = 9; -- a file of several statements
		INSERT INTO logs SELECT '2026-06-06', current_user || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user`}}
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		`SELECT count(*)::text, count(DISTINCT email)::text, count(DISTINCT pesel)::text FROM users`:                                        "5000|5000|5000",
		`SELECT count(*)::text FROM orders o JOIN users u ON u.email = o.user_email AND u.id = o.id`:                                        "1000", // one of them at the address that the file gave it
		`SELECT count(*)::text FROM orders o JOIN users u ON u.phone = o.contact_phone AND u.id = o.id`:                                     "999",  // one has no phone
		`SELECT count(*)::text FROM users WHERE phone !~ '^[+]48 [0-9]{9}$' OR pesel !~ '^[0-9]{11}$' OR email !~ '^u[0-9a-f]{16}@example'`: "1",
		`SELECT phone IS NULL, note FROM users WHERE id = 7`:                                                                                "true|",
		`SELECT count(DISTINCT born - (date '1980-01-01' + id % 9000))::text FROM users`:                                                    "1",
		`SELECT u.email = l.email FROM users u, logs_2026 l WHERE u.id = 2 AND l.at = '2026-05-05'`:                                         "true",
		`SELECT u.email = "E.Mail", "Zażółć" FROM users u, "Odd Schema"."it's ""quoted""" WHERE u.id = 1`:                                   "true|stays",
		`SELECT email FROM logs WHERE at = '2026-06-06'`:                                                                                    "app_masked false",
		`SELECT DISTINCT domain FROM users ORDER BY 1`:                                                                                      "example.invalid\nexample.org",
		`SELECT count(*)::text FROM seen s JOIN users u USING (id, email)`:                                                                  "9",
		`SELECT count(*)::text FROM users WHERE phone = '+48 ' || 600000000 + id OR pesel = lpad((80000000000 + id)::text, 11, '0')`:        "0",
		`SELECT DISTINCT password FROM users`:                                                                                               "!",
		`SELECT current_setting('session_replication_role')`:                                                                                "origin",
	} {
		if got := ask(t, d, query); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	// The server computes what Fake says.
	if got, want := ask(t, d, `SELECT email, full_name, pesel, address, note FROM users WHERE id = 5`), strings.Join([]string{
		mask.Fake(spec.Salt, "email", "secret5@firma.pl", 60, true), mask.Fake(spec.Salt, "name", "Secretus Personalis5", 0, false),
		mask.Fake(spec.Salt, "code", "80000000005", 11, true), mask.Fake(spec.Salt, "address", "Secret Street 5", 0, false), mask.Fake(spec.Salt, "text", "secret note 5", 0, false),
	}, "|"); got != want {
		t.Errorf("the server made\n%s, and Go\n%s", got, want)
	}
	nothingIsLeft(t, testers, d, "secret", "Secret")

	// Another version of the masks: the golden copy is made anew, though
	// nothing was written.
	before, err := testers.Goldens(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	spec.SQL = append(spec.SQL, mask.File{Name: "wrong.sql", Text: "UPDATE users SET nothing = 1"})
	if _, _, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Release: 1}); err == nil || !strings.Contains(err.Error(), `wrong.sql did not run on the copy: column "nothing"`) {
		t.Errorf("a file that does not run: %v", err)
	}
	spec.SQL = nil
	if _, _, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Release: 1}); err != nil {
		t.Fatal(err)
	}
	after, err := testers.Goldens(t.Context(), from)
	if err != nil || len(after) != len(before)+1 {
		t.Errorf("%d generations after %d: %v", len(after), len(before), err)
	}
}

// nothingIsLeft searches a dump, the statistics and the files of a database.
func nothingIsLeft(t *testing.T, e *Engine, d bosman.Database, words ...string) {
	t.Helper()
	dir := t.TempDir()
	if _, err := e.home.dump(t.Context(), d.Name, dir, "0", false); err != nil {
		t.Fatal(err)
	}
	dump, err := os.ReadFile(filepath.Join(dir, dumpFile))
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, e.home.admin("postgres"), "CHECKPOINT")
	contents := map[string][]byte{"the dump": dump}
	folder := filepath.Join(e.home.dataDir(), "base", ask(t, e.home.admin("postgres"), "SELECT oid::text FROM pg_database WHERE datname = $1", d.Name))
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if contents[f.Name()], err = os.ReadFile(filepath.Join(folder, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range contents {
		for _, w := range words {
			// The functions of the application may say what they like.
			if i := bytes.Index(content, []byte(w)); i >= 0 {
				t.Errorf("%s of %s holds %q: …%q…", name, d.Name, w, content[max(0, i-40):min(len(content), i+40)])
			}
		}
	}
}

// TestFakesOfTheServer: the fakes of Go and of the server for texts of all sorts.
func TestFakesOfTheServer(t *testing.T) {
	_, scratch := clusters(t)
	values := []string{"a", "7", "42", "123", "+48", "+481", "+48 600-700-800", "PL61109010140000071219812874", "Ą1b", "Łódź ul. Długa 5/7", "x'\\\"$$ ;--", "日本 123 abc", strings.Repeat("9", 70), strings.Repeat("Ab1", 40), " ", "ßẞIıİ"}
	conn, err := connect(t.Context(), scratch.admin("template1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(cleanCtx()) }()
	if _, err := conn.Exec(t.Context(), "SELECT set_config($1, 'pepper', false)", mask.SaltSetting); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), conn, mask.Postgres(mask.Plan{}, "").Functions...); err != nil {
		t.Fatal(err)
	}
	for _, kind := range bosman.MaskKinds {
		if kind == "date" || kind == "null" || kind == "keep" {
			continue
		}
		for _, v := range values {
			for _, room := range []int{0, 9, 21, 40} {
				for _, unique := range []bool{false, true} {
					if kind == "email" && room == 9 {
						continue
					}
					var got string
					if err := conn.QueryRow(t.Context(), "SELECT pg_temp.bosman_fake($1, $2, $3, $4)", kind, v, room, unique).Scan(&got); err != nil {
						t.Fatal(err)
					}
					if want := mask.Fake("pepper", kind, v, room, unique); got != want {
						t.Errorf("%s of %q in %d, unique %v: the server %q, Go %q", kind, v, room, unique, got, want)
					}
				}
			}
		}
	}
}
