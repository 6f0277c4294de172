package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

// pair gives an app's engine for staging on main and for copies on scratch.
func pair(t *testing.T, app string) (staging, testers *Engine, from bosman.Database) {
	t.Helper()
	main, scratch := clusters(t)
	staging, testers = engine(t, app, main), engine(t, app, scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: app + "__"}) })
	return staging, testers, from
}

func TestStrangeContent(t *testing.T) {
	staging, testers, from := pair(t, "strange")
	mustSQL(t, staging.home.admin(from.Name), // as a team's database administrator may have left it
		`CREATE SCHEMA "we ""ird' schema; DROP" AUTHORIZATION app_strange`,
		`CREATE EXTENSION pageinspect SCHEMA "we ""ird' schema; DROP"`, // one that only a superuser may make
		`CREATE SCHEMA "zażółć gęślą jaźń" AUTHORIZATION app_strange`)
	mustSQL(t, from,
		`CREATE TABLE "zażółć gęślą jaźń"."o'Neil ""Ala"" 🐘" ("select" int PRIMARY KEY, "a b" text DEFAULT 'x''y')`,
		`INSERT INTO "zażółć gęślą jaźń"."o'Neil ""Ala"" 🐘" SELECT n, E'\\\n''"' FROM generate_series(1, 10) n`,
		`CREATE TABLE "`+strings.Repeat("ż", 31)+`" (x int)`,
		`CREATE VIEW "zażółć gęślą jaźń"."widok; --" AS SELECT "a b" FROM "zażółć gęślą jaźń"."o'Neil ""Ala"" 🐘"`,
		"SELECT lo_from_bytea(42, decode(repeat('00ff', 100000), 'hex'))",
		`CREATE TYPE "stan 'x'" AS ENUM ('a''b', 'ł')`)
	want, err := staging.Inspect(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if want.Rows["large objects"] != 1 {
		t.Errorf("rows %v", want.Rows)
	}
	dir := t.TempDir()
	if _, err := staging.Backup(t.Context(), from, dir); err != nil {
		t.Fatal(err)
	}
	restored, err := testers.Restore(t.Context(), dir, "restored")
	if err != nil {
		t.Fatal(err)
	}
	copied, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []bosman.Database{restored, copied} {
		got, err := testers.Inspect(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Rows) != fmt.Sprint(want.Rows) || got.Schema.Fingerprint() != want.Schema.Fingerprint() {
			t.Errorf("%s holds %v and differs: %s", d.Name, got.Rows, database.Diff(want.Schema, got.Schema))
		}
		mustSQL(t, d, "SELECT 1 / (length(lo_get(42)) - 199999)", `INSERT INTO "zażółć gęślą jaźń"."o'Neil ""Ala"" 🐘" VALUES (99)`)
	}
}

func TestGoldenCopyBeingCopiedStays(t *testing.T) {
	_, testers, from := pair(t, "busy")
	mustSQL(t, from, "CREATE TABLE candidate (name text)")
	first, err := testers.Refresh(t.Context(), from, 1)
	if err != nil {
		t.Fatal(err)
	}
	done, there, err := testers.useGolden(t.Context(), first.Database.Name) // a copy that takes long
	if err != nil || !there {
		t.Fatalf("%v, %v", there, err)
	}
	names := func() (out []string) {
		all, err := testers.Goldens(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			out = append(out, g.Database.Name)
		}
		return out
	}
	for n := range keepGoldens + 1 {
		mustSQL(t, from, fmt.Sprintf("INSERT INTO candidate VALUES ('%d')", n))
		if _, err := testers.Refresh(t.Context(), from, n+2); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); !slices.Contains(got, first.Database.Name) || len(got) != keepGoldens+1 {
		t.Errorf("while it is copied: %q", got)
	}
	done()
	if _, err := testers.Refresh(t.Context(), from, keepGoldens+2); err != nil {
		t.Fatal(err)
	}
	if got := names(); slices.Contains(got, first.Database.Name) || len(got) != keepGoldens {
		t.Errorf("afterwards: %q", got)
	}
	if _, there, err := testers.useGolden(t.Context(), first.Database.Name); err != nil || there {
		t.Errorf("it is gone: %v, %v", there, err)
	}
}

func TestCollationThatSortsDifferentlyNow(t *testing.T) {
	staging, _, from := pair(t, "collate")
	mustSQL(t, from, `CREATE TABLE candidate (name text COLLATE "pl-x-icu")`, `CREATE INDEX ON candidate (name)`, `CREATE TABLE other (name text COLLATE "C")`)
	ours := func() (out []string) {
		all, err := staging.home.WrongCollations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if strings.HasPrefix(x, "collate__") {
				out = append(out, x)
			}
		}
		return out
	}
	if got := ours(); len(got) != 0 {
		t.Errorf("nothing changed: %q", got)
	}
	mustSQL(t, staging.home.admin(from.Name), "UPDATE pg_collation SET collversion = '1.0' WHERE collname IN ('pl-x-icu', 'de-x-icu')") // made with an older library
	if got := ours(); len(got) != 1 || got[0] != "collate__staging (pl-x-icu)" {
		t.Errorf("%q", got)
	}
	c := &Cluster{Name: "main", Profile: Main, Dir: filepath.Join(t.TempDir(), "none")}
	if got, err := c.WrongCollations(t.Context()); err != nil || got != nil {
		t.Errorf("without a cluster: %q, %v", got, err)
	}
}

