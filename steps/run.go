package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
)

// Run is what a step sees of its run. Its methods may be used by several
// goroutines of a step.
type Run struct {
	id     string
	input  runInput
	engine *Engine

	mu    sync.Mutex
	note  string
	event func(ctx context.Context, note string) // tells of a note; nil outside a step
}

// ID is the name under which the run was started.
func (r *Run) ID() string { return r.id }

// Plan names the plan.
func (r *Run) Plan() string { return r.input.Plan }

// Input decodes what the run was started with into v.
func (r *Run) Input(v any) error {
	if err := json.Unmarshal(r.input.Input, v); err != nil {
		return bosman.Internal("the input of run %s is not understood", r.id).Because(err)
	}
	return nil
}

// Set remembers a small value for later steps, for the same step after a
// crash, and for the undo. It is on the disk when Set returns. Ids only, never
// a secret. On an error the step returns it as it is.
func (r *Run) Set(ctx context.Context, name string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return bosman.Internal("value %s of run %s cannot be kept", name, r.id).Because(err)
	}
	if err := r.engine.journal.set(context.WithoutCancel(ctx), r.id, name, b); err != nil {
		return &engineError{fmt.Errorf("keep value %s of run %s: %w", name, r.id, err)}
	}
	return nil
}

// Get decodes a value set before into v and says whether there was one.
func (r *Run) Get(ctx context.Context, name string, v any) (bool, error) {
	b, err := r.engine.journal.get(context.WithoutCancel(ctx), r.id, name)
	if err != nil {
		return false, &engineError{fmt.Errorf("read value %s of run %s: %w", name, r.id, err)}
	}
	if b == nil {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, bosman.Internal("value %s of run %s is not understood", name, r.id).Because(err)
	}
	return true, nil
}

// Note says in one sentence, with numbers, what the step does or did. The last
// one stays with the step.
func (r *Run) Note(ctx context.Context, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.note = text
	tell := r.event
	r.mu.Unlock()
	if tell != nil {
		tell(ctx, text)
	}
}

func (r *Run) lastNote() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.note
}

// begin clears the note and says how notes are told; end stops the telling.
func (r *Run) begin(tell func(context.Context, string)) (end func()) {
	r.mu.Lock()
	r.note, r.event = "", tell
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		r.event = nil
		r.mu.Unlock()
	}
}

// SleepUntil waits until the moment t. It is durable because t is absolute: a
// step that starts again after a crash waits for the rest only. It returns
// early with the cause when the context is cancelled.
func (r *Run) SleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitFor waits for the first message on topic (see Engine.Signal), until
// deadline; a zero deadline waits for ever. A message sent before the wait or
// while Bosman was down counts. It returns ErrDeadline when none came in time.
func (r *Run) WaitFor(ctx context.Context, topic string, deadline time.Time) (json.RawMessage, error) {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	for {
		wake := r.engine.wakeUp(r.id)
		m, err := r.engine.journal.message(context.WithoutCancel(ctx), r.id, topicPrefix+topic)
		if err != nil {
			return nil, &engineError{fmt.Errorf("read message %s of run %s: %w", topic, r.id, err)}
		}
		if m != nil {
			return m, nil
		}
		select {
		case <-wake:
		case <-expired:
			return nil, ErrDeadline
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// engineError marks an error of the journal: never a step's failure.
type engineError struct{ err error }

func (e *engineError) Error() string { return e.err.Error() }
func (e *engineError) Unwrap() error { return e.err }
