package problem

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
)

// maxBatch is how many events are committed together at most.
const maxBatch = 200

func busy() error {
	return bosman.Busy("too many error reports wait").WithNext("send it again later")
}

type job struct {
	report Report
	done   chan error // buffered; hears when the report is durable
}

// queue commits reports in groups: while one group is on its way to the disk
// the next one gathers.
type queue struct {
	cfg    Config
	jobs   chan job
	mu     sync.Mutex
	counts map[Count]int64 // N is 0 in the key
	wake   chan struct{}
	closed bool
	ended  chan struct{}
	err    error
}

func newQueue(cfg Config) *queue {
	q := &queue{
		cfg: cfg, jobs: make(chan job, cfg.Queue), counts: map[Count]int64{},
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go q.run()
	return q
}

// submit hands a report over and waits until it is durable. A caller that
// goes away does not take the report with it.
func (q *queue) submit(ctx context.Context, r Report) error {
	j := job{report: r, done: make(chan error, 1)}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return busy()
	}
	select {
	case q.jobs <- j:
		q.mu.Unlock()
	default:
		q.mu.Unlock()
		return busy()
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxCounts caps the counters that wait; more would be a client inventing names.
const maxCounts = 5000

// count adds to a counter; it is committed within a second or so.
func (q *queue) count(c Count) {
	n := c.N
	c.N, c.At = 0, c.At.Truncate(time.Hour).UTC()
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.counts[c]; !known && len(q.counts) >= maxCounts {
		return
	}
	q.counts[c] += n
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.jobs)
	}
	q.mu.Unlock()
	<-q.ended
	return q.err
}

func (q *queue) run() {
	defer close(q.ended)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	due := false
	for {
		select {
		case j, ok := <-q.jobs:
			if !ok {
				q.err = q.flush()
				return
			}
			batch := []job{j}
			for len(batch) < maxBatch {
				select {
				case next, ok := <-q.jobs:
					if !ok {
						q.save(batch)
						q.err = q.flush()
						return
					}
					batch = append(batch, next)
					continue
				default:
				}
				break
			}
			q.save(batch)
		case <-q.wake:
			if !due {
				due = true
				timer.Reset(time.Second)
			}
		case <-timer.C:
			due = false
			if err := q.flush(); err != nil {
				q.cfg.Log.Error("counters of error reports are not saved", slog.Any("error", err))
			}
		}
	}
}

// save commits a batch and tells every waiting request.
func (q *queue) save(batch []job) {
	// Shutdown waits for close, so the transaction has a time limit of its own.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	reports := make([]Report, len(batch))
	for i, j := range batch {
		reports[i] = j.report
	}
	outcomes, err := q.cfg.Store.SaveEvents(ctx, reports)
	if err == nil && len(outcomes) != len(reports) {
		err = errors.New("the store gave another number of outcomes than of reports")
	}
	if err != nil {
		err = bosman.Unavailable("error reports cannot be saved").Because(err)
		q.cfg.Log.Error("error reports are not saved", slog.Int("reports", len(batch)), slog.Any("error", err))
	}
	for i, j := range batch {
		j.done <- err
		if err == nil && q.cfg.Saved != nil && !outcomes[i].Duplicate {
			r := reports[i]
			r.Event.Problem = outcomes[i].Problem
			q.cfg.Saved(ctx, r, outcomes[i])
		}
	}
}

// flush commits the counters; they are kept when that fails.
func (q *queue) flush() error {
	q.mu.Lock()
	list := make([]Count, 0, len(q.counts))
	for c, n := range q.counts {
		c.N = n
		list = append(list, c)
	}
	q.counts = map[Count]int64{}
	q.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := q.cfg.Store.AddCounts(ctx, list)
	if err != nil {
		for _, c := range list {
			q.count(c)
		}
	}
	return err
}
