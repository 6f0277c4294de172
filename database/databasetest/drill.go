package databasetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/need"
)

// MaskedDrill judges what a backup is restored into where it must be masked
// before it is the next golden copy. It is killed at those of its points whose
// names begin with one of prefixes.
func MaskedDrill(t *testing.T, app string, mk Maker, prefixes ...string) {
	s := suite{app: app + maskedTag, mk: masked(mk), verbs: []string{"drill"}, prefixes: prefixes, killed: map[string]bool{}}
	t.Run("drill", s.drill)
	t.Run("kill", s.kill)
}

// maskedTag is in the names of apps whose copies are masked, for child
// processes too.
const maskedTag = "-masked"

// masked makes the worlds of such apps with masks.
func masked(mk Maker) Maker {
	return func(app string) (World, error) {
		w, err := mk(app)
		if err != nil || !strings.Contains(app, maskedTag) {
			return w, err
		}
		m, ok := w.Copies.(database.Masker)
		if !ok {
			return w, errors.New("these copies cannot be masked")
		}
		w.masked = true
		m.MaskWith(func(context.Context, string, int) (mask.Spec, error) {
			return mask.Spec{Salt: maskSalt, Columns: map[string]string{"candidate.name": "name"}}, nil
		})
		return w, nil
	}
}

// hidden sees that a copy does not show what is masked.
func (w World) hidden(t *testing.T, d bosman.Database) {
	t.Helper()
	if shown := w.ask(t, d, "SELECT count(*) FROM candidate WHERE name LIKE 'Za%'"); w.masked != (shown == "0") {
		t.Errorf("%s rows show what is personal; masked: %v", shown, w.masked)
	}
}

// drill: what a backup is restored into to be proven is the next golden copy.
func (s *suite) drill(t *testing.T) {
	w, _ := s.world(t)
	if w.Copies == nil {
		t.Log("nothing to see: no golden copies are made of what a backup was restored into here")
		return
	}
	refresher, ok := w.Copies.(database.Refresher)
	if !ok {
		t.Fatal("it says that it has golden copies")
	}
	staging := w.create(t, w.Source, "staging", 3)
	k := &database.Keeper{Engine: w.Source, Scratch: w.Trial, State: t.TempDir()}
	root, number := t.TempDir(), 0
	vault := Vault(t, root)
	backup := func() (database.Place, database.Manifest) {
		t.Helper()
		number++
		at := vault.place("staging", number)
		m, err := k.Backup(t.Context(), database.Snapshot{Database: staging}, at, database.About{App: "rms", Instance: "staging", Release: 4, Number: number})
		if err != nil {
			t.Fatal(err)
		}
		return at, m
	}
	drill := func(at database.Place) database.Drilled {
		t.Helper()
		d, err := k.Drill(t.Context(), at, false, w.Copies, staging)
		if err != nil || d.ProvenAt.IsZero() || d.Why != nil {
			t.Fatalf("%+v, %v", d, err)
		}
		if proven, err := database.ProvenAt(t.Context(), at, d.Manifest); err != nil || proven.IsZero() {
			t.Errorf("proven %s, %v", proven, err)
		}
		for _, e := range w.engines() {
			if left := listed(t, e); strings.Contains(strings.Join(left, " "), "__"+database.TagVerify) {
				t.Errorf("the drill left %q", left)
			}
		}
		return d
	}
	goldens := func() []database.Golden {
		t.Helper()
		all, err := refresher.Goldens(t.Context(), staging)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}

	first, m := backup()
	w.exec(t, staging, "INSERT INTO candidate VALUES (50, 'after the backup')")
	d := drill(first)
	all := goldens()
	if !d.Made || len(all) != 1 || all[0].Database.Name != d.Golden.Database.Name {
		t.Fatalf("golden copies %+v, drilled %+v", all, d)
	}
	if g := all[0].Copy; g.Backup != 1 || g.Release != 4 || g.From != "staging" || !g.TakenAt.Equal(m.Database.TakenAt) || g.Strategy != database.StrategyRestored || g.Took <= 0 || g.Bytes == 0 {
		t.Errorf("the golden copy %+v of %+v", g, m.Database)
	}
	to, info, err := w.Copies.Copy(t.Context(), staging, "testing-anna", database.CopyOptions{From: "staging"})
	if err != nil || w.rows(to) != 3 || info.Backup != 1 || info.Release != 4 {
		t.Fatalf("a copy with %d rows: %+v, %v", w.rows(to), info, err)
	}
	w.hidden(t, to)
	w.exec(t, to, "INSERT INTO candidate VALUES (60, 'mine')", "CREATE TABLE mine (x int)")
	if d = drill(first); d.Made || len(goldens()) != 1 {
		t.Errorf("the same backup again: %+v", d)
	}
	if w.rows(staging) != 4 {
		t.Errorf("staging has %d rows", w.rows(staging))
	}

	// Nothing was written since the backup: the golden copy is not made anew.
	w.until(t, "what was made of a backup is fresh enough", func() bool {
		at, _ := backup()
		if d = drill(at); !d.Made {
			t.Fatalf("%+v", d)
		}
		g, err := refresher.Refresh(t.Context(), staging, 4)
		if err != nil {
			t.Fatal(err)
		}
		return g.Copy.Backup == number && g.Database.Name == d.Golden.Database.Name
	})
	if all := goldens(); len(all) < 2 || all[0].Copy.Backup != number {
		t.Errorf("golden copies %+v", all)
	}
	if again, info, err := w.Copies.Copy(t.Context(), staging, "testing-ben", database.CopyOptions{From: "staging"}); err != nil || w.rows(again) != 4 || info.Backup != number {
		t.Errorf("a copy with %d rows: %+v, %v", w.rows(again), info, err)
	}

	// A damaged backup makes nothing.
	at, _ := backup()
	for _, f := range filesIn(t, root) {
		if strings.Contains(f, at.Name+"/database.") {
			writeFile(t, f, "nothing")
		}
	}
	before := len(goldens())
	if d, err := k.Drill(t.Context(), at, false, w.Copies, staging); err == nil || d.Made || !d.ProvenAt.IsZero() || len(goldens()) != before {
		t.Errorf("a damaged backup: %+v, %v", d, err)
	}
}

// until waits for what a server's statistics may take some seconds to say.
func (w World) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not in a minute: " + what)
		}
		time.Sleep(time.Second)
	}
}

// golden sees that the golden copies of live, of which there are at least so
// many, are whole.
func (w World) golden(t *testing.T, least int, when string) {
	t.Helper()
	need.Slow(t, "copies databases")
	live, err := w.Engine.Find(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	refresher, ok := w.Copies.(database.Refresher)
	if !ok {
		t.Fatal("there are no golden copies")
	}
	all, err := refresher.Goldens(t.Context(), live)
	if err != nil || len(all) < least || len(all) > 1 {
		t.Fatalf("%s: golden copies %+v, %v", when, all, err)
	}
	if len(all) == 0 {
		return
	}
	to, info, err := w.Copies.Copy(t.Context(), live, "testing-anna", database.CopyOptions{From: "live"})
	if err != nil || w.rows(to) != 3 || info.From != "live" {
		t.Fatalf("%s: a copy of the golden copy has %d rows: %+v, %v", when, w.rows(to), info, err)
	}
	w.hidden(t, to)
	if err := w.Copies.Drop(t.Context(), to); err != nil {
		t.Error(err)
	}
}
