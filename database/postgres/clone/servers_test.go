package clone

import (
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
	"github.com/bosman-cd/bosman/database/storage"
)

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
	s.until(t, "the server is gone", func() bool {
		runs, err := s.host.server(s.dir(t, anna)).Runs()
		return err == nil && !runs
	})
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
	cara := s.copy(t, "testing-cara")
	stopped := s.dir(t, cara)
	if err := s.host.server(stopped).Stop(t.Context()); err != nil { // by somebody else: nothing is synced
		t.Fatal(err)
	}
	lost := s.dir(t, anna)
	s.crash(t, lost)
	if err := os.WriteFile(filepath.Join(stopped, "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir(t, ben), "boot"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := s.Find(t.Context(), "testing-anna")
	if bosman.KindOf(err) != bosman.KindNotFound || !strings.Contains(err.Error(), "bosman reset testing-anna") {
		t.Errorf("the lost copy: %v", err)
	}
	if there(lost) || there(stopped) {
		t.Error("its files are left")
	}
	if _, err := s.Find(t.Context(), "testing-cara"); !errors.Is(err, database.ErrLostWithHost) {
		t.Errorf("a copy that was stopped, and not written to the disk: %v", err)
	}
	if err := s.Wake(t.Context(), "testing-ben"); err != nil || s.rows(t, ben) != 1000 {
		t.Errorf("the copy that was stopped: %v", err)
	}
	woken := s.dir(t, ben)
	s.crash(t, woken)
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), "testing-ben"); !errors.Is(err, database.ErrLostWithHost) || there(woken) {
		t.Errorf("woken after it was written to the disk, it is trusted: %v", err)
	}
	if g, err := s.Goldens(t.Context(), s.from); err != nil || len(g) != 1 {
		t.Errorf("golden copies: %+v, %v", g, err)
	}
	if anna = s.copy(t, "testing-anna"); s.rows(t, anna) != 1000 {
		t.Error("a fresh copy")
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
	h := another(t, "xfs", 1<<30)
	ballast := filepath.Join(filepath.Dir(h.Dir), "ballast")
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
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, a.Free-leave), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, leave := range []int64{0, 5 << 20} {
		fill(leave)
		if a, err := storage.Probe(h.Dir); err != nil || !a.Reflink {
			t.Errorf("a full disk is taken for one that cannot share: %+v, %v", a, err)
		}
		_, _, err := s.Copy(t.Context(), s.from, "testing-ben", database.CopyOptions{Release: 9, Exact: true})
		if bosman.KindOf(err) != bosman.KindUnavailable {
			t.Errorf("a golden copy with %d bytes left: %v", leave, err)
		}
		if err := os.Remove(ballast); err != nil {
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
