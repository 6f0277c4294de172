package helm

import (
	"strings"
	"testing"
)

// TestCommandsAreNotForged: only what stands between single backticks is left
// as it is, for so Markdown reads it.
func TestCommandsAreNotForged(t *testing.T) {
	for _, s := range []string{
		"run `alembic merge heads`, or let 0008_``` @eve [x](https:e) `y follow",
		"run `a`, or let `` @eve ` x ` follow",
	} {
		if got := withCommands(s); strings.Contains(got, "@eve") || strings.Contains(got, "[x]") {
			t.Errorf("%q", got)
		}
	}
	if got := withCommands("run `git mv a_b c`"); got != "run `git mv a_b c`" {
		t.Errorf("%q", got)
	}
}
