// Package databasetest judges database engines: one suite for all drivers,
// with real servers, real files and processes that are really killed. It is
// for tests only.
package databasetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// World is what one test works with: an app with databases of its own.
type World struct {
	Engine database.Engine // judged
	Source database.Engine // where copies come from; may be Engine
	Trial  database.Engine // where backups are tried out; may be Engine
	Copies database.Engine // where golden copies of what is in Source are; nil: nowhere
	Open   func(bosman.Database) (*sql.DB, error)
	Blob   string // the type of a column of bytes
	Text   string // the type of a short text that can be indexed; "" is text
	Large  int    // bytes of the large object; 0 is 20 MB
	Mark   string // stands for each value of a statement; "" is $1, $2 …

	masked bool // by MaskedDrill

	// Files gives the folder with the files of a database, written out; for Masks.
	Files func(ctx context.Context, d bosman.Database) (dir string, err error)
}

// engines are all that may hold databases.
func (w World) engines() []database.Engine {
	all := []database.Engine{w.Engine, w.Source, w.Trial}
	if w.Copies != nil {
		all = append(all, w.Copies)
	}
	return all
}

// text is the type of a short text.
func (w World) text() string {
	if w.Text == "" {
		return "text"
	}
	return w.Text
}

// mark stands for the nth value of a statement.
func (w World) mark(n int) string {
	if w.Mark == "" {
		return fmt.Sprintf("$%d", n)
	}
	return w.Mark
}

// Maker makes the world of an app. t is nil in a child process.
type Maker func(app string) (World, error)

// Verbs are what is killed at each of its points; there are also verify and
// remove, which hold little of a driver's own, wayback, and drill for those with
// golden copies.
func Verbs() []string { return []string{"backup", "restore", "replace"} }

// Test judges an engine. app begins the names of the apps it makes; the verbs
// are killed at each of their points.
func Test(t *testing.T, app string, mk Maker, verbs ...string) {
	s := suite{app: app, mk: mk, verbs: verbs, killed: map[string]bool{}}
	t.Run("create", s.create)
	t.Run("names", s.names)
	t.Run("copy", s.copy)
	t.Run("swap", s.swap)
	t.Run("backup", s.backup)
	t.Run("damage", s.damage)
	t.Run("wide", s.wide)
	t.Run("replace", s.replace)
	t.Run("drill", s.drill)
	t.Run("kill", s.kill)
}

// Kill is the part of Test that kills, for a verb that needs a world of its
// own, at those of its points whose names begin with one of prefixes.
func Kill(t *testing.T, app string, mk Maker, verb string, prefixes ...string) {
	s := suite{app: app, mk: mk, verbs: []string{verb}, prefixes: prefixes, killed: map[string]bool{}}
	s.kill(t)
}

// Brief judges the parts of Test that depend on what lies below the servers:
// for a driver that Test judged already, on another file system.
func Brief(t *testing.T, app string, mk Maker) {
	s := suite{app: app, mk: mk}
	t.Run("copy", s.copy)
	t.Run("swap", s.swap)
	t.Run("backup", s.backup)
	t.Run("replace", s.replace)
}

type suite struct {
	app string
	mk  Maker
	n   int

	verbs    []string
	prefixes []string        // of the points that are tried; none: all
	killed   map[string]bool // points that were tried
}

