package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// masks is an engine with one database, and what is masked in copies of it.
func masks(t *testing.T, s *mask.Spec) (*Engine, bosman.Database) {
	t.Helper()
	e, err := NewEngine(filepath.Join(t.TempDir(), "app"))
	if err != nil {
		t.Fatal(err)
	}
	from, err := e.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	e.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return *s, nil })
	return e, from
}

// said gives the rows of a query as texts joined by "|" and lines.
func said(t *testing.T, d bosman.Database, q string) string {
	t.Helper()
	var lines []string
	err := with(t.Context(), d.Name, "test", func(conn *sql.Conn) error {
		rows, err := query(t.Context(), conn, q)
		for _, r := range rows {
			lines = append(lines, strings.Join(r, "|"))
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return strings.Join(lines, "\n")
}

// What SQLite has of its own: triggers, full-text indexes, free pages, names
// and text without regard to case, dates of all sorts, keys that are implied.
func TestMaskedCorners(t *testing.T) {
	spec := &mask.Spec{Salt: "s", Types: bosman.MaskTypes, Columns: map[string]string{
		"User.email": "email", "visits.at": "date", "visits.born": "date", "found.body": "text", "codes.code": "code", "notes.body": "text",
	}}
	e, from := masks(t, spec)
	statements(t, from,
		`CREATE TABLE "User" (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL COLLATE NOCASE UNIQUE, changed INTEGER DEFAULT 0)`,
		`CREATE TABLE orders (id INTEGER, email TEXT REFERENCES USER(EMAIL), PRIMARY KEY (id)) WITHOUT ROWID`,
		`CREATE TABLE codes (code VARCHAR(20) PRIMARY KEY) WITHOUT ROWID`, `CREATE TABLE uses (code VARCHAR(20) REFERENCES codes, missing INTEGER REFERENCES nowhere)`,
		`CREATE TABLE visits (at DATETIME, born DATE)`, `CREATE TABLE plain (words TEXT)`,
		`CREATE VIRTUAL TABLE found USING fts5(body)`,
		`CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)`, `CREATE VIRTUAL TABLE notes_found USING fts5(body, content='notes', content_rowid='id')`,
		`CREATE TRIGGER forbid BEFORE UPDATE ON "User" BEGIN SELECT RAISE(ABORT, 'a trigger of the application'); END`,
		`INSERT INTO "User" (email) VALUES ('Verysecret@firma.pl'), ('verysecret2@firma.pl')`, `INSERT INTO orders VALUES (1, 'verySECRET@firma.pl'), (2, NULL)`,
		`INSERT INTO codes VALUES ('PL-verysecret-12')`, `INSERT INTO uses VALUES ('PL-verysecret-12', 7)`,
		`INSERT INTO visits VALUES ('2026-11-23 10:00:00.5', '1980-02-29'), (1795428000, NULL), (1795428000000, ''), (2461368.5, '2026-11-23')`,
		`INSERT INTO found VALUES ('verysecret words')`, `INSERT INTO notes VALUES (5, 'verysecret words')`, `INSERT INTO notes_found (rowid, body) SELECT id, body FROM notes`,
		`INSERT INTO plain SELECT 'verysecret ' || value FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 5000) SELECT value FROM n)`,
		`DELETE FROM plain WHERE rowid <> 4000`, `UPDATE plain SET words = 'stays'`, // thousands of free places that hold what was there
	)
	d, info, err := e.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if info.From != "staging" || info.Strategy != "file" && info.Strategy != "clone" {
		t.Errorf("%+v", info)
	}
	fake := mask.Fake("s", "email", "verysecret@firma.pl", 0, true)
	move := func(v any) string {
		moved, err := mask.MoveDate(v, mask.DateShift("s"))
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := moved.(float64); ok {
			return fmt.Sprintf("%.1f", f)
		}
		return fmt.Sprint(moved)
	}
	for q, want := range map[string]string{
		`SELECT email, changed FROM "User" WHERE id = 1`:                                  fake + "|0",
		`SELECT count(*) FROM orders o JOIN "User" u ON o.email = u.email COLLATE BINARY`: "1",
		`SELECT count(*) FROM uses JOIN codes USING (code) WHERE missing = 7`:             "1",
		`SELECT CAST(at AS TEXT), coalesce(CAST(born AS TEXT), '-') FROM visits ORDER BY rowid`: strings.Join([]string{
			move("2026-11-23 10:00:00.5") + "|" + move("1980-02-29"), move(int64(1795428000)) + "|-", move(int64(1795428000000)) + "|", move(2461368.5) + "|" + move("2026-11-23"),
		}, "\n"),
		`SELECT rowid, words FROM plain`:                                                    "4000|stays",
		`SELECT count(*) FROM found WHERE found MATCH 'verysecret'`:                         "0",
		`SELECT count(*) FROM notes_found WHERE notes_found MATCH 'verysecret'`:             "0",
		`SELECT n.id FROM notes n JOIN notes_found f ON f.rowid = n.id AND f.body = n.body`: "5",
		`SELECT name FROM sqlite_schema WHERE type = 'trigger'`:                             "forbid",
		`SELECT seq FROM sqlite_sequence`:                                                   "2",
		`PRAGMA journal_mode`:                                                               "wal",
		`PRAGMA integrity_check`:                                                            "ok",
	} {
		if got := said(t, d, q); got != want {
			t.Errorf("%s: %q, want %q", q, got, want)
		}
	}
	files, err := filepath.Glob(filepath.Join(e.dir, "*", "*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(f, "/staging/") && bytes.Contains(bytes.ToLower(b), []byte("verysecret")) {
			t.Errorf("%s holds what was there", f)
		}
		if strings.Contains(f, "golden") && (strings.HasSuffix(f, "-wal") || strings.HasSuffix(f, "-journal") || strings.HasSuffix(f, ".anew")) {
			t.Errorf("%s is left", f)
		}
	}
}

// A file of the team's reaches nothing but the copy, and what cannot be masked
// fails the golden copy.
func TestMaskRefusals(t *testing.T) {
	spec := &mask.Spec{Salt: "s"}
	e, from := masks(t, spec)
	statements(t, from, `CREATE TABLE t (a TEXT, at DATE, u TEXT CHECK (u LIKE 'ok%'))`, `INSERT INTO t VALUES ('verysecret', 'verysecret day', 'ok')`,
		`CREATE VIRTUAL TABLE bare USING fts5(body, content='')`, `INSERT INTO bare (rowid, body) VALUES (1, 'verysecret')`)
	outside := filepath.Join(t.TempDir(), "outside.db")
	for _, c := range []struct {
		columns map[string]string
		file    string
		want    string
	}{
		{nil, "DROP TABLE bare; ATTACH '" + outside + "' AS o; CREATE TABLE o.stolen AS SELECT * FROM t", "attached databases"},
		{nil, "DROP TABLE bare; VACUUM INTO '" + outside + "'", "more.sql did not run"},
		{nil, "DROP TABLE bare; PRAGMA writable_schema = ON; DELETE FROM sqlite_schema", "more.sql did not run"},
		{nil, "DROP TABLE bare; SELECT absent FROM t", "no such column"},
		{nil, "SELECT 1", "full-text index bare"},
		{map[string]string{"t.at": "date"}, "DROP TABLE bare", "is no date"},
		{map[string]string{"t.u": "text"}, "DROP TABLE bare", "the table t cannot be masked"},
		{map[string]string{"t.nothing": "text"}, "DROP TABLE bare", "no such column"},
		{map[string]string{"t.a": "text"}, "DROP TABLE bare", ""},
	} {
		spec.Columns, spec.SQL = c.columns, []mask.File{{Name: "more.sql", Text: c.file}}
		d, _, err := e.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %s: %v", c.columns, c.file, err)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), "verysecret") {
			t.Errorf("the error tells a value: %v", err)
		}
		if err == nil {
			if got := said(t, d, "SELECT a FROM t"); got == "verysecret" {
				t.Error("nothing was masked")
			}
		}
		if _, err := os.Stat(outside); err == nil {
			t.Fatalf("%s wrote another file", c.file)
		}
	}
	if all := listed(t, e); strings.Join(all, " ") != "staging staging__golden testing-anna" {
		t.Errorf("there are %q", all)
	}

	// Without masks no golden copy is needed, and none stays.
	spec.Columns, spec.SQL = nil, nil
	if g, err := e.Refresh(t.Context(), from, 1); err != nil || g.Database.Name != "" {
		t.Errorf("%+v, %v", g, err)
	}
	if all := listed(t, e); strings.Join(all, " ") != "staging testing-anna" {
		t.Errorf("there are %q", all)
	}
}

// listed names the databases of e, golden copies without their time.
func listed(t *testing.T, e *Engine) (names []string) {
	t.Helper()
	all, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		name := x.Name
		if x.Golden {
			name, _, _ = strings.Cut(name, "_2")
		}
		names = append(names, name)
	}
	return names
}

// A golden copy is made again when the source was written to, and not when
// nothing happened.
func TestGoldenFollowsWrites(t *testing.T) {
	spec := &mask.Spec{Salt: "s", Columns: map[string]string{"t.email": "email"}}
	e, from := masks(t, spec)
	statements(t, from, `CREATE TABLE t (email TEXT)`, `INSERT INTO t VALUES ('verysecret@firma.pl')`)
	first, err := e.Refresh(t.Context(), from, 1)
	if err != nil {
		t.Fatal(err)
	}
	held, err := open(from.Name) // an application that stays, with a -wal file
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}()
	for n, written := range []bool{false, true, false, true} {
		if written {
			if _, err := held.Exec("INSERT INTO t VALUES ('another@firma.pl')"); err != nil {
				t.Fatal(err)
			}
		}
		if stale, err := e.Stale(t.Context(), from); err != nil || stale != written {
			t.Errorf("%d: stale %v, %v", n, stale, err)
		}
		g, err := e.Refresh(t.Context(), from, 1)
		if err != nil || (g == first) == written {
			t.Errorf("%d: %+v after %+v, %v", n, g, first, err)
		}
		first = g
	}
	if all, err := e.Goldens(t.Context(), from); err != nil || len(all) != keepGoldens {
		t.Errorf("%+v, %v", all, err)
	}
}
