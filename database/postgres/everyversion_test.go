package postgres

import (
	"strconv"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/mask"
)

// TestEveryVersion runs each version of PostgreSQL as both clusters: the whole
// suite with the oldest and the newest, its brief form with those between, and
// with all of them what differs most between versions. 15 is Debian's, with
// which all other tests run.
func TestEveryVersion(t *testing.T) {
	main15, scratch15 := clusters(t)
	newest := ownCluster(t, Scratch)
	newest.BinDir, newest.ClientDir = databasetest.PostgresVersion(t, 18)
	ensure(t, newest)
	for v := 13; v <= 18; v++ {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			main, scratch := main15, scratch15
			if v != 15 {
				main, scratch = ownCluster(t, Main), ownCluster(t, Scratch)
				for _, c := range []*Cluster{main, scratch} {
					c.BinDir, c.ClientDir = databasetest.PostgresVersion(t, v)
					ensure(t, c)
				}
			}
			if got := main.serverVersion() / 10000; got != v {
				t.Fatalf("PostgreSQL %d runs", got)
			}
			maker := func(app string) (databasetest.World, error) { return world(app, scratch, main, scratch) }
			switch app := "v" + strconv.Itoa(v); v {
			case 15:
			case 13, 18:
				databasetest.Test(t, app, maker)
			default:
				databasetest.Brief(t, app, maker)
			}
			t.Run("content", func(t *testing.T) { everyCopy(t, main, scratch) })
			t.Run("adopted", func(t *testing.T) { adoptedOf(t, main, scratch) })
			if v < newest.major() {
				t.Run("upgrade", func(t *testing.T) { upgraded(t, main, scratch, newest) })
			}
			if v == 15 {
				return
			}
			// A cluster keeps its programs, wherever they are.
			if err := scratch.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			again := &Cluster{Name: scratch.Name, Profile: Scratch, Dir: scratch.Dir}
			if got := ensure(t, again); !got.Started || again.serverVersion()/10000 != v {
				t.Errorf("started again: %+v, version %d", got, again.serverVersion())
			}
		})
	}
}

func contentOf(t *testing.T, d bosman.Database) {
	t.Helper()
	mustSQL(t, d, databasetest.PostgresContent()...)
}

// same sees that a database holds what another was seen to hold.
func same(t *testing.T, what string, want database.Inspection, e *Engine, d bosman.Database) {
	t.Helper()
	got, err := e.Inspect(t.Context(), d)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := database.Differences(database.BackupInfo{Rows: want.Rows, Schema: want.Schema}, got); len(diff) > 0 {
		t.Errorf("%s differs: %v", what, diff)
	}
}

// everyCopy copies by each way that a cluster itself has, masked too, and
// restores a backup; all is compared.
func everyCopy(t *testing.T, main, scratch *Cluster) {
	app := "content" + strconv.Itoa(main.major())
	staging, testers := engine(t, app, main), engine(t, app, scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		drop(t, staging, bosman.Database{Name: app + "__"})
		drop(t, testers, bosman.Database{Name: app + "__"})
	})
	contentOf(t, from)
	want, err := staging.Inspect(t.Context(), from)
	if err != nil || want.Rows["public.Osoba żółta"] != 200 || want.Rows["large objects"] != 1 {
		t.Fatalf("%v, %v", want.Rows, err)
	}
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
		t.Fatalf("made in advance: %+v, %v", p, err)
	}
	copied := func(name string, from bosman.Database, opt database.CopyOptions, way string) bosman.Database {
		t.Helper()
		d, info, err := testers.Copy(t.Context(), from, name, opt)
		if err != nil || info.Strategy != way {
			t.Fatalf("%s: %+v, %v", name, info, err)
		}
		same(t, name+", made by "+way, want, testers, d)
		return d
	}
	way := scratch.Strategy().Name
	anna := copied("testing-anna", from, database.CopyOptions{}, way+database.InAdvance)
	copied("testing-ben", from, database.CopyOptions{}, way)
	copied("testing-cyd", from, database.CopyOptions{Exact: true}, way)
	copied("testing-dan", anna, database.CopyOptions{}, StrategyDump)
	copied("testing-eve", anna, database.CopyOptions{Still: true}, StrategyStill)
	mustSQL(t, anna, `INSERT INTO "Osoba żółta" (email) VALUES ('mine@firma.pl')`, "INSERT INTO visit VALUES ('2025-05-05', 201)", "SELECT 1 / count(*) FROM visit_new WHERE note = '-'")

	dir := t.TempDir()
	info, err := staging.Backup(t.Context(), from, dir)
	if err != nil || !strings.HasPrefix(info.Version, strconv.Itoa(main.major())) {
		t.Fatalf("backup %+v, %v", info, err)
	}
	next, err := staging.Restore(t.Context(), dir, "staging__next")
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Compare(t.Context(), staging, next, "restored", info); err != nil {
		t.Error(err)
	}
	kept, err := staging.Swap(t.Context(), from, next)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what was put in place", want, staging, from)
	same(t, "what is kept", want, staging, kept)

	masks(testers, &mask.Spec{Salt: "s", Columns: map[string]string{"Osoba żółta.email": "email", "Osoba żółta.born": "date"}})
	masked, _, err := testers.Copy(t.Context(), from, "testing-fay", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, masked, `SELECT count(*)::text, count(DISTINCT email)::text, count(*) FILTER (WHERE email LIKE 'real%' OR short = 'rea')::text FROM "Osoba żółta"`); got != "200|200|0" {
		t.Errorf("masked: %s", got)
	}
}

