package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Going back with the data loses what was written since only where the
// instance's name was typed; the reason to pass the floor goes with the code
// alone.
func TestRevertConfirmsTheLoss(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for _, form := range []url.Values{
		{"database": {"restore"}, "confirm": {"Live"}, "why": {"w"}},
		{"database": {"restore"}, "confirm": {"live"}, "override": {"o"}, "why": {"w"}},
		{"database": {"keep"}, "confirm": {""}, "override": {"o"}, "why": {"w"}},
	} {
		if a := v.post("/rms/instances/live/revert", form); a.Code != http.StatusSeeOther {
			t.Errorf("%v: %d", form, a.Code)
		}
	}
	want := []string{"revert rms live restore w", "revert rms live restore, loss confirmed w", "revert rms live code w, override o"}
	if got := s.story.Called(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	page := v.page("/rms/instances/staging/revert")
	if text := text(page); !strings.Contains(text, "r136 reads the column birth_date") || !strings.Contains(text, "a person decides") {
		t.Error("below the floor nobody hears why")
	}
}

// What takes data away is not done without its name.
func TestRemovingDataAsksForTheName(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for _, path := range []string{"/rms/backups/31/remove", "/rms/kept/testing-anna/20261122t080000000/remove", "/rms/kept/testing-anna/20261122t080000000/restore"} {
		for _, confirm := range []string{"", "live", "k30"} {
			if a := v.post(path, url.Values{"confirm": {confirm}}); a.Code != http.StatusSeeOther || len(s.story.Called()) != 0 {
				t.Errorf("%s with %q: %d, asked %v", path, confirm, a.Code, s.story.Called())
			}
		}
	}
}

// The page of the data says what is missing, and to whom.
func TestDataPage(t *testing.T) {
	s := start(t)
	s.story.Health[0].Trouble = "the newest backup of live that counts is 3 days old"
	if page := text(s.as("maria").page("/rms")); !strings.Contains(page, "Backups: the newest backup of live that counts is 3 days old.") {
		t.Error("the overview is silent on a missing backup")
	}
	for who, want := range map[string][]string{
		"piotr": {"The newest backup of live that counts is 3 days old.", "Nobody has proved to have the recovery key", "golden copy of staging", "ready for whoever tries next", "Nothing faster here", "Bring back…", "It holds the data of r134, but testing-anna runs r136."},
		"maria": {"The newest backup of live that counts is 3 days old.", "golden copy of staging"},
	} {
		page := text(s.as(who).page("/rms/data"))
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s does not read %q", who, w)
			}
		}
		if who == "maria" && (strings.Contains(page, "recovery key") || strings.Contains(page, "Bring back…")) {
			t.Error("a tester is shown what only others can do")
		}
	}
	if page := text(s.as("anna").page("/rms/backups/31")); !strings.Contains(page, "3,912 rows in 21 tables") || !strings.Contains(page, "public.notes_note") {
		t.Error("a backup does not say what it holds")
	}
}

// A change's page shows what its migrations did on a copy.
func TestRehearsalIsShown(t *testing.T) {
	v := start(t).as("anna")
	for n, want := range map[int][]string{
		21: {"rehearsed in 1.3 s on a copy of staging's data", "only adds", "6 statements that change rows", "reads and writes"},
		23: {"c23 (0003_colour) and c24 (0003_author) both follow notes.0002", "makemigrations --merge notes", "destructive", "build it CONCURRENTLY", "18 s"},
		25: {"failed", "contains null values"},
	} {
		page := text(v.page(fmt.Sprintf("/rms/changes/%d", n)))
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("c%d does not say %q", n, w)
			}
		}
	}
}

// What failed on a copy is not merged; an administrator may, with a reason.
func TestWhatFailsOnACopyIsNotMerged(t *testing.T) {
	s := start(t)
	for who, may := range map[string]bool{"anna": false, "piotr": true} {
		v := s.as(who)
		page := v.page("/rms/changes/25")
		got := text(page)
		for _, want := range []string{"It cannot be merged yet: r134 fails on a copy of staging's data: column", "NOT NULL"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s does not read %q", who, want)
			}
		}
		if offered := strings.Contains(got, "Merge it anyway"); offered != may {
			t.Errorf("%s is offered to merge it anyway: %v", who, offered)
		}
	}
	if page := text(s.as("piotr").page("/rms/changes/22")); strings.Contains(page, "Merge it anyway") {
		t.Error("what is red is offered to be merged anyway")
	}
}
