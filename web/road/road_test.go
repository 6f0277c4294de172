package road

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

func TestTheSameRoadEverywhere(t *testing.T) {
	r := bosman.Road{
		{Name: "tests", State: bosman.StationGood, Note: "214 passed"},
		{Name: "testing", State: bosman.StationRunning, Note: "anna"},
		{Name: "accepted", State: bosman.StationFailed, Note: "a | b <b> @all\nnext"},
		{Name: "live", State: bosman.StationReverted},
		{Name: "x", State: bosman.StationSkipped},
		{Name: "y", State: bosman.StationWaiting},
	}
	if got, want := Text(r[:2]), "✓ tests 214 passed ── ◐ testing anna"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got := Short(r); got != "✓◐✕↩–◌" {
		t.Errorf("%q", got)
	}
	md := Markdown(r)
	if strings.Count(md, "\n") != 3 || !strings.Contains(md, `a \| b &lt;b> `) || strings.Contains(md, "@all") {
		t.Errorf("%q", md)
	}
	if Markdown(nil) != "" || Text(nil) != "" {
		t.Error("an empty road says something")
	}
	var b strings.Builder
	if err := Track(r).Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"passed", "going on", "failed", "taken back", "skipped", "waiting", "&lt;b&gt;"} {
		if !strings.Contains(b.String(), word) {
			t.Errorf("the track does not say %q", word)
		}
	}
}