func TestServerRestartedHalfWay(t *testing.T) {
	main, _ := clusters(t)
	scratch := ownCluster(t, Scratch)
	ensure(t, scratch)
	staging, testers := engine(t, "restart", main), engine(t, "restart", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from) })
	mustSQL(t, from, "CREATE TABLE big (id int PRIMARY KEY, body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 30000) n")
	for _, verb := range []string{"refresh", "copy", "fill"} {
		done := make(chan error, 1)
		go func() {
			var err error
			switch verb {
			case "refresh":
				_, err = testers.Refresh(t.Context(), from, 1)
			case "copy":
				_, _, err = testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
			case "fill":
				_, err = testers.Fill(t.Context(), from, 2)
			}
			done <- err
		}()
		waitForMaking(t, scratch)
		kill(t, pidOf(t, scratch), syscall.SIGKILL)
		err := <-done
		if kind := bosman.KindOf(err); err == nil || kind != bosman.KindUnavailable && kind != bosman.KindBusy {
			t.Errorf("%s with its server killed: %v", verb, err)
		}
		ensure(t, scratch)
		if err := scratch.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := testers.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if !x.Golden && !x.Pool {
				t.Errorf("after %s there is %s", verb, x.Name)
			}
		}
		if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
			t.Fatalf("done again after %s: %v", verb, err)
		}
	}
	if d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{}); err != nil || count(t, d, "big") != 30000 {
		t.Errorf("a copy afterwards: %v", err)
	}
}

// waitForMaking waits until a database is being made on c.
func waitForMaking(t *testing.T, c *Cluster) {
	t.Helper()
	for range 2000 {
		all, err := filepath.Glob(filepath.Join(c.dataDir(), "base", "*"))
		if err != nil {
			t.Fatal(err)
		}
		making := ""
		err = c.talk(t.Context(), "look", func(conn *pgx.Conn) error {
			return conn.QueryRow(t.Context(), "SELECT coalesce(max(query), '') FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND state = 'active'").Scan(&making)
		})
		if err == nil && making != "" && len(all) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no database was made")
}

func TestDiskFullHalfWay(t *testing.T) {
	need.Root(t)
	main, _ := clusters(t)
	root, err := openTemp()
	if err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(root, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=200m,mode=755"); err != nil {
		t.Fatal(err)
	}
	scratch := &Cluster{Name: "scratch", Profile: Scratch, Dir: filepath.Join(small, "c")}
	t.Cleanup(func() {
		if err := errors.Join(remove(scratch), syscall.Unmount(small, syscall.MNT_DETACH), os.RemoveAll(root)); err != nil {
			t.Error(err)
		}
	})
	ensure(t, scratch)
	staging, testers := engine(t, "small", main), engine(t, "small", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from) })
	mustSQL(t, from, "CREATE TABLE big (id int PRIMARY KEY, body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 10000) n")
	g, err := testers.Refresh(t.Context(), from, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Others fill the disk: a copy is refused beforehand.
	free, _, err := scratch.Disk()
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(small, "ballast")
	if err := os.WriteFile(ballast, make([]byte, free-9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "no room for another copy") || !strings.Contains(err.Error(), "bosman databases") {
		t.Errorf("a copy on a full disk: %v", err)
	}
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 0 || !strings.Contains(p.Why, "must stay free") {
		t.Errorf("copies made in advance on a full disk: %+v, %v", p, err)
	}
	if _, err := testers.Refresh(t.Context(), from, 2); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("a golden copy on a full disk: %v", err)
	}
	// And half-way.
	err = testers.clone(t.Context(), g.Database.Name, "small__x__making")
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "is full") {
		t.Errorf("the disk became full half-way: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ensure(t, scratch)
	if err := scratch.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{}); err != nil || count(t, d, "big") != 10000 {
		t.Errorf("with room again: %v", err)
	}
}

