package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/web/internal/story"
)

// Pages stay of a size that a phone can draw, however much there is to list,
// and say how much they leave out.
func TestMuchIsFolded(t *testing.T) {
	s := start(t, func(s *story.Story, _ *Config) { s.Extreme() })
	v := s.as("piotr")
	for path, wants := range map[string][]string{
		"/rms/changes/23":            {"4 more collisions", "32 more dangers", "392 more statements", "and 392 more changes of the schema", "32 more tables were locked"},
		"/rms/data":                  {"20 more databases", "6 more kept aside", "older backups"},
		"/rms/instances/live":        {"older backups"},
		"/rms/instances/live/revert": {"4,992 more tables", "and 4692 more", "and 392 more changes of the schema"},
	} {
		page := v.page(path)
		for _, complaint := range sound(page) {
			t.Errorf("%s: %s", path, complaint)
		}
		said := text(page)
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		if a := v.get(path); a.Code != http.StatusOK || a.Body.Len() > 400_000 {
			t.Errorf("%s: %d, %d bytes", path, a.Code, a.Body.Len())
		}
	}
}

// Who has no way back is told why, and gets no button that cannot work.
func TestNoWayBackIsSaid(t *testing.T) {
	s := start(t)
	body := s.as("anna").get("/rms/instances/staging/revert").Body.String()
	if !strings.Contains(body, "There is no backup to take the data of. An administrator may") || !strings.Contains(body, `class="button danger sure" disabled`) {
		t.Error("a tester gets a button that cannot work, or is not told why")
	}
	if body := s.as("piotr").get("/rms/instances/staging/revert").Body.String(); strings.Contains(body, `sure" disabled`) {
		t.Error("an administrator cannot pass the floor")
	}
	if body := s.as("anna").get("/rms/instances/live/revert").Body.String(); strings.Contains(body, `sure" disabled`) {
		t.Error("the code alone may go back, and there is no button")
	}
}
