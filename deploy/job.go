package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/steps"
)

// job is one step's view of its operation.
type job struct {
	*Service
	run *steps.Run
	op  bosman.Operation
	i   bosman.Instance
	// fence is zero before the operation owns its instance.
	fence int
}

// The names of values that steps leave for later ones.
const (
	keyFence    = "fence"    // Launch.Fence
	keyProcess  = "process"  // ID of the process set this operation brings
	keyMade     = "made"     // the database was made by this operation
	keySchema   = "schema"   // before the release command
	keyHolds    = "holds"    // what the schema holds after it, in words
	keyDrops    = "drops"    // the release command dropped or changed what old code needs
	keySeeded   = "seeded"   // the seed command has run
	keyPrepared = "prepared" // Prepared, built beside
	keyKept     = "kept"     // what the swap replaced
	keyBare     = "bare"     // there was no database before the swap
	keyWas      = "was"      // where the database was before the swap
	keySwitched = "switched" // the moment of the switch
	keyUntil    = "until"    // the end of the watch
	keyBad      = "bad"      // the release that a revert takes away
	keyVerdict  = "verdict"  // why the watch asked for a revert
	keyForecast = "forecast" // Forecast, when it was admitted
	keyHolding  = "holding"  // a hold over the migration
	keyPutBack  = "put-back" // it was decided that the kept copy takes the place
	keyBackOver = "back-over"
	keyMerged   = "merged" // MergeResult that took the place of the release asked for
	keyAsked    = "asked"  // the build of a merge result that is waited for
	keyHeld     = "held"   // a hold over a change of places
)

func (s *Service) job(ctx context.Context, r *steps.Run) (*job, error) {
	var in input
	if err := r.Input(&in); err != nil {
		return nil, err
	}
	op, err := s.Records.Operation(ctx, in.App, in.Number)
	if err != nil {
		return nil, err
	}
	i, err := s.Records.Instance(ctx, op.App, op.Instance)
	if err != nil {
		return nil, err
	}
	j := &job{Service: s, run: r, op: op, i: i}
	_, err = r.Get(ctx, keyFence, &j.fence)
	return j, err
}

func ref(release int) string { return bosman.Ref(bosman.LetterRelease, release) }
func opRef(n int) string     { return bosman.Ref(bosman.LetterOperation, n) }

// serving says what an instance does while nothing else is said of it.
func serving(i bosman.Instance) string {
	switch {
	case i.Release == 0:
		return i.Name + " runs nothing yet, as before"
	case i.Stopped:
		return i.Name + " stays stopped"
	}
	return i.Name + " still runs " + ref(i.Release)
}

// launch is the web part of the release this operation brings.
func (j *job) launch(ctx context.Context) (Launch, error) {
	l := Launch{Instance: j.i, Release: j.op.Release, ID: SetID(j.op.App, j.op.Instance, j.op.Number), Part: PartWeb, Fence: j.fence}
	_, err := j.run.Get(ctx, keyProcess, &l.ID)
	return l, err
}

// old is the web part that is routed now.
func (j *job) old() Launch {
	return Launch{Instance: j.i, Release: j.i.Release, ID: j.i.ProcessID, Part: PartWeb, Fence: j.fence}
}

// change edits the operation's row.
func (j *job) change(ctx context.Context, edit func(*bosman.Operation) bool) error {
	return j.Records.Change(ctx, j.op.App, j.op.Number, bosman.EventOperationStep, edit)
}

// failed keeps what the failure screen shows.
func (j *job) failed(ctx context.Context, f bosman.Failure) error {
	if f.Schema == "" {
		if _, err := j.run.Get(ctx, keyHolds, &f.Schema); err != nil {
			return err
		}
	}
	f.Serving = serving(j.i)
	f.TestedAt = j.Now().UTC()
	return j.change(context.WithoutCancel(ctx), func(o *bosman.Operation) bool {
		if o.WayBack.NotAdditive() && f.Schema != "" && j.i.Release != 0 && !strings.Contains(f.Schema, mayNot) {
			f.Schema += "; " + ref(j.i.Release) + mayNot
		}
		o.Failure = &f
		return true
	})
}

