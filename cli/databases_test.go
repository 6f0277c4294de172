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
	for _, c := range []struct {
		d          bosman.StoredDatabase
		data, note string
	}{
		{bosman.StoredDatabase{Instance: "staging", Role: bosman.StoredOwn}, "its own", ""},
		{bosman.StoredDatabase{Instance: "testing-anna", Owner: "anna", Copy: taken}, "staging 3 min ago r12", "of anna"},
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

func TestDatabasesOverTheAPI(t *testing.T) {
	s := newScript(t)
	s.run("", "databases", "--app", "rms").want(t, "databases", ExitOK, "there is no database")
	s.run("", "databases", "--app", "rms", "--json").want(t, "databases as JSON", ExitOK, `"databases": []`)
	s.run("", "databases", "--app", "none").want(t, "no such app", ExitNotFound)
}
