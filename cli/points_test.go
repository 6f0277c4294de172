package cli

import (
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestParseMoment(t *testing.T) {
	warsaw, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, warsaw)
	want := time.Date(2026, 11, 23, 9, 12, 30, 0, time.UTC)
	for _, text := range []string{"2026-11-23 10:12:30", "2026-11-23T10:12:30", "10:12:30", "2026-11-23T09:12:30Z", "2026-11-23T10:12:30+01:00"} {
		if got, err := parseMoment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if got, err := parseMoment("10:12", now); err != nil || !got.Equal(want.Add(-30*time.Second)) {
		t.Errorf("10:12: %s, %v", got, err)
	}
	for _, text := range []string{"", "yesterday", "25:00", "2026-13-01 10:00", "23.11.2026"} {
		if _, err := parseMoment(text, now); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
