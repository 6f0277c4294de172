// Package steps makes plans durable: a plan is a list of named, idempotent
// steps with at most one commit point, and a run of it survives kill -9, an
// upgrade of the program and waits of hours. Before the commit point a failed
// step leads to the undo of the steps done so far, in reverse; after it a run
// only goes forward. It is the only package that knows the durable engine
// underneath, and it must not know what any plan does. DESIGN.md beside this
// file says what is promised and why.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
)

// The causes with which the context of a running step is cancelled; ask with
// context.Cause. A step returns at once, whatever the cause.
var (
	ErrShutdown  = errors.New("bosman is shutting down")             // not a failure: the step runs again at the next start
	ErrTakenOver = errors.New("another operation took over")         // see Engine.TakeOver
	ErrCancelled = errors.New("the operation was cancelled")         // see Engine.Cancel
	ErrDeadline  = errors.New("the deadline passed while it waited") // of Run.WaitFor
)

// Step is one station of a plan.
//
// Do and Undo must be idempotent: after a crash they are called again without
// a trace of how far they came, so they ask the outside world before they act.
// Undo is called for steps that were done and for the one that failed or was
// interrupted, hence must cope with nothing to undo. An error returned by a
// commit step promises that it changed nothing.
type Step struct {
	Name     string // unique in the plan; letters, digits and dashes
	Do       func(ctx context.Context, r *Run) error
	Undo     func(ctx context.Context, r *Run) error // nil: there is nothing to undo
	Commit   bool                                    // the point of no return; has no Undo
	Attempts int                                     // after the commit point; 0 means 6
}

// Plan is a list of steps that is carried out as one durable run. A change of
// its steps is a new Version; the old one stays registered until no run uses
// it.
type Plan struct {
	Name     string
	Version  int
	Steps    []Step
	Listener Listener // nil: nobody is told
}

// Listener hears how the runs of a plan fare, so that it can keep rows about
// them. It must tolerate repeats: after a restart the past steps of a run are
// told again, with the same times. A run does not go on before the listener
// took what it was told, so an error is tried again until it is nil.
type Listener interface {
	Step(ctx context.Context, r *Run, e StepEvent) error
	End(ctx context.Context, r *Run, res Result) error
}

// StepEvent says what became of a step. State is running (also for each new
// note), done, failed, undone, or skipped for a step that was stopped.
type StepEvent struct {
	Step      string
	State     bosman.StepState
	Note      string        // last note of the step
	Err       *bosman.Error // why it failed
	Committed bool          // the point of no return is behind the run
	StartedAt time.Time
	EndedAt   time.Time // zero while it runs
}

// Outcome says how a run ended.
type Outcome string

// The outcomes of a run.
const (
	Done          Outcome = "done"           // all steps
	Undone        Outcome = "undone"         // failed or stopped before the commit point; what was done is undone
	Stopped       Outcome = "stopped"        // taken over; nothing was undone
	FailedForward Outcome = "failed-forward" // committed, but a later step failed for good
)

// Result is how a run ended.
type Result struct {
	Outcome   Outcome
	Committed bool
	Step      string        // the step that failed or was stopped
	Err       *bosman.Error // why; nil when Done
	TakenOver string        // by which run
	Cancelled bool
	NotUndone []string // steps whose undo failed for good, one sentence each
}

func (p Plan) check() error {
	if p.Name == "" || p.Version <= 0 || len(p.Steps) == 0 {
		return bosman.Internal("plan %q version %d has no name, version or steps", p.Name, p.Version)
	}
	seen := map[string]bool{}
	commits := 0
	for _, s := range p.Steps {
		if s.Name == "" || s.Do == nil || seen[s.Name] {
			return bosman.Internal("plan %s: step %q is unnamed, empty or there twice", p.Name, s.Name)
		}
		seen[s.Name] = true
		if s.Commit {
			commits++
			if s.Undo != nil {
				return bosman.Internal("plan %s: commit step %s has an undo", p.Name, s.Name)
			}
		}
	}
	if commits > 1 {
		return bosman.Internal("plan %s has %d commit steps", p.Name, commits)
	}
	return nil
}

func (p Plan) names() []string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	return names
}

func (p Plan) step(name string) (Step, bool) {
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Name == name })
	if i < 0 {
		return Step{}, false
	}
	return p.Steps[i], true
}

// wireError is a *bosman.Error as the journal keeps it.
type wireError struct {
	Kind    bosman.ErrorKind `json:"kind"`
	Message string           `json:"message"`
	Kept    string           `json:"kept,omitempty"`
	Next    string           `json:"next,omitempty"`
	Cause   string           `json:"cause,omitempty"`
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	e := bosman.AsError(err)
	w := &wireError{Kind: e.Kind, Message: e.Message, Kept: e.Kept, Next: e.Next}
	if e.Cause != nil {
		w.Cause = e.Cause.Error()
	}
	return w
}

func (w *wireError) error() *bosman.Error {
	if w == nil {
		return nil
	}
	e := &bosman.Error{Kind: w.Kind, Message: w.Message, Kept: w.Kept, Next: w.Next}
	if w.Cause != "" {
		e.Cause = errors.New(w.Cause)
	}
	return e
}

// wireResult is a Result as the journal keeps it.
type wireResult struct {
	Outcome   Outcome    `json:"outcome"`
	Committed bool       `json:"committed,omitempty"`
	Step      string     `json:"step,omitempty"`
	Err       *wireError `json:"error,omitempty"`
	TakenOver string     `json:"taken_over,omitempty"`
	Cancelled bool       `json:"cancelled,omitempty"`
	NotUndone []string   `json:"not_undone,omitempty"`
}

func (w wireResult) result() Result {
	return Result{
		Outcome: w.Outcome, Committed: w.Committed, Step: w.Step, Err: w.Err.error(),
		TakenOver: w.TakenOver, Cancelled: w.Cancelled, NotUndone: w.NotUndone,
	}
}

// runInput is what a run began with; it never changes.
type runInput struct {
	Plan    string          `json:"plan"`
	Version int             `json:"version"`
	Steps   []string        `json:"steps"`
	Input   json.RawMessage `json:"input"`
}

// stepRecord is what the journal keeps of a step.
type stepRecord struct {
	State   bosman.StepState `json:"state"` // done, failed; skipped when stopped
	Note    string           `json:"note,omitempty"`
	Err     *wireError       `json:"error,omitempty"`
	Stop    *stopMessage     `json:"stop,omitempty"`
	Started int64            `json:"started"` // Unix ms
	Ended   int64            `json:"ended"`
}

func (r stepRecord) event(name string, committed bool) StepEvent {
	return StepEvent{
		Step: name, State: r.State, Note: r.Note, Err: r.Err.error(), Committed: committed,
		StartedAt: time.UnixMilli(r.Started), EndedAt: time.UnixMilli(r.Ended),
	}
}

// stopMessage asks a run to stop at the next safe point.
type stopMessage struct {
	By   string `json:"by,omitempty"` // the run that takes over; "" for a cancellation
	Undo bool   `json:"undo"`
	Why  string `json:"why,omitempty"`
}
