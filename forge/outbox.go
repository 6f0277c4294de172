package forge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/bosman-cd/bosman"
)

// Item is a status or a comment that waits to be sent.
type Item struct {
	Status
	Comment *Comment // if set, this and not the status is to be sent
	Version int64    // changes whenever a newer one replaces it
	Tries   int
	Next    time.Time // not before
}

// OutboxStore keeps what is to be sent.
type OutboxStore interface {
	// Put keeps a status durably; it replaces one of the same Repo, Commit
	// and Context that waits, gives it a new version, no tries and Next zero.
	Put(ctx context.Context, s Status) error
	// Due gives up to limit items whose Next is not after now, oldest first,
	// and the Next of the earliest other one (zero if there is none).
	Due(ctx context.Context, now time.Time, limit int) (due []Item, next time.Time, err error)
	// Done takes an item out, if its version is still the same.
	Done(ctx context.Context, it Item) error
	// Retry sets Tries and Next, if its version is still the same.
	Retry(ctx context.Context, it Item) error
}

// Outbox sends statuses to a Host, one after the other, until they arrived:
//
//	waiting ─► sent
//	   └─► tried (1 s, 2 s, … 10 min) ─► sent, or refused for good
//
// A newer status takes the place of one that waits; one that is replaced while
// it is being sent is followed by the newer one. So the last state put is the
// last state that arrives, also across restarts.
type Outbox struct {
	host  Host
	store OutboxStore
	log   *slog.Logger
	wake  chan struct{}
}

const (
	outboxBatch   = 50
	sendTimeout   = 20 * time.Second
	firstPause    = time.Second
	longestPause  = 10 * time.Minute
	storePause    = 2 * time.Second
	refusedTries  = 5 // "no such commit" may only mean: not yet
	maxPauseShift = 20
)

// NewOutbox makes an Outbox; log may be nil.
func NewOutbox(host Host, store OutboxStore, log *slog.Logger) *Outbox {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Outbox{host: host, store: store, log: log, wake: make(chan struct{}, 1)}
}

// Send keeps a status and has it sent soon.
func (o *Outbox) Send(ctx context.Context, s Status) error {
	if s.Repo == "" || s.Commit == "" || s.State == "" {
		return bosman.Internal("a status lacks its repository, commit or state")
	}
	if s.Context == "" {
		s.Context = DefaultContext
	}
	if err := o.store.Put(ctx, s); err != nil {
		return err
	}
	o.Wake()
	return nil
}

// Wake has Run look at the store: for statuses put there by a transaction of
// the caller's own. It never blocks.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends. One Run for each host at a time.
func (o *Outbox) Run(ctx context.Context) {
	for ctx.Err() == nil {
		due, next, err := o.store.Due(ctx, time.Now(), outboxBatch)
		if err != nil {
			if ctx.Err() == nil {
				o.log.Error("the statuses to send cannot be read", "err", err)
			}
			o.sleep(ctx, storePause, false)
			continue
		}
		if len(due) == 0 {
			wait := time.Duration(-1)
			if !next.IsZero() {
				wait = max(0, time.Until(next))
			}
			o.sleep(ctx, wait, true)
			continue
		}
		for _, it := range due {
			pause, err := o.send(ctx, it)
			if err != nil && ctx.Err() == nil {
				o.log.Error("a sent status cannot be recorded", "repo", it.Repo, "commit", it.Commit, "err", err)
				pause = max(pause, storePause)
			}
			if ctx.Err() != nil {
				return
			}
			if pause > 0 { // the host is away: the others would only wait too
				o.sleep(ctx, pause, false)
				break
			}
		}
	}
}

// sleep waits (for ever if d is negative) or, where it may, until woken.
func (o *Outbox) sleep(ctx context.Context, d time.Duration, wakeable bool) {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	wake := o.wake
	if !wakeable {
		wake = nil
	}
	select {
	case <-ctx.Done():
	case <-timer:
	case <-wake:
	}
}

// send tries one item. pause says how long the host is to be left alone; err
// is the store's.
func (o *Outbox) send(ctx context.Context, it Item) (pause time.Duration, err error) {
	sctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var serr error
	if it.Comment != nil {
		serr = o.host.Comment(sctx, *it.Comment)
	} else {
		serr = o.host.SetStatus(sctx, it.Status)
	}
	if serr == nil {
		return 0, o.store.Done(ctx, it)
	}
	if ctx.Err() != nil {
		return 0, nil // shutting down: it is sent after the start
	}
	it.Tries++
	kind := bosman.KindOf(serr)
	if kind == bosman.KindInvalid && it.Tries >= refusedTries {
		o.log.Warn("a status is refused for good", "repo", it.Repo, "commit", it.Commit, "state", it.State, "err", serr)
		return 0, o.store.Done(ctx, it)
	}
	wait := min(longestPause, firstPause<<min(it.Tries-1, maxPauseShift))
	var later *Later
	if errors.As(serr, &later) {
		wait = max(time.Until(later.At), firstPause)
		pause = min(wait, longestPause)
	} else if kind == bosman.KindUnavailable {
		pause = firstPause
	}
	it.Next = time.Now().Add(wait)
	o.log.Info("a status is tried again", "repo", it.Repo, "commit", it.Commit, "state", it.State, "in", wait, "err", serr)
	return pause, o.store.Retry(ctx, it)
}