// saySchema keeps what the schema holds when the step that failed left nothing
// else to look at.
func (j *job) saySchema(ctx context.Context) error {
	if j.op.Failure != nil || j.op.WayBack != nil && !j.op.WayBack.RestoredAt.IsZero() {
		return nil
	}
	var holds string
	if known, err := j.run.Get(ctx, keyHolds, &holds); err != nil || !known {
		return err
	}
	return j.failed(ctx, bosman.Failure{Schema: holds})
}

const mayNot = " may not work on it"

// listener writes what a run does into the operation's row.
type listener struct {
	s     *Service
	names []string
}

// Step keeps the state of a step.
func (l *listener) Step(ctx context.Context, r *steps.Run, e steps.StepEvent) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	return unlessGone(l.s.Records.Change(ctx, in.App, in.Number, bosman.EventOperationStep, func(o *bosman.Operation) bool {
		return l.note(o, e)
	}))
}

// unlessGone forgives that there is nothing to write into: what has not begun
// keeps nobody from removing an app or an instance.
func unlessGone(err error) error {
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	return err
}

// note writes e into the row and says whether the row changed. A repeat after
// a restart changes nothing.
func (l *listener) note(o *bosman.Operation, e steps.StepEvent) bool {
	changed := false
	if len(o.Steps) == 0 {
		for _, n := range l.names {
			o.Steps = append(o.Steps, bosman.OperationStep{Name: n, State: bosman.StepWaiting})
		}
		changed = true
	}
	for k := range o.Steps {
		if st := &o.Steps[k]; st.Name == e.Step {
			if next := noted(*st, e); next != *st {
				*st, changed = next, true
			}
		}
	}
	if e.Committed && !o.Committed {
		o.Committed, changed = true, true
	}
	return changed
}

// noted is a row's step after e. What is told again changes nothing.
func noted(st bosman.OperationStep, e steps.StepEvent) bosman.OperationStep {
	open := st.State == bosman.StepWaiting || st.State == bosman.StepRunning
	switch {
	case e.State == bosman.StepRunning && open:
		if st.State == bosman.StepWaiting {
			st.State, st.StartedAt = bosman.StepRunning, utc(e.StartedAt)
		}
		if e.Note != "" {
			st.Note = e.Note
		}
	case e.State == bosman.StepDone && open:
		st.State, st.Note, st.StartedAt, st.EndedAt = e.State, e.Note, utc(e.StartedAt), utc(e.EndedAt)
	case (e.State == bosman.StepFailed || e.State == bosman.StepSkipped) && open:
		st.State, st.Note, st.StartedAt, st.EndedAt = e.State, e.Note, utc(e.StartedAt), utc(e.EndedAt)
		if e.Err != nil {
			st.Note = join(st.Note, e.Err.Message)
		}
	case e.State == bosman.StepFailed && st.State == bosman.StepDone:
		st.State, st.Note = e.State, join(st.Note, "could not be undone: "+e.Err.Message)
	case e.State == bosman.StepUndone && st.State == bosman.StepDone:
		st.State, st.Note = e.State, join(st.Note, e.Note)
	case e.State == bosman.StepUndone && !open && e.Note != "" && !strings.HasSuffix(st.Note, e.Note):
		st.Note = join(st.Note, e.Note)
	}
	return st
}

// join puts two sentences, either of which may be missing, into one note.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// End keeps how the operation ended and gives back its instance.
func (l *listener) End(ctx context.Context, r *steps.Run, res steps.Result) error {
	j, err := l.s.job(ctx, r)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return l.gone(ctx, r)
	}
	if err != nil {
		return err
	}
	state := outcome(res)
	line := bosman.Activity{
		App: j.op.App, Instance: j.op.Instance, Subject: opRef(j.op.Number), Who: j.op.By, From: "bosman",
		What: words(j.op, state, res), At: l.s.Now().UTC(),
	}
	fail := res.Err
	if says := serving(j.i); fail != nil && !res.Committed && !strings.Contains(fail.Kept, says) {
		fail.Kept = join(says, fail.Kept)
	}
	if fail != nil {
		line.Why = fail.Message
	}
	if way := j.op.WayBack; fail != nil && !res.Committed && j.op.Plan == bosman.PlanDeploy && way != nil {
		switch {
		case !way.RestoredAt.IsZero():
			fail.Kept = join(fail.Kept, "its data is as it was before")
		case way.NotAdditive() && j.op.Backup != 0 && j.i.Database.Adopted():
			fail.Next = join(fail.Next, fmt.Sprintf("to put the data back as it was (%s) by hand: bosman revert %s --explain says how", bosman.Ref(bosman.LetterBackup, j.op.Backup), j.op.Instance))
		case way.NotAdditive() && j.op.Backup != 0:
			fail.Next = join(fail.Next, fmt.Sprintf("to put the data back as it was (%s): bosman revert %s --database restore", bosman.Ref(bosman.LetterBackup, j.op.Backup), j.op.Instance))
		}
	}
	if fail != nil && !res.Committed {
		if err := j.saySchema(ctx); err != nil {
			return err
		}
	}
	if len(res.NotUndone) > 0 && fail != nil {
		fail.Next = join(fail.Next, "not cleaned up: "+strings.Join(res.NotUndone, ", "))
	}
	err = l.s.Records.Finish(ctx, j.op.App, j.op.Number, func(o *bosman.Operation) bool {
		if o.State.Final() {
			return false // superseded while it waited, or told again
		}
		o.State, o.Waits, o.EndedAt, o.Committed = state, "", l.s.Now().UTC(), res.Committed
		if fail != nil && o.Error == nil {
			o.Error = fail
		}
		return true
	}, line)
	if err == nil {
		l.s.Wake()
	}
	return err
}

