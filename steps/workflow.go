package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// How often a step is tried after the commit point, an undo, and how long the
// pauses between are.
const (
	forwardAttempts = 6
	undoAttempts    = 5
	firstPause      = 200 * time.Millisecond
	longestPause    = 10 * time.Second
)

// carryOut is the one workflow the engine knows. It must be deterministic:
// what it decides on comes from the records of its steps.
//
//	step ─► step ─► … ─► commit ─► step ─► … ─► done
//	  │failed, stopped                │failed for good: noted, and on
//	  └─► undo in reverse ─► undone   └─► … ─► failed-forward
func (e *Engine) carryOut(ctx dbos.Context, in runInput) (wireResult, error) {
	id, err := dbos.GetWorkflowID(ctx)
	if err != nil {
		return wireResult{}, err
	}
	r := &Run{id: id, input: in, engine: e}
	e.mu.Lock()
	e.entry(id)
	p, known := e.plans[in.Plan][in.Version]
	e.mu.Unlock()
	defer e.leave(id)
	if !known {
		return wireResult{}, e.halt(ctx, id, fmt.Errorf("plan %s version %d is not in this program", in.Plan, in.Version))
	}
	res, err := e.forward(ctx, r, p)
	if err != nil {
		return wireResult{}, err
	}
	if err := e.point(ctx, id, "steps."+p.Name+".end.before"); err != nil {
		return wireResult{}, err
	}
	if p.Listener != nil {
		if err := e.until(ctx, id, "end", func() error { return p.Listener.End(ctx, r, res.result()) }); err != nil {
			return wireResult{}, err
		}
	}
	return res, e.point(ctx, id, "steps."+p.Name+".end.after")
}

// leave marks that a run is no longer carried out here.
func (e *Engine) leave(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.active[id]; a != nil {
		close(a.ended)
		delete(e.active, id)
	}
}

func (e *Engine) forward(ctx dbos.Context, r *Run, p Plan) (wireResult, error) {
	res := wireResult{Outcome: Done}
	var touched []Step // done or begun, in order
	for _, name := range r.input.Steps {
		s, known := p.step(name)
		if !known {
			return res, e.halt(ctx, r.id, fmt.Errorf("plan %s version %d has no step %s any more", p.Name, p.Version, name))
		}
		rec, err := e.step(ctx, r, p, s, res.Committed)
		if err != nil {
			return res, err
		}
		touched = append(touched, s)
		switch {
		case rec.State == bosman.StepDone:
			res.Committed = res.Committed || s.Commit
		case rec.State == bosman.StepFailed && res.Committed:
			if res.Err == nil {
				res.Outcome, res.Step, res.Err = FailedForward, name, rec.Err
			}
			e.log.Error("a step after the commit point failed for good", "run", r.id, "step", name, "error", rec.Err.error())
		default:
			res.Step, res.Err = name, rec.Err
			undo := true
			if rec.Stop != nil {
				undo = rec.Stop.Undo && !res.Committed
				res.TakenOver, res.Cancelled = rec.Stop.By, rec.Stop.By == ""
			}
			if !undo {
				res.Outcome = Stopped
				return res, nil
			}
			res.Outcome = Undone
			return e.backward(ctx, r, p, touched, res)
		}
	}
	return res, nil
}

func (e *Engine) backward(ctx dbos.Context, r *Run, p Plan, touched []Step, res wireResult) (wireResult, error) {
	for i := len(touched) - 1; i >= 0; i-- {
		s := touched[i]
		if s.Undo == nil {
			continue
		}
		rec, err := e.undo(ctx, r, p, s)
		if err != nil {
			return res, err
		}
		if rec.State == bosman.StepFailed {
			res.NotUndone = append(res.NotUndone, s.Name+": "+rec.Err.Message)
			e.log.Error("a step could not be undone", "run", r.id, "step", s.Name, "error", rec.Err.error())
		}
	}
	return res, nil
}

// step carries out one step, or reads from the journal that it was.
func (e *Engine) step(ctx dbos.Context, r *Run, p Plan, s Step, committed bool) (stepRecord, error) {
	live := false
	rec, err := dbos.RunAsStep(ctx, func(sctx context.Context) (stepRecord, error) {
		live = true
		return e.do(sctx, r, p, s, committed)
	}, dbos.WithStepName(s.Name))
	return e.journaled(ctx, r, p, s, rec, err, live, committed || (s.Commit && rec.State == bosman.StepDone), "")
}

