package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

func TestNeighboursCannotRead(t *testing.T) {
	main, _ := clusters(t)
	rms, other := engine(t, "rms", main), engine(t, "other", main)
	dbs := map[string]bosman.Database{}
	for name, e := range map[string]*Engine{"live": rms, "staging": rms, "prod": other} {
		d, err := e.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { drop(t, e, d) })
		mustSQL(t, d, "CREATE TABLE candidate (name text)")
		dbs[name] = d
	}
	for name, me := range dbs {
		for _, target := range []bosman.Database{dbs["live"], dbs["staging"], dbs["prod"], main.admin("postgres"), main.admin("template1")} {
			if target.Name == me.Name {
				continue
			}
			intruder := me
			intruder.Name = target.Name
			if err := trySQL(intruder, "SELECT 1"); err == nil {
				t.Errorf("%s reaches %s", name, target.Name)
			}
		}
		// Even acting as the app's owner it cannot open the door for itself or others.
		for _, s := range []string{
			"GRANT CONNECT ON DATABASE rms__live TO PUBLIC", "GRANT CONNECT ON DATABASE rms__live TO rms__staging", "ALTER DATABASE rms__live RENAME TO x",
			"CREATE DATABASE x", "CREATE ROLE x", "SET ROLE bosman", "GRANT app_rms TO other__prod", "DROP DATABASE rms__live",
		} {
			// PostgreSQL only warns when there is nothing it could grant.
			if err := trySQL(me, s); err == nil && !strings.HasPrefix(s, "GRANT CONNECT") {
				t.Errorf("%s may %s", name, s)
			}
		}
		if got := acl(t, main, "rms__live"); !strings.Contains(got, "rms__live=Tc/") || strings.Contains(got, "staging") || strings.Contains(got, "{=") || strings.Contains(got, ",=") {
			t.Errorf("after %s tried, rms__live may be entered by %s", name, got)
		}
		if err := trySQL(me, "CREATE EXTENSION citext", "CREATE SCHEMA own", "CREATE TABLE own.t (c public.citext)"); err != nil {
			t.Errorf("%s cannot make an extension and a schema in its own database: %v", name, err)
		}
	}
}

