package clone

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

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

// TestNotes: a hand-out is noted without waiting for the disk; Tend writes it
// down, and after the host was restarted before that it is as if it had not
// been.
func TestNotes(t *testing.T) {
	s := newScene(t, "notes")
	if _, err := s.Refresh(t.Context(), s.from, 1); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Fill(t.Context(), s.from, 1); err != nil || p.Ready != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	anna := s.copy(t, "testing-anna")
	note, onDisk := s.host.notePath("notes"), func() *entry {
		t.Helper()
		b, err := os.ReadFile(s.host.indexPath("notes"))
		var x index
		if err := errors.Join(err, json.Unmarshal(b, &x)); err != nil {
			t.Fatal(err)
		}
		return x.find("testing-anna")
	}
	if onDisk() != nil {
		t.Fatal("the hand-out waited for the disk")
	}
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := ground.BootID()
	if err != nil {
		t.Fatal(err)
	}
	for _, was := range []string{"", `{"number": 999`, strings.ReplaceAll(string(b), boot, "another")} {
		if err := os.WriteFile(note, []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find(t.Context(), "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
			t.Errorf("after the host was restarted, with %.20q: %v", was, err)
		}
	}
	// After the host crashed, whoever was handed a copy just before is told.
	if err := os.WriteFile(note, []byte(strings.ReplaceAll(string(b), boot, "another")), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(s.host.indexPath("notes"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.host.forgetNote("notes", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), "testing-anna"); !errors.Is(err, database.ErrLostWithHost) || there(note) {
		t.Errorf("handed out before the host crashed: %v", err)
	}
	if err := os.WriteFile(s.host.indexPath("notes"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(note, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.host.Tend(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if onDisk() == nil {
		t.Error("it was not written down")
	}
	if err := s.Drop(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("the note from before counts again: %v", err)
	}
}
