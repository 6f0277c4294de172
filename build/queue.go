package build

import (
	"context"
	"errors"
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
	// Interrupted gives the builds that are running, oldest first. It is asked
	// once, before any build is taken: they were running when Bosman ended.
	Interrupted(ctx context.Context) ([]bosman.Build, error)
}

// Runs runs one build to its end: a *Runner.
type Runs interface {
	Run(ctx context.Context, b bosman.Build, slot int) (bosman.Build, error)
}

// Queue gives queued builds to workers. It wakes by event, not by clock; its
// memory is QueueRecords, so that a restart loses nothing. Which builds a newer
// push makes needless is the caller's to decide, by change, never by branch
// name; the Queue ends those that run.
type Queue struct {
	records QueueRecords
	runs    Runs
	workers int
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	running map[buildKey]context.CancelCauseFunc
	taking  int                     // builds that may be taken and are not in running yet
	late    map[buildKey]*Cancelled // cancels that came for one of those
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
	q.mu.Lock()
	q.taking += len(left)
	q.mu.Unlock()
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
		left, err := q.records.Interrupted(ctx)
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
		q.mu.Lock()
		q.taking++
		q.mu.Unlock()
		b, err := q.records.NextQueued(ctx)
		if b == nil {
			q.taken(nil)
		}
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
	for {
		bctx, cancel := context.WithCancelCause(ctx)
		q.start(b, cancel)
		done, err := q.runs.Run(bctx, b, slot)
		q.mu.Lock()
		delete(q.running, buildKey{b.App, b.Number})
		if err != nil {
			q.taking++ // it may run again
		}
		q.mu.Unlock()
		cancel(nil)
		if err == nil {
			q.log.Info("build ended", "app", b.App, "build", b.Number, "state", done.State)
			return
		}
		if ctx.Err() != nil || errors.Is(err, ErrInterrupted) {
			q.taken(nil)
			return
		}
		q.log.Error("the end of a build could not be saved; it is run again", "app", b.App, "build", b.Number, "error", err)
		if !pause(ctx, 5*time.Second) {
			q.taken(nil)
			return
		}
	}
}

// start notes that b runs, and ends it at once if it was cancelled meanwhile.
func (q *Queue) start(b bosman.Build, cancel context.CancelCauseFunc) {
	key := buildKey{b.App, b.Number}
	q.mu.Lock()
	q.running[key] = cancel
	if why := q.late[key]; why != nil {
		cancel(why)
	}
	q.mu.Unlock()
	q.taken(&key)
}

// taken notes that one build less is being taken; key is the one that now runs.
func (q *Queue) taken(key *buildKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taking--; q.taking == 0 {
		clear(q.late)
	} else if key != nil {
		delete(q.late, *key)
	}
}

// Cancel ends a running build; reason, one sentence with who and why, becomes
// its Reason. The caller has saved a queued build as cancelled before; for that
// one and for a final one Cancel does nothing.
func (q *Queue) Cancel(app string, number int, reason string) {
	key, why := buildKey{app, number}, &Cancelled{Reason: reason}
	q.mu.Lock()
	defer q.mu.Unlock()
	if cancel := q.running[key]; cancel != nil {
		cancel(why)
	} else if q.taking > 0 {
		q.late[key] = why
	}
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
