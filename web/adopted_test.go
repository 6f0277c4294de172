package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/web/internal/story"
)

// What cannot be done with a database that is not Bosman's is said where
// somebody would do it, and is not offered there.
func TestAdoptedDatabasesSayWhatIsLost(t *testing.T) {
	s := start(t, func(s *story.Story, _ *Config) { s.Adopt() })
	v := s.as("piotr")
	for path, wants := range map[string][]string{
		"/rms/instances/live":        {"This database is not Bosman's", "rms_production on db.example.org:5432", "Put a backup in its place: Bosman does not replace a database", "Keep a copy for a quick way back:"},
		"/rms/data":                  {"The database of live is not Bosman's", "Back up its roles: a backup holds no roles"},
		"/rms/instances/live/revert": {"the code goes back alone", "Put a backup in its place:", "Bosman does not replace", "Keep a copy for a quick way back:", "Put the data of k31 back by hand", "pg_restore -h db.example.org"},
	} {
		page := v.page(path)
		for _, complaint := range sound(page) {
			t.Errorf("%s: %s", path, complaint)
		}
		said := text(page)
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s does not say %q:\n%s", path, want, said)
			}
		}
		if strings.Contains(said, "Restore…") || strings.Contains(said, "Take the data of") || strings.Contains(said, "Back it up:") {
			t.Errorf("%s offers what cannot be done, or denies what can:\n%s", path, said)
		}
	}
	if a := v.get("/rms/instances/live/restore?backup=k31"); a.Code == http.StatusOK || !strings.Contains(a.Body.String(), "createdb -h db.example.org") {
		t.Errorf("the dialogue of a restore: %d %s", a.Code, a.Body)
	}
	if a := v.post("/rms/instances/live/revert", url.Values{"database": {"keep"}, "why": {"w"}}); a.Code != http.StatusSeeOther || !slices.Contains(s.story.Called(), "revert rms live code w") {
		t.Errorf("the code alone: %d, %v", a.Code, s.story.Called())
	}
	// Of others nothing is said.
	for _, path := range []string{"/rms/instances/staging", "/rms/instances/staging/revert"} {
		if said := text(v.page(path)); strings.Contains(said, "not Bosman's") {
			t.Errorf("%s: %s", path, said)
		}
	}
}
