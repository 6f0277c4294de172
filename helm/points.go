package helm

import (
	"context"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// Timeline keeps the log of the durable database server, so that its databases
// can be had as they were at a moment.
type Timeline interface {
	// PointInTime says which moments can be reached, with the points of an app.
	PointInTime(ctx context.Context, app string) (bosman.PointInTime, error)
	// PlanRecovery says what a recovery would take. KindInvalid and
	// KindNotFound say that, and why, the moment cannot be reached.
	PlanRecovery(ctx context.Context, i bosman.Instance, m bosman.Moment) (bosman.RecoveryPlan, error)
	// Recover begins to bring the database of an instance as it was at a
	// moment beside its own. KindBusy while another recovery runs.
	Recover(ctx context.Context, i bosman.Instance, m bosman.Moment, by string) (bosman.PointRecovery, error)
	// Trouble says why moments cannot be relied on; "" when all is well.
	Trouble() string
	// Seen is PointInTime as it was known at most about a minute ago, of all
	// apps; it asks nobody.
	Seen() bosman.PointInTime
}

// onTimeline says whether the database of an instance is on the server whose
// log is kept.
func onTimeline(i bosman.Instance) bool {
	return i.Database.Engine == bosman.EnginePostgres && !i.Database.Adopted() && (i.Kind == bosman.KindLive || i.Kind == bosman.KindStaging)
}

// addTimeline adds what is wrong with keeping the log to how an instance's
// backups fare. It does not keep live from being deployed to, which makes a
// backup of its own.
func (h *Helm) addTimeline(i bosman.Instance, b *bosman.BackupHealth) {
	if h.Timeline != nil && onTimeline(i) {
		b.Log = h.Timeline.Trouble()
	}
}

// pointBefore is the restore point before a deployment of an instance, if it can
// be reached.
func (h *Helm) pointBefore(i bosman.Instance, d bosman.Operation) *bosman.RestorePoint {
	if h.Timeline == nil || !onTimeline(i) || d.WayBack == nil || d.WayBack.Point == "" {
		return nil
	}
	for _, p := range h.Timeline.Seen().Points {
		if p.Name == d.WayBack.Point && p.Reachable {
			return &p
		}
	}
	return nil
}

// Moments says what is known of the moments that an app's databases can be
// recovered at without asking the target: nil where none are kept.
func (h *Helm) Moments(ctx context.Context, a bosman.Actor, app string) (*bosman.PointInTime, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil || h.Timeline == nil {
		return nil, err
	}
	all, err := h.Store.Instances(ctx, app)
	if err != nil || !slices.ContainsFunc(all, onTimeline) {
		return nil, err
	}
	p := h.Timeline.Seen()
	p.Points = slices.DeleteFunc(p.Points, func(r bosman.RestorePoint) bool {
		return r.When != bosman.PointLast && r.App() != app
	})
	return &p, nil
}

// PointInTime says which moments the databases of an app can be recovered at.
func (h *Helm) PointInTime(ctx context.Context, a bosman.Actor, app string) (bosman.PointInTime, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.PointInTime{}, err
	}
	var p bosman.PointInTime
	if h.Timeline != nil {
		var err error
		if p, err = h.Timeline.PointInTime(ctx, app); err != nil {
			return p, err
		}
	}
	if p.Spans == nil {
		p.Spans = []bosman.TimeSpan{}
	}
	if p.Points == nil {
		p.Points = []bosman.RestorePoint{}
	}
	return p, nil
}

// recoverable gives an instance whose database may be recovered by the actor.
func (h *Helm) recoverable(ctx context.Context, a bosman.Actor, v bosman.Verb, app, instance string, m bosman.Moment) (bosman.Instance, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return i, err
	}
	if err := h.may(ctx, a, v, app, i.Kind); err != nil {
		return i, err
	}
	switch {
	case m.At.IsZero() == (m.Point == ""):
		return i, bosman.Invalid("a recovery needs a time or a restore point").WithKept("nothing was changed").WithNext("bosman backup points lists what there is")
	case h.Timeline == nil || !onTimeline(i):
		return i, bosman.Invalid("the database of %s is not on the server whose log is kept", instance).WithKept("nothing was changed").
			WithNext("PostgreSQL databases of staging and live can be recovered at a moment; for others: bosman backup list")
	}
	return i, nil
}

// PlanRecovery says what it would take to recover the database of an instance
// at a moment.
func (h *Helm) PlanRecovery(ctx context.Context, a bosman.Actor, app, instance string, m bosman.Moment) (bosman.RecoveryPlan, error) {
	i, err := h.recoverable(ctx, a, bosman.MaySee, app, instance, m)
	if err != nil {
		return bosman.RecoveryPlan{}, err
	}
	return h.Timeline.PlanRecovery(ctx, i, m)
}

// RecoverTo begins to bring the database of an instance, as it was at a moment,
// beside its own: a kept copy, which RestoreKept puts in its place.
func (h *Helm) RecoverTo(ctx context.Context, a bosman.Actor, app, instance string, m bosman.Moment) (bosman.PointRecovery, error) {
	i, err := h.recoverable(ctx, a, bosman.MayRestore, app, instance, m)
	if err != nil {
		return bosman.PointRecovery{}, err
	}
	plan, err := h.Timeline.PlanRecovery(ctx, i, m)
	if err != nil {
		return bosman.PointRecovery{}, err
	}
	what := "recover the database of " + instance + " as of " + plan.Moment.At.Format(time.DateTime) + " UTC"
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: what, Subject: instance, Instance: instance}, event(bosman.EventInstanceChanged, instance))
	})
	if err != nil {
		return bosman.PointRecovery{}, err
	}
	return h.Timeline.Recover(ctx, i, m, a.Person)
}
