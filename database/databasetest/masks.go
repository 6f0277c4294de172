package databasetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/need"
)

// Masks judges how an engine of copies masks its golden copies: the same
// tables, the same values and the same fakes for all drivers. The engine and
// the source of a World are those of copies and of staging. A process is killed
// at each of the points.
func Masks(t *testing.T, app string, mk Maker, points ...string) {
	s := suite{app: app, mk: mk}
	t.Run("masked", s.masked)
	t.Run("refused", s.maskRefused)
	t.Run("kill", func(t *testing.T) { s.maskKilled(t, points) })
}

// MaskPoints are where a golden copy was made, masked and shown.
func MaskPoints() []string {
	return []string{"database.golden.made", "database.golden.masked", "database.golden.shown"}
}

const (
	maskSalt    = "salt of the suite"
	maskPeople  = 60
	maskSecret  = "secret"     // part of each personal text
	maskNumbers = "6000000"    // of each telephone number
	maskCodes   = "8000000000" // of each tax number
)

// maskSpec masks everything that masksScene fills in, and runs a file.
func maskSpec() mask.Spec {
	return mask.Spec{
		Salt: maskSalt, Types: slices.Clone(bosman.MaskTypes),
		Columns: map[string]string{
			"person.email": "email", "person.phone": "phone", "person.full_name": "name", "person.born": "date", "person.pesel": "code",
			"person.note": "text", "person.password": "constant:!", "orders.contact_phone": "phone",
		},
		SQL: []mask.File{{Name: "mask/more.sql", Text: "-- a file of two statements\nUPDATE person SET note = 'from the file' WHERE id = 9;\nUPDATE person SET password = '?' WHERE id = 9;\n"}},
	}
}

// maskWith has the engine mask as spec says, whatever the release.
func (w World) maskWith(t testing.TB, spec *mask.Spec) (database.Refresher, database.Masker) {
	t.Helper()
	m, ok := w.Engine.(database.Masker)
	r, goldens := w.Engine.(database.Refresher)
	if !ok || !goldens {
		t.Fatal("the engine masks no golden copies")
	}
	m.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return *spec, nil })
	return r, m
}

