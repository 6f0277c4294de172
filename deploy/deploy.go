// Package deploy holds the plans by which an instance changes: deployment,
// revert, try (a fresh copy with a change on it), restore, backup, restart,
// stop and start. A plan is a list of idempotent steps that package steps
// makes durable; this package says what the steps do, in terms of the small
// interfaces it declares. It must not know SQL, HTTP, git or how processes and
// databases are handled.
package deploy

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/steps"
)

// Records is all that deploy keeps rows in.
type Records interface {
	Operations
	Owners
	InstanceRows
	BackupRows
	ReleaseRows
}

// Config is what a Service needs. All parts are required but Points, Log, Now
// and the durations.
type Config struct {
	Engine    *steps.Engine
	Records   Records
	Gate      Gate
	Instances Instances
	Routes    Routes
	Databases Databases
	Copies    Copies
	Source    Source
	Watcher   Watcher
	Points    Points // may be nil
	Log       *slog.Logger
	Now       func() time.Time
	Poll      time.Duration // between two looks at what an operation waits for; 10 s
	Patience  time.Duration // how long a revert waits for the operation it takes over from; 60 s
}

// Service carries out operations.
type Service struct {
	Config
	mu   sync.Mutex
	wake chan struct{} // closed and replaced by Wake
}

// New makes a Service and registers its plans with the engine, which must not
// be launched yet.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 10 * time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	s := &Service{Config: cfg, wake: make(chan struct{})}
	for _, p := range s.plans() {
		if err := cfg.Engine.Register(p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// RunID is the id of an operation's durable run: "rms/d37".
func RunID(app string, n int) string { return app + "/" + bosman.Ref(bosman.LetterOperation, n) }

// SetID is the id of the process set that an operation starts: "rms.live.d37".
func SetID(app, instance string, n int) string {
	return app + "." + instance + "." + bosman.Ref(bosman.LetterOperation, n)
}

const (
	workSuffix  = "-work"
	proveSuffix = "-prove"
)

// WorkID is the id of the worker and cron processes beside a web set.
func WorkID(setID string) string { return setID + workSuffix }

// ProveID is the id of the release before, started to prove that it works on
// the schema that an operation leaves. It is never routed.
func ProveID(setID string) string { return setID + proveSuffix }

// ParseSetID gives the operation that started a process set of the instance;
// aside says that it is never routed: the workers, or a proof.
func ParseSetID(i bosman.Instance, id string) (operation int, aside, ok bool) {
	rest, ok := strings.CutPrefix(id, i.App+"."+i.Name+".d")
	if !ok {
		return 0, false, false
	}
	rest, aside = strings.CutSuffix(rest, workSuffix)
	if !aside {
		rest, aside = strings.CutSuffix(rest, proveSuffix)
	}
	n, err := strconv.Atoi(rest)
	return n, aside, err == nil && n > 0
}

// input is what a run is started with: ids only.
type input struct {
	App    string `json:"app"`
	Number int    `json:"number"`
}

// Begin starts the run of an operation whose row is saved; beginning again
// does nothing. It returns at once.
func (s *Service) Begin(ctx context.Context, op bosman.Operation) error {
	if op.State.Final() {
		return nil
	}
	return s.Engine.Start(ctx, string(op.Plan), RunID(op.App, op.Number), input{op.App, op.Number})
}

// Cancel ends an operation that is not committed; what it did is undone.
func (s *Service) Cancel(ctx context.Context, op bosman.Operation, why string) error {
	return s.Engine.Cancel(ctx, RunID(op.App, op.Number), why)
}

// TakenOver stops a running operation because by owns its instance now.
func (s *Service) TakenOver(ctx context.Context, op, by bosman.Operation) error {
	return s.Engine.TakeOver(ctx, RunID(op.App, op.Number), bosman.Ref(bosman.LetterOperation, by.Number), true)
}

// Wait waits until an operation ended and gives its row.
func (s *Service) Wait(ctx context.Context, app string, n int) (bosman.Operation, error) {
	if _, err := s.Engine.Wait(ctx, RunID(app, n)); err != nil {
		return bosman.Operation{}, err
	}
	return s.Records.Operation(ctx, app, n)
}

// Resume begins the runs of all unfinished operations: at start it closes the
// gap between a row that was written and a run that was not.
func (s *Service) Resume(ctx context.Context) error {
	ops, err := s.Records.Unfinished(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, op := range ops {
		errs = append(errs, s.Begin(ctx, op))
	}
	return errors.Join(errs...)
}

// Wake lets operations that wait look again: call it when an operation ended,
// a person came or left, a release turned green, or a sign-off was given.
func (s *Service) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.wake)
	s.wake = make(chan struct{})
}

// look waits for Wake, the given moment (unless it is zero) or the next poll.
func (s *Service) look(ctx context.Context, until time.Time) error {
	s.mu.Lock()
	wake := s.wake
	s.mu.Unlock()
	d := s.Poll
	if !until.IsZero() {
		d = max(min(d, time.Until(until)), 0)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-wake:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
