package bosman

import (
	"strings"
	"testing"
	"time"
)

// What a rehearsal really ran speaks against the release before, also where
// the schema stays the same.
func TestAgainstWhatRan(t *testing.T) {
	r := Rehearsal{State: RehearsalPassed, Copy: CopyInfo{From: "staging"}, Dangers: []Danger{{Kind: Locking, Text: "waits"}, {Kind: Destructive, Text: "TRUNCATE note"}}}
	s := SchemaStep{Rehearsal: &r}
	if got := s.Against(); got != "rehearsed on a copy of staging: TRUNCATE note" {
		t.Errorf("%q", got)
	}
	if r.Dangers = r.Dangers[:1]; s.Against() != "" {
		t.Errorf("%q", s.Against())
	}
}

// What keeps live from being migrated is that the command was seen elsewhere,
// or that nobody could see where it went.
func TestAstray(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		r    Rehearsal
		want string // begins so
	}{
		"at home":                      {r: Rehearsal{State: RehearsalPassed, Took: 1, Sessions: 1}},
		"failed at home":               {r: Rehearsal{State: RehearsalFailed, Took: 1, Sessions: 1, Closed: true}},
		"too slow, at home":            {r: Rehearsal{State: RehearsalSkipped, Sessions: 2, Closed: true}},
		"too slow, elsewhere as well":  {r: Rehearsal{State: RehearsalSkipped, Sessions: 2, Closed: true, Outside: []string{"db:1"}}, want: "the release command tried to reach db:1"},
		"too slow, not seen":           {r: Rehearsal{State: RehearsalSkipped, Closed: true, Reason: "not known"}, want: "it was not seen which database the release command uses: not known"},
		"no room for a copy":           {r: Rehearsal{State: RehearsalSkipped, Reason: "the disk is full"}, want: "it was not seen"},
		"no database at all":           {r: Rehearsal{State: RehearsalPassed, Took: 1, Closed: true}},
		"on an empty one":              {r: Rehearsal{State: RehearsalSkipped, Took: time.Second, Closed: true}},
		"elsewhere":                    {r: Rehearsal{State: RehearsalPassed, Took: 1, Closed: true, Outside: []string{"10.0.0.5:5432"}}, want: "the release command tried to reach 10.0.0.5:5432"},
		"failed elsewhere":             {r: Rehearsal{State: RehearsalFailed, Took: 1, Closed: true, Outside: []string{"10.0.0.5:5432"}}, want: "the release command tried to reach 10.0.0.5:5432"},
		"elsewhere, accepted":          {r: Rehearsal{State: RehearsalPassed, Took: 1, Outside: []string{"10.0.0.5:5432"}, Accepted: "anna: a cache"}},
		"nowhere, but the net is open": {r: Rehearsal{State: RehearsalPassed, Took: 1}, want: "the release command never came"},
	} {
		if got := tt.r.Astray(); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q, want %q", what, got, tt.want)
		}
	}
}
