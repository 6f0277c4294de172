// Package notify tells people and programs outside what happened: webhooks
// with a signature, and chats. A message is put into an outbox in the caller's
// transaction and delivered only after the commit, again and again until it
// is taken. It must not know what the messages are about.
package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
)

// Message is one thing to tell. Kind is a word programs decide on, such as
// "deployment.failed"; URL is a page of Bosman's.
type Message struct {
	Kind     string    `json:"kind"`
	App      string    `json:"app"`
	Instance string    `json:"instance,omitempty"`
	Title    string    `json:"title"`
	Text     string    `json:"text,omitempty"`
	URL      string    `json:"url,omitempty"`
	At       time.Time `json:"at"` // now when zero
}

// Target is somebody to tell. URL is http(s) for a webhook, else a chat's:
// slack://…, discord://…, telegram://…, teams://…, matrix://…, and so on.
type Target struct {
	Name    string // unique; the outbox refers to it
	URL     string
	Secret  string   // signs webhooks; "" sends them unsigned
	App     string   // "" for every app
	Kinds   []string // nil for every kind
	Private bool     // its address may be one of the local network's
}

// Wants says whether a target is to hear a message.
func (t Target) Wants(m Message) bool {
	return (t.App == "" || t.App == m.App) && (t.Kinds == nil || slices.Contains(t.Kinds, m.Kind))
}

// Targets lists who is to be told at this moment.
type Targets interface {
	Targets(ctx context.Context) ([]Target, error)
}

// Entry is one message for one target in the outbox. It holds no secret.
type Entry struct {
	ID    int64
	Key   string // unique; a delivery keeps it over all attempts
	Data  []byte
	At    time.Time
	Tries int // attempts that failed
}

// Outbox keeps what is still to be told. Add may run in a transaction that
// ctx carries; an entry is due once NextAt, the time given to Add or Retry, is
// past.
type Outbox interface {
	Add(ctx context.Context, e Entry) error
	Due(ctx context.Context, now time.Time, limit int) ([]Entry, error)
	Done(ctx context.Context, e Entry) error
	Retry(ctx context.Context, e Entry, next time.Time, reason string) error
}

// Config is what a Notifier needs.
type Config struct {
	Outbox  Outbox
	Targets Targets
	Log     *slog.Logger
	Timeout time.Duration // of one attempt; 10 s
	Poll    time.Duration // how often the outbox is looked at without a wake-up; 5 s
	Tries   int           // attempts before it is given up; 10, which is about a day
	Now     func() time.Time
}

// Notifier puts messages into the outbox (Send) and delivers them (Run).
type Notifier struct {
	cfg  Config
	wake chan struct{}
}

// New makes a notifier; Outbox and Targets must be set.
func New(cfg Config) (*Notifier, error) {
	if cfg.Outbox == nil || cfg.Targets == nil {
		return nil, bosman.Internal("the notifier lacks its outbox or targets")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 5 * time.Second
	}
	if cfg.Tries <= 0 {
		cfg.Tries = 10
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Notifier{cfg: cfg, wake: make(chan struct{}, 1)}, nil
}

// letter is what an entry holds.
type letter struct {
	Target  string  `json:"target"`
	Message Message `json:"message"`
}

// Send puts a message into the outbox, once for each target that wants it.
// Call it in the transaction that makes the message true; nothing leaves
// before that commits. Call Wake afterwards to have it delivered at once.
func (n *Notifier) Send(ctx context.Context, m Message) error {
	targets, err := n.cfg.Targets.Targets(ctx)
	if err != nil {
		return err
	}
	now := n.cfg.Now().UTC()
	if m.At.IsZero() {
		m.At = now
	}
	for _, t := range targets {
		if !t.Wants(m) {
			continue
		}
		data, err := json.Marshal(letter{Target: t.Name, Message: m})
		if err != nil {
			return bosman.Internal("a message cannot be written").Because(err)
		}
		key, err := newKey()
		if err != nil {
			return err
		}
		if err := n.cfg.Outbox.Add(ctx, Entry{Key: key, Data: data, At: now}); err != nil {
			return err
		}
	}
	return nil
}

func newKey() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", bosman.Internal("no random numbers").Because(err)
	}
	return hex.EncodeToString(b[:]), nil
}

// Wake makes Run look at the outbox now.
func (n *Notifier) Wake() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run delivers what is due until ctx ends; it returns nil then. An outbox that
// fails is tried again.
func (n *Notifier) Run(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Poll)
	defer tick.Stop()
	for {
		if err := n.Deliver(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("the outbox cannot be read", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		case <-tick.C:
		}
	}
}

// Deliver makes one attempt at everything that is due now.
func (n *Notifier) Deliver(ctx context.Context) error {
	entries, err := n.cfg.Outbox.Due(ctx, n.cfg.Now(), 50)
	if err != nil || len(entries) == 0 {
		return err
	}
	targets, err := n.cfg.Targets.Targets(ctx)
	if err != nil {
		return err
	}
	byName := map[string]Target{}
	for _, t := range targets {
		byName[t.Name] = t
	}
	for _, e := range entries {
		if err := n.one(ctx, e, byName); err != nil {
			return err
		}
	}
	return nil
}

// one delivers an entry and notes the result; its error is the outbox's.
func (n *Notifier) one(ctx context.Context, e Entry, targets map[string]Target) error {
	var l letter
	if err := json.Unmarshal(e.Data, &l); err != nil {
		n.cfg.Log.Error("a message in the outbox is damaged and was dropped", slog.Int64("entry", e.ID), slog.Any("error", err))
		return n.cfg.Outbox.Done(ctx, e)
	}
	t, known := targets[l.Target]
	if !known {
		return n.cfg.Outbox.Done(ctx, e) // the target was removed meanwhile
	}
	attempt, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	err := deliver(attempt, t, e.Key, l.Message, n.cfg.Now())
	cancel()
	if ctx.Err() != nil {
		return ctx.Err() // a shutdown is no failed attempt
	}
	if err == nil {
		return n.cfg.Outbox.Done(ctx, e)
	}
	var f failure
	if e.Tries+1 >= n.cfg.Tries || asFailure(err, &f) && f.final {
		n.cfg.Log.Error("a message was not delivered and is given up", slog.String("target", t.Name), slog.String("kind", l.Message.Kind), slog.Int("tries", e.Tries+1), slog.Any("error", err))
		return n.cfg.Outbox.Done(ctx, e)
	}
	wait := pause(e.Tries)
	if asFailure(err, &f) && f.after > wait {
		wait = min(f.after, time.Hour)
	}
	return n.cfg.Outbox.Retry(ctx, e, n.cfg.Now().Add(wait), fmt.Sprint(err))
}

// pause is how long to wait after so many failures.
func pause(tries int) time.Duration {
	steps := []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour}
	return steps[min(max(tries, 0), len(steps)-1)]
}
