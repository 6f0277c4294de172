package deploy

import (
	"context"
	"errors"

	"github.com/bosman-cd/bosman"
)

var errEnded = errors.New("the row is final")

// wait waits until the rules let a deployment begin.
func (j *job) wait(ctx context.Context) error {
	for {
		why, err := j.judge(ctx)
		if err != nil || why == "" {
			return err
		}
		if err := j.waits(ctx, why); err != nil {
			return err
		}
		if err := j.look(ctx); err != nil {
			return err
		}
	}
}

// judge asks the gate; an operation whose row became final meanwhile, because
// a newer one superseded it, is over.
func (j *job) judge(ctx context.Context) (why string, err error) {
	op, err := j.Records.Operation(ctx, j.op.App, j.op.Number)
	if err != nil {
		return "", err
	}
	if op.State.Final() {
		return "", bosman.Conflict("%s is %s", opRef(op.Number), op.State).Because(errEnded)
	}
	if op.Plan != bosman.PlanDeploy {
		return "", nil
	}
	return j.Gate.Judge(ctx, op)
}

// waits shows what the operation waits for.
func (j *job) waits(ctx context.Context, why string) error {
	j.run.Note(ctx, "%s", why)
	return j.change(ctx, func(o *bosman.Operation) bool {
		changed := o.Waits != why
		o.Waits = why
		return changed
	})
}

// admit takes the instance, waiting while another operation has it, and
// judges everything again.
func (j *job) admit(ctx context.Context) error {
	for {
		why, err := j.take(ctx)
		if err != nil {
			return err
		}
		if why == "" {
			return nil
		}
		if err := j.waits(ctx, why); err != nil {
			return err
		}
		if err := j.look(ctx); err != nil {
			return err
		}
	}
}

func (j *job) take(ctx context.Context) (why string, err error) {
	fence, err := j.Records.Take(ctx, j.op.App, j.op.Number, j.begin)
	if bosman.KindOf(err) == bosman.KindBusy {
		return bosman.AsError(err).Message, nil
	}
	if err != nil {
		return "", err
	}
	if err := j.run.Set(ctx, keyFence, fence); err != nil {
		return "", err
	}
	if why, err = j.judge(ctx); err != nil {
		return "", err // the end gives the instance back
	}
	if why != "" { // the window has closed while it waited for the instance
		return why, j.Records.GiveBack(ctx, j.op.App, j.op.Number, func(o *bosman.Operation) bool {
			o.State, o.Waits = bosman.OpQueued, why
			return true
		})
	}
	r, err := j.runnable(ctx)
	if err == nil && r.Number != 0 {
		j.run.Note(ctx, "%s of commit %s, asked for by %s", ref(r.Number), bosman.Short(r.Commit), j.op.By)
	}
	return "", err
}

// begin marks the row of an operation that owns its instance.
func (j *job) begin(o *bosman.Operation, i bosman.Instance) error {
	if o.State.Final() {
		return bosman.Conflict("%s is %s", opRef(o.Number), o.State).Because(errEnded)
	}
	o.State, o.Waits = bosman.OpRunning, ""
	if o.StartedAt.IsZero() {
		o.StartedAt = j.Now().UTC()
	}
	if o.Plan != bosman.PlanRevert {
		o.From = i.Release
	}
	return nil
}

// runnable gives the operation's release, and refuses one that is not there
// or must not run.
func (j *job) runnable(ctx context.Context) (bosman.Release, error) {
	if j.op.Release == 0 {
		return bosman.Release{}, nil
	}
	r, err := j.Records.Release(ctx, j.op.App, j.op.Release)
	if err == nil && r.Trust == bosman.TrustStranger {
		err = bosman.Forbidden("%s was made from the code of strangers, which gets no instance", ref(r.Number))
	}
	return r, err
}