// adoptedOf backs up a server of a version that Bosman did not make, proves it
// and copies it.
func adoptedOf(t *testing.T, main, scratch *Cluster) {
	app := "foreign" + strconv.Itoa(main.major())
	_, team := foreign(t, main.BinDir)
	contentOf(t, team)
	adopt := func(clients string) (*Cluster, *Adopted, bosman.Database, string) {
		t.Helper()
		c, err := Adopt(t.Context(), app, "live", database.URL(team), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.ClientDir = clients
		live, err := NewAdopted(app, c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := live.Find(t.Context(), "live")
		if err != nil {
			t.Fatal(err)
		}
		can, err := live.Abilities(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return c, live, d, strings.Join(bosman.Lost(can), "\n")
	}
	if v := strconv.Itoa(main.major()); main.major() > 15 { // Debian's programs cannot read it: said before a backup is tried
		if _, _, _, lost := adopt(""); !strings.Contains(lost, "backup: no pg_dump here can read a PostgreSQL "+v) || !strings.Contains(lost, "apt-get install postgresql-client-"+v) {
			t.Errorf("without client programs:\n%s", lost)
		}
	}
	c, live, d, lost := adopt(main.ClientDir)
	if strings.Contains(lost, "backup:") || strings.Contains(lost, "copy:") {
		t.Errorf("lost:\n%s", lost)
	}
	dir := t.TempDir()
	info, err := live.Backup(t.Context(), d, dir)
	if err != nil {
		t.Fatal(err)
	}
	trial := engine(t, app, scratch)
	t.Cleanup(func() { drop(t, trial, bosman.Database{Name: app + "__"}) })
	proven, err := trial.Restore(t.Context(), dir, "live__verify_x")
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Compare(t.Context(), trial, proven, "restored", info); err != nil {
		t.Error(err)
	}
	trial.AddSource(c)
	copied, _, err := trial.Copy(t.Context(), d, "testing-anna", database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "a copy of it", database.Inspection{Rows: info.Rows, Schema: info.Schema}, trial, copied)
}

// upgraded brings backups and copies of an older server to a newer one; the
// other way is refused.
func upgraded(t *testing.T, old, copies, newest *Cluster) {
	app := "upgrade" + strconv.Itoa(old.major())
	staging, testers := engine(t, app, old), engine(t, app, newest, old)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: app + "__"}) })
	contentOf(t, from)
	dir := t.TempDir()
	info, err := staging.Backup(t.Context(), from, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := testers.Accepts(t.Context(), info); err != nil {
		t.Errorf("an older backup: %v", err)
	}
	d, err := testers.Restore(t.Context(), dir, "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Compare(t.Context(), testers, d, "restored", info); err != nil {
		t.Errorf("%v %v", err, bosman.AsError(err).Cause)
	}
	copied, _, err := testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "a copy on the newer server", database.Inspection{Rows: info.Rows, Schema: info.Schema}, testers, copied)
	mustSQL(t, copied, `INSERT INTO "Osoba żółta" (email) VALUES ('mine@firma.pl')`, "INSERT INTO visit VALUES ('2025-05-05', 201)")

	// And back.
	newer, err := testers.Backup(t.Context(), d, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := staging.Accepts(t.Context(), newer); bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(bosman.AsError(err).Next, "PostgreSQL 18") {
		t.Errorf("a newer backup: %v", err)
	}
	if _, _, err := engine(t, app, copies, newest).Copy(t.Context(), d, "testing-eve", database.CopyOptions{}); bosman.KindOf(err) == "" {
		t.Error("a newer server was copied to an older one")
	}
}
