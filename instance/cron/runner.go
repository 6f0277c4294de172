package cron

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/logfile"
)

// Entry is one cron entry of one instance that is to run now.
type Entry struct {
	App, Instance, Name string
	Schedule            Schedule
	Shell               string
	Spec                runtime.Spec // surroundings; Spec.LogFile gets the output as cron.NAME
}

func (e Entry) key() string { return e.App + "/" + e.Instance + "/" + e.Name }

// Outcome is what became of one moment of an entry.
type Outcome string

// The outcomes.
const (
	Started Outcome = "started" // and not ended yet; or Bosman was killed meanwhile
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	Missed  Outcome = "missed"  // Bosman did not run then; not made up for
	Skipped Outcome = "skipped" // the run before still went on
)

// Run is one moment of an entry and what became of it.
type Run struct {
	App, Instance, Name string
	Moment              time.Time
	Outcome             Outcome
	Note                string // one sentence
	StartedAt, EndedAt  time.Time
}

// Journal is what the runner needs of the store.
type Journal interface {
	// Claim gives true once, for ever, for each moment of each entry. The
	// claim is on the disk when it returns.
	Claim(ctx context.Context, app, instance, name string, moment time.Time) (bool, error)
	// Record keeps what became of a moment; later records replace earlier.
	Record(ctx context.Context, r Run) error
	// Seen is the last moment up to which all was looked at; zero at first.
	Seen(ctx context.Context) (time.Time, error)
	// See moves it on.
	See(ctx context.Context, t time.Time) error
}

// Commander runs a command in an instance's surroundings.
type Commander interface {
	Exec(ctx context.Context, s runtime.Spec, c runtime.Command) (runtime.Exit, error)
}

// Runner starts cron runs at their moments.
type Runner struct {
	Journal   Journal
	Commander Commander
	Entries   func(context.Context) ([]Entry, error) // those that should run now; asked every minute
	Log       *slog.Logger
}

const (
	lookBack   = 7 * 24 * time.Hour // missed moments further back are not listed
	missedEach = 20                 // of one entry, the newest
	lateBy     = 90 * time.Second   // a moment this old is missed, not late
)

// Run works until ctx ends and all commands it started have ended; they get
// TERM then. An error is about the journal: without it nothing may start.
func (r *Runner) Run(ctx context.Context) error {
	var busy sync.Map // key of an entry → nothing
	var wg sync.WaitGroup
	defer wg.Wait()
	seen, err := r.Journal.Seen(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if seen.IsZero() || seen.After(now) {
		seen = now
	}
	if oldest := now.Add(-lookBack); seen.Before(oldest) {
		seen = oldest
	}
	for {
		if now = time.Now(); now.Before(seen) {
			now = seen // the machine's clock was set back: wait for it, repeat nothing
		}
		err := r.pass(ctx, seen, now, &busy, &wg)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // shutting down is no failure
		case err != nil:
			r.Log.Error("cron looks again in a minute", "err", err)
		default:
			seen = now.Truncate(time.Minute)
		}
		timer := time.NewTimer(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// pass deals with every moment after from up to to.
func (r *Runner) pass(ctx context.Context, from, to time.Time, busy *sync.Map, wg *sync.WaitGroup) error {
	entries, err := r.Entries(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, m := range e.Schedule.Moments(from, to, missedEach) {
			if err := r.moment(ctx, e, m, to, busy, wg); err != nil {
				return err
			}
		}
	}
	return r.Journal.See(ctx, to.Truncate(time.Minute))
}

func (r *Runner) moment(ctx context.Context, e Entry, m, now time.Time, busy *sync.Map, wg *sync.WaitGroup) error {
	first, err := r.Journal.Claim(ctx, e.App, e.Instance, e.Name, m)
	if err != nil || !first {
		return err
	}
	run := Run{App: e.App, Instance: e.Instance, Name: e.Name, Moment: m, StartedAt: time.Now().UTC()}
	switch _, going := busy.LoadOrStore(e.key(), nil); {
	case now.Sub(m) > lateBy:
		if !going {
			busy.Delete(e.key())
		}
		run.Outcome, run.Note = Missed, "Bosman did not run at that time"
	case going:
		run.Outcome, run.Note = Skipped, "the run before still goes on"
	default:
		run.Outcome = Started
	}
	if err := r.Journal.Record(ctx, run); err != nil {
		if run.Outcome == Started {
			busy.Delete(e.key())
		}
		return err
	}
	if run.Outcome == Started {
		wg.Go(func() {
			defer busy.Delete(e.key())
			r.execute(ctx, e, run)
		})
	}
	return nil
}

func (r *Runner) execute(ctx context.Context, e Entry, run Run) {
	source := "cron." + e.Name
	log := logfile.New(e.Spec.LogFile(), logfile.Options{MaxSize: runtime.LogSize, Keep: runtime.LogKeep})
	out := log.Stream(source)
	exit, err := r.Commander.Exec(ctx, e.Spec, runtime.Command{Label: source, Shell: e.Shell, Stdout: out, Stderr: out})
	_ = out.Close() // a line that cannot be written is no reason to fail the run
	run.EndedAt = time.Now().UTC()
	run.Outcome = Done
	switch {
	case err != nil:
		run.Outcome, run.Note = Failed, bosman.AsError(err).Message
	case !exit.OK():
		run.Outcome, run.Note = Failed, exit.String()
	}
	if ctx.Err() != nil && run.Outcome == Failed {
		run.Note = "ended because Bosman was shut down (" + run.Note + ")"
	}
	_ = log.Line(source, fmt.Sprintf("%s after %s %s", run.Outcome, run.EndedAt.Sub(run.StartedAt).Round(time.Millisecond), run.Note)) // likewise
	_ = log.Close()                                                                                                                    // nothing is buffered
	if err := r.Journal.Record(context.WithoutCancel(ctx), run); err != nil {
		r.Log.Error("the end of a cron run cannot be kept", "app", e.App, "instance", e.Instance, "cron", e.Name, "err", err)
	}
}
