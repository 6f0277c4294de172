package postgres

import (
	"context"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// Each database of an app has masks of its own; what one of them leaves lets no
// copy be made of any.
func TestMaskedManyDatabases(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := newPair(t, "manymask", main, scratch, t.TempDir()), newPair(t, "manymask", scratch, main, t.TempDir())
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	staging.say("staging", "CREATE TABLE word (id int PRIMARY KEY, email text, phone text)")
	staging.say("staging", "INSERT INTO word VALUES (1, 'verysecret@firma.pl', '+48 600700800')")
	own := &mask.Spec{Salt: "s", Types: bosman.MaskTypes, Columns: map[string]string{"word.email": "email", "word.phone": "phone"}}
	reports := &mask.Spec{Salt: "s", Types: bosman.MaskTypes, Columns: map[string]string{"word.email": "email"}, Database: "reports"}
	masks(testers.Engine, own)
	masks(testers.Further()["reports"], reports)
	_, _, err = testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(err.Error(), "the database reports") || !strings.Contains(bosman.AsError(err).Next, "databases: reports: mask:") {
		t.Fatalf("a column of the further database that nobody looked at: %v", err)
	}
	if n := testers.rows("testing-anna"); n != [2]int{-1, -1} {
		t.Errorf("there are copies: %v", n)
	}
	reports.Columns["word.phone"] = "null"
	if _, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"}); err != nil {
		t.Fatal(err)
	}
	fake := mask.Fake("s", "email", "verysecret@firma.pl", 0, false)
	for e, want := range map[*Engine]string{testers.Engine: fake + "|" + mask.Fake("s", "phone", "+48 600700800", 0, false), testers.Further()["reports"]: fake + "|<nil>"} {
		d, err := e.Find(t.Context(), "testing-anna")
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, d, "SELECT email, phone FROM word"); got != want {
			t.Errorf("%s holds %s, want %s", d.Name, got, want)
		}
	}

	// A file of the further database that fails leaves both golden copies.
	goldens := func() (names []string) {
		all, err := testers.List(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if x.Golden {
				names = append(names, x.Database.Name)
			}
		}
		return names
	}
	before := goldens()
	reports.SQL = []mask.File{{Name: "wrong.sql", Text: "SELECT wrong"}}
	_, _, err = testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{Release: 1, From: "staging"})
	if bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(err.Error(), "wrong.sql did not run") {
		t.Errorf("a file that fails: %v", err)
	}
	if after := goldens(); len(before) != 2 || strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("golden copies %q, before %q", after, before)
	}
	if n := testers.rows("testing-ben"); n != [2]int{-1, -1} {
		t.Errorf("there are copies: %v", n)
	}
}