// world makes a world whose databases are dropped at the end of t.
func (s *suite) world(t *testing.T) (World, string) {
	t.Helper()
	s.n++
	app := fmt.Sprintf("%s-%d", s.app, s.n)
	w, err := s.mk(app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, e := range w.engines() {
			all, err := e.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, x := range all {
				if err := e.Drop(context.Background(), x.Database); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return w, app
}

func (w World) exec(t testing.TB, d bosman.Database, statements ...string) {
	t.Helper()
	if err := w.try(d, statements...); err != nil {
		t.Fatal(err)
	}
}

func (w World) try(d bosman.Database, statements ...string) (err error) {
	db, err := w.Open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// rows counts candidates; -1 if that cannot be read.
func (w World) rows(d bosman.Database) (n int) {
	db, err := w.Open(d)
	if err != nil {
		return -1
	}
	if db.QueryRow("SELECT count(*) FROM candidate").Scan(&n) != nil {
		n = -1
	}
	if db.Close() != nil {
		return -1
	}
	return n
}

// fill makes a table of n candidates.
func (w World) fill(t testing.TB, d bosman.Database, n int) {
	t.Helper()
	statements := []string{"CREATE TABLE candidate (id integer PRIMARY KEY, name " + w.text() + " NOT NULL)", "CREATE INDEX candidate_name ON candidate (name)"}
	for i := range n {
		statements = append(statements, fmt.Sprintf("INSERT INTO candidate VALUES (%d, 'Zażółć %d')", i, i))
	}
	w.exec(t, d, statements...)
}

func (w World) create(t testing.TB, e database.Engine, name string, rows int) bosman.Database {
	t.Helper()
	d, err := e.Create(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	w.fill(t, d, rows)
	return d
}

func wantKind(t testing.TB, what string, err error, want bosman.ErrorKind) {
	t.Helper()
	if bosman.KindOf(err) != want {
		t.Errorf("%s: %v, want an error of kind %q", what, err, want)
	}
}

func listed(t testing.TB, e database.Engine) (names []string) {
	t.Helper()
	all, err := e.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		names = append(names, x.Name)
	}
	return names
}

func (s *suite) create(t *testing.T) {
	w, _ := s.world(t)
	d := w.create(t, w.Engine, "staging", 2)
	_, err := w.Engine.Create(t.Context(), "staging")
	wantKind(t, "the name is taken", err, bosman.KindConflict)
	if got, err := w.Engine.Find(t.Context(), "staging"); err != nil || got != d {
		t.Errorf("Find gives %+v, %v; want %+v", got, err, d)
	}
	if got := listed(t, w.Engine); len(got) != 1 || got[0] != "staging" {
		t.Errorf("listed %q", got)
	}
	held, err := w.Open(d) // in use
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := w.Engine.Drop(t.Context(), d); err != nil {
		t.Errorf("drop a database in use: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Log("the connection ended:", err)
	}
	if err := w.Engine.Drop(t.Context(), d); err != nil {
		t.Errorf("drop twice: %v", err)
	}
	_, err = w.Engine.Find(t.Context(), "staging")
	wantKind(t, "it is gone", err, bosman.KindNotFound)
	_, _, err = w.Engine.Copy(t.Context(), d, "other", database.CopyOptions{})
	wantKind(t, "copy of nothing", err, bosman.KindNotFound)
	_, err = w.Engine.Backup(t.Context(), d, t.TempDir())
	wantKind(t, "backup of nothing", err, bosman.KindNotFound)
	_, err = w.Engine.Restore(t.Context(), t.TempDir(), "other")
	wantKind(t, "restore of nothing", err, bosman.KindNotFound)
	_, err = w.Engine.Swap(t.Context(), d, d)
	wantKind(t, "swap with nothing", err, bosman.KindNotFound)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Engine.Create(cancelled, "late"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func (s *suite) names(t *testing.T) {
	w, _ := s.world(t)
	for _, name := range []string{"", "Staging", "a b", "a'b", `a"b`, "a;DROP TABLE x", "żółw", "a--b", "a_b", "../x", "a/b", "x\x00", "a__b-c", "a__", "-a", "a-", strings.Repeat("a", 41)} {
		if _, err := w.Engine.Create(t.Context(), name); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("name %q: %v", name, err)
		}
	}
	seen := map[string]bool{}
	for _, name := range []string{"a", "select", "live", "testing-anna-maria", strings.Repeat("l", 40), strings.Repeat("l", 39) + "x", "a-b", database.Beside("a", "next")} {
		d, err := w.Engine.Create(t.Context(), name)
		if err != nil {
			t.Errorf("name %q: %v", name, err)
			continue
		}
		if seen[d.Name] {
			t.Errorf("name %q gives %s again", name, d.Name)
		}
		seen[d.Name] = true
	}
}

func (s *suite) copy(t *testing.T) {
	w, _ := s.world(t)
	from := w.create(t, w.Source, "staging", 5)
	held, err := w.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := held.Exec("INSERT INTO candidate VALUES (100, 'held')"); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	to, info, err := w.Engine.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Exact: true, From: "staging", Release: 3})
	if err != nil {
		t.Fatal(err)
	}
	if info.From != "staging" || info.Release != 3 || info.TakenAt.Before(before.Add(-time.Minute)) || info.Strategy == "" || info.Took <= 0 {
		t.Errorf("info %+v", info)
	}
	if n := w.rows(to); n != 6 {
		t.Errorf("the copy has %d rows", n)
	}
	w.exec(t, to, "DELETE FROM candidate", "ALTER TABLE candidate ADD COLUMN mine text")
	if n := w.rows(from); n != 6 {
		t.Errorf("the source has %d rows", n)
	}
	if err := held.Ping(); err != nil {
		t.Errorf("the source's connection did not survive: %v", err)
	}
	_, _, err = w.Engine.Copy(t.Context(), from, "testing-anna", database.CopyOptions{})
	wantKind(t, "copy over another", err, bosman.KindConflict)
	_, _, err = w.Engine.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Exact: true, Release: 9, Accept: func(r int) bool { return r < 9 }})
	wantKind(t, "copy newer than the change", err, bosman.KindConflict)

	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			d, _, err := w.Engine.Copy(t.Context(), from, fmt.Sprintf("testing-c%d", i), database.CopyOptions{Exact: i == 0})
			if err != nil || w.rows(d) != 6 {
				t.Errorf("at once: %v", err)
			}
		})
	}
	wg.Wait()
}

