package bosman

import "testing"

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
