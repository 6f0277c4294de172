// Package road shows a bosman.Road: the one track on which a change, a release
// or an operation is seen to move, on pages and as text for terminals and
// comments. It must not know where roads come from.
package road

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
)

// CSS is the look of the track.
//
//go:embed road.css
var CSS string

// Text is the road on one line: "✓ tests 214 passed ── ◐ testing anna ── ◌ merged".
func Text(r bosman.Road) string {
	parts := make([]string, len(r))
	for i, s := range r {
		parts[i] = s.State.Mark() + " " + s.Name
		if s.Note != "" {
			parts[i] += " " + s.Note
		}
	}
	return strings.Join(parts, " ── ")
}

// Short is the road as marks only: "✓✓◐◌◌◌".
func Short(r bosman.Road) string {
	var b strings.Builder
	for _, s := range r {
		b.WriteString(s.State.Mark())
	}
	return b.String()
}

// Markdown is the road as a table of one row, for comments of forges.
func Markdown(r bosman.Road) string {
	if len(r) == 0 {
		return ""
	}
	var head, rule, row strings.Builder
	for _, s := range r {
		fmt.Fprintf(&head, "| %s ", cell(s.Name))
		rule.WriteString("|---")
		fmt.Fprintf(&row, "| %s ", cell(strings.TrimSpace(s.State.Mark()+" "+s.Note)))
	}
	return head.String() + "|\n" + rule.String() + "|\n" + row.String() + "|\n"
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "@", "@\u200b").Replace(s)
}

// word is the state in words.
func word(s bosman.StationState) string {
	switch s {
	case bosman.StationRunning:
		return "going on"
	case bosman.StationGood:
		return "passed"
	case bosman.StationFailed:
		return "failed"
	case bosman.StationReverted:
		return "taken back"
	case bosman.StationSkipped:
		return "skipped"
	case bosman.StationWaiting:
	}
	return "waiting"
}
