package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
)

// scene is an app with staging on the durable cluster, and its copies.
type scene struct {
	*Engine
	staging *postgres.Engine
	from    bosman.Database
}

func newScene(t *testing.T, app string) scene {
	t.Helper()
	h, main := world(t)
	return sceneOn(t, app, h, main)
}

func sceneOn(t *testing.T, app string, h *Host, main *postgres.Cluster) scene {
	t.Helper()
	e, err1 := h.Engine(app, main)
	staging, err2 := postgres.NewEngine(app, main)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s := scene{Engine: e, staging: staging}
	if s.from, err1 = staging.Create(t.Context(), "staging"); err1 != nil {
		t.Fatal(err1)
	}
	t.Cleanup(func() {
		for _, x := range []database.Engine{e, staging} {
			all, err := x.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, one := range all {
				if err := x.Drop(context.Background(), one.Database); err != nil {
					t.Error(err)
				}
			}
		}
	})
	s.sql(t, s.from, "CREATE TABLE candidate (id integer PRIMARY KEY, name text)", "INSERT INTO candidate SELECT n, 'Zażółć ' || n FROM generate_series(1, 1000) n")
	return s
}

func (s scene) sql(t *testing.T, d bosman.Database, statements ...string) {
	t.Helper()
	if err := try(d, statements...); err != nil {
		t.Fatal(err)
	}
}