// poolEnv tells a child process what to do with the pool before it is killed:
// "app verb".
const poolEnv = "BOSMAN_TEST_POOL"

func poolChild(job string) int {
	app, verb, _ := strings.Cut(job, " ")
	ctx := context.Background()
	main, scratch := sharedClusters(os.Getenv(childEnv))
	for _, c := range []*Cluster{main, scratch} {
		if _, err := c.Ensure(ctx); err != nil {
			return 1
		}
	}
	e, err := NewEngine(app, scratch, main)
	if err != nil {
		return 1
	}
	from := main.database(database.NameOnServer(app, "staging"), loginRole(app, "staging"))
	if verb == "fill" {
		_, err = e.Fill(ctx, from, 1)
	} else {
		_, _, err = e.Copy(ctx, from, "testing-anna", database.CopyOptions{})
	}
	if err != nil {
		return 1
	}
	return 0
}

func TestPoolSurvivesKills(t *testing.T) {
	for i, c := range []struct{ point, verb string }{
		{"database.pool.made", "fill"}, {"database.pool.ready", "fill"}, {"database.pool.handed", "copy"},
	} {
		app := "pkill" + strconv.Itoa(i)
		_, testers, from := pair(t, app)
		mustSQL(t, from, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
		if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
			t.Fatal(err)
		}
		if c.verb == "copy" {
			if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+shared.dir, poolEnv+"="+app+" "+c.verb, faults.Env+"="+c.point+"=kill")
		out, err := cmd.CombinedOutput()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: the child should have been killed: %v %s", c.point, err, out)
		}
		// The next start, with nothing in memory.
		if err := testers.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range listNames(t, testers) {
			if database.HasTag(name, database.TagMaking) {
				t.Errorf("%s: %s is left", c.point, name)
			}
		}
		if c.verb == "copy" { // it was handed out whole, or not at all
			d, err := testers.Find(t.Context(), "testing-anna")
			if err != nil || count(t, d, "candidate") != 1 {
				t.Errorf("%s: %v", c.point, err)
			}
			if err := testers.Drop(t.Context(), d); err != nil {
				t.Error(err)
			}
		}
		if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
			t.Errorf("%s, then filled again: %+v, %v", c.point, p, err)
		}
		if d, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{}); err != nil || !strings.HasSuffix(info.Strategy, database.InAdvance) || count(t, d, "candidate") != 1 {
			t.Errorf("%s, then handed out: %+v, %v", c.point, info, err)
		}
	}
}

func listNames(t *testing.T, e *Engine) (out []string) {
	t.Helper()
	all, err := e.labels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		out = append(out, l.Name)
	}
	return out
}

// What an application holds open does not stop a copy from being taken away.
func TestDropUnderLoad(t *testing.T) {
	_, testers, from := pair(t, "load")
	mustSQL(t, from, "CREATE TABLE candidate (name text)")
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // connects again and again
		defer close(ended)
		for ctx.Err() == nil {
			if trySQL(d, "INSERT INTO candidate VALUES ('x')", "SELECT pg_sleep(0.05)") != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	if err := testers.Drop(t.Context(), d); err != nil {
		t.Errorf("dropped while it is used: %v", err)
	}
	cancel()
	<-ended
	if _, err := testers.Find(t.Context(), "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("it is still there: %v", err)
	}
}
