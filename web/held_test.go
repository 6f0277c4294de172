package web

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// An instance that does not follow main says so where people look, with what
// to do next.
func TestHeldBack(t *testing.T) {
	s := start(t)
	for n := range s.story.Jobs {
		if j := &s.story.Jobs[n]; j.App == "rms" && j.Name == "staging" {
			j.Held = &bosman.Held{Release: 135, Why: "r135, which main holds, is marked bad: <script>", Next: "push a commit that mends it"}
		}
	}
	for _, path := range []string{"/", "/rms", "/rms/instances/staging"} {
		if page := text(s.as("maria").page(path)); !strings.Contains(page, "staging stays on r137: r135, which main holds, is marked bad: <script>.") || !strings.Contains(page, "Push a commit that mends it.") {
			t.Errorf("%s is silent", path)
		}
	}
	if strings.Contains(text(s.as("maria").page("/rms/instances/live")), "which main holds") {
		t.Error("live does not follow main at all")
	}
}
