package serve

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/postgres/archive"
	"github.com/bosman-cd/bosman/deploy"
)

// Name names the present moment of an instance's database: deploy.Points.
func (t *timeline) Name(ctx context.Context, i bosman.Instance, op bosman.Operation, when bosman.PointWhen) (string, error) {
	k := t.kept()
	if !t.on() || k == nil || i.Kind != bosman.KindLive || i.Database.Engine != bosman.EnginePostgres || i.Database.Adopted() {
		return "", nil
	}
	p, err := k.Mark(ctx, bosman.PointName(op.App, op.Number, when))
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noted = time.Time{} // it is listed as soon as it is stored
	return p.Name, nil
}

var _ deploy.Points = (*timeline)(nil)

// PointInTime says which moments can be reached; the points of an app, all for
// "". While the target cannot be asked it is what was known last.
func (t *timeline) PointInTime(ctx context.Context, app string) (bosman.PointInTime, error) {
	p, err := t.reach(ctx)
	if bosman.KindOf(err) == bosman.KindUnavailable && ctx.Err() == nil {
		if noted := readTimeline(t.opt.Data); noted.On {
			p, err = noted, nil
		}
	}
	p.On, p.Days = t.on(), t.opt.PointInTime
	if why := t.Trouble(); why != "" {
		p.Trouble = why
	}
	t.mu.Lock()
	if t.job != nil && (t.job.App == app || app == "") {
		r := t.job.PointRecovery
		p.Recovery = &r
	}
	t.mu.Unlock()
	p.Points = slices.DeleteFunc(p.Points, func(r bosman.RestorePoint) bool {
		of := r.App()
		return app != "" && of != "" && of != app
	})
	for n := range p.Points {
		if err == nil {
			err = t.describe(ctx, &p.Points[n])
		}
	}
	return p, err
}

// Seen is what was known when it was looked last, at most about a minute ago,
// without asking the target.
func (t *timeline) Seen() bosman.PointInTime {
	p := readTimeline(t.opt.Data)
	p.On, p.Days = t.on(), t.opt.PointInTime
	if why := t.Trouble(); why != "" {
		p.Trouble = why
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keeper != nil && t.on() {
		p.Shipped = t.keeper.Covered()
	}
	return p
}

// reach reads the target.
func (t *timeline) reach(ctx context.Context) (p bosman.PointInTime, err error) {
	p.On = t.on()
	k := t.kept()
	if k == nil {
		return p, nil
	}
	all, err := k.Catalogue(ctx)
	if err != nil {
		return p, err
	}
	own, err := k.Own(ctx, all)
	if err != nil && bosman.KindOf(err) != bosman.KindUnavailable { // the server is down; what is stored is not
		return p, err
	}
	p.Shipped = k.Covered()
	now := time.Now().UTC()
	for _, s := range all {
		for _, span := range s.Spans(k.CoveredOf(s)) {
			if span.To.After(now) { // the clock was ahead
				span.To = now
			}
			if !span.To.Before(span.From) {
				p.Spans = append(p.Spans, bosman.TimeSpan{From: span.From, To: span.To})
			}
		}
		if proven, _ := s.Newest(); proven.At.After(p.Base) {
			p.Base = proven.At
		}
		p.Bytes += s.Bytes()
		for _, point := range s.Points {
			p.Points = append(p.Points, pointOf(point, s.Reaches(point)))
		}
		if end, ok := s.End(); ok && own.ID != "" && s.ID != own.ID {
			p.Points = append(p.Points, bosman.RestorePoint{Name: end.Name, At: end.At, When: bosman.PointLast, Reachable: true})
		}
	}
	slices.SortStableFunc(p.Spans, func(a, b bosman.TimeSpan) int { return a.From.Compare(b.From) })
	slices.SortStableFunc(p.Points, func(a, b bosman.RestorePoint) int { return a.At.Compare(b.At) })
	st, err := k.State(ctx)
	p.Waiting = st.Waiting
	if bosman.KindOf(err) == bosman.KindUnavailable {
		err = nil
	}
	return p, err
}

func pointOf(p archive.Point, reachable bool) bosman.RestorePoint {
	r := bosman.RestorePoint{Name: p.Name, At: p.At, When: bosman.PointAfter, Reachable: reachable}
	if _, operation, when, ok := bosman.ParsePointName(p.Name); ok {
		r.Operation, r.When = operation, when
	}
	return r
}

// describe says in words what a point is. The operation of a lost server is
// not in the rows, or its number is another's by now.
func (t *timeline) describe(ctx context.Context, r *bosman.RestorePoint) error {
	app, operation, _, ok := bosman.ParsePointName(r.Name)
	if r.When == bosman.PointLast || !ok {
		r.What = "the last that the lost server stored"
		return nil
	}
	ref := bosman.Ref(bosman.LetterOperation, operation)
	r.What = string(r.When) + " " + ref
	op, err := t.store.Operation(ctx, app, operation)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil || op.CreatedAt.After(r.At) {
		return err
	}
	release := bosman.Ref(bosman.LetterRelease, op.Release)
	did := map[bosman.PointWhen]map[bosman.Plan]string{
		bosman.PointBefore: {
			bosman.PlanDeploy:  fmt.Sprintf("right before %s migrated %s to %s", ref, op.Instance, release),
			bosman.PlanRevert:  fmt.Sprintf("right before %s took %s back to %s", ref, op.Instance, release),
			bosman.PlanRestore: fmt.Sprintf("right before %s put other data in %s", ref, op.Instance),
		},
		bosman.PointAfter: {
			bosman.PlanDeploy:  fmt.Sprintf("%s had just switched %s to %s", ref, op.Instance, release),
			bosman.PlanRevert:  fmt.Sprintf("%s had just taken %s back to %s", ref, op.Instance, release),
			bosman.PlanRestore: fmt.Sprintf("%s had just put other data in %s", ref, op.Instance),
		},
	}
	if text := did[r.When][op.Plan]; text != "" {
		r.What = text
	}
	return nil
}
