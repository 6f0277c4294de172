package bosman

import (
	"testing"
	"time"
)

func TestReminders(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	well := Recovery{KeyMade: true, ConfirmedAt: now, StateAt: now.Add(-time.Hour)}
	for name, c := range map[string]struct {
		change func(*Recovery)
		want   int
	}{
		"all is well":             {func(*Recovery) {}, 0},
		"no key":                  {func(r *Recovery) { r.KeyMade, r.ConfirmedAt = false, time.Time{} }, 1},
		"not confirmed":           {func(r *Recovery) { r.ConfirmedAt = time.Time{} }, 1},
		"overdue":                 {func(r *Recovery) { r.StateAt = now.Add(-27 * time.Hour) }, 1},
		"failed":                  {func(r *Recovery) { r.FailedAt, r.StateAt = now, now.Add(-27*time.Hour) }, 1},
		"the first minute":        {func(r *Recovery) { r.StateAt = time.Time{} }, 0},
		"the same disk, and more": {func(r *Recovery) { r.SameDisk, r.ConfirmedAt = true, time.Time{} }, 2},
	} {
		r := well
		c.change(&r)
		if got := r.Reminders(now, StateOverdue); len(got) != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
