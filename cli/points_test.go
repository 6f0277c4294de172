package cli

import (
	"strings"
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

func TestPointsAsPeopleReadThem(t *testing.T) {
	e, out := screen(t)
	from := noon.Add(-24 * time.Hour)
	p := bosman.PointInTime{
		On: true, Days: 7, Spans: []bosman.TimeSpan{{From: from, To: noon}}, Base: noon.Add(-2 * time.Hour), Bytes: 120_000_000,
		Points: []bosman.RestorePoint{{Name: "rms-d37", At: noon.Add(-time.Hour), What: "d37 had just switched live to r136", Reachable: true}}, Shipped: noon.Add(-2 * time.Minute),
		Recovery: &bosman.PointRecovery{App: "rms", Instance: "live", Moment: bosman.Moment{At: noon.Add(-time.Hour)}, State: bosman.RecoveryDone, Kept: "20261123t090000000", BegunAt: noon, EndedAt: noon.Add(9 * time.Second)},
	}
	if err := e.points(p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"every moment from " + from.Local().Format(exact) + " to " + noon.Local().Format(exact),
		"the last 7 days stay; 120.0 MB in the target, stored up to 2 min ago, base backup proven 2 h ago",
		"was recovered in 9.0 s: bosman kept restore live 20261123t090000000", "rms-d37", "d37 had just switched live to r136", "yes",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	e, out = screen(t)
	if err := e.points(bosman.PointInTime{}); err != nil || !strings.Contains(out.String(), "bosman serve --point-in-time 7") {
		t.Errorf("not switched on: %q, %v", out, err)
	}
	e, out = screen(t)
	p.On = false
	if err := e.points(p); err != nil || !strings.Contains(out.String(), "what is written now is not kept; switch it on again: bosman serve --point-in-time 7") || !strings.Contains(out.String(), "rms-d37") {
		t.Errorf("switched off: %q, %v", out, err)
	}
	text := planned(bosman.RecoveryPlan{Base: from, Segments: 3, Fetch: 12_000_000, Needs: 90_000_000, Free: 72_000_000_000, Expected: 9 * time.Second})
	for _, want := range []string{"3 segments", "12.0 MB from the target", "about 90.0 MB of the 72.0 GB", "the last one took 9.0 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not say %q: %s", want, text)
		}
	}
}

func TestPointsOverTheAPI(t *testing.T) {
	s := newScript(t)
	s.run("", "backup", "points", "--app", "rms").want(t, "points", ExitOK, "point-in-time recovery is off", "bosman serve --point-in-time 7")
	s.run("", "backup", "points", "--app", "rms", "--json").want(t, "points as JSON", ExitOK, `"spans": []`)
	s.run("", "backup", "recover-to", "staging", "--app", "rms", "--at", "10:00").want(t, "without a log", ExitUsage, "not on the server whose log is kept")
	s.run("", "backup", "recover-to", "staging", "--app", "rms").want(t, "without a moment", ExitUsage, "a time or a restore point")
	s.run("", "backup", "recover-to", "staging", "--app", "rms", "--at", "yesterday").want(t, "no moment", ExitUsage, "is no moment")
}
