package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// holdLimit is how long requests are kept waiting for a migration that the
// code which serves may not survive. What takes longer lets them through, and
// then nobody can say any more that nothing was written.
const holdLimit = 8 * time.Second

// swapLimit ends a hold during which data changes places, should the operation
// die; each request waits for holdLimit at most.
const swapLimit = time.Minute

// way edits what a deployment leaves for its revert.
func (j *job) way(ctx context.Context, edit func(*bosman.WayBack)) error {
	return j.changeWay(ctx, j.op.Number, edit)
}

// changeWay edits it in the row of any operation of the app.
func (j *job) changeWay(ctx context.Context, n int, edit func(*bosman.WayBack)) error {
	err := j.Records.Change(ctx, j.op.App, n, bosman.EventOperationStep, func(o *bosman.Operation) bool {
		w := bosman.WayBack{}
		if o.WayBack != nil {
			w = *o.WayBack
		}
		edit(&w)
		o.WayBack = &w
		if n == j.op.Number {
			j.op.WayBack = &w
		}
		return true
	})
	return err
}

// mark counts what was written until now. That nobody can count only makes
// the way back ask a person.
func (j *job) mark(ctx context.Context, m Moment) error {
	if j.op.Plan != bosman.PlanDeploy || j.i.Release == 0 || j.i.Database.Engine == "" {
		return nil
	}
	err := j.Databases.Mark(ctx, j.i, j.op.Number, m)
	if err != nil && ctx.Err() == nil {
		j.Log.Warn("writes could not be counted", "app", j.op.App, "instance", j.op.Instance, "deployment", j.op.Number, "moment", m, "error", err)
		return nil
	}
	return err
}

// keep restores the backup on trial and keeps the result as the way back.
// Without room it is restored and dropped, as any other backup.
func (j *job) keep(ctx context.Context, b bosman.Backup) (bosman.Backup, string, error) {
	k, err := j.Copies.Keep(ctx, j.i, b, j.op.Number)
	if err != nil {
		return b, "", err
	}
	if err := j.way(ctx, func(w *bosman.WayBack) {
		w.Kept, w.KeptFiles, w.KeptBytes, w.KeptNote = k.Name, k.Files, k.Bytes, k.Note
	}); err != nil {
		return b, "", err
	}
	if k.Name == "" {
		b, err = j.Databases.Backup(ctx, j.i, b, true)
		return b, "; no copy is kept for a quick way back: " + k.Note, err
	}
	b.VerifiedAt = j.Now().UTC()
	return b, fmt.Sprintf("; the restored copy is kept for a quick way back (%s)", bytes(k.Bytes)), nil
}

// unkeep drops the kept copy of a deployment that came to nothing. One that
// left the schema changed keeps it: somebody may want the data back.
func (j *job) unkeep(ctx context.Context) error {
	if j.op.WayBack == nil || j.op.WayBack.NotAdditive() {
		return nil
	}
	if err := j.Copies.Forget(ctx, j.i, func(n int) bool { return n == j.op.Number }); err != nil {
		return err
	}
	return j.way(ctx, func(w *bosman.WayBack) { w.Kept, w.KeptFiles, w.KeptBytes = "", "", 0 })
}

// changed keeps what the release command did to the schema.
func (j *job) changed(ctx context.Context, c SchemaChange) error {
	if j.op.Plan != bosman.PlanDeploy || c.Text == "" && c.Harm == "" {
		return nil
	}
	return j.way(ctx, func(w *bosman.WayBack) {
		w.Schema, w.Destructive = join(c.Text, c.Harm), c.Destructive
	})
}

// judged adds to what became of the schema what else speaks against the code
// that serves now: the migrations' texts, the SQL of a rehearsal, and rows that
// went away while the release command ran. Of rows it is asked where the texts
// cannot be read, or nobody else can have deleted them.
func (j *job) judged(ctx context.Context, c SchemaChange) (SchemaChange, error) {
	if j.op.Plan != bosman.PlanDeploy || j.i.Release == 0 || j.i.Release == j.op.Release {
		return c, nil
	}
	a, err := j.Gate.Against(ctx, j.op.App, j.i.Release, j.op.Release)
	if err != nil {
		return c, err
	}
	if a.Why == "" && (!a.Known || j.op.WayBack != nil && j.op.WayBack.Held) {
		if a.Why, err = j.Databases.Removed(ctx, j.i, j.op.Number); err != nil {
			return c, err
		}
	}
	if a.Why != "" {
		c.Harm, c.Destructive = a.Why, true
	}
	return c, nil
}