func acl(t *testing.T, c *Cluster, name string) string {
	t.Helper()
	conn, err := connect(t.Context(), c.admin("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var s string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(datacl::text, '') FROM pg_database WHERE datname = $1", name).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func drop(t *testing.T, e *Engine, d bosman.Database) {
	t.Helper()
	all, err := e.List(cleanCtx())
	if err != nil {
		t.Error(err)
	}
	for _, x := range all {
		if strings.HasPrefix(x.Database.Name, d.Name) {
			if err := e.Drop(cleanCtx(), x.Database); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestGoldenCopies(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "gold", main), engine(t, "gold", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from) })
	mustSQL(t, from, "CREATE EXTENSION citext", "CREATE SCHEMA ext", "CREATE EXTENSION pg_trgm SCHEMA ext", "CREATE TABLE ext.t (name text)", "CREATE INDEX ON ext.t USING gin (name ext.gin_trgm_ops)",
		// What an application defines is not called by a superuser who looks in.
		"CREATE FUNCTION trap(name, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped as %'', current_user; END'",
		"CREATE OPERATOR || (LEFTARG = name, RIGHTARG = text, FUNCTION = trap)",
		"CREATE TABLE candidate (id serial PRIMARY KEY, name citext)", "INSERT INTO candidate (name) SELECT 'c' || n FROM generate_series(1, 100) n")
	if _, err := staging.Inspect(t.Context(), from); err != nil {
		t.Error(err)
	}
	if _, err := staging.Activity(t.Context(), from); err != nil {
		t.Error(err)
	}
	open, err := connect(t.Context(), from) // staging goes on being used
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close(cleanCtx()) }()

	a, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 7, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		drop(t, testers, bosman.Database{Name: "gold__"})
	})
	if info.Release != 7 || info.From != "staging" || info.Strategy != "template" || info.TakenAt.IsZero() || info.Took <= 0 {
		t.Errorf("info %+v", info)
	}
	if n := count(t, a, "candidate"); n != 100 {
		t.Errorf("%d rows", n)
	}
	mustSQL(t, a, "INSERT INTO candidate (name) VALUES ('mine')", "ALTER TABLE candidate ADD COLUMN x int", "DROP TABLE candidate")
	if n := count(t, from, "candidate"); n != 100 {
		t.Errorf("staging has %d rows", n)
	}

	// Written since: a plain copy is as old as the golden one, an exact one is not.
	before, err := main.counter(t.Context(), from.Name)
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, from, "INSERT INTO candidate (name) VALUES ('new')")
	for now := before; now.Tuples == before.Tuples && err == nil; time.Sleep(5 * time.Millisecond) { // counted when the connection ends
		now, err = main.counter(t.Context(), from.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, plain, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Release: 7})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, b, "candidate"); n != 100 || !plain.TakenAt.Equal(info.TakenAt) {
		t.Errorf("a plain copy has %d rows of %s", n, plain.TakenAt)
	}
	c, exact, err := testers.Copy(t.Context(), from, "testing-cleo", database.CopyOptions{Exact: true, Release: 8})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, c, "candidate"); n != 101 || !exact.TakenAt.After(info.TakenAt) {
		t.Errorf("an exact copy has %d rows of %s", n, exact.TakenAt)
	}
	again, err := testers.Refresh(t.Context(), from, 8)
	if err != nil || !again.Copy.TakenAt.Equal(exact.TakenAt) {
		t.Errorf("nothing changed, yet another generation: %+v, %v", again, err)
	}
	// An older change gets the generation of the release it knows.
	old, oldInfo, err := testers.Copy(t.Context(), from, "testing-dora", database.CopyOptions{Release: 8, Accept: func(r int) bool { return r <= 7 }})
	if err != nil || oldInfo.Release != 7 || count(t, old, "candidate") != 100 {
		t.Errorf("copy for an older change: %+v, %v", oldInfo, err)
	}
	if _, _, err := testers.Copy(t.Context(), from, "testing-ella", database.CopyOptions{Accept: func(r int) bool { return r <= 3 }}); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("no generation suits: %v", err)
	}
	// The golden copy is for nobody.
	all, err := testers.Goldens(t.Context(), from)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d generations, %v", len(all), err)
	}
	build, err := scratch.BuildDatabase(t.Context(), "gold-b1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := scratch.CleanBuild(cleanCtx(), "gold-b1"); err != nil {
			t.Error(err)
		}
	}()
	for _, me := range []bosman.Database{a, build} {
		if err := trySQL(me, `CREATE DATABASE steal TEMPLATE "`+all[0].Database.Name+`"`); err == nil {
			t.Errorf("%s copies the golden copy", me.User)
		}
		me.Name = all[0].Database.Name
		if err := trySQL(me, "SELECT 1"); err == nil {
			t.Errorf("%s reads the golden copy", me.User)
		}
		me.Name = b.Name
		if err := trySQL(me, "SELECT 1"); err == nil {
			t.Errorf("%s reads the copy of another tester", me.User)
		}
	}
}

