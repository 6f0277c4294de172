package serve

import (
	"context"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// A change that has no history in common with main, or whose commit is not
// here, does not keep the others from being compared; those of strangers are
// compared too.
func TestOneBadChangeHidesNoOther(t *testing.T) {
	repos, app, open := manyChanges(t, 1, 2, 1, 4)
	repo, err := repos.Open(app.Name)
	if err != nil {
		t.Fatal(err)
	}
	open[2].Head = git(t, repo.Dir(), "commit-tree", "-m", "orphan", open[2].Head+"^{tree}")
	open[3].Head = strings.Repeat("ab", 20)
	open[1].Trust = bosman.TrustStranger
	m := &migrations{repos: repos, scanners: map[string]scanner{}, manifest: func(context.Context, string) (*bosman.Manifest, error) { return &bosman.Manifest{}, nil }}
	found, err := m.Compare(t.Context(), app, open)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{open[0].Number, open[1].Number} {
		if len(found[n].Collisions) == 0 {
			t.Errorf("c%d: %+v", n, found[n])
		}
	}
	for i, want := range map[int]string{2: "share no history", 3: "is not here"} {
		if h := found[open[i].Number]; len(h.Hazards) != 1 || !strings.Contains(h.Hazards[0], want) {
			t.Errorf("c%d: %q does not say %q", open[i].Number, h.Hazards, want)
		}
	}
}
