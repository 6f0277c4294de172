package helm

import (
	"context"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// tellReleases says of each copy of an instance's data which release it was
// last migrated to, and whether it fits the one that runs.
func (h *Helm) tellReleases(ctx context.Context, i bosman.Instance, kept []bosman.KeptCopy) error {
	var ops []bosman.Operation
	for n, c := range kept {
		if c.ID == "" {
			continue
		}
		if ops == nil {
			var err error
			if ops, err = h.Store.Operations(ctx, i.App, i.Name, 0); err != nil {
				return err
			}
		}
		var err error
		if kept[n].Release, err = h.dataAt(ctx, ops, c.Moment()); err != nil {
			return err
		}
		if kept[n].Against, err = h.against(ctx, i, kept[n].Release); err != nil {
			return err
		}
	}
	return nil
}

// against says why data of a release may not fit what an instance runs; "" if
// it is of that very release.
func (h *Helm) against(ctx context.Context, i bosman.Instance, data int) (string, error) {
	switch data {
	case i.Release:
		return "", nil
	case 0:
		return fmt.Sprintf("of which release it is is not known; %s runs %s", i.Name, releaseRef(i.Release)), nil
	}
	text := fmt.Sprintf("it holds the data of %s, but %s runs %s", releaseRef(data), i.Name, releaseRef(i.Release))
	why, _, err := h.schemaBetween(ctx, i, bosman.Backup{App: i.App, Instance: i.Name, Release: data})
	if why != "" {
		text += ": " + why
	}
	return text, err
}

// dataAt tells the release that an instance's data was last migrated to at a
// moment; 0 when nobody knows. ops are its operations, newest first. What ran
// does not tell: a revert of the code alone leaves the data ahead.
func (h *Helm) dataAt(ctx context.Context, ops []bosman.Operation, at time.Time) (int, error) {
	for _, o := range ops {
		migrated, swapped := stepAt(o, "migrate", at), stepAt(o, "swap", at)
		way := bosman.WayBack{}
		if o.WayBack != nil {
			way = *o.WayBack
		}
		switch o.Plan {
		case bosman.PlanDeploy:
			back := !way.RestoredAt.IsZero() && !way.RestoredAt.After(at)
			asked := !way.PointAt.IsZero() && !way.PointAt.Before(at) // before the first change
			switch {
			case back || asked:
			case migrated == stepPassed || len(o.Steps) == 0 && o.Committed && !o.EndedAt.After(at):
				return o.Release, nil
			case migrated != stepAhead && way.Schema != "": // in the midst of it, or it failed
				return 0, nil
			}
		case bosman.PlanTry:
			switch {
			case migrated == stepPassed:
				return o.Release, nil
			case swapped == stepPassed:
				return 0, nil
			}
		case bosman.PlanRevert, bosman.PlanRestore:
			switch {
			case swapped != stepPassed:
			case way.Migrate && migrated == stepPassed:
				return o.Release, nil
			case way.Migrate && migrated != stepAhead:
				return 0, nil
			case o.Backup == 0 && o.Plan == bosman.PlanRevert: // only the code went back
			case o.Backup == 0:
				return way.Data, nil
			default:
				b, err := h.Store.Backup(ctx, o.App, o.Backup)
				return b.Release, ignoreMissing(err)
			}
		default: // they leave the data as it is
		}
	}
	return 0, nil
}

// How far a step was at a moment.
const (
	stepAhead  = iota // not begun, or not in the plan
	stepMidst         // begun, or it failed
	stepPassed        // done
)

func stepAt(o bosman.Operation, name string, at time.Time) int {
	for _, s := range o.Steps {
		switch {
		case s.Name != name || s.StartedAt.IsZero() || s.StartedAt.After(at):
		case s.State == bosman.StepDone && !s.EndedAt.After(at):
			return stepPassed
		default:
			return stepMidst
		}
	}
	return stepAhead
}

// PlanKept says what RestoreKept would do.
func (h *Helm) PlanKept(ctx context.Context, a bosman.Actor, app, instance, id string) (bosman.KeptPlan, error) {
	i, c, err := h.keptCopy(ctx, a, app, instance, id)
	p := bosman.KeptPlan{Copy: c, Runs: i.Release}
	if err != nil {
		return p, err
	}
	ops, err := h.Store.Operations(ctx, app, instance, 0)
	if err != nil {
		return p, err
	}
	for _, o := range ops { // what counts rows is kept for the newest deployment only
		if o.Plan != bosman.PlanDeploy || !o.Committed {
			continue
		}
		if o.StartedAt.After(c.Moment()) {
			if w, err := h.written(ctx, i, o); err == nil && w.Known {
				p.Written, p.Since = w, o.Number
			}
		}
		break
	}
	return p, nil
}

// RestoreKept puts what a restore or a fresh copy replaced, or what was
// recovered, back in its place; the present data is kept in turn. KindConflict,
// unless anyRelease confirms it, when the data is of another release than the
// one that runs, or nobody knows of which.
func (h *Helm) RestoreKept(ctx context.Context, a bosman.Actor, app, instance, id string, anyRelease bool) (bosman.Operation, error) {
	i, c, err := h.keptCopy(ctx, a, app, instance, id)
	if err != nil {
		return bosman.Operation{}, err
	}
	if c.Against != "" && !anyRelease {
		next := "look first (bosman kept restore " + instance + " " + id + " --plan), then confirm it (any_release): bosman kept restore " + instance + " " + id + " --any-release"
		if c.Release != 0 {
			next = "first deploy " + releaseRef(c.Release) + ": bosman deploy " + instance + " --release " + releaseRef(c.Release) + "; or " + next
		}
		return bosman.Operation{}, bosman.Conflict("%s may not fit: %s", id, c.Against).WithKept(instance + " was left as it is").WithNext(next)
	}
	name := c.Database
	if name == "" {
		name = c.Files
	}
	op := bosman.Operation{
		App: app, Instance: instance, Plan: bosman.PlanRestore, Release: i.Release, From: i.Release,
		WayBack: &bosman.WayBack{Kept: name, KeptFiles: c.Files, KeptBytes: c.Bytes, Confirmed: true, Data: c.Release},
	}
	if c.Against != "" {
		op.Why = "confirmed although " + c.Against
	}
	return h.ask(ctx, a, op)
}
