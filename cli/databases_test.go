package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestDatabasesAsPeopleReadThem(t *testing.T) {
	e, _ := screen(t)
	taken := bosman.CopyInfo{From: "staging", TakenAt: noon.Add(-3 * time.Minute), Release: 12, Strategy: "template, made in advance"}
	proven := taken
	proven.Backup, proven.Strategy = 12, "restored"
	merged := taken
	merged.Merged = "1a2b3c4d5e6f"
	if got := e.copied(taken) + "; " + e.copied(merged); got != "staging 3 min ago; staging 3 min ago, merged with main 1a2b3c4d" {
		t.Errorf("copies %q", got)
	}
	for _, c := range []struct {
		d          bosman.StoredDatabase
		data, note string
	}{
		{bosman.StoredDatabase{Instance: "staging", Role: bosman.StoredOwn}, "its own", ""},
		{bosman.StoredDatabase{Instance: "testing-anna", Owner: "anna", Copy: taken}, "staging 3 min ago r12", "of anna"},
		{bosman.StoredDatabase{Instance: "staging", Role: bosman.StoredGolden, Copy: proven}, "staging 3 min ago r12", "from backup k12"},
		{bosman.StoredDatabase{Instance: "live", KeptAt: noon.Add(-2 * time.Hour)}, "its own", "kept 2 h ago"},
		{bosman.StoredDatabase{Instance: "testing-anna", Owner: "anna", KeptAt: noon.Add(-2 * time.Hour), Until: noon.Add(100 * time.Hour)}, "its own", "kept 2 h ago, goes "},
	} {
		if got := e.dataOf(c.d); got != c.data {
			t.Errorf("data %q, want %q", got, c.data)
		}
		if got := e.note(c.d); got != c.note && (c.note == "" || !strings.HasPrefix(got, c.note)) {
			t.Errorf("note %q, want %q", got, c.note)
		}
	}
	e, out := screen(t)
	if err := e.serverLines(bosman.DatabaseServer{
		Name: "scratch", Version: "PostgreSQL 15.18", Strategy: "template", Why: "files are copied", Faster: "ext4 shares no blocks",
		Free: 72_000_000_000, Leave: 20_000_000_000, Quota: 50_000_000_000, Lacking: "no pg_dump",
	}); err != nil {
		t.Fatal(err)
	}
	want := "\nscratch: PostgreSQL 15.18; 72.0 GB free, copies leave 20.0 GB\n  an app's copies may take 50.0 GB\n  copies: template: files are copied\n  not faster: ext4 shares no blocks\n  no pg_dump\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestDatabasesThatAreNotOurs(t *testing.T) {
	a := bosman.AdoptedDatabase{Instance: "live", Name: "shop", Host: "db.example.org", Port: 5432, Abilities: []bosman.Ability{{Name: bosman.CanBackup, OK: true}, {Name: bosman.CanRestore, Why: "it is not ours"}}}
	head := "\nlive: the database shop on db.example.org:5432 is not Bosman's own\n"
	gone := a
	gone.Error = "no answer"
	unknown := gone
	unknown.Abilities = nil
	for _, c := range []struct {
		a    bosman.AdoptedDatabase
		want string
	}{
		{a, head + "  no restore: it is not ours\n"},
		{gone, head + "  what may be done with it is not known now: no answer\n  as of before:\n  no restore: it is not ours\n"},
		{unknown, head + "  what may be done with it is not known now: no answer\n"},
	} {
		e, out := screen(t)
		if err := e.adopted(c.a); err != nil || out.String() != c.want {
			t.Errorf("got\n%s\nwant\n%s, %v", out, c.want, err)
		}
	}
}

func TestDatabasesOverTheAPI(t *testing.T) {
	s := newScript(t)
	s.run("", "databases", "--app", "rms").want(t, "databases", ExitOK, "there is no database")
	s.run("", "databases", "--app", "rms", "--json").want(t, "databases as JSON", ExitOK, `"databases": []`)
	s.run("", "databases", "--app", "none").want(t, "no such app", ExitNotFound)
}
