package mariadb

import (
	"database/sql"
	"fmt"
	"strconv"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// makeTables makes n tables with a row each; every tenth has a text and
// another index.
func makeTables(t *testing.T, d bosman.Database, n int) {
	t.Helper()
	do(t, d, fmt.Sprintf(`BEGIN NOT ATOMIC
		FOR i IN 1..%d DO
			EXECUTE IMMEDIATE CONCAT('CREATE TABLE t', i, ' (id INT PRIMARY KEY, day DATE', IF(MOD(i, 10) = 0, ', title VARCHAR(50) UNIQUE)', ')'));
			EXECUTE IMMEDIATE CONCAT('INSERT INTO t', i, ' (id) VALUES (1)');
		END FOR;
	END`, n), "CREATE TABLE person (id INT PRIMARY KEY, email VARCHAR(100))", "INSERT INTO person VALUES (1, 'real@firma.pl')")
}

// TestManyTables: a database of 5,000 tables, which is more than the server
// keeps open, is backed up, restored and compared. Beside it a smaller one is
// copied and put in place of another: the server takes some milliseconds a
// table for that, and its catalogue, which is asked, has all of them. Files are
// in memory, as in the package's other tests.
func TestManyTables(t *testing.T) {
	const n, fewer = 5000, 200
	main, scratch := clusters(t)
	begun := time.Now()
	step := func(what string) {
		t.Logf("%s: %s", what, time.Since(begun).Round(time.Millisecond))
		begun = time.Now()
	}
	e, testers := engine(t, "tables", main), engine(t, "tables", scratch, main)
	large, err := e.Create(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	makeTables(t, large, n)
	step("made")
	dir := t.TempDir()
	info, err := e.Backup(t.Context(), large, dir)
	if err != nil || len(info.Rows) != n+1 {
		t.Fatalf("backed up %d tables, %v", len(info.Rows), err)
	}
	step("backed up and counted")
	d, err := testers.Restore(t.Context(), dir, "trial")
	if err != nil {
		t.Fatal(err)
	}
	step("restored")
	if err := database.Compare(t.Context(), testers, d, "restored", info); err != nil {
		t.Fatal(err)
	}
	step("compared and checked")
	files := 0
	if err := scratch.with(t.Context(), "", "look at its files", func(conn *sql.Conn) error {
		found, rest, err := importable(t.Context(), conn, d.Name)
		files = len(found) - len(rest)
		return err
	}); err != nil || files != n+1 {
		t.Fatalf("%d tables can be imported, %v", files, err)
	}
	step("its files were found")

	live, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	makeTables(t, live, fewer)
	begun = time.Now()
	copied, how, err := testers.Copy(t.Context(), live, "testing-anna", database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	step("copied by " + how.Strategy)
	if got := ask(t, copied, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"); got != strconv.Itoa(fewer+1) {
		t.Errorf("%s tables", got)
	}
	next, _, err := e.Copy(t.Context(), live, database.Beside("live", database.TagNext), database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	step("copied on the same server")
	kept, err := e.Swap(t.Context(), live, next)
	if err != nil {
		t.Fatal(err)
	}
	step("put in its place")
	if err := e.Drop(t.Context(), kept); err != nil {
		t.Error(err)
	}
	step("dropped")
}

// TestTemporaryTablesOfTwoServers: a server that starts leaves the temporary
// tables of another alone.
func TestTemporaryTablesOfTwoServers(t *testing.T) {
	main, _ := clusters(t)
	if err := main.with(t.Context(), metadata, "use a temporary table", func(conn *sql.Conn) error {
		if err := run(t.Context(), conn, "CREATE TEMPORARY TABLE passing (a INT) ENGINE=Aria", "INSERT INTO passing VALUES (1)"); err != nil {
			return err
		}
		ensure(t, ownCluster(t, Scratch, ""))
		return run(t.Context(), conn, "ALTER TABLE passing ADD COLUMN b INT", "DROP TEMPORARY TABLE passing")
	}); err != nil {
		t.Error(err)
	}
}
