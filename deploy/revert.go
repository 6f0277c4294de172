package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// takeOver makes the revert the owner of the instance and stops what runs
// there. It asks nobody: a revert needs only the right to revert.
func (j *job) takeOver(ctx context.Context) error {
	fence, err := j.Records.TakeOver(ctx, j.op.App, j.op.Number, j.begin)
	if err != nil {
		return err
	}
	if err := j.run.Set(ctx, keyFence, fence); err != nil {
		return err
	}
	ops, err := j.Records.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, o := range ops {
		if o.App != j.op.App || o.Instance != j.op.Instance || o.Number == j.op.Number || o.State == bosman.OpQueued {
			continue
		}
		if err := j.displace(ctx, o); err != nil {
			return err
		}
	}
	i, err := j.Records.Instance(ctx, j.op.App, j.op.Instance) // as the displaced one left it
	if err != nil {
		return err
	}
	if i.Release != j.op.Release {
		if err := j.run.Set(ctx, keyBad, i.Release); err != nil {
			return err
		}
	}
	_, err = j.runnable(ctx)
	return err
}

// displace stops an operation and waits until it has.
func (j *job) displace(ctx context.Context, o bosman.Operation) error {
	if err := j.TakenOver(ctx, o, j.op); err != nil {
		return err
	}
	j.run.Note(ctx, "%s is stopped", opRef(o.Number))
	wctx, cancel := context.WithTimeout(ctx, j.Patience)
	defer cancel()
	_, err := j.Engine.Wait(wctx, RunID(o.App, o.Number))
	switch {
	case err == nil || bosman.KindOf(err) == bosman.KindNotFound:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		// It holds on to a command that does not end. The route and the rows
		// refuse it from now on, so the revert goes its way.
		j.run.Note(ctx, "%s did not stop in %s; going on without it", opRef(o.Number), short(j.Patience))
		return nil
	}
	return err
}

// markReverted marks the release that was taken away and the deployment that
// brought it.
func (j *job) markReverted(ctx context.Context) error {
	var bad int
	if found, err := j.run.Get(ctx, keyBad, &bad); err != nil {
		return err
	} else if found && bad != 0 && bad != j.op.Release {
		why := "reverted by " + opRef(j.op.Number)
		if j.op.Why != "" {
			why += ": " + j.op.Why
		}
		if err := j.Records.MarkBad(ctx, j.op.App, bad, why); err != nil {
			return err
		}
	}
	if j.op.Reverts == 0 {
		return nil
	}
	return j.Records.Change(ctx, j.op.App, j.op.Reverts, bosman.EventOperationEnded, func(o *bosman.Operation) bool {
		changed := o.State == bosman.OpDone
		if changed {
			o.State = bosman.OpReverted
			o.Error = bosman.Conflict("%s took it back", opRef(j.op.Number)).WithKept(j.op.Instance + " serves " + ref(j.op.Release))
			if j.op.Why != "" {
				o.Error.Message += ": " + j.op.Why
			}
		}
		return changed
	})
}

// watch looks how the new release fares. One that does badly is reverted: the
// revert then takes over from this very step.
func (j *job) watch(ctx context.Context) error {
	policy, err := j.Gate.Policy(ctx, j.op.App, j.i.Kind)
	if err != nil {
		return err
	}
	if policy.Watch.For <= 0 {
		j.run.Note(ctx, "%s is not watched", j.op.Instance)
		return nil
	}
	w := Watching{Operation: j.op, Instance: j.i, ID: j.i.ProcessID, Since: j.Now().UTC()}
	if _, err := j.run.Get(ctx, keySwitched, &w.Since); err != nil {
		return err
	}
	w.Until = w.Since.Add(policy.Watch.For)
	if known, err := j.run.Get(ctx, keyUntil, &w.Until); err != nil {
		return err
	} else if !known {
		if err := j.run.Set(ctx, keyUntil, w.Until); err != nil {
			return err
		}
	}
	err = j.change(ctx, func(o *bosman.Operation) bool {
		changed := o.State == bosman.OpRunning
		if changed {
			o.State = bosman.OpWatching
		}
		return changed
	})
	if err != nil {
		return err
	}
	var verdict bosman.WatchVerdict
	asked, err := j.run.Get(ctx, keyVerdict, &verdict) // it did badly before a restart
	if err != nil {
		return err
	}
	if !asked {
		j.run.Note(ctx, "watched until %s", w.Until.UTC().Format("15:04:05 UTC"))
		if verdict, err = j.Watcher.Watch(ctx, w); err != nil {
			return err
		}
	}
	if verdict.Well {
		j.run.Note(ctx, "well after %s: %s", short(w.Until.Sub(w.Since)), verdict.Reason)
		return nil
	}
	return j.unwell(ctx, policy, verdict)
}

// unwell asks for the revert and waits to be taken over by it.
func (j *job) unwell(ctx context.Context, policy *bosman.Policy, v bosman.WatchVerdict) error {
	bad := bosman.Failed("%s does badly: %s", ref(j.op.Release), v.Reason)
	var drops bool
	if _, err := j.run.Get(ctx, keyDrops, &drops); err != nil {
		return err
	}
	byItself := policy.Watch.Revert && !drops
	if !byItself {
		bad.Kept = fmt.Sprintf("%s still serves %s", j.op.Instance, ref(j.op.Release))
		bad.Next = "bosman revert " + j.op.Instance
	}
	if drops && j.op.Backup != 0 {
		bad.Next += fmt.Sprintf(", with --database restore for the data of %s", bosman.Ref(bosman.LetterBackup, j.op.Backup))
	}
	if err := j.change(ctx, func(o *bosman.Operation) bool { o.Error = bad; return true }); err != nil {
		return err
	}
	switch {
	case drops:
		j.run.Note(ctx, "does badly: %s; %s may not work on the migrated schema, so a person must decide", v.Reason, ref(j.op.From))
		return nil
	case !byItself:
		j.run.Note(ctx, "does badly: %s; it is not reverted because bosman.yaml does not ask for it", v.Reason)
		return nil
	}
	if err := j.run.Set(ctx, keyVerdict, v); err != nil {
		return err
	}
	j.run.Note(ctx, "does badly: %s; going back", v.Reason)
	for {
		_, err := j.Gate.RevertByItself(ctx, j.op, v.Reason)
		switch {
		case err == nil || bosman.KindOf(err) == bosman.KindBusy:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return err // nowhere to go back to: said loudly, it goes on serving
		}
		// The revert takes over within moments. Should it fail before, it is
		// asked for again.
		if err := pause(ctx, 10*time.Second); err != nil {
			return err
		}
	}
}
