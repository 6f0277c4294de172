package bosman_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestSurplusBackups(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	good := func(n int, age time.Duration) bosman.Backup {
		return bosman.Backup{Number: n, CreatedAt: now.Add(-age), VerifiedAt: now.Add(-age + time.Minute)}
	}
	failed := func(n int, age time.Duration) bosman.Backup { // was never made
		return bosman.Backup{Number: n, Operation: n, CreatedAt: now.Add(-age), Error: "the disk was full"}
	}
	spoiled := func(n int, age time.Duration) bosman.Backup { // was made, and a proof of it failed
		return bosman.Backup{Number: n, Operation: n, CreatedAt: now.Add(-age), Checksum: "c", Error: "an extension is missing"}
	}
	found := func(n int, age time.Duration) bosman.Backup { // in a target, and no key opens it
		return bosman.Backup{Number: n, CreatedAt: now.Add(-age), Error: "no key opens it"}
	}
	removed := func(n int, age time.Duration) bosman.Backup {
		return bosman.Backup{Number: n, Operation: n, CreatedAt: now.Add(-age), Checksum: "c", Error: bosman.RemovalBegan}
	}
	raw := func(n int, age time.Duration) bosman.Backup {
		return bosman.Backup{Number: n, CreatedAt: now.Add(-age)}
	}
	five := []bosman.Backup{good(5, day), good(4, 2*day), good(3, 3*day), good(2, 20*day), good(1, 40*day)}
	for name, c := range map[string]struct {
		all    []bosman.Backup
		policy bosman.BackupPolicy
		needed []int
		want   []int
	}{
		"no policy":                {five, bosman.BackupPolicy{At: "0 1 * * *"}, nil, nil},
		"by count":                 {five, bosman.BackupPolicy{Keep: 2}, nil, []int{1, 2, 3}},
		"by age":                   {five, bosman.BackupPolicy{For: 10 * day}, nil, []int{1, 2}},
		"by both, either keeps":    {five, bosman.BackupPolicy{Keep: 4, For: 10 * day}, nil, []int{1}},
		"the way back needs one":   {five, bosman.BackupPolicy{Keep: 1}, []int{2}, []int{1, 3, 4}},
		"the newest stays for age": {[]bosman.Backup{good(1, 400*day)}, bosman.BackupPolicy{For: day}, nil, nil},
		"the newest that counts":   {[]bosman.Backup{raw(4, day), failed(3, 2*day), good(2, 3*day), good(1, 4*day)}, bosman.BackupPolicy{Keep: 1}, nil, []int{1}},
		"never made go later":      {[]bosman.Backup{good(3, day), failed(2, 3*day), failed(1, 9*day)}, bosman.BackupPolicy{Keep: 5}, nil, []int{1}},
		"a failed proof stays":     {[]bosman.Backup{good(3, day), spoiled(2, 9*day), found(1, 90*day)}, bosman.BackupPolicy{Keep: 1}, nil, nil},
		"and takes no place":       {[]bosman.Backup{good(4, day), spoiled(3, 2*day), good(2, 3*day), good(1, 4*day)}, bosman.BackupPolicy{Keep: 2}, nil, []int{1}},
		"a removal is ended":       {[]bosman.Backup{removed(3, time.Hour), good(2, 2*day)}, bosman.BackupPolicy{Keep: 2}, nil, []int{3}},
		"under way stays":          {[]bosman.Backup{good(3, time.Hour), raw(2, 2*time.Hour), raw(1, 3*day)}, bosman.BackupPolicy{For: day}, nil, []int{1}},
		"the clock was ahead":      {[]bosman.Backup{good(4, day), good(3, 2*day), good(2, -1000*day), good(1, 3*day)}, bosman.BackupPolicy{Keep: 2}, nil, []int{2, 1}},
		"ahead, and kept by age":   {[]bosman.Backup{good(4, day), good(2, -1000*day), good(1, 30*day)}, bosman.BackupPolicy{For: 7 * day}, nil, []int{1}},
		"the clock was behind":     {[]bosman.Backup{good(4, 9000*day), good(3, day), good(2, 2*day), good(1, 3*day)}, bosman.BackupPolicy{Keep: 2, For: day}, nil, []int{1}},
		"set back just now":        {[]bosman.Backup{good(4, time.Hour), good(3, -9000*day), good(2, -9001*day)}, bosman.BackupPolicy{Keep: 3}, nil, nil},
		"nothing counts":           {[]bosman.Backup{failed(2, 30*day), raw(1, 40*day)}, bosman.BackupPolicy{Keep: 1}, nil, nil},
	} {
		var got []int
		for _, b := range bosman.SurplusBackups(c.all, c.policy, now, func(b bosman.Backup) bool { return slices.Contains(c.needed, b.Number) }) {
			got = append(got, b.Number)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBackupTrouble(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	due, old := now.Add(-30*time.Hour), now.Add(-1000*time.Hour)
	good := bosman.Backup{Number: 7, CreatedAt: now.Add(-time.Hour), VerifiedAt: now}
	stale := bosman.Backup{Number: 6, CreatedAt: now.Add(-80 * time.Hour), VerifiedAt: now}
	failed := bosman.Backup{Number: 8, CreatedAt: now.Add(-time.Minute), Error: "the disk was full"}
	for name, c := range map[string]struct {
		all        []bosman.Backup
		due, since time.Time
		want       string // part of the answer
	}{
		"well":                         {[]bosman.Backup{good, stale}, due, old, ""},
		"none by schedule":             {nil, time.Time{}, old, ""},
		"younger than the schedule":    {nil, due, now, ""},
		"missing":                      {nil, due, old, "no backup that counts"},
		"old":                          {[]bosman.Backup{stale}, due, old, "k6, is of 20 Nov"},
		"made but never proven":        {[]bosman.Backup{{Number: 9, CreatedAt: now}}, due, old, "no backup that counts"},
		"failed since":                 {[]bosman.Backup{failed, good}, due, old, "k8, failed: the disk was full"},
		"failed, then one that counts": {[]bosman.Backup{good, {Number: 5, CreatedAt: old, Error: "x"}}, due, old, ""},
	} {
		got := bosman.BackupTrouble(c.all, c.due, c.since)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestClockThatWasAhead: a backup of the year 2030 must not make the ones that
// are missing since look as if they were there.
func TestClockThatWasAhead(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	all := []bosman.Backup{
		{Number: 8, CreatedAt: now.Add(5 * time.Minute), VerifiedAt: now}, // another machine's clock
		{Number: 7, CreatedAt: now.Add(30000 * time.Hour), VerifiedAt: now},
		{Number: 6, CreatedAt: now.Add(-80 * time.Hour), VerifiedAt: now},
	}
	if past := bosman.PastBackups(all, now); len(past) != 2 || past[0].Number != 8 || past[1].Number != 6 || len(all) != 3 {
		t.Errorf("%+v", past)
	}
	if got := bosman.BackupTrouble(bosman.PastBackups(all[1:], now), now.Add(-30*time.Hour), now.Add(-1000*time.Hour)); !strings.Contains(got, "k6") {
		t.Errorf("%q", got)
	}
}