// undo carries out the undo of one step, or reads from the journal that it was.
func (e *Engine) undo(ctx dbos.Context, r *Run, p Plan, s Step) (stepRecord, error) {
	live := false
	rec, err := dbos.RunAsStep(ctx, func(sctx context.Context) (stepRecord, error) {
		live = true
		return e.doUndo(sctx, r, p, s)
	}, dbos.WithStepName("undo "+s.Name))
	return e.journaled(ctx, r, p, s, rec, err, live, false, "undo.")
}

// journaled goes on after a step's record was written or read.
func (e *Engine) journaled(ctx dbos.Context, r *Run, p Plan, s Step, rec stepRecord, err error, live, committed bool, kind string) (stepRecord, error) {
	if err != nil {
		if errors.Is(err, dbos.ErrConflictingWorkflowID) {
			return rec, err // another execution owns the run; the engine waits for it
		}
		return rec, e.halt(ctx, r.id, err)
	}
	if live {
		if err := e.point(ctx, r.id, "steps."+p.Name+"."+s.Name+"."+kind+"journaled"); err != nil {
			return rec, err
		}
	}
	return rec, e.told(ctx, r, p, rec.event(s.Name, committed))
}

// do is the body of a step. It returns an error only when the run's context
// has ended, in which case nothing is journaled.
func (e *Engine) do(ctx context.Context, r *Run, p Plan, s Step, committed bool) (stepRecord, error) {
	rec := stepRecord{State: bosman.StepDone, Started: time.Now().UnixMilli()}
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer e.enter(r.id, cancel, !s.Commit, !s.Commit && !committed)()
	attempts := 1
	if committed {
		attempts = s.Attempts
		if attempts <= 0 {
			attempts = forwardAttempts
		}
	}
	running := StepEvent{Step: s.Name, State: bosman.StepRunning, Committed: committed, StartedAt: time.UnixMilli(rec.Started)}
	for n := 1; ; n++ {
		stop, err := e.stop(ctx, r.id, committed)
		if err != nil {
			return rec, e.halt(ctx, r.id, err)
		}
		if stop != nil {
			return rec.stopped(stop), nil
		}
		if err := e.told(ctx, r, p, running); err != nil {
			return rec, err
		}
		err = e.attempt(sctx, r, p, s, running)
		rec.Note, rec.Ended = r.lastNote(), time.Now().UnixMilli()
		if err == nil && ctx.Err() == nil {
			return rec, nil
		}
		var broken *engineError
		switch cause := context.Cause(sctx); {
		case ctx.Err() != nil:
			return rec, ctx.Err()
		case errors.As(err, &broken):
			return rec, e.halt(ctx, r.id, err)
		case errors.Is(cause, ErrShutdown):
			<-ctx.Done() // it follows at once
			return rec, ctx.Err()
		case cause != nil: // taken over or cancelled
			continue
		}
		if n >= attempts {
			rec.State, rec.Err = bosman.StepFailed, toWire(err)
			return rec, nil
		}
		e.log.Warn("a step failed and is tried again", "run", r.id, "step", s.Name, "attempt", n, "error", err)
		_ = pause(sctx, n) // why it ended is looked at by the next turn
		if ctx.Err() != nil {
			return rec, ctx.Err()
		}
	}
}

// attempt calls a step once, between its fault points.
func (e *Engine) attempt(ctx context.Context, r *Run, p Plan, s Step, running StepEvent) error {
	end := r.begin(func(ctx context.Context, note string) {
		ev := running
		ev.Note = note
		if err := guard(func() error { return p.Listener.Step(context.WithoutCancel(ctx), r, ev) }); err != nil {
			e.log.Warn("a note was not kept; it comes again at the end of the step", "run", r.id, "step", s.Name, "error", err)
		}
	})
	defer end()
	if p.Listener == nil {
		end()
	}
	name := "steps." + p.Name + "." + s.Name
	if err := faults.Point(name + ".before"); err != nil {
		return err
	}
	if err := guard(func() error { return s.Do(ctx, r) }); err != nil {
		return err
	}
	return faults.Point(name + ".after")
}

