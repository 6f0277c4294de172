package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// start brings up the new processes beside the old.
func (j *job) start(ctx context.Context) error {
	l, err := j.launch(ctx)
	if err != nil {
		return err
	}
	if j.op.Plan == bosman.PlanRevert && j.op.Backup == 0 {
		if l.ID, err = j.warm(ctx, l.ID); err != nil {
			return err
		}
	}
	if err := j.run.Set(ctx, keyProcess, l.ID); err != nil {
		return err
	}
	begun := j.Now()
	if j.i.Release == 0 {
		if err := j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.State = bosman.InstanceStarting }); err != nil {
			return err
		}
	}
	if err := j.Instances.Start(ctx, l); err != nil {
		return err
	}
	if l.ID != SetID(j.op.App, j.op.Instance, j.op.Number) {
		j.run.Note(ctx, "the processes of %s still run", ref(l.Release))
		return nil
	}
	j.run.Note(ctx, "the processes of %s started in %s", ref(l.Release), short(j.Now().Sub(begun)))
	return nil
}

// warm finds processes of the release that still run, else gives fresh.
func (j *job) warm(ctx context.Context, fresh string) (string, error) {
	ids, err := j.Instances.Running(ctx, j.i)
	if err != nil {
		return "", err
	}
	found := fresh
	for _, id := range ids {
		n, work, ok := ParseSetID(j.i, id)
		if !ok || work {
			continue
		}
		o, err := j.Records.Operation(ctx, j.op.App, n)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			return "", err
		}
		if o.Release == j.op.Release && (found == fresh || id == j.i.ProcessID) {
			found = id
		}
	}
	return found, nil
}

// unstart stops what start brought up, never what is routed.
func (j *job) unstart(ctx context.Context) error {
	l, err := j.launch(ctx)
	if err != nil || l.ID == j.i.ProcessID || l.ID != SetID(j.op.App, j.op.Instance, j.op.Number) {
		return err
	}
	if err := j.Instances.Stop(ctx, j.i, l.ID); err != nil {
		return err
	}
	j.run.Note(ctx, "the new processes are stopped")
	if j.i.Release != 0 {
		return nil
	}
	return j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.State = bosman.InstanceFailed })
}

// check asks the new processes for their health and makes the smoke requests.
func (j *job) check(ctx context.Context) error {
	l, err := j.launch(ctx)
	if err != nil {
		return err
	}
	c, err := j.Instances.Check(ctx, l)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		f := bosman.Failure{Health: c.Health}
		if c.Failure != nil {
			f = *c.Failure
		}
		if ferr := j.failed(ctx, f); ferr != nil {
			return ferr
		}
		return err
	}
	switch {
	case c.Health == "":
		j.run.Note(ctx, "the processes run; without health: in bosman.yaml nothing promises that no request is lost")
	case c.Requests > 0:
		j.run.Note(ctx, "health answers %s after %s; %d smoke requests answer as they should", c.Health, short(c.Took), c.Requests)
	default:
		j.run.Note(ctx, "health answers %s after %s", c.Health, short(c.Took))
	}
	return nil
}

// switchOver is the point of no return: requests go to the new processes. An
// error of it means that the route is as it was.
func (j *job) switchOver(ctx context.Context) error {
	l, err := j.launch(ctx)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		err := j.Routes.Switch(ctx, l)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return err
		}
		switch now, cerr := j.Routes.Current(ctx, j.i); {
		case cerr == nil && now.Fence == l.Fence && now.ID == l.ID:
			err = nil // it answered with an error, but it did it
		case cerr == nil && (n >= 3 || bosman.KindOf(err) == bosman.KindConflict || bosman.KindOf(err) == bosman.KindInvalid):
			return err
		default:
			// Nobody can say where requests go: neither going on nor undoing
			// is right before the edge answers.
			j.run.Note(ctx, "the edge does not answer; asking again")
			j.Log.Warn("the route is not known", "app", j.op.App, "instance", j.op.Instance, "deployment", j.op.Number, "error", err)
		}
		if err == nil {
			break
		}
		if perr := pause(ctx, min(time.Duration(n)*200*time.Millisecond, 5*time.Second)); perr != nil {
			return perr
		}
	}
	j.point(ctx, bosman.PointAfter)
	j.passOn(ctx)
	return j.switched(ctx, l)
}

// switched writes into the row what is routed. It does not return without
// success, because the route is already the new one; only a shutdown ends it,
// after which the step runs again.
func (j *job) switched(ctx context.Context, l Launch) error {
	var p Prepared
	fresh, err := j.run.Get(ctx, keyPrepared, &p)
	if err != nil {
		return err
	}
	if err := j.run.Set(ctx, keySwitched, j.Now().UTC()); err != nil {
		return err
	}
	before := 0
	if j.op.Plan == bosman.PlanRevert && j.i.Release != j.op.Release {
		if before, err = j.Records.Before(ctx, j.op.App, j.op.Instance, j.op.Release); err != nil {
			j.Log.Error("the release before is not known", "app", j.op.App, "instance", j.op.Instance, "error", err)
		}
	}
	edit := func(i *bosman.Instance) {
		if i.Release != j.op.Release {
			i.Previous = i.Release
			if j.op.Plan == bosman.PlanRevert {
				i.Previous = before
			}
			i.UpdatedAt, i.UpdatedBy = j.Now().UTC(), j.op.By
		}
		i.Release, i.ProcessID, i.Stopped, i.Asleep, i.State, i.Note = j.op.Release, l.ID, false, false, bosman.InstanceRunning, ""
		if j.op.Plan == bosman.PlanTry {
			i.Change, i.UpdatedAt, i.UpdatedBy = j.op.Change, j.Now().UTC(), j.op.By
			if fresh {
				i.Copy = p.Copy
			}
		}
	}
	for n := 1; ; n++ {
		err := j.Records.UpdateInstance(ctx, j.op, edit)
		if err == nil || bosman.KindOf(err) == bosman.KindConflict {
			break // or another operation owns the instance and writes the row
		}
		j.Log.Error("the switch is made but not written down; trying again", "app", j.op.App, "instance", j.op.Instance, "deployment", j.op.Number, "error", err)
		if perr := pause(ctx, min(time.Duration(n)*200*time.Millisecond, 5*time.Second)); perr != nil {
			return perr
		}
	}
	j.run.Note(ctx, "%s serves %s", j.op.Instance, ref(j.op.Release))
	return nil
}

