package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

func do(t testing.TB, d bosman.Database, statements ...string) {
	t.Helper()
	if err := try(t.Context(), d, statements...); err != nil {
		t.Fatal(err)
	}
}

// try runs statements as d's own user.
func try(ctx context.Context, d bosman.Database, statements ...string) (err error) {
	db, err := open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func ask(t testing.TB, d bosman.Database, query string) string {
	t.Helper()
	db, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out.String
}

// rich makes a database with everything that is not a table.
func rich(t *testing.T, e *Engine, name string) bosman.Database {
	t.Helper()
	d, err := e.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	do(t, d,
		"CREATE TABLE person (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) CHARACTER SET latin2, born DATE, `żółw '``\"` JSON, CHECK (name <> ''))",
		"CREATE TABLE cv (id INT PRIMARY KEY, person INT NOT NULL, body LONGBLOB, FULLTEXT KEY f (txt), txt TEXT, CONSTRAINT whose FOREIGN KEY (person) REFERENCES person (id) ON DELETE CASCADE)",
		"CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT)",
		"CREATE TABLE old_kind (a INT) ENGINE=Aria",
		"CREATE TABLE parted (a INT) PARTITION BY HASH (a) PARTITIONS 3",
		"CREATE SEQUENCE numbers START WITH 100",
		"CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2",
		"CREATE PROCEDURE note(IN w TEXT) BEGIN INSERT INTO log (what) VALUES (CONCAT('it''s ', w, ' 😀')); END",
		"CREATE VIEW zz AS SELECT id, twice(id) AS two FROM person",
		"CREATE VIEW aa AS SELECT z.two, p.name FROM zz z JOIN person p ON p.id = z.id",
		"CREATE TRIGGER first_one AFTER INSERT ON person FOR EACH ROW CALL note(CONCAT('person ', NEW.id))",
		"CREATE TRIGGER second_one AFTER INSERT ON person FOR EACH ROW FOLLOWS first_one INSERT INTO "+d.Name+".log (what) VALUES ('"+d.Name+".log')",
		"CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 03:00:00' DO INSERT INTO log (what) VALUES ('night')",
		"INSERT INTO person (name, born) VALUES ('Łucja', '1990-02-03'), ('O''Hara', NULL)",
		"INSERT INTO cv VALUES (1, 1, x'00ff27225c0a', 'some words')",
		"INSERT INTO parted VALUES (1), (2), (3)", "INSERT INTO old_kind VALUES (7)", "SELECT NEXTVAL(numbers)",
	)
	return d
}

// works says whether all that rich made does what it should, seen by the
// instance's own user.
func works(t *testing.T, d bosman.Database) {
	t.Helper()
	do(t, d, "DELETE FROM log", "INSERT INTO person (name) VALUES ('new')")
	got := ask(t, d, "SELECT GROUP_CONCAT(what ORDER BY id SEPARATOR '|') FROM log")
	id := ask(t, d, "SELECT MAX(id) FROM person WHERE name = 'new'")
	if len(id) == 1 && id < "3" {
		t.Errorf("the numbers begin anew at %s", id)
	}
	want := "it's person " + id + " 😀|"
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ".log") || strings.Count(got, "|") != 1 {
		t.Errorf("the triggers wrote %q, want %s…", got, want)
	}
	if got := ask(t, d, "SELECT GROUP_CONCAT(two, name ORDER BY two) FROM aa"); !strings.HasPrefix(got, "2Łucja,4O'Hara") {
		t.Errorf("the views say %q", got)
	}
	if got := ask(t, d, "SELECT HEX(body) FROM cv"); got != "00FF27225C0A" {
		t.Errorf("the bytes are %s", got)
	}
	if err := try(t.Context(), d, "INSERT INTO cv VALUES (9, 99999, NULL, NULL)"); number(err) != 1452 {
		t.Errorf("the foreign key does not hold: %v", err)
	}
	if n := ask(t, d, "SELECT NEXTVAL(numbers)"); len(n) != 3 && len(n) != 4 || n == "100" {
		t.Errorf("the sequence begins anew: %s", n)
	}
	do(t, d, "DELETE FROM person WHERE name = 'new'")
}

