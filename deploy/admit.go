package deploy

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
)

// wait waits until the rules let a deployment begin.
func (j *job) wait(ctx context.Context) error { return j.until(ctx, j.judge) }

// admit takes the instance, waiting while another operation has it, and
// judges everything again.
func (j *job) admit(ctx context.Context) error { return j.until(ctx, j.take) }

// until asks again and again until there is nothing to wait for.
func (j *job) until(ctx context.Context, ask func(context.Context) (Wait, error)) error {
	for {
		w, err := ask(ctx)
		if err != nil || w.For == "" {
			return err
		}
		j.run.Note(ctx, "%s", w.For)
		err = j.change(ctx, func(o *bosman.Operation) bool {
			changed := o.Waits != w.For
			o.Waits = w.For
			return changed
		})
		if err != nil {
			return err
		}
		if err := j.look(ctx, w.Until); err != nil {
			return err
		}
	}
}

// judge asks the gate; an operation whose row became final meanwhile, because
// a newer one superseded it, is over.
func (j *job) judge(ctx context.Context) (Wait, error) {
	op, err := j.Records.Operation(ctx, j.op.App, j.op.Number)
	if err != nil {
		return Wait{}, err
	}
	if op.State.Final() {
		return Wait{}, bosman.Conflict("%s is %s", opRef(op.Number), op.State)
	}
	if op.Plan != bosman.PlanDeploy {
		return Wait{}, nil
	}
	return j.Gate.Judge(ctx, op)
}

func (j *job) take(ctx context.Context) (Wait, error) {
	fence, err := j.Records.Take(ctx, j.op.App, j.op.Number, j.begin)
	if bosman.KindOf(err) == bosman.KindBusy {
		return Wait{For: bosman.AsError(err).Message}, j.follow(ctx)
	}
	if err != nil {
		return Wait{}, err
	}
	if err := j.run.Set(ctx, keyFence, fence); err != nil {
		return Wait{}, err
	}
	w, err := j.judge(ctx)
	if err != nil {
		return Wait{}, err // the end gives the instance back
	}
	if w.For != "" { // the window has closed while it waited for the instance
		return w, j.Records.GiveBack(ctx, j.op.App, j.op.Number, func(o *bosman.Operation) bool {
			o.State, o.Waits = bosman.OpQueued, w.For
			return true
		})
	}
	r, err := j.runnable(ctx)
	if err != nil || r.Number == 0 {
		return Wait{}, err
	}
	note := fmt.Sprintf("%s of commit %s, asked for by %s", ref(r.Number), bosman.Short(r.Commit), j.op.By)
	if j.op.Plan == bosman.PlanDeploy {
		f, err := j.Gate.Forecast(ctx, j.op)
		if err != nil {
			return Wait{}, err
		}
		if err := j.run.Set(ctx, keyForecast, f); err != nil {
			return Wait{}, err
		}
		note = join(note, f.Text)
	}
	j.run.Note(ctx, "%s", note)
	return Wait{}, nil
}

// follow asks a deployment that is only watched any more to settle, because a
// person's deployment follows it. One that does badly does not heed.
func (j *job) follow(ctx context.Context) error {
	if j.op.Plan != bosman.PlanDeploy || j.op.Auto {
		return nil
	}
	ops, err := j.Records.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, o := range ops {
		if o.App == j.op.App && o.Instance == j.op.Instance && o.Number != j.op.Number && o.Plan == bosman.PlanDeploy && o.State == bosman.OpWatching {
			if err := j.Engine.Signal(ctx, RunID(o.App, o.Number), topicFollowed, j.op.Number); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin marks the row of an operation that owns its instance.
func (j *job) begin(o *bosman.Operation, i bosman.Instance) error {
	if o.State.Final() {
		return bosman.Conflict("%s is %s", opRef(o.Number), o.State)
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