// masksScene makes a staging with personal data.
func (w World) masksScene(t testing.TB) bosman.Database {
	t.Helper()
	from, err := w.Source.Create(context.Background(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	statements := []string{
		`CREATE TABLE person (id integer PRIMARY KEY, email varchar(60) NOT NULL UNIQUE, phone varchar(20), full_name varchar(60), born date,
			pesel char(11) UNIQUE, note varchar(200), password varchar(40) NOT NULL)`,
		"CREATE TABLE orders (id integer PRIMARY KEY, person_email varchar(60), contact_phone varchar(20), FOREIGN KEY (person_email) REFERENCES person (email))",
	}
	person := make([]string, maskPeople)
	orders := make([]string, maskPeople)
	for n := range maskPeople {
		person[n] = fmt.Sprintf("(%d, '%s%d@firma.pl', '+48 %s%02d', 'Secretus Homo%d', '1980-02-%02d', '%s%d', '%s note %d', 'pbkdf2$%s%d')",
			n+10, maskSecret, n+10, maskNumbers, n+10, n+10, 1+n%28, maskCodes, n%10, maskSecret, n+10, maskSecret, n+10)
		if n >= 10 { // ten have a tax number
			person[n] = strings.Replace(person[n], fmt.Sprintf("'%s%d'", maskCodes, n%10), "NULL", 1)
		}
		orders[n] = fmt.Sprintf("(%d, '%s%d@firma.pl', '+48 %s%02d')", n, maskSecret, n+10, maskNumbers, n+10)
	}
	statements = append(statements, "INSERT INTO person (id, email, phone, full_name, born, pesel, note, password) VALUES "+strings.Join(person, ", "),
		"INSERT INTO person (id, email, phone, note, password) VALUES (9, '"+maskSecret+"9@firma.pl', NULL, '', 'x')",
		"INSERT INTO person (id, email, phone, note, password) VALUES (8, '"+maskSecret+"8@firma.pl', '', '', 'x')",
		"INSERT INTO orders (id, person_email, contact_phone) VALUES "+strings.Join(orders, ", "),
		"INSERT INTO orders (id) VALUES (99)",
		"UPDATE person SET note = '"+maskSecret+" written before' WHERE id = 20", // leaves what was there in a free place
		"DELETE FROM orders WHERE id = 5")
	w.exec(t, from, statements...)
	return from
}

// ask gives the rows of a query as texts joined by "|" and lines; NULL is "-".
func (w World) ask(t testing.TB, d bosman.Database, query string) string {
	t.Helper()
	db, err := w.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			if row[i] = v.String; !v.Valid {
				row[i] = "-"
			}
		}
		lines = append(lines, strings.Join(row, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// nothingIsLeft searches the files of databases for what was there before.
func (w World) nothingIsLeft(t testing.TB, what string, all ...bosman.Database) {
	t.Helper()
	for _, d := range all {
		dir, err := w.Files(context.Background(), d)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found++
			for _, word := range []string{maskSecret, "Secretus", "firma.pl", maskNumbers, maskCodes} {
				if i := bytes.Index(b, []byte(word)); i >= 0 {
					t.Errorf("%s: %s of %s holds %q: …%q…", what, filepath.Base(path), d.Name, word, b[max(0, i-40):min(len(b), i+40)])
				}
			}
			return nil
		})
		if err != nil || found == 0 {
			t.Errorf("%s: %d files of %s were looked at: %v", what, found, d.Name, err)
		}
	}
}

func databasesOf(goldens []database.Golden) (out []bosman.Database) {
	for _, g := range goldens {
		out = append(out, g.Database)
	}
	return out
}

func (s *suite) masked(t *testing.T) {
	w, _ := s.world(t)
	from := w.masksScene(t)
	spec := maskSpec()
	r, _ := w.maskWith(t, &spec)
	d, info, err := w.Engine.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 3, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if info.From != "staging" || info.Release != 3 || info.Took <= 0 || info.Bytes == 0 {
		t.Errorf("info %+v", info)
	}
	fake := func(kind, value string, room int, unique bool) string {
		return mask.Fake(maskSalt, kind, value, room, unique)
	}
	for n := range maskPeople {
		pesel := "-"
		if n < 10 {
			pesel = fake("code", fmt.Sprint(maskCodes, n%10), 11, true)
		}
		note := fmt.Sprint(maskSecret, " note ", n+10)
		if n+10 == 20 {
			note = maskSecret + " written before"
		}
		want := strings.Join([]string{
			fake("email", fmt.Sprintf("%s%d@firma.pl", maskSecret, n+10), 60, true),
			fake("phone", fmt.Sprintf("+48 %s%02d", maskNumbers, n+10), 20, false),
			fake("name", fmt.Sprintf("Secretus Homo%d", n+10), 60, false),
			pesel, fake("text", note, 200, false), "!",
		}, "|")
		if got := w.ask(t, d, fmt.Sprintf("SELECT email, phone, full_name, pesel, note, password FROM person WHERE id = %d", n+10)); got != want {
			t.Fatalf("person %d is\n%s, want\n%s", n+10, got, want)
		}
	}
	day, err := mask.MoveDate("1980-02-01", mask.DateShift(maskSalt))
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"SELECT count(*) FROM orders o JOIN person p ON p.email = o.person_email AND p.id = o.id + 10":  fmt.Sprint(maskPeople - 1),
		"SELECT count(*) FROM orders o JOIN person p ON p.phone = o.contact_phone AND p.id = o.id + 10": fmt.Sprint(maskPeople - 1),
		"SELECT count(*) FROM person":                                                        fmt.Sprint(maskPeople + 2),
		"SELECT count(DISTINCT email) FROM person":                                           fmt.Sprint(maskPeople + 2),
		"SELECT person_email, contact_phone FROM orders WHERE id = 99":                       "-|-",
		"SELECT phone, note, password FROM person WHERE id = 9":                              "-|from the file|?",
		"SELECT phone, note, full_name FROM person WHERE id = 8":                             "||-",
		fmt.Sprintf("SELECT count(*) FROM person WHERE born = '%s' AND id IN (10, 38)", day): "2",
	} {
		if got := w.ask(t, d, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if n := w.ask(t, from, "SELECT count(*) FROM person WHERE email LIKE '"+maskSecret+"%'"); n != fmt.Sprint(maskPeople+2) {
		t.Errorf("the source has %s people of its own", n)
	}
	goldens, err := r.Goldens(t.Context(), from)
	if err != nil || len(goldens) != 1 {
		t.Fatalf("golden copies %+v, %v", goldens, err)
	}
	w.nothingIsLeft(t, "masked", append(databasesOf(goldens), d)...)

	// As it is now, too, and with what came since.
	w.exec(t, from, "INSERT INTO person (id, email, password) VALUES (1000, '"+maskSecret+"1000@firma.pl', 'x')")
	exact, _, err := w.Engine.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Exact: true, Release: 3, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.ask(t, exact, "SELECT email FROM person WHERE id = 1000"), fake("email", maskSecret+"1000@firma.pl", 60, true); got != want {
		t.Errorf("as it is now: %s, want %s", got, want)
	}

	// Other masks make the golden copies of before unusable, though nothing was
	// written.
	spec.Columns["person.note"] = "constant:nothing"
	other, _, err := w.Engine.Copy(t.Context(), from, "testing-cyd", database.CopyOptions{Release: 3, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.ask(t, other, "SELECT note FROM person WHERE id = 30"); got != "nothing" {
		t.Errorf("with other masks: %q", got)
	}
}

func (s *suite) maskRefused(t *testing.T) {
	w, _ := s.world(t)
	from := w.masksScene(t)
	spec := maskSpec()
	r, m := w.maskWith(t, &spec)
	copied := func(name string) (bosman.Database, error) {
		d, _, err := w.Engine.Copy(t.Context(), from, name, database.CopyOptions{Release: 3, From: "staging"})
		return d, err
	}
	goldens := func() []database.Golden {
		t.Helper()
		all, err := r.Goldens(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}

	// What nobody looked at: no golden copy, and the lines to add.
	spec.Columns = map[string]string{"person.email": "email"}
	_, err := copied("testing-anna")
	wantKind(t, "columns that nobody looked at", err, bosman.KindInvalid)
	for _, line := range []string{"person.phone: phone", "person.full_name: name", "person.born: date", "person.pesel: code", "person.password: constant:!", "orders.contact_phone: phone"} {
		if err == nil || !strings.Contains(bosman.AsError(err).Next, line) {
			t.Errorf("the way on lacks %q: %v", line, err)
		}
	}
	if err != nil && strings.Contains(bosman.AsError(err).Next, "person_email") {
		t.Error("what follows a foreign key is not asked for")
	}
	if len(goldens()) != 0 {
		t.Errorf("golden copies %+v", goldens())
	}
	for _, name := range listed(t, w.Engine) {
		if name != "staging" {
			t.Errorf("%s is there", name)
		}
	}

	spec = maskSpec()
	if _, err := copied("testing-anna"); err != nil {
		t.Fatal(err)
	}
	before := goldens()
	if len(before) != 1 {
		t.Fatalf("golden copies %+v", before)
	}
	good := spec.SQL
	for _, c := range []struct{ text, why string }{
		{"UPDATE person SET nothing = 1;", "nothing"},
		{"BEGIN; UPDATE person SET note = 'lost'", "open"},
		{"UPDATE person SET email = 'one@example.org'", "wrong.sql"}, // must be unique
	} {
		spec.SQL = append(slices.Clone(good), mask.File{Name: "wrong.sql", Text: c.text})
		_, err := copied("testing-ben")
		wantKind(t, c.text, err, bosman.KindFailed)
		if err == nil || !strings.Contains(err.Error(), "wrong.sql did not run on the copy") || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.text, err)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%v %s", err, bosman.AsError(err).Next), maskSecret) {
			t.Errorf("%s: the error tells a value: %v", c.text, err)
		}
		if now := goldens(); len(now) != 1 || now[0] != before[0] {
			t.Errorf("%s: the golden copies are %+v, were %+v", c.text, now, before)
		}
	}
	spec.SQL = good
	d, err := copied("testing-ben")
	if err != nil {
		t.Fatalf("of the golden copy of before: %v", err)
	}
	w.nothingIsLeft(t, "after failures", d)

	// A column that came later: the golden copy of before stays, but is not
	// handed out as one of now.
	w.exec(t, from, "ALTER TABLE person ADD COLUMN home_address varchar(50)", "UPDATE person SET home_address = '"+maskSecret+" street'")
	_, _, err = w.Engine.Copy(t.Context(), from, "testing-cyd", database.CopyOptions{Exact: true, Release: 4, From: "staging"})
	wantKind(t, "a new column", err, bosman.KindInvalid)
	if err != nil && !strings.Contains(bosman.AsError(err).Next, "person.home_address: address") {
		t.Errorf("a new column: %v", err)
	}
	if now := goldens(); len(now) != 1 || now[0] != before[0] {
		t.Errorf("a new column: the golden copies are %+v", now)
	}
	if p, err := m.MaskPlan(t.Context(), from, spec); err != nil || len(p.Left) != 1 || p.Refuse() == nil {
		t.Errorf("the plan: %+v, %v", p, err)
	}
}

// maskJob is what a process does that is killed while it masks.
func (w World) maskJob(ctx context.Context) error {
	m, ok := w.Engine.(database.Masker)
	if !ok {
		return errors.New("the engine masks nothing")
	}
	m.MaskWith(func(context.Context, string, int) (mask.Spec, error) { return maskSpec(), nil })
	from, err := w.Source.Find(ctx, "staging")
	if err == nil {
		_, _, err = w.Engine.Copy(ctx, from, "testing-anna", database.CopyOptions{Release: 3, From: "staging"})
	}
	return err
}

func (s *suite) maskKilled(t *testing.T, points []string) {
	need.Slow(t, "starts and kills processes")
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			w, app := s.world(t)
			from := w.masksScene(t)
			j := job{App: app, Verb: "mask", Root: t.TempDir()}
			state, out := child(t, j, point+"=kill")
			if ws, ok := state.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
				t.Fatalf("the child should have been killed: %s %s", state, out)
			}
			w, err := s.mk(app)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []database.Engine{w.Source, w.Engine} {
				if err := e.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range listed(t, w.Engine) {
				if database.HasTag(name, database.TagMaking) {
					t.Errorf("%s is left", name)
				}
			}
			spec := maskSpec()
			r, _ := w.maskWith(t, &spec)
			goldens, err := r.Goldens(t.Context(), from)
			if err != nil || len(goldens) > 1 {
				t.Fatalf("golden copies %+v, %v", goldens, err)
			}
			w.nothingIsLeft(t, "killed", databasesOf(goldens)...)
			if err := w.maskJob(t.Context()); err != nil {
				t.Fatalf("done again: %v", err)
			}
			d, err := w.Engine.Find(t.Context(), "testing-anna")
			if err != nil {
				t.Fatal(err)
			}
			w.nothingIsLeft(t, "done again", d)
		})
	}
}