func eventsOf(t *testing.T, c *Cluster, db string) string {
	t.Helper()
	return ask(t, c.database("", superuser), "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = "+literal(db))
}

// TestObjects takes a database with triggers, views that need each other,
// routines, events, sequences and partitions through a backup, a copy and a
// swap there and back.
func TestObjects(t *testing.T) {
	main, scratch := clusters(t)
	e, trial := engine(t, "objects", main, scratch), engine(t, "objects", scratch, main)
	live := rich(t, e, "live")
	works(t, live)
	if n := eventsOf(t, main, live.Name); n != "1" {
		t.Fatalf("%s events on live", n)
	}
	dir := t.TempDir()
	info, err := e.Backup(t.Context(), live, dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Rows["person"] != 2 || info.Rows["parted"] != 3 || info.Rows["old_kind"] != 1 || len(info.Rows) != 5 {
		t.Errorf("counted %v", info.Rows)
	}
	back, err := trial.Restore(t.Context(), dir, "testing-b")
	if err != nil {
		t.Fatal(err)
	}
	in, err := trial.Inspect(t.Context(), back)
	if err != nil {
		t.Fatal(err)
	}
	if diffs := database.Differences(info, in); len(diffs) > 0 {
		t.Errorf("restored it differs: %q", diffs)
	}
	if err := trial.Check(t.Context(), back); err != nil {
		t.Error(err)
	}
	works(t, back)
	copied, ci, err := trial.Copy(t.Context(), live, "testing-c", database.CopyOptions{From: "live"})
	if err != nil {
		t.Fatalf("%+v, %v", ci, err)
	}
	_, exact, err := trial.Copy(t.Context(), live, "testing-e", database.CopyOptions{From: "live", Exact: true})
	if err != nil || exact.Strategy != "dump" || ci.Bytes != exact.Bytes || ci.Bytes < 8*64<<10 { // a file of InnoDB's is 64 KB at least
		t.Errorf("the files of one copy have %d bytes, of the other %d, by %s: %v", ci.Bytes, exact.Bytes, exact.Strategy, err)
	}
	works(t, copied)
	if ci.Strategy != "import" {
		t.Errorf("copied by %s", ci.Strategy)
	}
	if err := try(t.Context(), copied, "SELECT 1 FROM "+quote(back.Name)+".person"); number(err) != 1142 {
		t.Errorf("a neighbour's database is open: %v", err)
	}

	// A swap there and back: everything is in its place, once, and events only there.
	do(t, live, "INSERT INTO parted VALUES (4)")
	next, _, err := e.Copy(t.Context(), live, database.Beside("live", database.TagNext), database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := eventsOf(t, main, next.Name); n != "0" {
		t.Errorf("%s events beside live", n)
	}
	do(t, live, "INSERT INTO parted VALUES (5)")
	kept, err := e.Swap(t.Context(), live, next)
	if err != nil {
		t.Fatal(err)
	}
	if n := ask(t, live, "SELECT COUNT(*) FROM parted"); n != "4" {
		t.Errorf("live has %s rows", n)
	}
	if a, b := eventsOf(t, main, live.Name), eventsOf(t, main, kept.Name); a != "1" || b != "0" {
		t.Errorf("%s events on live, %s on the kept one", a, b)
	}
	works(t, live)
	if err := try(t.Context(), kept, "SELECT 1"); number(err) != 1044 {
		t.Errorf("the instance reaches what was replaced: %v", err)
	}
	if _, err := e.Swap(t.Context(), live, kept); err != nil {
		t.Fatal(err)
	}
	if n := ask(t, live, "SELECT COUNT(*) FROM parted"); n != "5" {
		t.Errorf("back, live has %s rows", n)
	}
	works(t, live)
	if a, err := e.Activity(t.Context(), live); err != nil || a["person"] < 2 {
		t.Errorf("activity %v, %v", a, err)
	}
}

// TestSwapUnderLoad swaps while an application writes, reconnects and holds
// transactions open; afterwards it reaches the new data with the same password.
func TestSwapUnderLoad(t *testing.T) {
	main, scratch := clusters(t)
	e := engine(t, "load", main, scratch)
	live := rich(t, e, "live")
	next, _, err := e.Copy(t.Context(), live, database.Beside("live", database.TagNext), database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	for range 3 {
		go func() { // waited for below
			n := 0
			for ctx.Err() == nil {
				if try(ctx, live, "BEGIN", "INSERT INTO log (what) VALUES ('x')", "DO SLEEP(0.05)", "COMMIT") == nil {
					n++
				}
			}
			ended <- n
		}()
	}
	time.Sleep(300 * time.Millisecond)
	kept, err := e.Swap(t.Context(), live, next)
	time.Sleep(300 * time.Millisecond)
	cancel()
	written := 0
	for range 3 {
		written += <-ended
	}
	if err != nil {
		t.Fatal(err)
	}
	var rows int64
	for _, d := range []bosman.Database{kept, live} {
		in, err := e.Inspect(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		rows += in.Rows["log"]
	}
	if int(rows) < written || written == 0 {
		t.Errorf("%d rows are there, %d were committed", rows, written)
	}
	works(t, live)
}

func TestWithoutDatabase(t *testing.T) {
	for _, c := range []struct {
		in, want  string
		ansi, raw bool
	}{
		{in: "select `f`(`d`.`c`.`id`) from `c`", want: "select `f`(`c`.`id`) from `c`"},
		{in: "select d.c.id, x.d.y, `d`, d from d . c", want: "select c.id, x.d.y, `d`, d from  c"},
		{in: `select 'd.c', "d.c", 'it''s d.c \' d.c', d.c`, want: `select 'd.c', "d.c", 'it''s d.c \' d.c', c`},
		{in: `select "d"."c"`, want: `select "c"`, ansi: true},
		{in: `select '\', d.c`, want: `select '\', c`, raw: true},
		{in: "-- d.c\nd.c # d.c\n/* d.c */ dd.c, żd.c", want: "-- d.c\nc # d.c\n/* d.c */ dd.c, żd.c"},
		{in: "'open", want: "'open"},
		{in: "`", want: "`"},
		{in: "d.", want: ""},
		{in: "", want: ""},
	} {
		if got := withoutDatabase(c.in, "d", c.ansi, c.raw); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}

func TestDefinitions(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"VIEW", "CREATE ALGORITHM=MERGE DEFINER=`a`@`%` SQL SECURITY DEFINER VIEW `v` AS select 1", "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`u``x`@`localhost` SQL SECURITY DEFINER VIEW `v` AS select 1"},
		{"TRIGGER", "CREATE DEFINER=`a``b`@`h` trigger t before insert on x for each row set @a=1", "CREATE OR REPLACE DEFINER=`u``x`@`localhost` trigger t before insert on x for each row set @a=1"},
		{"PROCEDURE", `CREATE DEFINER="a"@"h" PROCEDURE "p"() select 1`, "CREATE OR REPLACE DEFINER=`u``x`@`localhost` PROCEDURE \"p\"() select 1"},
		{"FUNCTION", "CREATE DEFINER=role AGGREGATE FUNCTION f() returns int return 1", "CREATE OR REPLACE DEFINER=`u``x`@`localhost` AGGREGATE FUNCTION f() returns int return 1"},
		{"FUNCTION", "CREATE DEFINER=`a`@`h` USER x", ""},
		{"USER", "CREATE DEFINER=`a`@`h` USER x", ""},
		{"VIEW", "DROP DEFINER=`a`@`h` VIEW x", ""},
	} {
		head, rest, ok := splitDefiner(c.in)
		got := ""
		if ok {
			var err error
			if got, err = (object{Kind: c.kind, SQL: head + rest}).statement("u`x"); err != nil && bosman.KindOf(err) != bosman.KindFailed {
				t.Error(err)
			}
		}
		if got != c.want {
			t.Errorf("%s became %q, want %q", c.in, got, c.want)
		}
	}
}