// prove starts the release before anew on the schema as it is now, asks it for
// its health and makes its smoke requests. What it finds decides how a revert
// goes; it never fails the deployment.
func (j *job) prove(ctx context.Context) error {
	way := j.op.WayBack
	switch {
	case way == nil || way.Schema == "":
		j.run.Note(ctx, "the schema is as it was: there is nothing to prove")
		return nil
	case j.i.Release == 0 || j.i.Release == j.op.Release || j.i.Stopped:
		j.run.Note(ctx, "no other release runs that could be asked")
		return nil
	case way.Destructive:
		j.run.Note(ctx, "%s is not asked: what it needs was dropped or changed, so %s", ref(j.i.Release), j.dataGoesBack())
		return nil
	}
	l := j.old()
	l.ID = ProveID(SetID(j.op.App, j.op.Instance, j.op.Number))
	begun := j.Now()
	err := j.Instances.Start(ctx, l)
	var c Checked
	if err == nil {
		c, err = j.Instances.Check(ctx, l)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if serr := j.Instances.Stop(ctx, j.i, l.ID); serr != nil {
		return serr
	}
	proof, text := bosman.ProofGood, "its processes run"
	switch {
	case bosman.KindOf(err) == bosman.KindFailed:
		proof, text = bosman.ProofFailed, bosman.AsError(err).Message
	case err != nil:
		proof, text = bosman.ProofNone, "it could not be tried: "+bosman.AsError(err).Message
	case c.Health != "":
		text = fmt.Sprintf("health answers %s, %d smoke requests answer as they should", c.Health, c.Requests)
	}
	if err := j.way(ctx, func(w *bosman.WayBack) { w.Proof, w.ProofNote = proof, text }); err != nil {
		return err
	}
	switch proof {
	case bosman.ProofGood:
		j.run.Note(ctx, "%s works on the new schema, seen in %s: %s; a revert takes only the code back", ref(j.i.Release), short(j.Now().Sub(begun)), text)
	case bosman.ProofFailed:
		j.run.Note(ctx, "%s does not work on the new schema: %s; %s", ref(j.i.Release), text, j.dataGoesBack())
	case bosman.ProofNone:
		j.run.Note(ctx, "that %s works on the new schema is not proven: %s", ref(j.i.Release), text)
	}
	return nil
}

// unprove stops what a proof left running.
func (j *job) unprove(ctx context.Context) error {
	return j.Instances.Stop(ctx, j.i, ProveID(SetID(j.op.App, j.op.Instance, j.op.Number)))
}

// holding is a hold over a migration.
type holding struct {
	Until time.Time `json:"until"`
	Quiet bool      `json:"quiet"` // nothing was written between the backup and the hold
}

// quiet keeps everybody out before a migration of live that the code which
// serves may not survive: requests wait at the edge, workers stop. Only then
// can it be said that nothing was written meanwhile.
func (j *job) quiet(ctx context.Context) error {
	var f Forecast
	if _, err := j.run.Get(ctx, keyForecast, &f); err != nil {
		return err
	}
	if !f.NotAdditive || j.op.Plan != bosman.PlanDeploy || j.i.Kind != bosman.KindLive || j.i.Release == 0 || j.i.Stopped || j.op.WayBack == nil || j.op.WayBack.Kept == "" {
		return nil
	}
	var h holding
	if known, err := j.run.Get(ctx, keyHolding, &h); err != nil || known {
		return err
	}
	h.Until = j.Now().Add(holdLimit)
	if err := j.run.Set(ctx, keyHolding, h); err != nil { // before it is held: the undo lets go
		return err
	}
	if err := j.Routes.Hold(ctx, j.i, j.fence, h.Until); err != nil {
		return err
	}
	if err := j.Instances.Stop(ctx, j.i, WorkID(j.i.ProcessID)); err != nil {
		return err
	}
	w, err := j.Databases.Written(ctx, j.i, j.op.Number)
	if err != nil {
		return err
	}
	h.Quiet = w.Nothing()
	return j.run.Set(ctx, keyHolding, h)
}

// quietEnds notes after the release command whether everybody was kept out.
func (j *job) quietEnds(ctx context.Context) error {
	var h holding
	known, err := j.run.Get(ctx, keyHolding, &h)
	if err != nil || !known || !h.Quiet || !j.Now().Before(h.Until) {
		return err
	}
	m, err := j.Records.Manifest(ctx, j.op.App, j.i.Release)
	if err != nil || len(m.Cron) > 0 { // nobody holds those
		return err
	}
	if err := j.mark(ctx, MomentHeld); err != nil {
		return err
	}
	return j.way(ctx, func(w *bosman.WayBack) { w.Held = true })
}

// passOn lets requests through after the switch.
func (j *job) passOn(ctx context.Context) {
	var h holding
	held, err := j.run.Get(ctx, keyHolding, &h)
	if err == nil && !held {
		_, err = j.run.Get(ctx, keyHeld, &held)
	}
	if err == nil && held {
		err = j.Routes.Unhold(ctx, j.i, j.fence)
	}
	if err != nil && ctx.Err() == nil { // it ends by itself
		j.Log.Warn("a hold was not ended at once", "app", j.op.App, "instance", j.op.Instance, "error", err)
	}
}

// putBack undoes a migration that failed, or whose release was not well, while
// everybody was kept out: the kept copy takes the place of the data. If
// anything may have been written, the data stays and a person decides.
func (j *job) putBack(ctx context.Context) error {
	var h holding
	known, err := j.run.Get(ctx, keyHolding, &h)
	if err != nil || !known {
		return err
	}
	old := j.old()
	var restore, over bool // over: done before a crash, and serving again
	if _, err := j.run.Get(ctx, keyBackOver, &over); err != nil {
		return err
	}
	if !over {
		if restore, err = j.mayPutBack(ctx, h); err != nil {
			return err
		}
	}
	if restore {
		if err := j.Instances.Stop(ctx, j.i, old.ID); err != nil {
			return err
		}
		// Counted once more: the end of its connections brings what was late.
		var ended bool
		if ended, err = j.Databases.Settled(ctx, j.i, time.Time{}); err != nil {
			return err
		}
		if restore, err = j.certain(ctx, ended); err != nil {
			return err
		}
		if restore {
			if err := j.swapKept(ctx); err != nil {
				return err
			}
		}
	}
	if err := j.Instances.Start(ctx, old); err != nil {
		return err
	}
	if restore {
		if _, err := j.Instances.Check(ctx, old); err != nil { // it may be slow to start; the edge waits for it
			j.Log.Warn("the release before is not well yet", "app", j.op.App, "instance", j.op.Instance, "error", err)
		}
	}
	if err := j.run.Set(ctx, keyBackOver, true); err != nil {
		return err
	}
	if err := j.Routes.Unhold(ctx, j.i, j.fence); err != nil {
		return err
	}
	old.ID, old.Part = WorkID(old.ID), PartWork
	return j.Instances.Start(ctx, old)
}

// certain says that nothing was written; once it was decided so it stays.
// Sessions that have not ended may be about to write.
func (j *job) certain(ctx context.Context, ended bool) (bool, error) {
	var decided bool
	if _, err := j.run.Get(ctx, keyPutBack, &decided); err != nil || decided {
		return decided, err
	}
	w, err := j.Databases.Written(ctx, j.i, j.op.Number)
	return ended && w.None(), err
}

// mayPutBack says whether nobody can have written anything since the backup,
// and prolongs the hold for the change of places.
func (j *job) mayPutBack(ctx context.Context, h holding) (bool, error) {
	var decided bool
	if known, err := j.run.Get(ctx, keyPutBack, &decided); err != nil {
		return false, err
	} else if known { // before a restart
		err := j.Routes.Hold(ctx, j.i, j.fence, j.Now().Add(swapLimit))
		if bosman.KindOf(err) == bosman.KindConflict {
			err = nil // the route is another's, the data is still ours to put right
		}
		return true, err
	}
	way := j.op.WayBack
	if !way.NotAdditive() || !way.Held || !h.Quiet || way.Kept == "" || !j.Now().Before(h.Until) {
		return false, nil
	}
	err := j.Routes.Hold(ctx, j.i, j.fence, j.Now().Add(swapLimit))
	if bosman.KindOf(err) == bosman.KindConflict {
		return false, nil // a revert has taken over: it decides
	}
	if err != nil {
		return false, err
	}
	if !j.Now().Before(h.Until) { // it may have lapsed before it was prolonged
		return false, nil
	}
	return j.certain(ctx, true)
}

// swapKept puts the kept copy of this very deployment in the place of the data.
func (j *job) swapKept(ctx context.Context) error {
	if err := j.run.Set(ctx, keyPutBack, true); err != nil {
		return err
	}
	var p Prepared
	ready, err := j.run.Get(ctx, keyPrepared, &p)
	if err != nil {
		return err
	}
	if !ready {
		way := j.op.WayBack
		var there bool
		if p, there, err = j.Copies.TakeKept(ctx, j.i, Kept{Name: way.Kept, Files: way.KeptFiles, Bytes: way.KeptBytes}); err != nil {
			return err
		}
		if !there {
			return bosman.Internal("the kept copy %s is gone", way.Kept)
		}
		if err := j.run.Set(ctx, keyPrepared, p); err != nil {
			return err
		}
	}
	kept, err := j.Copies.Swap(ctx, j.i, p)
	if err != nil {
		return err
	}
	j.run.Note(ctx, "nothing was written since the backup, so the data is as it was before; what it replaced is kept as %s", kept)
	return j.way(ctx, func(w *bosman.WayBack) {
		w.RestoredAt, w.Kept, w.KeptFiles, w.KeptBytes = j.Now().UTC(), "", "", 0
	})
}

// hold keeps requests waiting and stops what writes, before data changes
// places. What was written since the backup is looked at once more now that
// nobody can write: without a person's word nothing of it is given up.
func (j *job) hold(ctx context.Context) error {
	var p Prepared
	if ready, err := j.run.Get(ctx, keyPrepared, &p); err != nil || !ready {
		return err
	}
	if err := j.run.Set(ctx, keyHeld, true); err != nil {
		return err
	}
	if j.i.Release == 0 {
		return nil
	}
	if err := j.Routes.Hold(ctx, j.i, j.fence, j.Now().Add(swapLimit)); err != nil {
		return err
	}
	if _, err := j.stopOthers(ctx, ""); err != nil {
		return err
	}
	if j.op.Reverts == 0 {
		return nil
	}
	var swapped bool // before a restart: it is another database that is counted now
	if known, err := j.run.Get(ctx, keyBare, &swapped); err != nil || known {
		return err
	}
	ended, err := j.Databases.Settled(ctx, j.i, time.Time{})
	if err != nil {
		return err
	}
	w, err := j.Databases.Written(ctx, j.i, j.op.Reverts)
	if err != nil {
		return err
	}
	w.Certain = w.Certain && ended
	if err := j.way(ctx, func(b *bosman.WayBack) { b.Lost = w.Tables }); err != nil {
		return err
	}
	if !j.op.WayBack.Confirmed && !w.None() {
		return w.Unconfirmed(j.op.Instance)
	}
	j.run.Note(ctx, "requests wait, %s runs nothing; %s", j.op.Instance, w)
	return nil
}

// letGo takes a hold back: what ran runs again.
func (j *job) letGo(ctx context.Context) error {
	var held bool
	if known, err := j.run.Get(ctx, keyHeld, &held); err != nil || !known {
		return err
	}
	if j.i.Release != 0 && !j.i.Stopped {
		old := j.old()
		if err := j.Instances.Start(ctx, old); err != nil {
			return err
		}
		old.ID, old.Part = WorkID(old.ID), PartWork
		if err := j.Instances.Start(ctx, old); err != nil {
			return err
		}
	}
	return j.Routes.Unhold(ctx, j.i, j.fence)
}

// takeKept readies the kept copy of the deployment that is taken back, or one
// that the operation itself names.
func (j *job) takeKept(ctx context.Context) (p Prepared, ok bool, err error) {
	way := j.op.WayBack
	if j.op.Plan == bosman.PlanRevert && j.op.Reverts != 0 {
		d, err := j.Records.Operation(ctx, j.op.App, j.op.Reverts)
		if err != nil {
			return p, false, err
		}
		if d.Backup != j.op.Backup {
			return p, false, nil
		}
		way = d.WayBack
	}
	if way == nil || way.Kept == "" {
		return p, false, nil
	}
	return j.Copies.TakeKept(ctx, j.i, Kept{Name: way.Kept, Files: way.KeptFiles, Bytes: way.KeptBytes})
}

// restored notes with the deployment that was taken back that its migrations
// are gone, with the data.
func (j *job) restored(ctx context.Context) error {
	if j.op.Reverts == 0 || j.op.Backup == 0 {
		return nil
	}
	var p Prepared
	_, err := j.run.Get(ctx, keyPrepared, &p)
	if err != nil {
		return err
	}
	return j.changeWay(ctx, j.op.Reverts, func(w *bosman.WayBack) {
		if w.RestoredAt.IsZero() {
			w.RestoredAt = j.Now().UTC()
		}
		if p.Kept { // it is in the place now
			w.Kept, w.KeptFiles, w.KeptBytes = "", "", 0
		}
	})
}

// dataGoesBack says how a revert takes back data that the release before
// cannot use.
func (j *job) dataGoesBack() string {
	if j.i.Database.Adopted() {
		return "a revert needs the data of before, which is put back by hand: the database is not Bosman's"
	}
	return "a revert takes the data back too"
}