func try(d bosman.Database, statements ...string) error {
	db, err := openSQL(d)
	if err != nil {
		return err
	}
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

func (s scene) copy(t *testing.T, to string) bosman.Database {
	t.Helper()
	d, _, err := s.Copy(t.Context(), s.from, to, database.CopyOptions{Release: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s scene) rows(t *testing.T, d bosman.Database) int64 {
	t.Helper()
	in, err := s.Inspect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return in.Rows["public.candidate"]
}

// id is the folder of a copy's server.
func (s scene) dir(t *testing.T, d bosman.Database) string {
	t.Helper()
	x, err := s.entryOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return s.folder(x)
}

// TestNeighboursStayOut: a copy's role enters its own server only, and there
// its own database only.
func TestNeighboursStayOut(t *testing.T) {
	s := newScene(t, "nb")
	anna, ben := s.copy(t, "testing-anna"), s.copy(t, "testing-ben")
	if anna.Password == ben.Password || anna.Host == ben.Host || anna.Password == s.from.Password {
		t.Fatalf("what is known of one opens another: %s %s", anna.Host, ben.Host)
	}
	s.sql(t, anna, "SELECT 1")
	for what, d := range map[string]bosman.Database{
		"anna's role at ben's database":            {Engine: "postgres", Host: ben.Host, Port: ben.Port, Name: ben.Name, User: anna.User, Password: anna.Password},
		"anna's role at ben's server":              {Engine: "postgres", Host: ben.Host, Port: ben.Port, Name: anna.Name, User: anna.User, Password: anna.Password},
		"anna's password for ben":                  {Engine: "postgres", Host: ben.Host, Port: ben.Port, Name: ben.Name, User: ben.User, Password: anna.Password},
		"anna's role at her maintenance database":  {Engine: "postgres", Host: anna.Host, Port: anna.Port, Name: "postgres", User: anna.User, Password: anna.Password},
		"anna's password for Bosman's own role":    {Engine: "postgres", Host: anna.Host, Port: anna.Port, Name: anna.Name, User: "bosman", Password: anna.Password},
		"anna's role without a password":           {Engine: "postgres", Host: anna.Host, Port: anna.Port, Name: anna.Name, User: anna.User},
		"staging's role at anna's database":        {Engine: "postgres", Host: anna.Host, Port: anna.Port, Name: anna.Name, User: s.from.User, Password: s.from.Password},
		"the role that restores, at anna's server": {Engine: "postgres", Host: anna.Host, Port: anna.Port, Name: anna.Name, User: "work_nb", Password: anna.Password},
	} {
		if err := try(d, "SELECT 1"); err == nil {
			t.Errorf("%s comes in", what)
		}
	}
	if err := try(anna, "SELECT pg_read_file('postgresql.conf')"); err == nil {
		t.Error("an instance reads files of its server")
	}
}

// TestServersThatDieAndSleep: a killed server is started again with all that
// was committed, one of a stopped instance sleeps and is woken, a kept one
// sleeps until somebody looks into it.
func TestServersThatDieAndSleep(t *testing.T) {
	s := newScene(t, "die")
	anna := s.copy(t, "testing-anna")
	s.sql(t, anna, "DELETE FROM candidate WHERE id > 10")
	pid := pidIn(t, s.dir(t, anna))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		runs, err := s.host.server(s.dir(t, anna)).Runs()
		if err != nil {
			t.Fatal(err)
		}
		if !runs {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n, err := s.host.Tend(t.Context(), nil); err != nil || n != 1 {
		t.Fatalf("tended: %d, %v", n, err)
	}
	if n := s.rows(t, anna); n != 10 {
		t.Errorf("%d rows after a kill", n)
	}
	idle := func(app, instance string) bool { return app == "die" && instance == "testing-anna" }
	if _, err := s.host.Tend(t.Context(), idle); err != nil {
		t.Fatal(err)
	}
	if runs, err := s.host.server(s.dir(t, anna)).Runs(); err != nil || runs {
		t.Fatalf("the server of a stopped instance runs: %v", err)
	}
	if n := s.rows(t, anna); n != 10 { // looked into, it sleeps again
		t.Errorf("%d rows", n)
	}
	if runs, err := s.host.server(s.dir(t, anna)).Runs(); err != nil || runs {
		t.Errorf("it does not sleep any more: %v", err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Wake(t.Context(), "testing-anna"); err != nil {
		t.Fatal(err)
	}
	s.sql(t, anna, "INSERT INTO candidate VALUES (5000, 'awake')")
	next := s.copy(t, "testing-anna__next")
	kept, err := s.Swap(t.Context(), anna, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.host.Tend(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if runs, err := s.host.server(s.dir(t, kept)).Runs(); err != nil || runs {
		t.Errorf("what was replaced still runs: %v", err)
	}
	if s.rows(t, kept) != 11 || s.rows(t, anna) != 1000 {
		t.Errorf("kept %d rows, in place %d", s.rows(t, kept), s.rows(t, anna))
	}
	if err := try(kept, "SELECT 1"); err == nil {
		t.Error("the instance comes to what was replaced")
	}
	if _, err := s.Swap(t.Context(), anna, kept); err != nil {
		t.Fatal(err)
	}
	s.sql(t, anna, "INSERT INTO candidate VALUES (5001, 'back')")
}

// TestHostCrash: a copy whose server was not stopped before the host was is
// dropped, and who looks for it is told; one that was stopped, and golden
// copies, stay.
func TestHostCrash(t *testing.T) {
	s := newScene(t, "crash")
	anna, ben := s.copy(t, "testing-anna"), s.copy(t, "testing-ben")
	if _, err := s.host.Tend(t.Context(), func(app, instance string) bool { return app == "crash" && instance == "testing-ben" }); err != nil {
		t.Fatal(err)
	}
	lost := s.dir(t, anna)
	if err := syscall.Kill(pidIn(t, lost), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{lost, s.dir(t, ben)} { // another start of the host than this one
		if err := os.WriteFile(filepath.Join(dir, "boot"), []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond) // its children end by themselves
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := s.Find(t.Context(), "testing-anna")
	if bosman.KindOf(err) != bosman.KindNotFound || !strings.Contains(err.Error(), "bosman reset testing-anna") {
		t.Errorf("the lost copy: %v", err)
	}
	if there(lost) {
		t.Error("its files are left")
	}
	if err := s.Wake(t.Context(), "testing-ben"); err != nil || s.rows(t, ben) != 1000 {
		t.Errorf("the copy that was stopped: %v", err)
	}
	if g, err := s.Goldens(t.Context(), s.from); err != nil || len(g) != 1 {
		t.Errorf("golden copies: %+v, %v", g, err)
	}
	if anna = s.copy(t, "testing-anna"); s.rows(t, anna) != 1000 {
		t.Error("a fresh copy")
	}
}

// TestStill: a copy that nobody uses is copied by its blocks.
func TestStill(t *testing.T) {
	s := newScene(t, "still")
	anna := s.copy(t, "testing-anna")
	s.sql(t, anna, "DELETE FROM candidate WHERE id > 3")
	d, info, err := s.Copy(t.Context(), anna, "testing-ben", database.CopyOptions{Still: true, From: "testing-anna"})
	if err != nil || info.Strategy != Strategy || s.rows(t, d) != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	s.sql(t, anna, "DELETE FROM candidate WHERE id > 1")
	s.sql(t, d, "SELECT 1 / count(*) FROM candidate WHERE id = 3")
}

// TestGenerations: two are kept, a copy outlives its own, and one that is not
// suitable is not handed out.
func TestGenerations(t *testing.T) {
	s := newScene(t, "gen")
	first := s.copy(t, "testing-anna")
	for release := 2; release <= 4; release++ {
		s.sql(t, s.from, "DELETE FROM candidate WHERE id > 900")
		if _, err := s.Refresh(t.Context(), s.from, release); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Goldens(t.Context(), s.from)
	if err != nil || len(all) != 2 || all[0].Copy.Release != 4 || all[1].Copy.Release != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if s.rows(t, first) != 1000 {
		t.Error("the copy of a generation that is gone changed")
	}
	_, info, err := s.Copy(t.Context(), s.from, "testing-ben", database.CopyOptions{Release: 4, Accept: func(r int) bool { return r == 3 }})
	if err != nil || info.Release != 3 {
		t.Errorf("%+v, %v", info, err)
	}
	_, _, err = s.Copy(t.Context(), s.from, "testing-eve", database.CopyOptions{Release: 4, Accept: func(r int) bool { return r == 1 }})
	if bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a copy newer than the change: %v", err)
	}
}

// TestPool: a copy made in advance is handed out by a rename, once; those of
// older generations go; one that was half handed out is put back.
func TestPool(t *testing.T) {
	s := newScene(t, "pool")
	if _, err := s.Refresh(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Fill(t.Context(), s.from, 2); err != nil || p.Ready != 2 || p.Why != "" {
		t.Fatalf("%+v, %v", p, err)
	}
	var got []bosman.Database
	for _, to := range []string{"testing-anna", "testing-ben", "testing-eve"} {
		d, info, err := s.Copy(t.Context(), s.from, to, database.CopyOptions{Release: 1, From: "staging"})
		if err != nil || strings.HasSuffix(info.Strategy, database.InAdvance) != (len(got) < 2) {
			t.Fatalf("%s: %+v, %v", to, info, err)
		}
		s.sql(t, d, "INSERT INTO candidate VALUES (5000, 'mine')")
		got = append(got, d)
	}
	for _, d := range got {
		if n := s.rows(t, d); n != 1001 {
			t.Errorf("%s has %d rows", d.Name, n)
		}
	}
	if _, err := s.Fill(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	ready := func() (names []string) {
		t.Helper()
		all, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if x.Pool {
				names = append(names, x.Name)
			}
		}
		return names
	}
	before := ready()
	if len(before) != 1 {
		t.Fatalf("ready: %q", before)
	}
	half, err := s.host.read("pool")
	if err != nil {
		t.Fatal(err)
	}
	en := *half.find(before[0])
	en.Name = "testing-zoe" // renamed inside, and then Bosman was killed
	if err := s.rename(t.Context(), en); err != nil {
		t.Fatal(err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.copy(t, "testing-zoe"); s.rows(t, d) != 1000 || len(ready()) != 0 {
		t.Errorf("after a kill: %q", ready())
	}
	if _, err := s.Fill(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	old := ready()
	if _, err := s.Refresh(t.Context(), s.from, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fill(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	if now := ready(); len(now) != 1 || now[0] == old[0] {
		t.Errorf("ready before %q, now %q", old, now)
	}
}

// TestBoth: a copy on the scratch cluster stays usable until a fresh one takes
// its place on a server of its own, is kept then, and can be put back.
func TestBoth(t *testing.T) {
	h, main := world(t)
	scratch := &postgres.Cluster{Name: "scratch", Profile: postgres.Scratch, Dir: filepath.Join(shared.dir, "scratch")}
	if _, err := scratch.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := sceneOn(t, "both", h, main)
	old, err := postgres.NewEngine("both", scratch, main)
	if err != nil {
		t.Fatal(err)
	}
	was, _, err := old.Copy(t.Context(), s.from, "testing-anna", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	s.sql(t, was, "DELETE FROM candidate WHERE id > 7")
	b := s.With(old)
	if d, err := b.Find(t.Context(), "testing-anna"); err != nil || d != was {
		t.Fatalf("found %+v, %v", d, err)
	}
	if _, _, err := b.Copy(t.Context(), s.from, "testing-anna", database.CopyOptions{}); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("over one on the other server: %v", err)
	}
	next, _, err := b.Copy(t.Context(), s.from, "testing-anna__next", database.CopyOptions{})
	if err != nil || next.Cluster != Cluster {
		t.Fatalf("%+v, %v", next, err)
	}
	place, err := b.Place(t.Context(), "testing-anna")
	if err != nil || place.Cluster != Cluster || place.Name != was.Name {
		t.Errorf("it will be at %+v, %v", place, err)
	}
	kept, err := b.Swap(t.Context(), was, next)
	if err != nil || kept.Cluster != "scratch" {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	now, err := b.Find(t.Context(), "testing-anna")
	if err != nil || now != place {
		t.Errorf("now at %+v, %v; it was to be at %+v", now, err, place)
	}
	rows := func(d bosman.Database, want int64) {
		t.Helper()
		if in, err := b.Inspect(t.Context(), d); err != nil || in.Rows["public.candidate"] != want {
			t.Errorf("%s on %s has %v rows, %v; want %d", d.Name, d.Cluster, in.Rows, err, want)
		}
	}
	rows(now, 1000)
	rows(kept, 7)
	replaced, err := b.Swap(t.Context(), now, kept) // and back
	if err != nil || replaced.Cluster != Cluster {
		t.Fatalf("replaced %+v, %v", replaced, err)
	}
	back, err := b.Find(t.Context(), "testing-anna")
	if err != nil || back != was {
		t.Errorf("back at %+v, %v", back, err)
	}
	rows(back, 7)
	rows(replaced, 1000)
	s.sql(t, back, "INSERT INTO candidate VALUES (5000, 'again')")
	all, err := b.List(t.Context())
	if err != nil || len(all) != 4 { // two, and a golden copy on either side
		t.Errorf("listed %d: %+v, %v", len(all), all, err)
	}
}

// TestWhatIsNotNamedGoes: a server that the index does not name any more, as
// after a drop that was killed, is ended and removed, and no other.
func TestWhatIsNotNamedGoes(t *testing.T) {
	s := newScene(t, "swept")
	anna, ben := s.copy(t, "testing-anna"), s.copy(t, "testing-ben")
	x, err := s.entryOf(anna)
	if err != nil {
		t.Fatal(err)
	}
	dir, pid := s.folder(x), pidIn(t, s.folder(x))
	if err := s.host.update("swept", func(all *index) error { all.remove(x.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there(dir) {
		t.Error("its files are left")
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
		t.Error("its server runs")
	}
	s.sql(t, ben, "SELECT 1")
	if _, err := s.Find(t.Context(), "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("dropped: %v", err)
	}
}

// TestFullDisk: with the disk full half-way nothing half-made is left and what
// was there goes on.
func TestFullDisk(t *testing.T) {
	_, main := world(t)
	dir, err := tempDir("/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := clear(dir); err != nil {
			t.Error(err)
		}
	})
	if err := disk(dir, "1G"); err != nil {
		t.Fatal(err)
	}
	h := &Host{Dir: filepath.Join(dir, "disk", "clones")}
	if err := h.Open(); err != nil {
		t.Fatal(err)
	}
	s := sceneOn(t, "full", h, main)
	anna := s.copy(t, "testing-anna")
	fill := func(leave int64) {
		t.Helper()
		a, err := storage.Probe(h.Dir)
		for err == nil && a.Free < 100<<20 { // XFS frees what was removed a little later
			time.Sleep(10 * time.Millisecond)
			a, err = storage.Probe(h.Dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, "disk", "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, a.Free-leave), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, leave := range []int64{0, 5 << 20} {
		fill(leave)
		_, _, err = s.Copy(t.Context(), s.from, "testing-ben", database.CopyOptions{Release: 9, Exact: true})
		if bosman.KindOf(err) != bosman.KindUnavailable {
			t.Errorf("a golden copy with %d bytes left: %v", leave, err)
		}
		if err := os.Remove(filepath.Join(dir, "disk", "ballast")); err != nil {
			t.Fatal(err)
		}
		for _, parent := range []string{"servers", "goldens"} {
			if left, err := os.ReadDir(filepath.Join(h.Dir, "full", parent)); err != nil || len(left) != 1 {
				t.Errorf("%s: %v, %v", parent, left, err)
			}
		}
	}
	s.sql(t, anna, "INSERT INTO candidate VALUES (5000, 'x')")
	if d := s.copy(t, "testing-ben"); s.rows(t, d) != 1000 {
		t.Error("with room again")
	}
}

func pidIn(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range strings.SplitN(string(b), "\n", 2)[0] {
		n = n*10 + int(c-'0')
	}
	return n
}
