package mariadb

import (
	"context"
	"errors"
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
			"CREATE TABLE fresh (x INT)", "ALTER TABLE nowhere ADD x INT")
		if err == nil {
			t.Error("nowhere is somewhere")
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
	want := []string{"/* first */ ALTER TABLE person\n\tADD COLUMN born DATE, ALGORITHM=COPY", "CREATE TABLE fresh (x INT)", "ALTER TABLE nowhere ADD x INT"}
	if !slices.Equal(texts, want) {
		t.Errorf("statements %+v", rec.Statements)
	}
	if len(rec.Statements) == 3 && (rec.Statements[0].Took <= 0 || rec.Statements[1].Took <= 0) {
		t.Errorf("they took %+v", rec.Statements)
	}
	if rec.Others < 3 || rec.OthersTook < 300*time.Millisecond || rec.Sessions != 1 || rec.Cut || rec.Blind != "" {
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
	do(t, server, recordOn...)
	do(t, d, "SELECT 'Zofia'")
	if err := scratch.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, server, "SELECT CONCAT(@@general_log, @@slow_query_log, (SELECT COUNT(*) FROM mysql.general_log), (SELECT COUNT(*) FROM mysql.slow_log))"); got != "OFFOFF00" {
		t.Errorf("a killed recording goes on: %s", got)
	}
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
