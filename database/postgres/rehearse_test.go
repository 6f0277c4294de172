package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bosman-cd/bosman/database"
)

func TestRecord(t *testing.T) {
	_, scratch := clusters(t)
	e := engine(t, "recorded", scratch)
	d, err := e.Create(t.Context(), database.TagRehearsal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, d) })
	other, err := e.Create(t.Context(), "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, other) })
	mustSQL(t, d, "CREATE TABLE person (id int PRIMARY KEY, name text)", "INSERT INTO person VALUES (1, 'Zofia')")

	failure := errors.New("the command failed")
	rec, done, err := e.Record(t.Context(), d, func(ctx context.Context) error {
		mustSQL(t, other, "CREATE TABLE not_ours (x int)")
		conn, err := connect(ctx, d)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }() // the test is over
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for _, s := range []string{
				"ALTER TABLE person\n\tADD COLUMN born date,\n\tDROP COLUMN name",
				"INSERT INTO person (id) SELECT g FROM generate_series(2, 500) g",
				"UPDATE person SET born = '1990-01-01' WHERE id = 1",
				"CREATE TABLE fresh (x int)",
				"SELECT pg_sleep(0.2)",
			} {
				if _, err := tx.Exec(ctx, s); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, "ALTER TABLE nowhere ADD x int")
			if err == nil {
				t.Error("nowhere is somewhere")
			}
			return failure
		})
	})
	if err != nil || !errors.Is(done, failure) {
		t.Fatalf("recorded: %v; the command: %v", err, done)
	}
	var texts []string
	for _, s := range rec.Statements {
		texts = append(texts, s.SQL)
	}
	want := []string{"ALTER TABLE person\n\tADD COLUMN born date,\n\tDROP COLUMN name", "CREATE TABLE fresh (x int)", "ALTER TABLE nowhere ADD x int"}
	if strings.Join(texts, "|") != strings.Join(want, "|") {
		t.Errorf("statements %q", texts)
	}
	if len(rec.Statements) == 3 && (!rec.Statements[2].Failed || rec.Statements[0].Failed || rec.Statements[2].Error != `relation "nowhere" does not exist`) {
		t.Errorf("nowhere was altered: %+v", rec.Statements)
	}
	if len(rec.Statements) == 3 && (rec.Statements[0].Took <= 0 || rec.Statements[2].Took != 0) {
		t.Errorf("they took %+v", rec.Statements)
	}
	if rec.Others < 3 || rec.OthersTook < 200*time.Millisecond || rec.Sessions != 1 || rec.Cut {
		t.Errorf("%d others in %s, %d sessions, cut %v", rec.Others, rec.OthersTook, rec.Sessions, rec.Cut)
	}
	if len(rec.Locks) != 1 || rec.Locks[0].Table != "public.person" || rec.Locks[0].Mode != "AccessExclusiveLock" || rec.Locks[0].Stops != "reads and writes" || rec.Locks[0].For < 150*time.Millisecond || rec.Locks[0].For > 30*time.Second {
		t.Errorf("locks %+v", rec.Locks)
	}

	// Who never comes is seen not to; one that is cut short is told as such.
	rec, done, err = e.Record(t.Context(), d, func(context.Context) error { return nil })
	if err != nil || done != nil || rec.Sessions != 0 || len(rec.Statements) != 0 {
		t.Errorf("nobody came: %+v, %v, %v", rec, done, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rec, done, err = e.Record(ctx, d, func(ctx context.Context) error {
		mustSQL(t, d, "CREATE INDEX later ON person (name)")
		cancel()
		return ctx.Err()
	})
	if !errors.Is(done, context.Canceled) || err != nil || len(rec.Statements) != 1 {
		t.Errorf("cut short: %+v, %v, %v", rec, done, err)
	}
}

// What a killed Bosman was rehearsing on is dropped at its next start.
func TestRehearsalsAreSweptAway(t *testing.T) {
	_, scratch := clusters(t)
	e := engine(t, "swept", scratch)
	d, err := e.Create(t.Context(), database.TagRehearsal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, d) })
	if err := e.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there, err := scratch.exists(t.Context(), d.Name); err != nil || there {
		t.Errorf("the copy is there: %v, %v", there, err)
	}
}

func FuzzServerLog(f *testing.F) {
	f.Add("2026-11-23 07:00:00.123 UTC [123] a@b LOG:  statement: ALTER TABLE x\n\tADD y int\n2026-11-23 07:00:00.124 UTC [123] a@b LOG:  duration: 1.5 ms\n")
	f.Add("2026-11-23 07:00:00.123 UTC [99999999999] a@b LOG:  duration: 1e999 ms\n\t\x00")
	f.Fuzz(func(t *testing.T, text string) {
		var rec database.Recording
		l := &logReader{user: "a", database: "b", pids: map[int32]bool{}, rec: &rec, open: map[string]int{}}
		if err := l.read(strings.NewReader(text), "bosman-mark"); err != nil {
			t.Fatal(err)
		}
	})
}
