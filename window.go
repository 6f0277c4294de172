package bosman

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is the set of hours of the week in which live may be deployed, in
// one time zone. The zero Window is always open.
type Window struct {
	text  string
	spans []span
	zone  *time.Location
}

// span is open on some weekdays from one minute of the day up to another.
type span struct {
	days     [7]bool // time.Sunday is 0
	from, to int     // minutes since midnight; to may be 24*60
}

const windowForm = `write it as "Mon-Thu 09:00-15:00", several joined by "; "`

// ParseWindow reads "Mon-Thu 09:00-15:00; Fri 09:00-12:00". An empty text is
// a window that is always open.
func ParseWindow(text string, zone *time.Location) (Window, error) {
	if zone == nil {
		zone = time.UTC
	}
	w := Window{text: strings.TrimSpace(text), zone: zone}
	if w.text == "" {
		return w, nil
	}
	for _, part := range strings.Split(w.text, ";") {
		days, hours, ok := strings.Cut(strings.TrimSpace(part), " ")
		if !ok {
			return Window{}, Invalid("deploy window %q is not understood", text).WithNext(windowForm)
		}
		s, err := parseSpan(days, strings.TrimSpace(hours))
		if err != nil {
			return Window{}, Invalid("deploy window %q is not understood: %v", text, err).WithNext(windowForm)
		}
		w.spans = append(w.spans, s)
	}
	return w, nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func parseSpan(days, hours string) (span, error) {
	var s span
	for _, d := range strings.Split(days, ",") {
		first, last, isRange := strings.Cut(d, "-")
		a, err := weekday(first)
		if err != nil {
			return s, err
		}
		b := a
		if isRange {
			if b, err = weekday(last); err != nil {
				return s, err
			}
		}
		for i := a; ; i = (i + 1) % 7 {
			s.days[i] = true
			if i == b {
				break
			}
		}
	}
	from, to, ok := strings.Cut(hours, "-")
	if !ok {
		return s, fmt.Errorf("%q has no end", hours)
	}
	var err error
	if s.from, err = minutes(from); err != nil {
		return s, err
	}
	if s.to, err = minutes(to); err != nil {
		return s, err
	}
	if s.to <= s.from {
		return s, fmt.Errorf("%q ends before it begins", hours)
	}
	return s, nil
}

func weekday(s string) (int, error) {
	for i, d := range weekdays {
		if strings.HasPrefix(strings.ToLower(s), d) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day", s)
}

func minutes(s string) (int, error) {
	h, m, ok := strings.Cut(strings.TrimSpace(s), ":")
	hour, err1 := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	if !ok || err1 != nil || err2 != nil || hour < 0 || minute < 0 || minute > 59 || hour*60+minute > 24*60 {
		return 0, fmt.Errorf("%q is not a time of day", s)
	}
	return hour*60 + minute, nil
}

// String gives the text it was read from; "always" for the zero Window.
func (w Window) String() string {
	if w.text == "" {
		return "always"
	}
	return w.text
}

// Open says whether t lies in the window.
func (w Window) Open(t time.Time) bool {
	if len(w.spans) == 0 {
		return true
	}
	t = t.In(w.zone)
	minute := t.Hour()*60 + t.Minute()
	for _, s := range w.spans {
		if s.days[t.Weekday()] && minute >= s.from && minute < s.to {
			return true
		}
	}
	return false
}

// Next gives the first moment at or after t in which the window is open. The
// hours are those of the wall clock, also on days when clocks change.
func (w Window) Next(t time.Time) time.Time {
	if w.Open(t) {
		return t
	}
	local := t.In(w.zone)
	var best time.Time
	for d := range 8 {
		for _, s := range w.spans {
			day := time.Date(local.Year(), local.Month(), local.Day()+d, s.from/60, s.from%60, 0, 0, w.zone)
			if !s.days[day.Weekday()] || !day.After(t) {
				continue
			}
			if best.IsZero() || day.Before(best) {
				best = day
			}
		}
	}
	return best
}
