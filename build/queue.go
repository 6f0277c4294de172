package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
)

// QueueRecords is the memory of the queue. Every call is one transaction.
type QueueRecords interface {
	// NextQueued takes the oldest queued build: it is running now, with
	// StartedAt set. Two callers never get the same. nil: nothing is queued.
	NextQueued(ctx context.Context) (*bosman.Build, error)
	// Unfinished gives the builds of an app's change that are queued or running,
	// oldest first; with app "" the running ones of all apps.
	Unfinished(ctx context.Context, app string, change int) ([]bosman.Build, error)
	// CancelQueued makes a queued build cancelled; false if it is not queued.
	CancelQueued(ctx context.Context, app string, number int, reason string) (bool, error)
}

// Runs runs one build to its end: a *Runner.
type Runs interface {
	Run(ctx context.Context, b bosman.Build, slot int) (bosman.Build, error)
}

// Queue gives queued builds to workers. It wakes by event, not by clock; its
// memory is QueueRecords, so that a restart loses nothing.
type Queue struct {
	records QueueRecords
	runs    Runs
	workers int
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	running map[buildKey]context.CancelCauseFunc
	late    map[buildKey]*Cancelled // cancels that came between taking a build and running it
}

type buildKey struct {
	app    string
	number int
}

// NewQueue makes a queue with so many workers (2 when 0). log may be nil.
func NewQueue(records QueueRecords, runs Runs, workers int, log *slog.Logger) *Queue {
	if workers <= 0 {
		workers = 2
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Queue{
		records: records, runs: runs, workers: workers, log: log,
		wake: make(chan struct{}, workers), running: map[buildKey]context.CancelCauseFunc{}, late: map[buildKey]*Cancelled{},
	}
}

// Run works until ctx ends, then waits for its workers: builds under way are
// interrupted and run again by the next Run, which begins with those that were
// running when the last one ended.
func (q *Queue) Run(ctx context.Context) error {
	left, err := q.left(ctx)
	if err != nil {
		return err
	}
	pending := make(chan bosman.Build, len(left))
	for _, b := range left {
		pending <- b
	}
	close(pending)
	var workers sync.WaitGroup
	for slot := range q.workers {
		workers.Go(func() {
			for b := range pending {
				if ctx.Err() != nil {
					return
				}
				q.log.Info("running again what was interrupted", "app", b.App, "build", b.Number)
				q.runOne(ctx, b, slot)
			}
			q.work(ctx, slot)
		})
	}
	workers.Wait()
	return nil
}

// left gives the builds a former life left running.
func (q *Queue) left(ctx context.Context) ([]bosman.Build, error) {
	for {
		left, err := q.records.Unfinished(ctx, "", 0)
		if err == nil {
			return left, nil
		}
		q.log.Error("interrupted builds cannot be read", "error", err)
		if !pause(ctx, time.Second) {
			return nil, nil
		}
	}
}

// Wake says that a build may be queued. It never blocks.
func (q *Queue) Wake() {
	for range q.workers {
		select {
		case q.wake <- struct{}{}:
		default:
			return // as many wake-ups as workers are on their way
		}
	}
}

func (q *Queue) work(ctx context.Context, slot int) {
	for ctx.Err() == nil {
		b, err := q.records.NextQueued(ctx)
		if err != nil {
			if ctx.Err() == nil {
				q.log.Error("the next build cannot be taken", "error", err)
			}
			pause(ctx, time.Second)
			continue
		}
		if b != nil {
			q.runOne(ctx, *b, slot)
			continue
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

func (q *Queue) runOne(ctx context.Context, b bosman.Build, slot int) {
	key := buildKey{b.App, b.Number}
	for {
		bctx, cancel := context.WithCancelCause(ctx)
		q.mu.Lock()
		q.running[key] = cancel
		if why := q.late[key]; why != nil {
			cancel(why)
			delete(q.late, key)
		}
		q.mu.Unlock()
		done, err := q.runs.Run(bctx, b, slot)
		q.mu.Lock()
		delete(q.running, key)
		q.mu.Unlock()
		cancel(nil)
		if err == nil {
			q.log.Info("build ended", "app", b.App, "build", b.Number, "state", done.State)
			return
		}
		if ctx.Err() != nil || errors.Is(err, ErrInterrupted) {
			return
		}
		q.log.Error("the end of a build could not be saved; it is run again", "app", b.App, "build", b.Number, "error", err)
		if !pause(ctx, 5*time.Second) {
			return
		}
	}
}

// Added is called after a build has been queued (its row is saved): older
// builds of the same change, queued or running, are cancelled, and a worker
// wakes. Builds of main are never cancelled by newer ones. The key is the
// change's number: two forks may use one branch name.
func (q *Queue) Added(ctx context.Context, b bosman.Build) error {
	defer q.Wake()
	if b.Change == 0 {
		return nil
	}
	older, err := q.records.Unfinished(ctx, b.App, b.Change)
	if err != nil {
		return err
	}
	why := fmt.Sprintf("a newer push of %s (%s)", bosman.Ref(bosman.LetterChange, b.Change), bosman.Ref(bosman.LetterBuild, b.Number))
	for _, o := range older {
		if o.Number >= b.Number {
			continue
		}
		if err := q.Cancel(ctx, o.App, o.Number, &Cancelled{By: "bosman", Why: why}); err != nil && bosman.KindOf(err) != bosman.KindConflict {
			return err
		}
	}
	return nil
}

// Cancel ends a queued or running build. KindConflict: it is final already.
func (q *Queue) Cancel(ctx context.Context, app string, number int, why *Cancelled) error {
	ok, err := q.records.CancelQueued(ctx, app, number, why.Error())
	if err != nil || ok {
		return err
	}
	key := buildKey{app, number}
	q.mu.Lock()
	cancel := q.running[key]
	if cancel == nil {
		q.late[key] = why // taken by a worker that has not begun, or final
	}
	q.mu.Unlock()
	if cancel != nil {
		cancel(why)
		return nil
	}
	running, err := q.records.Unfinished(ctx, "", 0)
	if err != nil {
		return err
	}
	for _, b := range running {
		if b.App == app && b.Number == number {
			return nil // its worker will find the cancel
		}
	}
	q.mu.Lock()
	delete(q.late, key)
	q.mu.Unlock()
	return bosman.Conflict("build %s of %s has ended", bosman.Ref(bosman.LetterBuild, number), app)
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
