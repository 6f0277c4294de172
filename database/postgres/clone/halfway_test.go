package clone

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// TestKilledHalfWay: staging's server, or that of a golden copy, is killed while
// the golden copy is filled. It is said that it does not answer, nothing
// half-made is left, what was there before goes on, and it succeeds afterwards.
func TestKilledHalfWay(t *testing.T) {
	h, _ := world(t)
	main := mainOf(t, "", "")
	s := sceneOn(t, "halfway", h, main)
	anna := s.copy(t, "testing-anna")
	s.sql(t, s.from,
		// However quick the machine is, there is a second to see the rows being copied.
		"CREATE FUNCTION unhurried(id int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN IF id % 1000 = 0 THEN PERFORM pg_sleep(0.02); END IF; RETURN true; END $$",
		"CREATE TABLE big (id int PRIMARY KEY CHECK (unhurried(id)), body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 60) FROM generate_series(1, 60000) n")
	before, err := s.Goldens(t.Context(), s.from)
	if err != nil || len(before) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	servers := map[string]func() int{ // the pid of what is to be killed; 0: not yet
		"staging's": func() int { return filling(t, main.Dir) },
		"the golden one's": func() int {
			for _, dir := range s.unnamed(t) {
				if pid := filling(t, dir); pid != 0 {
					return pid
				}
			}
			return 0
		},
	}
	for whose, find := range servers {
		done := make(chan error, 1)
		go func() {
			_, err := s.Refresh(t.Context(), s.from, 1)
			done <- err
		}()
		for pid := 0; pid == 0; {
			select {
			case err := <-done:
				t.Fatalf("%s server was not killed in time: %v", whose, err)
			default:
			}
			if pid = find(); pid != 0 {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := <-done; bosman.KindOf(err) != bosman.KindUnavailable {
			t.Errorf("with %s server killed: %v", whose, err)
		}
		if _, err := main.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.unnamed(t); len(left) != 0 {
			t.Errorf("with %s server killed %q is left", whose, left)
		}
		if now, err := s.Goldens(t.Context(), s.from); err != nil || len(now) != 1 || now[0].Database != before[0].Database {
			t.Errorf("with %s server killed the golden copies are %+v, %v", whose, now, err)
		}
		if s.rows(t, anna) != 1000 {
			t.Error("the copy of before changed")
		}
	}
	d, _, err := s.Copy(t.Context(), s.from, "testing-ben", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	if in, err := s.Inspect(t.Context(), d); err != nil || in.Rows["public.big"] != 60000 {
		t.Errorf("a copy afterwards: %v, %v", in.Rows, err)
	}
}

// filling gives the pid of the server in a folder while one of its processes
// copies rows, 0 before.
func filling(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	children, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		title, err := os.ReadFile(c)
		if err != nil || !strings.Contains(string(title), " COPY") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(c), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == first {
			return pid
		}
	}
	return 0
}

// unnamed gives the folders of servers that the index does not name.
func (s scene) unnamed(t *testing.T) (out []string) {
	t.Helper()
	x, err := s.host.read(s.app)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, en := range x.Entries {
		named[s.folder(en)] = true
	}
	dirs, err := filepath.Glob(filepath.Join(s.host.Dir, s.app, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !named[dir] {
			out = append(out, dir)
		}
	}
	return out
}

// TestUnderLoad: an application that connects again and again keeps neither a
// swap nor a drop from happening, and is in the new data afterwards.
func TestUnderLoad(t *testing.T) {
	s := newScene(t, "load")
	anna := s.copy(t, "testing-anna")
	s.sql(t, anna, "DELETE FROM candidate WHERE id > 3")
	next := s.copy(t, "testing-anna__next")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var begun bool
	began := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := try(anna, "UPDATE candidate SET name = name WHERE id = 1", "SELECT pg_sleep(0.02)")
			if err == nil && !begun {
				begun = true
				close(began)
			}
			if err != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	<-began
	kept, err := s.Swap(t.Context(), anna, next)
	if err != nil {
		t.Errorf("swapped while it is used: %v", err)
	}
	if s.rows(t, anna) != 1000 || s.rows(t, kept) != 3 {
		t.Errorf("%d rows in place, %d kept", s.rows(t, anna), s.rows(t, kept))
	}
	s.until(t, "the application is in the new data", func() bool {
		return try(anna, "SELECT 1 / count(*) FROM candidate WHERE id = 1000") == nil
	})
	if err := errors.Join(s.Drop(t.Context(), anna), s.Drop(t.Context(), kept)); err != nil {
		t.Errorf("dropped while it is used: %v", err)
	}
	cancel()
	<-ended
	if _, err := s.Find(t.Context(), "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("it is still there: %v", err)
	}
}

// TestGoldenBeingCopiedStays: a golden copy is not removed while its files are
// being copied, only after that.
func TestGoldenBeingCopiedStays(t *testing.T) {
	s := newScene(t, "busy")
	g, err := s.Refresh(t.Context(), s.from, 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := s.dir(t, g.Database)
	s.host.goldens.RLock() // as a copy does that takes long
	done := make(chan error, 1)
	go func() { done <- s.Drop(t.Context(), g.Database) }()
	select {
	case err := <-done:
		t.Errorf("it was dropped while it was copied: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if !there(filepath.Join(dir, "data", "PG_VERSION")) {
		t.Error("its files are gone while they are copied")
	}
	s.host.goldens.RUnlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if there(dir) {
		t.Error("its files are left")
	}
}
