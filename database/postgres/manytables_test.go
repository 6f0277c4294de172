package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// makeTables makes n tables, some at once; every tenth has text and another
// index.
func makeTables(t *testing.T, d bosman.Database, n, atOnce int) {
	t.Helper()
	mustSQL(t, d, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
		EXECUTE format('CREATE TABLE t%%s (id int PRIMARY KEY, day date' || CASE WHEN i %% 10 = 0 THEN ', title text UNIQUE)' ELSE ')' END, i);
		EXECUTE format('INSERT INTO t%%s VALUES (1)', i);
		IF i %% %d = 0 THEN COMMIT; END IF;
	END LOOP; END $$`, n, atOnce), "CREATE TABLE person (id int PRIMARY KEY, email text)", "INSERT INTO person VALUES (1, 'real@firma.pl')")
}

// TestManyTables: a database of 5,000 tables, on somebody's server as it is
// when nobody set anything, is backed up, copied masked, restored on ours, put
// in place of another and dropped. Nothing needs a lock on all of it but
// pg_dump.
func TestManyTables(t *testing.T) {
	const n = 5000
	main, scratch := clusters(t)
	_, team := foreign(t, main.BinDir)
	begun := time.Now()
	step := func(what string) {
		t.Logf("%s: %s", what, time.Since(begun).Round(time.Millisecond))
		begun = time.Now()
	}
	makeTables(t, team, n, 500)
	step("made")
	c, err := Adopt(t.Context(), "tables", "live", database.URL(team), nil)
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewAdopted("tables", c)
	if err != nil {
		t.Fatal(err)
	}
	from, err := live.Find(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	info, err := live.Backup(t.Context(), from, dir)
	if err != nil || len(info.Rows) != n+1 {
		t.Fatalf("backed up %d tables, %v", len(info.Rows), err)
	}
	step("backed up and counted")

	ours, testers := engine(t, "tables", main), engine(t, "tables", scratch)
	t.Cleanup(func() {
		drop(t, ours, bosman.Database{Name: "tables__"})
		drop(t, testers, bosman.Database{Name: "tables__"})
	})
	d, err := ours.Restore(t.Context(), dir, "staging")
	if err != nil {
		t.Fatal(err)
	}
	step("restored")
	if err := database.Compare(t.Context(), ours, d, "restored", info); err != nil {
		t.Fatal(err)
	}
	step("compared and checked")
	next, _, err := ours.Copy(t.Context(), d, "staging__next", database.CopyOptions{Still: true})
	if err != nil {
		t.Fatal(err)
	}
	step("copied while it stands still")
	mustSQL(t, main.admin(next.Name), "DROP TABLE public.t1")
	kept, err := ours.Swap(t.Context(), d, next)
	if err != nil || trySQL(d, "SELECT * FROM t1") == nil {
		t.Errorf("put in its place: %v", err)
	}
	step("put in its place")
	if err := ours.Drop(t.Context(), kept); err != nil {
		t.Error(err)
	}
	step("dropped")

	testers.AddSource(c)
	masks(testers, &mask.Spec{Salt: "s", Columns: map[string]string{"person.email": "email"}})
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	step("golden copy, masked")
	for _, name := range []string{"testing-anna", "testing-ben"} {
		copied, how, err := testers.Copy(t.Context(), from, name, database.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		step(name + " by " + how.Strategy)
		if got := ask(t, copied, "SELECT (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]')::text, email FROM person"); !strings.HasPrefix(got, "5000|") || strings.Contains(got, "real") {
			t.Errorf("%s holds %s", name, got)
		}
		if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
		step("one more in advance")
	}
}

// TestNoRoomForLocks: pg_dump locks all tables at once; a server that has no
// room for that is told from a broken one, with what to change.
func TestNoRoomForLocks(t *testing.T) {
	main, _ := clusters(t)
	_, team := foreign(t, main.BinDir, "-c max_connections=10", "-c max_locks_per_transaction=10", "-c max_wal_senders=0", "-c wal_level=minimal", "-c max_worker_processes=1")
	makeTables(t, team, 1000, 1)
	c, err := Adopt(t.Context(), "locks", "live", database.URL(team), nil)
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewAdopted("locks", c)
	if err != nil {
		t.Fatal(err)
	}
	from, err := live.Find(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	_, err = live.Backup(t.Context(), from, t.TempDir())
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "has 1001 tables, and its server has room for 100 locks") || !strings.Contains(bosman.AsError(err).Next, "max_locks_per_transaction") {
		t.Errorf("a backup: %v", err)
	}
	if in, err := live.Inspect(t.Context(), from); err != nil || len(in.Rows) != 1001 {
		t.Errorf("counted, which needs few locks: %d tables, %v", len(in.Rows), err)
	}
}
