package bosman

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestWindow(t *testing.T) {
	warsaw, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWindow("Mon-Thu 09:00-15:00; Fri 09:00-12:00", warsaw)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", s, warsaw)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		at   string
		open bool
		next string
	}{
		{"2026-11-23 09:00", true, "2026-11-23 09:00"}, // Monday
		{"2026-11-23 08:59", false, "2026-11-23 09:00"},
		{"2026-11-23 15:00", false, "2026-11-24 09:00"},
		{"2026-11-27 11:59", true, "2026-11-27 11:59"}, // Friday
		{"2026-11-27 12:00", false, "2026-11-30 09:00"},
		{"2026-10-24 20:00", false, "2026-10-26 09:00"}, // the clocks go back on the 25th
		{"2026-03-28 20:00", false, "2026-03-30 09:00"}, // and forward on the 29th
	} {
		if got := w.Open(at(c.at)); got != c.open {
			t.Errorf("Open(%s) = %v", c.at, got)
		}
		if got := w.Next(at(c.at)); !got.Equal(at(c.next)) {
			t.Errorf("Next(%s) = %s, want %s", c.at, got, c.next)
		}
	}
	if utc := time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC); !w.Open(utc) {
		t.Error("08:30 UTC is 09:30 in Warsaw and should be open")
	}
	if !(Window{}).Open(time.Now()) {
		t.Error("the zero window is always open")
	}
}

func TestWindowRefusesNonsense(t *testing.T) {
	for _, s := range []string{"Mon", "Mon-Thu", "Xyz 09:00-10:00", "Mon 10:00-09:00", "Mon 25:00-26:00", "Mon 9-10", "Mon 09:00"} {
		if _, err := ParseWindow(s, nil); KindOf(err) != KindInvalid {
			t.Errorf("ParseWindow(%q) = %v, want an invalid-input error", s, err)
		}
	}
}
