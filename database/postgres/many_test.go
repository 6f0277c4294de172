package postgres

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/faults"
)

// An app with a further database passes what every driver passes.
func TestSuiteOfManyDatabases(t *testing.T) {
	main, scratch := clusters(t)
	databasetest.Test(t, "smany", func(app string) (databasetest.World, error) { return manyWorld(app, main, scratch) })
}

// Killed when the further database has become a golden copy and the main one
// has not, both do the next time.
func TestKilledDrillOfManyDatabases(t *testing.T) {
	main, scratch := clusters(t)
	t.Setenv(childEnv, shared.dir)
	databasetest.Kill(t, "smanydrill", func(app string) (databasetest.World, error) { return manyWorld(app, main, scratch) }, "drill", "postgres.many.promoted")
}

func manyWorld(app string, main, scratch *Cluster) (databasetest.World, error) {
	w, err := world(app, main, main, scratch)
	if err != nil {
		return w, err
	}
	for _, e := range []*database.Engine{&w.Engine, &w.Source, &w.Trial, &w.Copies} {
		if one, ok := (*e).(*Engine); ok {
			*e = one.With("reports")
		}
	}
	return w, nil
}

// twins is an app with a further database.
type twins struct {
	t *testing.T
	*Many
	k database.Keeper
}

