package clone

import (
	"path/filepath"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

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
