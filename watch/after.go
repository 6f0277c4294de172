package watch

import (
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// Rate is how often something failed over a time.
type Rate struct {
	Errors int64         `json:"errors"`
	Over   time.Duration `json:"over_ns"`
}

// PerMinute is 0 when nothing was measured.
func (r Rate) PerMinute() float64 {
	if r.Over <= 0 {
		return 0
	}
	return float64(r.Errors) / r.Over.Minutes()
}

// After is what became of the errors after a release was taken back.
type After struct {
	Known bool   // there was anything to judge by
	Fell  bool   // the release that was taken back was the cause, or the errors ended with it
	Text  string // one clause: "errors fell from 12 to 0.1 per minute"
}

// JudgeAfter says whether the errors for which the release bad was taken back
// ended with it: v is the verdict on the release before, judged since by the
// same rules as bad was.
func JudgeAfter(bad string, then, now Rate, v bosman.WatchVerdict) After {
	switch {
	case !v.Well:
		return After{Known: true, Text: fmt.Sprintf("the errors went on after the revert: %s was not the cause, or left something broken behind (%s)", bad, v.Reason)}
	case v.Requests == 0:
		return After{Text: fmt.Sprintf("nothing was asked since the revert: nobody can say whether %s was the cause", bad)}
	case then.Errors > 0:
		return After{Known: true, Fell: true, Text: fmt.Sprintf("errors fell from %s to %s per minute after the revert", number(then.PerMinute()), number(now.PerMinute()))}
	}
	return After{Known: true, Fell: true, Text: "all is well since the revert: " + v.Reason}
}

// number says a rate with the digits that tell something.
func number(perMinute float64) string {
	if perMinute >= 10 || perMinute == 0 {
		return fmt.Sprintf("%.0f", perMinute)
	}
	return fmt.Sprintf("%.1f", perMinute)
}
