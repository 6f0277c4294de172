package cron_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/cron"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/logfile"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func warsaw(t *testing.T) *time.Location {
	t.Helper()
	z, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func parse(t *testing.T, expr string, zone *time.Location) cron.Schedule {
	t.Helper()
	s, err := cron.Parse(expr, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMomentsAcrossClockChanges(t *testing.T) {
	zone := warsaw(t)
	for _, c := range []struct{ expr, from, to, want string }{
		{"0 7 * * *", "2026-11-23 06:00", "2026-11-25 06:00", "23 07:00 +0100, 24 07:00 +0100"},
		{"0 7 * * Mon-Fri", "2026-11-27 08:00", "2026-11-30 08:00", "30 07:00 +0100"},
		// Forward: 02:00 → 03:00 on 29 March. 02:30 does not exist and happens at 03:00.
		{"30 2 * * *", "2026-03-28 00:00", "2026-03-31 00:00", "28 02:30 +0100, 29 03:00 +0200, 30 02:30 +0200"},
		{"0 3 * * *", "2026-03-29 00:00", "2026-03-30 00:00", "29 03:00 +0200"},
		{"15,45 2 * * *", "2026-03-29 00:00", "2026-03-30 00:00", "29 03:00 +0200"},
		{"0 * * * *", "2026-03-29 00:30", "2026-03-29 04:30", "29 01:00 +0100, 29 03:00 +0200, 29 04:00 +0200"},
		// Back: 03:00 → 02:00 on 25 October. 02:30 comes twice and happens once.
		{"30 2 * * *", "2026-10-24 12:00", "2026-10-26 12:00", "25 02:30 +0200, 26 02:30 +0100"},
		{"0 2 * * *", "2026-10-24 12:00", "2026-10-25 12:00", "25 02:00 +0200"},
		{"0 3 * * *", "2026-10-24 12:00", "2026-10-25 12:00", "25 03:00 +0100"},
		{"0 * * * *", "2026-10-25 00:30", "2026-10-25 03:30", "25 01:00 +0200, 25 02:00 +0200, 25 02:00 +0100, 25 03:00 +0100"},
	} {
		read := func(s string) time.Time {
			v, err := time.ParseInLocation("2006-01-02 15:04", s, zone)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		var got []string
		for _, m := range parse(t, c.expr, zone).Moments(read(c.from), read(c.to), 100) {
			got = append(got, m.In(zone).Format("02 15:04 -0700"))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s from %s: %s\nwant %s", c.expr, c.from, s, c.want)
		}
	}
}

func TestParseRefusesNonsense(t *testing.T) {
	for _, expr := range []string{"", "7", "0 7 * *", "99 7 * * *", "0 0 7 * * * *", "soon", "0 0 7 * * *"} {
		if _, err := cron.Parse(expr, nil); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", expr, err)
		}
	}
	next := parse(t, "30 2 * * *", warsaw(t)).Next(time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC))
	if want := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC); !next.Equal(want) {
		t.Errorf("Next across the gap: %s, want %s", next, want)
	}
}

// journal is a store in memory; the real one is tested with the store.
type journal struct {
	mu     sync.Mutex
	claims map[string]bool
	runs   []cron.Run
	seen   time.Time
	broken error
}

func (j *journal) Claim(_ context.Context, app, instance, name string, m time.Time) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return false, j.broken
	}
	key := fmt.Sprint(app, instance, name, m.Unix())
	if j.claims[key] {
		return false, nil
	}
	if j.claims == nil {
		j.claims = map[string]bool{}
	}
	j.claims[key] = true
	return true, nil
}

func (j *journal) Record(_ context.Context, r cron.Run) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runs = slices.DeleteFunc(j.runs, func(o cron.Run) bool { return o.Name == r.Name && o.Moment.Equal(r.Moment) })
	j.runs = append(j.runs, r)
	return nil
}

func (j *journal) Seen(context.Context) (time.Time, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seen, nil
}

func (j *journal) See(_ context.Context, t time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = t
	return j.broken
}