func (s *suite) swap(t *testing.T) {
	w, _ := s.world(t)
	old := w.create(t, w.Engine, "live", 1)
	source := w.create(t, w.Engine, "source", 2)
	copied := func(name string) bosman.Database {
		t.Helper()
		d, _, err := w.Engine.Copy(t.Context(), source, database.Beside(name, database.TagNext), database.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	next := copied("live")
	held, err := w.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Ping(); err != nil {
		t.Fatal(err)
	}
	kept, err := w.Engine.Swap(t.Context(), old, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Log("the connection ended:", err)
	}
	if n := w.rows(old); n != 2 {
		t.Errorf("the place holds %d rows", n)
	}
	if in, err := w.Engine.Inspect(t.Context(), kept); err != nil || total(in) != 1 {
		t.Errorf("kept %+v, %v", in.Rows, err)
	}
	all, err := w.Engine.List(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("listed %+v, %v", all, err)
	}
	for _, x := range all {
		if (x.Database.Name == kept.Name) == x.KeptAt.IsZero() {
			t.Errorf("%s kept at %s", x.Name, x.KeptAt)
		}
	}
	if _, err := w.Engine.Swap(t.Context(), old, kept); err != nil { // and back
		t.Fatal(err)
	}
	if n := w.rows(old); n != 1 {
		t.Errorf("swapped back it holds %d rows", n)
	}
	third := copied("new")
	place, err := w.Engine.Find(t.Context(), "new")
	wantKind(t, "an empty place", err, bosman.KindNotFound)
	if kept, err := w.Engine.Swap(t.Context(), place, third); err != nil || kept.Name != "" || w.rows(place) != 2 {
		t.Errorf("into an empty place: kept %+v, %v", kept, err)
	}
}

func total(in database.Inspection) (n int64) {
	for _, r := range in.Rows {
		n += r
	}
	return n
}

// keeper makes a keeper of the world, with a folder for notes.
func (w World) keeper(state string) *database.Keeper {
	return &database.Keeper{Engine: w.Engine, Scratch: w.Trial, State: state}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o640)); err != nil {
		t.Fatal(err)
	}
}

func readFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