func (e *Engine) doUndo(ctx context.Context, r *Run, p Plan, s Step) (stepRecord, error) {
	rec := stepRecord{State: bosman.StepUndone, Started: time.Now().UnixMilli()}
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer e.enter(r.id, cancel, false, false)()
	name := "steps." + p.Name + "." + s.Name + ".undo"
	for n := 1; ; n++ {
		end := r.begin(nil)
		err := faults.Point(name + ".before")
		if err == nil {
			err = guard(func() error { return s.Undo(sctx, r) })
		}
		if err == nil {
			err = faults.Point(name + ".after")
		}
		end()
		rec.Note, rec.Ended = r.lastNote(), time.Now().UnixMilli()
		var broken *engineError
		switch {
		case ctx.Err() != nil:
			return rec, ctx.Err()
		case err == nil:
			return rec, nil
		case errors.As(err, &broken):
			return rec, e.halt(ctx, r.id, err)
		case errors.Is(context.Cause(sctx), ErrShutdown):
			<-ctx.Done()
			return rec, ctx.Err()
		case n >= undoAttempts:
			rec.State, rec.Err = bosman.StepFailed, toWire(err)
			return rec, nil
		}
		e.log.Warn("an undo failed and is tried again", "run", r.id, "step", s.Name, "attempt", n, "error", err)
		if pause(sctx, n) != nil {
			<-ctx.Done()
			return rec, ctx.Err()
		}
	}
}

func (rec stepRecord) stopped(m *stopMessage) stepRecord {
	rec.State, rec.Stop, rec.Ended = bosman.StepSkipped, m, time.Now().UnixMilli()
	if m.By != "" {
		rec.Err = toWire(bosman.Conflict("%s took over", m.By).Because(ErrTakenOver))
	} else {
		rec.Err = toWire(bosman.Conflict("it was cancelled: %s", m.Why).Because(ErrCancelled))
	}
	return rec
}

// enter lets messages end the context of the step that runs now.
func (e *Engine) enter(id string, cancel context.CancelCauseFunc, stoppable, undoable bool) (leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.entry(id)
	a.cancel, a.stoppable, a.undoable = cancel, stoppable, undoable
	if e.closing {
		cancel(ErrShutdown)
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		a.cancel = nil
	}
}

// stop reads whether the run was asked to stop.
func (e *Engine) stop(ctx context.Context, id string, committed bool) (*stopMessage, error) {
	topics := []string{topicTakeOver, topicCancel}
	if committed {
		topics = topics[:1]
	}
	for _, t := range topics {
		raw, err := e.journal.message(context.WithoutCancel(ctx), id, t)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			m := &stopMessage{}
			return m, json.Unmarshal(raw, m)
		}
	}
	return nil, nil
}

func (e *Engine) told(ctx context.Context, r *Run, p Plan, ev StepEvent) error {
	if p.Listener == nil {
		return nil
	}
	return e.until(ctx, r.id, ev.Step, func() error { return p.Listener.Step(context.WithoutCancel(ctx), r, ev) })
}

// until calls f until it succeeds; only the end of ctx is an error.
func (e *Engine) until(ctx context.Context, id, what string, f func() error) error {
	for n := 1; ; n++ {
		err := guard(f)
		if err == nil {
			return nil
		}
		e.log.Error("what a run did could not be written down; trying again", "run", id, "step", what, "attempt", n, "error", err)
		if err := pause(ctx, n); err != nil {
			return ctx.Err()
		}
	}
}

// point is a fault point between steps: an injected failure is one of the
// journal.
func (e *Engine) point(ctx context.Context, id, name string) error {
	if err := faults.Point(name); err != nil {
		return e.halt(ctx, id, err)
	}
	return nil
}

// pause waits before attempt n+1; an error means that ctx ended.
func pause(ctx context.Context, n int) error {
	d := min(firstPause<<min(n-1, 10), longestPause)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// guard turns a panic into an error: a defect in one step must not end the
// process that looks after all instances.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = bosman.Internal("a step met a defect of Bosman").Because(fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	return f()
}

// quiet lets only warnings and errors of the engine underneath through.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.Handler.WithGroup(n)} }