func newPair(t *testing.T, app string, home, other *Cluster, state string) *twins {
	t.Helper()
	m := engine(t, app, home, other).With("reports")
	trial := engine(t, app, other, home).With("reports")
	p := &twins{t, m, database.Keeper{Engine: m, Scratch: trial, State: state}}
	t.Cleanup(func() {
		for _, one := range []*Many{m, trial} {
			all, err := one.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, x := range all {
				if err := one.Drop(context.Background(), x.Database); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return p
}

// say runs one statement in both databases of a name.
func (p *twins) say(name, statement string) {
	p.t.Helper()
	for _, e := range []*Engine{p.Engine, p.Further()["reports"]} {
		d, err := e.Find(p.t.Context(), name)
		if err != nil {
			p.t.Fatal(err)
		}
		db, err := openSQL(d)
		if err != nil {
			p.t.Fatal(err)
		}
		_, err = db.Exec(statement)
		if err = errors.Join(err, db.Close()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// rows counts in both databases of a name: -1 where there is none.
func (p *twins) rows(name string) (n [2]int) {
	p.t.Helper()
	for i, e := range []*Engine{p.Engine, p.Further()["reports"]} {
		n[i] = -1
		d, err := e.Find(p.t.Context(), name)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		db, err := openSQL(e.home.admin(d.Name)) // nobody else gets into a kept one
		if err != nil {
			p.t.Fatal(err)
		}
		err = db.QueryRow("SELECT count(*) FROM word").Scan(&n[i])
		if err = errors.Join(err, db.Close()); err != nil {
			p.t.Fatal(err)
		}
	}
	return n
}

func (p *twins) live() database.Snapshot {
	p.t.Helper()
	d, err := p.Find(p.t.Context(), "live")
	if err != nil {
		p.t.Fatal(err)
	}
	return database.Snapshot{Database: d}
}

// kill starts manyChild, which dies at a point.
func (p *twins) kill(point, state string) {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+shared.dir, manyEnv+"="+p.app+" "+state, faults.Env+"="+point+"=kill")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState == nil {
		p.t.Fatalf("not killed: %v %s", err, out)
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		p.t.Fatalf("not killed: %v %s", err, out)
	}
}

const manyEnv = "BOSMAN_TEST_MANY"

// manyChild swaps in what was prepared for live, or without a folder of notes
// makes the databases of preview-x, and is killed.
func manyChild(job string) int {
	app, state, _ := strings.Cut(job, " ")
	main, scratch := sharedClusters(os.Getenv(childEnv))
	for _, c := range []*Cluster{main, scratch} {
		if _, err := c.Ensure(context.Background()); err != nil {
			return 1
		}
	}
	e, err := NewEngine(app, main, scratch)
	if err != nil {
		return 1
	}
	if state == "" {
		_, err := e.With("reports").Create(context.Background(), "preview-x")
		if err != nil {
			return 1
		}
		return 0
	}
	k := database.Keeper{Engine: e.With("reports"), State: state}
	if _, err := k.SwapIn(context.Background(), "live"); err != nil {
		return 1
	}
	return 0
}

// Both databases of an app are backed up, proven, restored, kept and swapped
// together, also when a kill comes between the two.
func TestManyDatabasesAreOne(t *testing.T) {
	main, scratch := clusters(t)
	ctx := t.Context()
	p := newPair(t, "pair", main, scratch, t.TempDir())
	d, err := p.Create(ctx, "live")
	if err != nil {
		t.Fatal(err)
	}
	p.say("live", "CREATE TABLE word (w text)")
	p.say("live", "INSERT INTO word VALUES ('one')")
	own, err := p.Further()["reports"].Find(ctx, "live")
	if err != nil || own.Name == d.Name || own.User == d.User {
		t.Fatalf("%+v, %v", own, err)
	}
	// Nobody but its own user gets in: not the one of the main database.
	stranger := own
	stranger.User, stranger.Password = d.User, d.Password
	if db, err := openSQL(stranger); err != nil {
		t.Fatal(err)
	} else if err := errors.Join(db.Ping(), db.Close()); err == nil {
		t.Error("the main database's user gets into the further one")
	}

	vault := databasetest.Vault(t, t.TempDir())
	at := database.Place{Vault: vault, Name: database.NameIn("pair", "live", 1, time.Unix(1, 0))}
	about := database.About{App: "pair", Instance: "live"}
	m, err := p.k.Backup(ctx, p.live(), at, about)
	if err != nil {
		t.Fatal(err)
	}
	if m.Database.Rows["public.word"] != 1 || m.Database.Rows["reports:public.word"] != 1 ||
		!slices.ContainsFunc(m.Contents, func(c database.Content) bool { return c.Name == "database-reports.dump" }) {
		t.Errorf("the backup holds %v in %+v", m.Database.Rows, m.Contents)
	}
	if _, err := p.k.Verify(ctx, at, false); err != nil {
		t.Fatal(err)
	}
	p.say("live", "INSERT INTO word VALUES ('two')")

	// Killed between the two swaps, the next start goes on.
	if _, err := p.k.PrepareRestore(ctx, at, "live", p.live()); err != nil {
		t.Fatal(err)
	}
	p.kill("postgres.many.swapped", p.k.State)
	if got := p.rows("live"); got != [2]int{2, 1} {
		t.Fatalf("between the two swaps there are %v", got)
	}
	if err := p.k.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if got := p.rows("live"); got != [2]int{1, 1} {
		t.Errorf("after the restore there are %v", got)
	}
	kept, err := p.k.Kept(ctx, "live", "")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %+v, %v", kept, err)
	}
	if got := p.rows(database.KeptName("live", kept[0].At)); got != [2]int{2, 2} {
		t.Errorf("kept of one moment are %v", got)
	}
	// And back again.
	if err := p.k.SwapBack(ctx, "live"); err != nil {
		t.Fatal(err)
	}
	if got := p.rows("live"); got != [2]int{2, 2} {
		t.Errorf("put back there are %v", got)
	}

	// Golden copies of both, handed out and dropped together.
	copies := newPair(t, "pair", scratch, main, t.TempDir())
	if _, info, err := copies.Copy(ctx, p.live().Database, "testing-anna", database.CopyOptions{From: "live"}); err != nil || info.Bytes == 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	if got := copies.rows("testing-anna"); got != [2]int{2, 2} {
		t.Errorf("the copy holds %v", got)
	}
	anna, err := copies.Find(ctx, "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	if err := copies.Drop(ctx, anna); err != nil {
		t.Fatal(err)
	}
	if got := copies.rows("testing-anna"); got != [2]int{-1, -1} {
		t.Errorf("after the drop there are %v", got)
	}

	// Killed when the further one was made and the main one was not, there is
	// none, and making it again makes both.
	p.kill("postgres.many.further", "")
	if _, err := p.Find(ctx, "preview-x"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("half made: %v", err)
	}
	if _, err := p.Create(ctx, "preview-x"); err != nil {
		t.Error(err)
	}
	p.say("preview-x", "CREATE TABLE word (w text)")

	// A backup from before there was a further one restores it empty.
	plain := database.Keeper{Engine: p.Engine, Scratch: p.k.Scratch, State: filepath.Join(t.TempDir(), "state")}
	old := database.Place{Vault: vault, Name: database.NameIn("pair", "live", 2, time.Unix(1, 0))}
	if _, err := plain.Backup(ctx, p.live(), old, about); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.k.VerifyInto(ctx, old, p.Many, "old"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Further()["reports"].Find(ctx, "old"); err != nil {
		t.Errorf("the further database of an old backup: %v", err)
	}
}
