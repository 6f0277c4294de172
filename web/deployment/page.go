// Package deployment is the page of one operation on an instance: its steps as
// a time line, who asked, what failed and what still serves. It must not know
// how operations are carried out.
package deployment

import (
	"context"
	_ "embed"
	"net/http"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// CSS is the look of the page.
//
//go:embed page.css
var CSS string

// View is what the page shows.
type View struct {
	Op        bosman.Operation
	Road      bosman.Road
	Instance  bosman.Instance
	Backup    *bosman.Backup // made before it, or restored by it
	TookBack  int            // the revert that took it back; 0 without
	Log       []ui.Line      // its own, if it has one
	LogFrom   int64
	HasLog    bool
	MayRevert bool // and there is something to take back
	MayCancel bool
}

// Reader gives what the page shows.
type Reader interface {
	Deployment(ctx context.Context, a bosman.Actor, app string, n int) (View, error)
}

// Verbs are what may be done from the page.
type Verbs interface {
	CancelOperation(ctx context.Context, a bosman.Actor, app string, n int) error
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Show is GET /APP/deployments/N.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	v, err := p.Reader.Deployment(ctx, kit.Actor(ctx), app, n)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, layout.Frame{
		Title: ui.Op(n) + " " + string(v.Op.State) + " · " + app, App: app, Tab: "overview",
		Crumbs: []layout.Crumb{{Name: v.Op.Instance, Path: ui.Path(app, "instances", v.Op.Instance)}, {Name: ui.Op(n)}},
	}, Page(v))
}

// Cancel is POST /APP/deployments/N/cancel.
func (p Pages) Cancel(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	err = p.Verbs.CancelOperation(ctx, kit.Actor(ctx), app, n)
	return p.Kit.Answer(w, r, ui.Path(app, "deployments", n), texts.T(ctx, "%s is cancelled.", ui.Op(n)), err)
}

// tone is the sign of a step: that of its station where the road knows more.
func (v View) tone(n int) ui.Tone {
	if n < len(v.Road) && (v.Road[n].State == bosman.StationReverted || v.Road[n].State == bosman.StationSkipped) {
		return ui.OfStation(v.Road[n].State)
	}
	return ui.OfStep(v.Op.Steps[n].State)
}

// Wish says what an operation is to do: "Deploy r137 to live".
func Wish(ctx context.Context, o bosman.Operation) string {
	switch o.Plan {
	case bosman.PlanDeploy:
		return texts.T(ctx, "Deploy %s to %s", ui.Release(o.Release), o.Instance)
	case bosman.PlanRevert:
		return texts.T(ctx, "Back to %s on %s", ui.Release(o.Release), o.Instance)
	case bosman.PlanTry:
		return texts.T(ctx, "Try %s on %s", ui.Change(o.Change), o.Instance)
	case bosman.PlanRestore:
		return texts.T(ctx, "Restore %s on %s", ui.Backup(o.Backup), o.Instance)
	case bosman.PlanBackup:
		return texts.T(ctx, "Back up %s", o.Instance)
	case bosman.PlanRestart:
		return texts.T(ctx, "Restart %s", o.Instance)
	case bosman.PlanStop:
		return texts.T(ctx, "Stop %s", o.Instance)
	case bosman.PlanStart:
		return texts.T(ctx, "Start %s", o.Instance)
	}
	return string(o.Plan) + " " + o.Instance
}

// span is where a step lies on the time line, in thousandths of the whole; cut
// says that it lasted longer than it is drawn.
type span struct {
	from, width int
	cut         bool
}

// spans places the steps of an operation on its time line, one after the
// other. A step too short to be seen gets a sliver; waiting for hours or
// watching for minutes is drawn at most as long as all else together, for it
// would hide the rest.
func spans(o bosman.Operation, now time.Time) []span {
	const sliver = 6
	out, took := make([]span, len(o.Steps)), make([]time.Duration, len(o.Steps))
	var work time.Duration
	for n, s := range o.Steps {
		if s.StartedAt.IsZero() {
			continue
		}
		end := s.EndedAt
		if end.IsZero() {
			end = now
			if !o.EndedAt.IsZero() {
				end = o.EndedAt
			}
		}
		took[n] = max(end.Sub(s.StartedAt), time.Millisecond)
		if !patient(s.Name) {
			work += took[n]
		}
	}
	var total time.Duration
	for n, s := range o.Steps {
		if patient(s.Name) && work > 0 && took[n] > work {
			took[n], out[n].cut = work, true
		}
		total += took[n]
	}
	if total == 0 {
		return out
	}
	var at time.Duration
	for n := range out {
		if took[n] == 0 {
			continue
		}
		out[n].from = min(int(1000*at/total), 1000-sliver)
		out[n].width = min(max(int(1000*took[n]/total), sliver), 1000-out[n].from)
		at += took[n]
	}
	return out
}

// patient steps wait for people or for time.
func patient(step string) bool { return step == "wait" || step == "watch" || step == "fit" }
