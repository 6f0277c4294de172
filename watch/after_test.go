package watch

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestJudgeAfter(t *testing.T) {
	then := Rate{Errors: 24, Over: 2 * time.Minute}
	for name, c := range map[string]struct {
		then, now   Rate
		v           bosman.WatchVerdict
		known, fell bool
		says        string
	}{
		"it was the cause":   {then, Rate{1, 10 * time.Minute}, bosman.WatchVerdict{Well: true, Requests: 500, Errors: 1}, true, true, "errors fell from 12 to 0.1 per minute"},
		"none are left":      {then, Rate{0, time.Minute}, bosman.WatchVerdict{Well: true, Requests: 500}, true, true, "errors fell from 12 to 0 per minute"},
		"it was not":         {then, Rate{60, time.Minute}, bosman.WatchVerdict{Reason: "60 of 90 requests answered 5xx", Requests: 90}, true, false, "the errors went on after the revert: r12 was not the cause, or left something broken behind (60 of 90 requests answered 5xx)"},
		"nobody came since":  {then, Rate{0, time.Minute}, bosman.WatchVerdict{Well: true}, false, false, "nobody can say whether r12 was the cause"},
		"health alone fell":  {Rate{}, Rate{0, time.Minute}, bosman.WatchVerdict{Well: true, Requests: 9, Reason: "0 of 9 requests answered 5xx"}, true, true, "all is well since the revert: 0 of 9"},
		"health fails still": {Rate{}, Rate{}, bosman.WatchVerdict{Reason: "the health check failed 3 times in a row: refused"}, true, false, "left something broken behind (the health check failed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := JudgeAfter("r12", c.then, c.now, c.v)
			if a.Known != c.known || a.Fell != c.fell || !strings.Contains(a.Text, c.says) {
				t.Errorf("%+v", a)
			}
		})
	}
}
