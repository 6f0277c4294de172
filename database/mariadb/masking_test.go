package mariadb

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// What MariaDB has of its own: triggers, stamps, tables with a history,
// partitions, other engines and full-text indexes, text without regard to case,
// days that are none, files with DELIMITER.
func TestMaskedCorners(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "masked", main), engine(t, "masked", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, e := range []*Engine{staging, testers} {
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
	spec := &mask.Spec{Salt: "s", Types: bosman.MaskTypes, Columns: map[string]string{
		"users.email": "email", "users.full_name": "name", "users.born": "date", "users.token": "hash",
		"past.email": "email", "parts.email": "email", "isam.body": "text", "found.body": "text",
	}, SQL: []mask.File{{Name: "more.sql", Text: `DROP TRIGGER forbid;
DELIMITER //
CREATE PROCEDURE clear_it() BEGIN UPDATE users SET note = CONCAT('by ', SUBSTRING_INDEX(CURRENT_USER(), '@', 1)) WHERE id = 1; END//
DELIMITER ;
CALL clear_it();
DROP PROCEDURE clear_it;
`}}}
	testers.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return *spec, nil })
	run := func(d bosman.Database, statements ...string) {
		t.Helper()
		db, err := openSQL(d)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	run(from,
		`CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(80) NOT NULL UNIQUE, full_name VARCHAR(60), born DATE, token UUID, note TEXT, changed TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)`,
		`CREATE TABLE orders (id INT PRIMARY KEY, email VARCHAR(80), FOREIGN KEY (email) REFERENCES users (email))`,
		`CREATE TABLE past (id INT PRIMARY KEY, email VARCHAR(80)) WITH SYSTEM VERSIONING`,
		`CREATE TABLE parts (id INT PRIMARY KEY, email VARCHAR(80)) PARTITION BY HASH (id) PARTITIONS 2`,
		`CREATE TABLE isam (id INT, body VARCHAR(80)) ENGINE=MyISAM`, `CREATE TABLE found (id INT PRIMARY KEY, body TEXT, FULLTEXT (body))`,
		`INSERT INTO users VALUES (1, 'Verysecret@firma.pl', 'Verysecretus', '1980-02-29', '5a3f8e9c-1111-4222-8333-123456789abc', 'x', '2020-01-01 00:00:00'), (2, 'verysecret2@firma.pl', 'verysecretus', NULL, NULL, NULL, '2020-01-01 00:00:00')`,
		`INSERT INTO orders VALUES (1, 'VERYSECRET@firma.pl'), (2, NULL)`,
		`INSERT INTO past VALUES (1, 'verysecret@firma.pl')`, `INSERT INTO parts VALUES (1, 'verysecret@firma.pl'), (2, 'verysecret2@firma.pl')`,
		`INSERT INTO isam VALUES (1, 'verysecret words')`, `INSERT INTO found VALUES (1, 'verysecret words')`,
		`SET sql_mode = ''`, `CREATE TRIGGER forbid BEFORE UPDATE ON users FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a trigger of the application'`,
		`CREATE VIEW seen AS SELECT id, email FROM users`)
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(query string) string {
		t.Helper()
		db, err := openSQL(d)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		rows, err := table(t.Context(), db, query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var lines []string
		for _, r := range rows {
			lines = append(lines, strings.Join(r, "|"))
		}
		return strings.Join(lines, "\n")
	}
	born, err := mask.MoveDate("1980-02-29", mask.DateShift("s"))
	if err != nil {
		t.Fatal(err)
	}
	email := mask.Fake("s", "email", "verysecret@firma.pl", 80, true)
	token := mask.Fake("s", "hash", "5a3f8e9c-1111-4222-8333-123456789abc", 0, false)
	for query, want := range map[string]string{
		"SELECT email, full_name, CAST(born AS CHAR), REPLACE(CAST(token AS CHAR), '-', ''), CAST(changed AS CHAR) FROM users WHERE id = 2 OR id = 1 ORDER BY id DESC": strings.Join([]string{
			mask.Fake("s", "email", "verysecret2@firma.pl", 80, true), mask.Fake("s", "name", "verysecretus", 60, false), "", "", "2020-01-01 00:00:00",
		}, "|") + "\n" + strings.Join([]string{email, mask.Fake("s", "name", "Verysecretus", 60, false), born.(string), token, ""}, "|"), //nolint:forcetypeassert // text stays text
		"SELECT COUNT(*) FROM orders o JOIN users u ON BINARY o.email = BINARY u.email":      "1",
		"SELECT email FROM past FOR SYSTEM_TIME ALL":                                         mask.Fake("s", "email", "verysecret@firma.pl", 80, false),
		"SELECT email FROM parts WHERE id = 1":                                               mask.Fake("s", "email", "verysecret@firma.pl", 80, false),
		"SELECT body FROM isam":                                                              mask.Fake("s", "text", "verysecret words", 80, false),
		"SELECT COUNT(*) FROM found WHERE MATCH (body) AGAINST ('verysecret')":               "0",
		"SELECT COUNT(*) FROM seen JOIN users USING (id, email)":                             "2",
		"SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()": "0",
		"SELECT @@log_bin": "0",
	} {
		if got := ask(query); got != want && !(strings.HasPrefix(query, "SELECT email, full_name") && strings.HasPrefix(got, want)) {
			t.Errorf("%s:\n%s, want\n%s", query, got, want)
		}
	}
	if who := ask("SELECT note FROM users WHERE id = 1"); who == "by "+superuser || who == "x" {
		t.Errorf("the file ran as %q", who)
	}
	for _, dir := range []string{scratch.dataDir(), scratch.goldenDir()} {
		files, err := filepath.Glob(filepath.Join(dir, "masked*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(strings.ToLower(string(b)), "verysecret") {
				t.Errorf("%s holds what was there", f)
			}
		}
	}

	// What fails says no value, and what a file may not do fails it.
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("verysecret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec.Columns["users.note"] = "text"
	for _, c := range []struct{ text, want string }{
		{"LOAD DATA LOCAL INFILE '" + outside + "' INTO TABLE isam (body)", "more.sql did not run"},
		{"LOAD DATA INFILE '" + outside + "' INTO TABLE isam (body)", "more.sql did not run"},
		{"SELECT * FROM users INTO OUTFILE '" + outside + ".out'", "more.sql did not run"},
		{"\\! touch " + outside + ".out", "more.sql did not run"},
		{"SELECT * FROM bosman.labels", "more.sql did not run"},
		{"INSERT INTO orders VALUES (7, 'verysecret is no user')", "foreign key"},
		{"ALTER TABLE isam ADD UNIQUE (body); INSERT INTO isam VALUES (2, 'verysecret2'), (3, 'verysecret2')", "Duplicate entry for key"},
		{"SELECT 'open", "more.sql did not run"},
	} {
		spec.SQL = []mask.File{{Name: "more.sql", Text: c.text}}
		_, _, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Release: 1})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "verysecret2'") {
			t.Errorf("the error tells a value: %v", err)
		}
	}
	if _, err := os.Stat(outside + ".out"); err == nil {
		t.Error("a file wrote outside of the database")
	}
}
