package helm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
)

// What forges are told of migrations: on both sides, mended when it is, and
// said to be over when the pull request is not open any more.
func TestForgeIsToldOfMigrations(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	setting, err := json.Marshal(Origin{Kind: "github", Repo: "octo/rms"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Store.SetSetting(ctx, originOf("rms"), string(setting)); err != nil {
		t.Fatal(err)
	}
	add := func(n int, trust bosman.Trust) bosman.Change {
		c := bosman.Change{
			App: "rms", Number: n, Branch: fmt.Sprint("b", n), Head: strings.Repeat(fmt.Sprint(n), 40)[:40], State: bosman.ChangeOpen, Trust: trust,
			URL: fmt.Sprintf("https://github.com/octo/rms/pull/%d", 10*n), UpdatedAt: r.now,
		}
		if err := r.Store.SaveChange(ctx, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := add(1, bosman.TrustTeam), add(2, bosman.TrustTeam)
	add(3, bosman.TrustStranger)
	collision := func(with int, text string) bosman.Collision {
		return bosman.Collision{With: with, Text: text, Fix: "run `git mv 'a_b' c_d`, or not"}
	}
	// told compares, and gives what is now owed: "20": the comment of pull
	// request 20 about c2 and the other.
	told := func() map[string]string {
		t.Helper()
		if err := r.findHazards(ctx, "rms"); err != nil {
			t.Fatal(err)
		}
		due, err := r.Store.Due(ctx, StatusKind("rms"), r.now.Add(time.Hour), 100)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, o := range due {
			var it forge.Item
			if err := ReadOwed(o.Data, &it); err != nil {
				t.Fatal(err)
			}
			if it.Comment != nil {
				got[fmt.Sprint(it.Comment.Pull, " ", it.Comment.Key)] = it.Comment.Text
			} else {
				got[it.Commit[:1]] = string(it.Status.State) + " " + it.Description
			}
			if err := r.Store.Paid(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	const hostile = "PR 10 (0008_<img src=x>@anna [a](b) #7 `x` ![y] https://evil.example www.evil.example & $x$ ~~s~~ |) and c3"
	r.hz = map[int]Hazards{
		1: {Migrations: []string{"a.1"}, Collisions: []bosman.Collision{collision(2, "PR 10 (0008_a) and PR 20 (0008_b) both follow a.7"), collision(3, hostile)}},
		2: {Migrations: []string{"a.2"}, Collisions: []bosman.Collision{collision(1, "PR 10 (0008_a) and PR 20 (0008_b) both follow a.7")}},
		3: {Migrations: []string{"a.3"}, Collisions: []bosman.Collision{collision(1, hostile)}},
	}
	got := told()
	both := `- PR 10 (0008\_a) and PR 20 (0008\_b) both follow a.7.`
	for _, key := range []string{"10 migrations-rms-c1-c2", "20 migrations-rms-c1-c2"} {
		if !strings.Contains(got[key], both) || !strings.Contains(got[key], "To mend it: run `git mv 'a_b' c_d`, or not.") || !strings.Contains(got[key], "Whichever is merged second is blocked") {
			t.Errorf("%s: %q", key, got[key])
		}
	}
	if got["1"] != "success PR 10 (0008_a) and PR 20 (0008_b) both follow a.7" || got["2"] != got["1"] || got["3"] == "" {
		t.Errorf("statuses %q", got)
	}
	if _, spam := got["10 migrations-rms-c1-c3"]; spam {
		t.Error("a stranger's pull request made a comment on the team's")
	}
	theirs := got["30 migrations-rms-c1-c3"]
	for _, bad := range []string{"<", "@anna", "](b)", "#7", "`x`", "![", "://evil", "www.evil", " & ", " $x$", " ~~", " |"} {
		if list, _, _ := strings.Cut(theirs, "To mend it"); list == "" || strings.Contains(list, bad) {
			t.Errorf("%q holds %q", list, bad)
		}
	}
	if len(got) != 6 {
		t.Errorf("told %d things: %q", len(got), got)
	}
	if got = told(); len(got) != 0 {
		t.Errorf("told twice: %q", got)
	}

	// A wall of them is cut; each is bounded.
	wall := Hazards{Migrations: []string{"a.2"}}
	for i := range 100 {
		wall.Collisions = append(wall.Collisions, collision(1, fmt.Sprint(i, strings.Repeat("żółw", 5000))))
	}
	r.hz[2] = wall
	if text := told()["20 migrations-rms-c1-c2"]; len(text) > 60_000 || !strings.Contains(text, "and 80 more") {
		t.Errorf("%d bytes", len(text))
	}

	// Mended: said in the comment's place.
	r.hz[1], r.hz[2] = Hazards{Migrations: []string{"a.1"}, Collisions: []bosman.Collision{collision(3, hostile)}}, Hazards{Migrations: []string{"a.2"}}
	got = told()
	if !strings.Contains(got["10 migrations-rms-c1-c2"], "do so no longer") || !strings.Contains(got["20 migrations-rms-c1-c2"], "do so no longer") || got["2"] != "success 1 migration, no collision" {
		t.Errorf("mended: %q", got)
	}

	// Collides again, and then the first is merged.
	r.hz[1], r.hz[2] = Hazards{Collisions: []bosman.Collision{collision(2, "again")}}, Hazards{Collisions: []bosman.Collision{collision(1, "again")}}
	if got = told(); !strings.Contains(got["10 migrations-rms-c1-c2"], "again") {
		t.Errorf("again: %q", got)
	}
	first.State = bosman.ChangeMerged
	if err := r.Store.SaveChange(ctx, first); err != nil {
		t.Fatal(err)
	}
	r.hz = map[int]Hazards{2: {Blocked: "PR 20 is stale", Collisions: []bosman.Collision{{Blocks: true, Text: "PR 20 is stale", Fix: "merge main"}}}}
	got = told()
	if got["2"] != "failure PR 20 is stale" || !strings.Contains(got["20 migrations-rms-c2-main"], "This change is not merged before that.") || !strings.Contains(got["10 migrations-rms-c1-c2"], "It is no longer.") {
		t.Errorf("merged: %q", got)
	}
	if got = told(); len(got) != 0 {
		t.Errorf("told twice: %q", got)
	}
	// Closed while it collides: its comment does not stay as it was.
	second.State = bosman.ChangeClosed
	if err := r.Store.SaveChange(ctx, second); err != nil {
		t.Fatal(err)
	}
	r.hz = nil
	if got = told(); !strings.Contains(got["20 migrations-rms-c2-main"], "It is no longer.") {
		t.Errorf("closed: %q", got)
	}
}
