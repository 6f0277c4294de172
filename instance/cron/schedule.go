// Package cron runs the cron: entries of instances in their app's time zone:
// each moment at most once, missed moments listed and not run, a run that
// still goes on is not joined by another. It must not know the store, how a
// command is run, or which instances have cron.
package cron

import (
	"strings"
	"time"

	"github.com/adhocore/gronx"
	"github.com/bosman-cd/bosman"
)

// Schedule is a cron expression in a time zone.
type Schedule struct {
	expr  string
	zone  *time.Location
	every bool // its hour begins with *: it goes by elapsed time, not by the clock on the wall
}

// Parse reads five fields ("0 7 * * *") or @daily and the like.
func Parse(expr string, zone *time.Location) (Schedule, error) {
	fields := strings.Fields(expr)
	if !gronx.IsValid(expr) || (len(fields) != 5 && !strings.HasPrefix(expr, "@")) {
		return Schedule{}, bosman.Invalid("cron: %q is not a time that can be understood", expr).
			WithNext(`give minute, hour, day, month and weekday, e.g. "0 7 * * Mon-Fri"`)
	}
	if zone == nil {
		zone = time.UTC
	}
	every := expr == "@hourly" || expr == "@everyminute" || expr == "@5minutes" || expr == "@10minutes" || expr == "@15minutes" || expr == "@30minutes"
	if len(fields) == 5 {
		every = strings.HasPrefix(fields[1], "*")
	}
	return Schedule{expr: strings.TrimSpace(expr), zone: zone, every: every}, nil
}

// Moments gives the moments after from up to and with to, oldest first, at
// most limit of them (the newest). As the clocks go forward, a fixed time
// that is skipped happens at the first minute after the gap; as they go back,
// a fixed time that comes twice happens the first time only. Times of every
// hour or minute are not shifted and not skipped.
func (s Schedule) Moments(from, to time.Time, limit int) []time.Time {
	var out []time.Time
	g := gronx.New()
	for t := from.Truncate(time.Minute).Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		if !s.at(g, t) {
			continue
		}
		out = append(out, t.UTC())
		if len(out) > limit {
			out = out[1:]
		}
	}
	return out
}

// at says whether the minute t is one of the schedule's.
func (s Schedule) at(g *gronx.Gronx, t time.Time) bool {
	local := t.In(s.zone)
	if s.every {
		return s.due(g, local)
	}
	_, now := local.Zone()
	_, before := t.Add(-time.Minute).In(s.zone).Zone()
	for skipped := now - before; skipped > 0; skipped -= 60 { // just jumped forward
		if s.due(g, wall(local).Add(-time.Duration(skipped)*time.Second)) {
			return true
		}
	}
	return s.due(g, wall(local)) && !s.repeated(t, now)
}

// repeated says whether the wall clock showed the same minute before: within
// the last three hours the offset was larger.
func (s Schedule) repeated(t time.Time, offset int) bool {
	for h := 1; h <= 3; h++ {
		_, was := t.Add(-time.Duration(h) * time.Hour).In(s.zone).Zone()
		if was <= offset {
			continue
		}
		// The same reading, under the offset of then, is a moment of that offset.
		earlier := t.Add(-time.Duration(was-offset) * time.Second)
		if _, at := earlier.In(s.zone).Zone(); at == was {
			return true
		}
	}
	return false
}

// wall is the reading of the clock as a time without zone.
func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func (s Schedule) due(g *gronx.Gronx, t time.Time) bool {
	ok, err := g.IsDue(s.expr, t)
	return err == nil && ok // Parse has checked the expression
}

// Next is the first moment after t, within a year; zero if there is none.
func (s Schedule) Next(t time.Time) time.Time {
	next, err := gronx.NextTickAfter(s.expr, t.In(s.zone), false)
	if err != nil {
		return time.Time{}
	}
	// The library's answer may be off around a change of clocks: look around it.
	for _, m := range s.Moments(t, next.Add(3*time.Hour), 1<<20) {
		return m
	}
	return next.UTC()
}
