package mariadb

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

func TestRecord(t *testing.T) {
	_, scratch := clusters(t)
	e := engine(t, "recorded", scratch)
	d, err := e.Create(t.Context(), database.TagRehearsal)
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.Create(t.Context(), "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	do(t, d, "CREATE TABLE person (id INT PRIMARY KEY, name VARCHAR(20)) ENGINE=InnoDB", "INSERT INTO person SELECT seq, 'Zofia' FROM seq_1_to_1000")

	failure := errors.New("the command failed")
	rec, done, err := e.Record(t.Context(), d, func(ctx context.Context) error {
		do(t, other, "CREATE TABLE not_ours (x INT)")
		err := try(ctx, d, "/* first */ ALTER TABLE person\n\tADD COLUMN born DATE, ALGORITHM=COPY",
			"LOCK TABLES person WRITE", "UPDATE person SET born = '1990-01-01' WHERE id = 1", "SELECT SLEEP(0.3)", "UNLOCK TABLES",
			"CREATE TABLE fresh (x INT)", "ALTER TABLE person DROP COLUMN `a : b`,\n DROP COLUMN żółw")
		if err == nil {
			t.Error("what is not there was dropped")
		}
		if try(ctx, other, "ALTER TABLE not_ours DROP COLUMN y") == nil || try(ctx, d, "INSERT INTO person VALUES (1, 'Zofia', NULL)") == nil {
			t.Error("they succeeded")
		}
		return failure
	})
	if err != nil || !errors.Is(done, failure) {
		t.Fatalf("recorded: %v; the command: %v", err, done)
	}
	var texts []string
	for _, s := range rec.Statements {
		texts = append(texts, s.SQL)
	}
	want := []string{"/* first */ ALTER TABLE person\n\tADD COLUMN born DATE, ALGORITHM=COPY", "CREATE TABLE fresh (x INT)", "ALTER TABLE person DROP COLUMN `a : b`,\n DROP COLUMN żółw"}
	if !slices.Equal(texts, want) {
		t.Errorf("statements %+v", rec.Statements)
	}
	for i, s := range rec.Statements {
		if s.Failed != (i == 2) || (s.Error == "error 1091: Can't DROP COLUMN `a : b`; check that it exists") != (i == 2) {
			t.Errorf("%q failed: %v, with %q", s.SQL, s.Failed, s.Error)
		}
	}
	if len(rec.Statements) == 3 && (rec.Statements[0].Took <= 0 || rec.Statements[1].Took <= 0) {
		t.Errorf("they took %+v", rec.Statements)
	}
	if rec.Others < 3 || rec.OthersTook < 300*time.Millisecond || rec.Sessions != 2 || rec.Cut || rec.Blind != "" {
		t.Errorf("%d others in %s, %d sessions, cut %v, blind %q", rec.Others, rec.OthersTook, rec.Sessions, rec.Cut, rec.Blind)
	}
	if len(rec.Locks) != 1 || rec.Locks[0].Table != "person" || rec.Locks[0].Stops != "reads and writes" || rec.Locks[0].For < 200*time.Millisecond || rec.Locks[0].For > 30*time.Second {
		t.Errorf("locks %+v", rec.Locks)
	}

	// Nothing is left in the server's tables, and it logs no more.
	do(t, d, "SELECT 'after it'")
	for _, log := range []string{"general_log", "slow_log"} {
		if n := ask(t, scratch.database("mysql", superuser), "SELECT COUNT(*) FROM mysql."+log); n != "0" {
			t.Errorf("%s holds %s lines", log, n)
		}
	}
	noErrors := func(when string) {
		t.Helper()
		conn := scratch.database("", superuser)
		if rate := ask(t, conn, "SELECT @@sql_error_log_rate"); rate != "0" {
			t.Errorf("%s: errors are written, rate %s", when, rate)
		}
		if info, err := os.Stat(ask(t, conn, "SELECT @@sql_error_log_filename")); err != nil || info.Size() != 0 {
			t.Errorf("%s: the log of errors: %v, %v", when, info, err)
		}
	}
	noErrors("after it")
	rec, done, err = e.Record(t.Context(), d, func(context.Context) error { return nil })
	if err != nil || done != nil || rec.Sessions != 0 || len(rec.Statements) != 0 || rec.Others != 0 {
		t.Errorf("nobody came: %+v, %v, %v", rec, done, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rec, done, err = e.Record(ctx, d, func(ctx context.Context) error {
		do(t, d, "CREATE INDEX later ON person (name)")
		cancel()
		return ctx.Err()
	})
	if !errors.Is(done, context.Canceled) || err != nil || len(rec.Statements) != 1 {
		t.Errorf("cut short: %+v, %v, %v", rec, done, err)
	}

	// What a killed Bosman was recording ends at its next start, and what it was
	// rehearsing on is dropped.
	server := scratch.database("mysql", superuser)
	do(t, server, append(recordOn, "SET GLOBAL sql_error_log_rate = 1")...)
	if try(t.Context(), d, "SELECT 'Zofia' FROM nowhere") == nil {
		t.Error("nowhere is somewhere")
	}
	if err := scratch.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, server, "SELECT CONCAT(@@general_log, @@slow_query_log, (SELECT COUNT(*) FROM mysql.general_log), (SELECT COUNT(*) FROM mysql.slow_log))"); got != "OFFOFF00" {
		t.Errorf("a killed recording goes on: %s", got)
	}
	noErrors("after a kill")
	if _, err := e.Find(t.Context(), database.TagRehearsal); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("the copy is there: %v", err)
	}
	if _, err := e.Find(t.Context(), "testing-anna"); err != nil {
		t.Errorf("the copy of a tester is not: %v", err)
	}
}

func TestStatementsThatChangeTheSchema(t *testing.T) {
	for text, want := range map[string]bool{
		"create table x (a int)":               true,
		" \n/* a */-- b\n # c\n;ALTER TABLE x": true,
		"DROP INDEX a ON b":                    true,
		"CREATED":                              false,
		"INSERT INTO x VALUES ('CREATE')":      false,
		"/* never ended CREATE":                false,
		"-- CREATE":                            false,
		"":                                     false,
	} {
		if changesSchema(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
	if changesSchema(strings.Repeat("/**/", 1000)+"DROP TABLE x") != true {
		t.Error("behind many comments")
	}
}

func TestReadFailures(t *testing.T) {
	log := "2026-11-23  9:01:02 a[a] @ localhost [] ERROR 1062: Duplicate entry 'Zofia : x' for key 'PRIMARY' : ALTER TABLE t ADD UNIQUE (n)\n" +
		"2026-11-23 09:01:02 b[b] @ localhost [] ERROR 1091: no : DROP TABLE t\n more of it\n" +
		"2026-11-23 09:01:02 a[a] @ localhost [] WARNING 1365: no : DROP TABLE t\n" +
		"2026-11-23 09:01:03 a[a] @ localhost [] ERROR 1051: Unknown table 'x : DROP TABLE' : DROP TABLE\n  t\n" +
		"2026-11-23 09:01:03 a[a] @ localhost [] ERROR 1051: again : DROP TABLE\n  t\n" +
		"2026-11-23 09:01:03 a[a] @ localhost [] ERROR 1051: of a procedure : DROP TABLE hidden"
	statements := []bosman.RanStatement{{SQL: "DROP TABLE t"}, {SQL: "ALTER TABLE t ADD UNIQUE (n)"}, {SQL: "DROP TABLE\n  t"}, {SQL: "DROP TABLE\n  t"}, {SQL: "DROP TABLE\n  t"}}
	got, err := readFailures(strings.NewReader(log), "a", func(text string) bool {
		return slices.ContainsFunc(statements, func(s bosman.RanStatement) bool { return s.SQL == text })
	})
	if err != nil {
		t.Fatal(err)
	}
	markFailed(statements, got)
	want := []string{"", "error 1062: Duplicate entry for key 'PRIMARY'", "error 1051: Unknown table 'x : DROP TABLE'", "error 1051: again", ""}
	for i, s := range statements {
		if s.Error != want[i] || s.Failed != (want[i] != "") {
			t.Errorf("%d: %q, want %q", i, s.Error, want[i])
		}
	}
}