// workers moves the worker and cron processes to the new release: the old ones
// are stopped first, so that no two releases work on one queue.
func (j *job) workers(ctx context.Context) error {
	l, err := j.launch(ctx)
	if err != nil {
		return err
	}
	l.ID, l.Part = WorkID(l.ID), PartWork
	ids, err := j.Instances.Running(ctx, j.i)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, work, ok := ParseSetID(j.i, id); ok && work && id != l.ID {
			if err := j.Instances.Stop(ctx, j.i, id); err != nil {
				return err
			}
		}
	}
	return j.Instances.Start(ctx, l)
}

// settle ends what is left of earlier releases; a revert from now on starts
// the release before anew.
func (j *job) settle(ctx context.Context) error {
	stopped, err := j.stopOthers(ctx, j.i.ProcessID)
	if err != nil {
		return err
	}
	switch j.op.Plan {
	case bosman.PlanRevert:
		if err := errors.Join(j.markReverted(ctx), j.restored(ctx)); err != nil {
			return err
		}
	case bosman.PlanDeploy: // the way back is its own from now on
		if err := j.Copies.Forget(ctx, j.i, func(n int) bool { return n != j.op.Number }); err != nil {
			return err
		}
	default:
	}
	if stopped > 0 {
		j.run.Note(ctx, "the processes of before are stopped (%d)", stopped)
	}
	return nil
}

// stopOthers drains and stops all process sets of the instance but keep and
// its workers.
func (j *job) stopOthers(ctx context.Context, keep string) (n int, err error) {
	ids, err := j.Instances.Running(ctx, j.i)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		_, work, ok := ParseSetID(j.i, id)
		if !ok || id == keep || id == WorkID(keep) {
			continue
		}
		if !work {
			if err := j.Routes.Drain(ctx, j.i, id); err != nil {
				j.Log.Warn("old processes could not be drained", "id", id, "error", err)
			}
		}
		if err := j.Instances.Stop(ctx, j.i, id); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// closeDown routes the instance to a page that says it is stopped.
func (j *job) closeDown(ctx context.Context) error {
	why := "stopped by " + j.op.By
	if j.op.Why != "" {
		why += ": " + j.op.Why
	}
	if j.i.Asleep = j.op.Auto; j.i.Asleep {
		why = "asleep: " + j.op.Why
	}
	if err := j.Routes.Close(ctx, j.i, j.fence, why); err != nil {
		return err
	}
	return j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) {
		i.Stopped, i.Asleep, i.State, i.Note = true, j.op.Auto, bosman.InstanceStopped, why
	})
}

func (j *job) stopAll(ctx context.Context) error {
	n, err := j.stopOthers(ctx, "")
	if err == nil {
		j.run.Note(ctx, "%d process sets stopped", n)
	}
	return err
}

// takeDown stops an instance whose data is about to change places.
func (j *job) takeDown(ctx context.Context) error {
	if j.i.Release == 0 || j.i.Stopped {
		return nil
	}
	why := "a fresh copy is put in place"
	if j.op.Plan == bosman.PlanRestore {
		why = "a backup is restored"
	}
	if err := j.Routes.Close(ctx, j.i, j.fence, why); err != nil {
		return err
	}
	_, err := j.stopOthers(ctx, "")
	return err
}

// putUp takes takeDown back.
func (j *job) putUp(ctx context.Context) error {
	if j.i.Release == 0 || j.i.Stopped {
		return nil
	}
	old := j.old()
	if err := j.Instances.Start(ctx, old); err != nil {
		return err
	}
	if err := j.Routes.Switch(ctx, old); err != nil {
		return err
	}
	old.ID, old.Part = WorkID(old.ID), PartWork
	if err := j.Instances.Start(ctx, old); err != nil {
		return err
	}
	j.run.Note(ctx, "%s runs %s again", j.op.Instance, ref(old.Release))
	return nil
}

// tag marks in git what live runs.
func (j *job) tag(ctx context.Context) error {
	if j.i.Kind != bosman.KindLive {
		j.run.Note(ctx, "only live is tagged")
		return nil
	}
	r, err := j.Records.Release(ctx, j.op.App, j.op.Release)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", j.op.Instance, j.op.Number)
	message := fmt.Sprintf("%s deployed to %s as %s by %s", ref(r.Number), j.op.Instance, opRef(j.op.Number), j.op.By)
	if err := j.Source.Tag(ctx, j.op.App, name, r.Commit, message); err != nil {
		return err
	}
	j.run.Note(ctx, "%s is tagged %s", bosman.Short(r.Commit), name)
	return nil
}

func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d%time.Minute < time.Second:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
