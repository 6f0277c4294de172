// Package problem takes error reports in the Sentry protocol, scrubs secrets
// from them at the door, normalises them once into bosman.ErrorEvent, groups
// them into problems and hands them over in groups that are committed before
// the reply. It must not know the store, pages or deployments.
package problem

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/bosman-cd/bosman"
)

// Keys says whose a public key is: the key of an instance, or of an app as a
// whole (instance ""). An unknown key is an error of KindNotFound.
type Keys interface {
	Lookup(ctx context.Context, key string) (app, instance string, err error)
}

// Report is one event ready to be kept: the event, its grouping and what
// people see of it.
type Report struct {
	Event   bosman.ErrorEvent // Problem is not set; Body names the stored event
	Group   Group
	Title   string
	Culprit string
}

// Outcome says where an event went.
type Outcome struct {
	Problem   int
	New       bool // the problem was not known before
	Regressed bool // the problem had been resolved
	Duplicate bool // an event with this ID was there already; nothing changed
}

// Count adds N to a counter of an instance in the hour of At: "sessions",
// "sessions.crashed", "sessions.errored", "sessions.abnormal",
// "discarded.REASON.CATEGORY" (events a client says it dropped), "limited"
// (refused by the rate limit), "checkin.SLUG.STATUS".
type Count struct {
	App, Instance string
	Release       int
	Name          string
	N             int64
	At            time.Time
}

// Store keeps events. SaveEvents saves all in one transaction and returns
// when they are durable, one outcome for each report, in order. An event goes
// to the problem with its fine hash; one without a fine hash goes to the
// problem that has none either and the same coarse hash. An event whose
// (App, ID) exists changes nothing.
type Store interface {
	SaveEvents(ctx context.Context, reports []Report) ([]Outcome, error)
	AddCounts(ctx context.Context, counts []Count) error
}

// Config is what an Intake needs. Zero limits take the defaults.
type Config struct {
	Keys   Keys
	Store  Store
	Bodies *Bodies
	Log    *slog.Logger
	Scrub  []string // names of fields to scrub besides the built-in ones

	// Saved, if set, hears of each report after its commit, never of
	// duplicates. It must be quick.
	Saved func(ctx context.Context, r Report, o Outcome)

	Rate       float64 // events a second and key, lasting; 20
	Burst      int     // events a key may send at once; 300
	Queue      int     // events that may wait to be committed; 2,000
	Requests   int     // requests read at the same time; 64
	MaxBody    int64   // bytes of a request as sent; 20 MB
	MaxDecoded int64   // bytes after decompression; 50 MB
	MaxEvent   int64   // bytes of one event; 1 MB
	Now        func() time.Time
}

func (c *Config) defaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rate <= 0 {
		c.Rate = 20
	}
	if c.Burst <= 0 {
		c.Burst = 300
	}
	if c.Queue <= 0 {
		c.Queue = 2000
	}
	if c.Requests <= 0 {
		c.Requests = 64
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 20 << 20
	}
	if c.MaxDecoded <= 0 {
		c.MaxDecoded = 50 << 20
	}
	if c.MaxEvent <= 0 {
		c.MaxEvent = 1 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Intake is the door for error reports: an http.Handler for the paths that
// Matches names. Close it to commit what waits.
type Intake struct {
	cfg      Config
	scrubber *scrubber
	limits   *buckets
	slots    chan struct{}
	queue    *queue
}

var _ http.Handler = (*Intake)(nil)

// New starts an intake; Keys, Store and Bodies must be set.
func New(cfg Config) (*Intake, error) {
	if cfg.Keys == nil || cfg.Store == nil || cfg.Bodies == nil {
		return nil, bosman.Internal("the error intake lacks its keys, store or bodies")
	}
	cfg.defaults()
	return &Intake{
		cfg: cfg, scrubber: newScrubber(cfg.Scrub), limits: newBuckets(cfg.Rate, cfg.Burst),
		slots: make(chan struct{}, cfg.Requests), queue: newQueue(cfg),
	}, nil
}

// Close commits what waits and returns when nothing runs any more. Requests
// that come later are answered 503.
func (in *Intake) Close() error { return in.queue.close() }