// gone ends an operation whose app or instance was removed while it waited.
func (l *listener) gone(ctx context.Context, r *steps.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	line := bosman.Activity{App: in.App, Subject: opRef(in.Number), Who: "bosman", From: "bosman", What: opRef(in.Number) + " ended: its instance was removed", At: l.s.Now().UTC()}
	return unlessGone(l.s.Records.Finish(ctx, in.App, in.Number, func(o *bosman.Operation) bool {
		if o.State.Final() {
			return false
		}
		o.State, o.Waits, o.EndedAt = bosman.OpCancelled, "", l.s.Now().UTC()
		return true
	}, line))
}

// outcome is the state of an operation's row after its run ended.
func outcome(res steps.Result) bosman.OperationState {
	switch {
	case res.TakenOver != "" && res.Committed:
		return bosman.OpDone // reverted, once the revert has done it
	case res.TakenOver != "":
		return bosman.OpReverted
	case res.Cancelled:
		return bosman.OpCancelled
	case res.Outcome == steps.Done:
		return bosman.OpDone
	case res.Outcome == steps.FailedForward && res.Step != stepStop:
		return bosman.OpDone // it serves; the error says what is missing
	}
	return bosman.OpFailed
}

// words say in the activity log what came of an operation.
func words(op bosman.Operation, state bosman.OperationState, res steps.Result) string {
	if state != bosman.OpDone {
		what := fmt.Sprintf("%s %s of %s ended %s", opRef(op.Number), op.Plan, op.Instance, state)
		if res.Step != "" {
			what += " at " + res.Step
		}
		return what
	}
	switch op.Plan {
	case bosman.PlanDeploy:
		return fmt.Sprintf("deployed %s to %s", ref(op.Release), op.Instance)
	case bosman.PlanRevert:
		if op.Backup != 0 {
			var w bosman.Written
			if op.WayBack != nil {
				w.Known, w.Tables = true, op.WayBack.Lost
			}
			return fmt.Sprintf("took %s back to %s with the data of %s (%s)", op.Instance, ref(op.Release), bosman.Ref(bosman.LetterBackup, op.Backup), w)
		}
		return fmt.Sprintf("took %s back to %s", op.Instance, ref(op.Release))
	case bosman.PlanTry:
		return fmt.Sprintf("put %s (%s) on a fresh copy in %s", bosman.Ref(bosman.LetterChange, op.Change), ref(op.Release), op.Instance)
	case bosman.PlanRestore:
		if op.Backup == 0 {
			return "put back the data that was kept of " + op.Instance
		}
		return fmt.Sprintf("restored %s in %s", bosman.Ref(bosman.LetterBackup, op.Backup), op.Instance)
	case bosman.PlanBackup:
		return fmt.Sprintf("backed up %s as %s", op.Instance, bosman.Ref(bosman.LetterBackup, op.Backup))
	case bosman.PlanRestart:
		return "restarted " + op.Instance
	case bosman.PlanStart:
		return "started " + op.Instance
	case bosman.PlanStop:
		return "stopped " + op.Instance
	}
	return fmt.Sprintf("%s %s", op.Plan, op.Instance)
}
