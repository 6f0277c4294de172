package deploy

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// Points names moments of an instance's database, so that it can be recovered
// to them later.
type Points interface {
	// Name names the present moment. name is "" where no moments are kept of
	// that database. It must come back when ctx ends.
	Name(ctx context.Context, i bosman.Instance, op bosman.Operation, when bosman.PointWhen) (name string, err error)
}

// pointLimit is how long an operation waits for a moment to be named.
const pointLimit = 2 * time.Second

// point names the present moment. It costs an operation no more than
// pointLimit, and never its success: without a name, a moment can still be
// reached by its time.
//
// PointBefore stands before the first thing that may change the data in a way
// that the release before does not: the release command, new processes, or
// other data in its place. PointAfter stands where the new release is routed
// and nothing else was done. An operation that begins a step anew keeps the
// first of the former.
func (j *job) point(ctx context.Context, when bosman.PointWhen) {
	before := when == bosman.PointBefore
	if j.Points == nil || j.i.Kind != bosman.KindLive || before && (j.i.Release == 0 || j.op.WayBack != nil && j.op.WayBack.Point != "") {
		return
	}
	switch j.op.Plan {
	case bosman.PlanDeploy, bosman.PlanRevert, bosman.PlanRestore:
	default:
		return
	}
	limit, cancel := context.WithTimeout(ctx, pointLimit)
	defer cancel()
	name, err := j.Points.Name(limit, j.i, j.op, when)
	if err == nil && name != "" && before {
		err = j.way(ctx, func(w *bosman.WayBack) { w.Point, w.PointAt = name, j.Now().UTC() })
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		j.Log.Warn("the moment has no restore point; it can be reached by its time", "app", j.op.App, "instance", j.op.Instance, "deployment", j.op.Number, "when", when, "error", err)
	}
}