func TestManyTestersAndRefreshesAtOnce(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "many", main), engine(t, "many", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "many__"}) })
	mustSQL(t, from, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, name := range []string{"testing-a", "testing-b", "testing-c", "testing-d"} {
		wg.Go(func() {
			for range 2 {
				d, _, err := testers.Copy(t.Context(), from, name, database.CopyOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := testers.Drop(t.Context(), d); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for n := range 4 {
			mustSQL(t, from, "INSERT INTO candidate VALUES ('x')")
			if _, err := testers.Refresh(t.Context(), from, n+2); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if _, err := testers.Refresh(t.Context(), from, 5); err != nil { // drops what was in use before
		t.Fatal(err)
	}
	if all, err := testers.Goldens(t.Context(), from); err != nil || len(all) != keepGoldens {
		t.Errorf("%d generations left, %v", len(all), err)
	}
}

func TestBuildDatabases(t *testing.T) {
	main, scratch := clusters(t)
	if _, err := main.BuildDatabase(t.Context(), "rms-b1"); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a build on the main cluster: %v", err)
	}
	one, err := scratch.BuildDatabase(t.Context(), "rms-b1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := scratch.BuildDatabase(t.Context(), "rms-b1"); err != nil || again != one {
		t.Errorf("asking again: %v, %v", again, err)
	}
	two, err := scratch.BuildDatabase(t.Context(), "rms-b2")
	if err != nil {
		t.Fatal(err)
	}
	// As a test runner does: over the database postgres, another beside it.
	runner := one
	runner.Name = "postgres"
	mustSQL(t, runner, `CREATE DATABASE "test_build_rms_b1"`)
	test := one
	test.Name = "test_build_rms_b1"
	mustSQL(t, test, "CREATE TABLE t (x int)", "CREATE EXTENSION citext")
	stranger := two
	stranger.Name = one.Name
	if err := trySQL(stranger, "SELECT 1"); err == nil {
		t.Error("a build reaches the database of another")
	}
	held, err := connect(t.Context(), test) // a runner that hangs
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close(cleanCtx()) }()
	n, err := scratch.CleanBuilds(t.Context(), []string{"rms-b2"})
	if err != nil || n != 1 {
		t.Errorf("cleaned %d, %v", n, err)
	}
	for _, name := range []string{test.Name, one.Name} {
		if there, err := scratch.exists(t.Context(), name); err != nil || there {
			t.Errorf("%s is left, %v", name, err)
		}
	}
	mustSQL(t, two, "SELECT 1")
	if err := scratch.CleanBuild(t.Context(), "rms-b2"); err != nil {
		t.Error(err)
	}
	if err := scratch.CleanBuild(t.Context(), "rms-b2"); err != nil {
		t.Errorf("cleaning twice: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	main, _ := clusters(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	e := engine(t, "full", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, d) })
	mustSQL(t, d, "CREATE TABLE big (x text)", "INSERT INTO big SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300000) n GROUP BY n % 100")
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	_, err = e.Backup(t.Context(), d, dir)
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "is full") {
		t.Fatalf("a backup on a full disk: %v", err)
	}
	mustSQL(t, d, "SELECT 1")
}

func TestSchemaTellsWhatAMigrationDid(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "schema", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, d) })
	mustSQL(t, d, "CREATE TABLE candidate (id serial PRIMARY KEY, name varchar(20))", "CREATE TABLE note (x int)")
	before, err := e.Schema(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, d, "INSERT INTO note VALUES (1)")
	same, err := e.Schema(t.Context(), d)
	if err != nil || same.Fingerprint() != before.Fingerprint() {
		t.Fatalf("rows are no schema: %v", err)
	}
	mustSQL(t, d, "CREATE TABLE tag (x int)", "ALTER TABLE candidate ADD COLUMN seen boolean")
	added, err := e.Schema(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if c := database.Diff(before, added); c.Destructive() || c.Same() || strings.Join(c.AddedTables, " ") != "public.tag" || strings.Join(c.AddedColumns, " ") != "public.candidate.seen" {
		t.Errorf("additive: %+v", c)
	}
	if added.Fingerprint() == before.Fingerprint() {
		t.Error("the fingerprint did not change")
	}
	mustSQL(t, d, "DROP TABLE note", "ALTER TABLE candidate DROP COLUMN seen", "ALTER TABLE candidate ALTER name TYPE varchar(40)", "ALTER TABLE tag ALTER x SET NOT NULL", "CREATE INDEX ON tag (x)")
	after, err := e.Schema(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	c := database.Diff(added, after)
	got := strings.Join([]string{strings.Join(c.DroppedTables, " "), strings.Join(c.DroppedColumns, " "), strings.Join(c.ChangedColumns, " "), strings.Join(c.Tightened, " "), strings.Join(c.Objects, " ")}, "|")
	if got != "public.note|public.candidate.seen|public.candidate.name character varying(20) → character varying(40)|public.tag.x|index public.tag_x_idx" || !c.Destructive() {
		t.Errorf("destructive: %s", got)
	}
}
