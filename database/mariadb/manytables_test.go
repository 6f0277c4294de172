package mariadb

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

// fewFilesEnv names a backup for a child process that may open few files.
const fewFilesEnv = "BOSMAN_TEST_FEW_FILES"

// TestTooFewFiles: a server that may open no more files is told from a broken
// one, with what to change. It inherits that from whoever starts it.
func TestTooFewFiles(t *testing.T) {
	if dir := os.Getenv(fewFilesEnv); dir != "" {
		c := ownCluster(t, Scratch, "")
		ensure(t, c)
		_, err := engine(t, "files", c).Restore(t.Context(), dir, "live")
		if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "may have only 80 files open") || !strings.Contains(bosman.AsError(err).Next, "LimitNOFILE") {
			t.Errorf("%v, %v", err, bosman.AsError(err).Unwrap())
		}
		return
	}
	main, _ := clusters(t)
	e := engine(t, "files", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	makeTables(t, d, 150)
	dir := t.TempDir()
	if _, err := e.Backup(t.Context(), d, dir); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -n 80 && exec "$0" -test.run '^TestTooFewFiles$'`, self)
	cmd.Env = append(os.Environ(), fewFilesEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSaidNumber reads the numbers as the client programs write them.
func TestSaidNumber(t *testing.T) {
	for said, want := range map[string]int64{
		"ERROR 23 (HY000) at line 5: Out of resources when opening file './x/' (Errcode: 24 \"Too many open files\")\n":                                       23,
		"mariadb-dump: Couldn't execute 'show create table `t`': Out of resources when opening file './x/t.frm' (Errcode: 24 \"Too many open files\") (23)\n": 23,
		"ERROR 1064 (42000) at line 1: You have an error in your SQL syntax\n":                                                                                1064,
		"killed": 0,
	} {
		if got := saidNumber([]byte(said)); got != want {
			t.Errorf("%q: %d, want %d", said, got, want)
		}
	}
}