func (j *journal) count(o cron.Outcome) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, r := range j.runs {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// commander takes a while for each command and writes a line.
type commander struct {
	mu    sync.Mutex
	takes time.Duration
	exit  runtime.Exit
	ran   []time.Time
}

func (c *commander) Exec(ctx context.Context, _ runtime.Spec, cmd runtime.Command) (runtime.Exit, error) {
	c.mu.Lock()
	c.ran = append(c.ran, time.Now().UTC())
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return runtime.Exit{Code: -1, Signal: 15}, nil
	case <-time.After(c.takes):
	}
	_, err := fmt.Fprintln(cmd.Stdout, "sent 3 digests")
	return c.exit, err
}

func runner(t *testing.T, j *journal, c *commander, exprs ...string) *cron.Runner {
	t.Helper()
	dir := t.TempDir()
	var entries []cron.Entry
	for i, expr := range exprs {
		entries = append(entries, cron.Entry{
			App: "rms", Instance: "live", Name: fmt.Sprintf("job%d", i), Schedule: parse(t, expr, warsaw(t)),
			Shell: "send", Spec: runtime.Spec{ID: "rms.live.d1", LogDir: dir},
		})
	}
	return &cron.Runner{
		Journal: j, Commander: c, Log: slog.New(slog.DiscardHandler),
		Entries: func(context.Context) ([]cron.Entry, error) { return entries, nil },
	}
}

// run runs r for a while of bubble time.
func run(t *testing.T, r *cron.Runner, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEachMomentStartsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, &commander{takes: time.Second}
		// Two runners, as two Bosmans by mistake would be, and restarts.
		var wg sync.WaitGroup
		for range 2 {
			r := runner(t, j, c, "*/10 * * * *")
			wg.Go(func() {
				for range 4 {
					run(t, r, 31*time.Minute)
				}
			})
		}
		wg.Wait()
		if len(c.ran) != 12 || j.count(cron.Done) != 12 {
			t.Errorf("ran %d times in 124 minutes, %d done", len(c.ran), j.count(cron.Done))
		}
	})
}

func TestMissedMomentsAreListedNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, &commander{}
		r := runner(t, j, c, "0 * * * *")
		run(t, r, 90*time.Minute)
		ran := len(c.ran)
		time.Sleep(5 * time.Hour) // Bosman is down
		run(t, r, 2*time.Minute)
		if len(c.ran) != ran || j.count(cron.Missed) != 5 {
			t.Errorf("%d made up for, %d listed as missed", len(c.ran)-ran, j.count(cron.Missed))
		}
		run(t, r, time.Hour)
		if len(c.ran) != ran+1 {
			t.Error("it does not run again after a miss")
		}
	})
}

func TestOverlapIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, &commander{takes: 25 * time.Minute}
		run(t, runner(t, j, c, "*/10 * * * *"), 59*time.Minute)
		if len(c.ran) != 2 || j.count(cron.Skipped) != 3 || j.count(cron.Done)+j.count(cron.Failed) != 2 {
			t.Errorf("ran %v; %+v", c.ran, j.runs)
		}
	})
}

func TestFailuresAndOutputAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, &commander{exit: runtime.Exit{Code: 3}}
		r := runner(t, j, c, "*/10 * * * *")
		run(t, r, 11*time.Minute)
		if len(j.runs) != 1 || j.runs[0].Outcome != cron.Failed || j.runs[0].Note != "exit status 3" {
			t.Errorf("%+v", j.runs)
		}
		entries, err := r.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lines, err := logfile.Tail(entries[0].Spec.LogFile(), 10)
		if err != nil || len(lines) != 2 || lines[0].Source != "cron.job0" || lines[0].Text != "sent 3 digests" || !strings.Contains(lines[1].Text, "exit status 3") {
			t.Errorf("%+v %v", lines, err)
		}
	})
}

func TestWithoutAJournalNothingStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{broken: errors.New("the disk is full")}, &commander{}
		r := runner(t, j, c, "*/10 * * * *")
		run(t, r, 15*time.Minute)
		if len(c.ran) != 0 {
			t.Error("it ran without a claim")
		}
		j.broken = nil
		run(t, r, 10*time.Minute)
		if len(c.ran) == 0 {
			t.Error("it does not recover")
		}
	})
}
