package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Others come to the file by themselves, here over another connection of this
// process: locks of connections are told apart by file, not by process.
func TestRecord(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) { record(t, mode) })
	}
}

func record(t *testing.T, mode string) {
	e, err := NewEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Create(t.Context(), database.TagRehearsal)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("the command failed")
	rec, done, err := e.Record(t.Context(), d, func(ctx context.Context) error {
		return errors.Join(failure, with(ctx, d.Name, "test", func(conn *sql.Conn) error {
			err := run(ctx, conn, "PRAGMA journal_mode = "+mode, "BEGIN IMMEDIATE", "CREATE TABLE word (w TEXT)", "INSERT INTO word VALUES ('Zofia')")
			time.Sleep(200 * time.Millisecond) // the lock is held
			return errors.Join(err, run(ctx, conn, "COMMIT"))
		}))
	})
	if err != nil || !errors.Is(done, failure) {
		t.Fatalf("recorded: %v; the command: %v", err, done)
	}
	if rec.Sessions == 0 || rec.Blind == "" || len(rec.Statements) != 0 {
		t.Errorf("%+v", rec)
	}
	if len(rec.Locks) != 1 || rec.Locks[0].Table != "the whole database" || rec.Locks[0].Stops == "" || rec.Locks[0].For < 20*time.Millisecond || rec.Locks[0].For > 30*time.Second {
		t.Errorf("locks %+v", rec.Locks)
	}
	rec, done, err = e.Record(t.Context(), d, func(context.Context) error { return nil })
	if err != nil || done != nil || rec.Sessions != 0 || len(rec.Locks) != 0 {
		t.Errorf("nobody came: %+v, %v, %v", rec, done, err)
	}
	if err := e.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Find(t.Context(), database.TagRehearsal); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("the copy of a killed rehearsal is there: %v", err)
	}
}

func TestLinesOfLocks(t *testing.T) {
	for line, want := range map[string]fileLock{
		"1: POSIX  ADVISORY  WRITE 708 08:02:131 1073741826 1073742335": {true, "131", 1073741826, 1073742335},
		"2: OFDLCK ADVISORY  READ -1 fd:00:9 128 128":                   {false, "9", 128, 128},
		"3: POSIX  ADVISORY  WRITE 1 00:2e:77 0 EOF":                    {true, "77", 0, 1<<63 - 1},
	} {
		if got, ok := parseLock(line); !ok || got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "1: -> POSIX  ADVISORY  WRITE 708 08:02:131 0 EOF", "1: FLOCK  ADVISORY  WRITE 708 08:02:131 0 EOF", "1: POSIX ADVISORY WRITE 708 08:02:131 x 2"} {
		if got, ok := parseLock(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}
