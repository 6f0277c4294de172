package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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
		by := 0
		if verdict, by, err = j.watched(ctx, w); err != nil {
			return err
		}
		if by != 0 {
			j.run.Note(ctx, "well so far; the watch ended early after %s: %s followed", short(j.Now().Sub(w.Since)), opRef(by))
			return nil
		}
	}
	if verdict.Well {
		j.run.Note(ctx, "well after %s: %s", short(w.Until.Sub(w.Since)), verdict.Reason)
		return nil
	}
	return j.unwell(ctx, policy, verdict)
}

// topicFollowed is the message that another deployment waits for a watch; it
// holds that one's number.
const topicFollowed = "followed"

// errFollowed ends a watch that is well so far.
var errFollowed = errors.New("another deployment followed")

// watched watches until the verdict, or until a person's deployment follows;
// by is the number of that one.
func (j *job) watched(ctx context.Context, w Watching) (v bosman.WatchVerdict, by int, err error) {
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var asked error
	wg.Go(func() {
		raw, err := j.run.WaitFor(wctx, topicFollowed, time.Time{})
		if err == nil {
			err = json.Unmarshal(raw, &by)
		}
		if err == nil {
			err = errFollowed
		}
		if wctx.Err() == nil {
			asked = err
			cancel(err)
		}
	})
	v, err = j.Watcher.Watch(wctx, w)
	cancel(nil)
	wg.Wait()
	switch {
	case err == nil: // a verdict that came at the same moment counts
		return v, 0, nil
	case ctx.Err() != nil || asked == nil:
		return v, 0, err
	case errors.Is(asked, errFollowed):
		return v, by, nil
	}
	return v, 0, asked
}

// unwell decides how to go back and asks for it, then waits to be taken over
// by the revert. Where a person must decide, it says so loudly.
func (j *job) unwell(ctx context.Context, policy *bosman.Policy, v bosman.WatchVerdict) error {
	for told := false; ; {
		how, why, err := j.wayOut(ctx)
		if err != nil {
			return err
		}
		if !policy.Watch.Revert || !how.ByItself(j.op.WayBack) {
			return j.leaveToPeople(ctx, policy, v, how, why)
		}
		if !told {
			told = true
			bad := bosman.Failed("%s does badly: %s", ref(j.op.Release), v.Reason)
			if err := j.change(ctx, func(o *bosman.Operation) bool { o.Error = bad; return true }); err != nil {
				return err
			}
			if err := j.run.Set(ctx, keyVerdict, v); err != nil {
				return err
			}
			j.run.Note(ctx, "does badly: %s; going back (%s)", v.Reason, why)
		}
		_, err = j.Gate.RevertByItself(ctx, j.op, how == bosman.RevertRestore, v.Reason)
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

// wayOut decides how a release that does badly is taken back.
func (j *job) wayOut(ctx context.Context) (bosman.RevertPolicy, string, error) {
	var drops bool // noted by a Bosman before 2
	if _, err := j.run.Get(ctx, keyDrops, &drops); err != nil {
		return "", "", err
	}
	way := j.op.WayBack
	if way == nil && drops {
		way = &bosman.WayBack{Schema: "changed", Destructive: true}
	}
	var w bosman.Written
	if way.NotAdditive() {
		var err error
		if w, err = j.Databases.Written(ctx, j.i, j.op.Number); err != nil {
			j.Log.Warn("what was written since is not known", "app", j.op.App, "instance", j.op.Instance, "error", err)
		}
	}
	how, why := bosman.RevertPolicyOf(way, w)
	if how == bosman.RevertRestore && j.i.Database.Adopted() {
		how, why = bosman.RevertAsk, way.AdoptedWhy(w)
	}
	if how == bosman.RevertRestore && j.op.Backup == 0 {
		how, why = bosman.RevertAsk, why+"; but there is no backup"
	}
	return how, why, nil
}

// leaveToPeople says what to do about a release that does badly and is not
// taken back by itself.
func (j *job) leaveToPeople(ctx context.Context, policy *bosman.Policy, v bosman.WatchVerdict, how bosman.RevertPolicy, why string) error {
	bad := bosman.Failed("%s does badly: %s", ref(j.op.Release), v.Reason).
		WithKept(fmt.Sprintf("%s still serves %s", j.op.Instance, ref(j.op.Release))).WithNext("bosman revert " + j.op.Instance)
	note := "it is not reverted because bosman.yaml does not ask for it"
	if policy.Watch.Revert {
		note = "it is not taken back by itself, a person must decide: " + why
		bad.Message += "; " + note
		switch {
		case how != bosman.RevertAsk || j.op.Backup == 0:
		case j.i.Database.Adopted():
			bad.Next += " --explain says how its data goes back by hand; or fix it forward: push and deploy"
		default:
			bad.Next += fmt.Sprintf(" --database restore for the data of %s, or fix it forward: push and deploy", bosman.Ref(bosman.LetterBackup, j.op.Backup))
		}
	}
	if err := j.change(ctx, func(o *bosman.Operation) bool { o.Error = bad; return true }); err != nil {
		return err
	}
	j.run.Note(ctx, "does badly: %s; %s", v.Reason, note)
	return nil
}
