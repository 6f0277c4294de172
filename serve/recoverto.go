package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/postgres/archive"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// reachable finds the plan for a moment. What was done just now is stored
// first.
func (t *timeline) reachable(ctx context.Context, m bosman.Moment) (*archive.Keeper, archive.Plan, error) {
	k := t.kept()
	if k == nil && !t.on() {
		return nil, archive.Plan{}, offTimeline()
	}
	if k == nil {
		return nil, archive.Plan{}, bosman.NotFound("there is no database server whose log could be kept").WithKept("nothing was changed")
	}
	if at := m.At; t.on() && at.After(k.Covered()) && !at.After(time.Now()) {
		if err := k.Advance(ctx); err != nil {
			return k, archive.Plan{}, err
		}
		for end := time.Now().Add(storedSoon); k.Covered().Before(at) && time.Now().Before(end); {
			select {
			case <-ctx.Done():
				return k, archive.Plan{}, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	p, err := k.Find(ctx, archive.Target{At: m.At, Point: m.Point})
	if kind := bosman.KindOf(err); !t.on() && (kind == bosman.KindNotFound || kind == bosman.KindInvalid) {
		err = t.unkept(ctx, k, err)
	}
	return k, p, err
}

const switchOn = "bosman serve --point-in-time 7 (days); moments can be reached from some minutes later on"

// offTimeline: no moment can be reached, since none was ever kept.
func offTimeline() error {
	return bosman.NotFound("point-in-time recovery is off: the log of the databases is not kept, and no moment of them can be reached").
		WithKept("nothing was changed").WithNext("switch it on: " + switchOn + ". What was backed up: bosman backup list")
}

// unkept adds to why a moment cannot be reached that no more are kept.
func (t *timeline) unkept(ctx context.Context, k *archive.Keeper, why error) error {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(s archive.System) bool { return len(s.Spans(k.CoveredOf(s))) > 0 }) {
		return offTimeline()
	}
	e := *bosman.AsError(why)
	e.Message += "; point-in-time recovery is off, and what is written now is not kept"
	e.Next += "; switch it on again: " + switchOn
	return &e
}

// PlanRecovery says what a recovery would take.
func (t *timeline) PlanRecovery(ctx context.Context, i bosman.Instance, m bosman.Moment) (bosman.RecoveryPlan, error) {
	_, p, err := t.reachable(ctx, m)
	if err != nil {
		return bosman.RecoveryPlan{}, err
	}
	keeper, err := t.databases.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return bosman.RecoveryPlan{}, err
	}
	content, err := databaseBytes(ctx, keeper, i.Database)
	if err != nil {
		return bosman.RecoveryPlan{}, err
	}
	free, err := database.Free(t.opt.Data)
	out := bosman.RecoveryPlan{
		Moment: bosman.Moment{At: p.Target.At, Point: p.Target.Point}, Base: p.Base.At, Segments: len(p.Segments),
		Fetch: p.Fetch(), Needs: p.Needs() + 3*content, Free: free,
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.job; j != nil && j.State == bosman.RecoveryDone && j.App == i.App && j.Instance == i.Name {
		out.Expected = j.EndedAt.Sub(j.BegunAt)
	}
	return out, err
}

// Recover begins a recovery.
func (t *timeline) Recover(ctx context.Context, i bosman.Instance, m bosman.Moment, by string) (bosman.PointRecovery, error) {
	plan, err := t.PlanRecovery(ctx, i, m)
	if err != nil {
		return bosman.PointRecovery{}, err
	}
	if err := database.Room(t.opt.Data, plan.Needs); err != nil {
		return bosman.PointRecovery{}, bosman.AsError(err).WithKept("nothing was changed")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.job; j != nil && j.State == bosman.RecoveryRunning {
		return bosman.PointRecovery{}, bosman.Busy("%s of %s is being recovered", j.Instance, j.App).WithKept("it goes on").WithNext("wait until it ends: bosman backup points")
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	j := recoveryNote{Stamp: now, PointRecovery: bosman.PointRecovery{
		App: i.App, Instance: i.Name, Moment: plan.Moment, By: by, State: bosman.RecoveryRunning, Note: "waits", BegunAt: now,
	}}
	if err := t.note(j); err != nil {
		return j.PointRecovery, err
	}
	select {
	case t.asked <- struct{}{}:
	default: // it looks anyway
	}
	return j.PointRecovery, nil
}

// note keeps how far a recovery came, on the disk too. The lock is held.
func (t *timeline) note(j recoveryNote) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(t.notePath(), b, 0o600); err != nil {
		return bosman.Unavailable("the recovery could not be noted").WithKept("nothing was changed").Because(err)
	}
	t.job = &j
	return nil
}

// recoveries carries out what was asked for, also before a restart.
func (t *timeline) recoveries(ctx context.Context, k *archive.Keeper) {
	for {
		t.mu.Lock()
		var j recoveryNote
		if t.job != nil {
			j = *t.job
		}
		t.mu.Unlock()
		if j.State == bosman.RecoveryRunning {
			t.carryOut(ctx, k, j)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-t.asked:
		}
	}
}

// carryOut does one recovery and notes how it went.
func (t *timeline) carryOut(ctx context.Context, k *archive.Keeper, j recoveryNote) {
	j.Tries++
	step := func(note string) error {
		j.Note = note
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.note(j)
	}
	var err error
	if j.Tries > recoverTries {
		err = bosman.Failed("the recovery was broken off %d times", recoverTries).WithKept("the database of " + j.Instance + " is as it is")
	} else {
		err = t.recover(ctx, k, &j, step)
	}
	if ctx.Err() != nil {
		return // the next start begins it again
	}
	j.State, j.Kept, j.EndedAt = bosman.RecoveryDone, database.Stamp(j.Stamp), time.Now().UTC()
	if err != nil {
		j.State, j.Kept, j.Error = bosman.RecoveryFailed, "", bosman.AsError(err)
		t.log.Error("a database could not be recovered", "app", j.App, "instance", j.Instance, "moment", j.Moment.At, "err", err)
	}
	for end := step(j.Note); end != nil; end = step(j.Note) { // the disk is full: nobody may take it for running for ever
		t.log.Error("how a recovery went could not be noted", "err", end)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tryBaseAgain):
		}
	}
	e := bosman.Event{App: j.App, Kind: bosman.EventInstanceChanged, Subject: j.Instance, At: time.Now().UTC()}
	if err := t.store.AppendEvent(ctx, e); err != nil && ctx.Err() == nil {
		t.log.Warn("nobody could be told that a recovery ended", "err", err)
	}
}

// recover brings the database beside the instance's own.
func (t *timeline) recover(ctx context.Context, k *archive.Keeper, j *recoveryNote, step func(string) error) error {
	i, err := t.store.Instance(ctx, j.App, j.Instance)
	if err != nil {
		return err
	}
	_, plan, err := t.reachable(ctx, j.Moment)
	if err != nil {
		return err
	}
	if err := step(fmt.Sprintf("fetching %s and replaying %d segments of the log", size(plan.Fetch()), len(plan.Segments))); err != nil {
		return err
	}
	c, done, err := k.Replay(ctx, plan)
	if err != nil {
		return err
	}
	err = t.bring(ctx, i, c, j, step)
	return errors.Join(err, done())
}

func (t *timeline) bring(ctx context.Context, i bosman.Instance, c *postgres.Cluster, j *recoveryNote, step func(string) error) error {
	if err := step("taking the database out and comparing it"); err != nil {
		return err
	}
	further, err := t.databases.further(i.App)
	if err != nil {
		return err
	}
	one, err := postgres.NewEngine(i.App, c)
	if err != nil {
		return err
	}
	keeper, err := t.databases.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	name := database.RecoveredName(i.Name, j.Stamp)
	old, err := keeper.Engine.Find(ctx, name)
	if err == nil { // of before a restart: nobody knows whether it was compared
		err = keeper.Engine.Drop(ctx, old)
	}
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	_, info, err := archive.Bring(ctx, withFurther(one, one, further), keeper.Engine, i.Name, name, filepath.Join(keeper.State, "tmp"))
	if err != nil {
		return err
	}
	tables, rows := info.Total()
	j.Note = fmt.Sprintf("%d tables, %d rows as of %s", tables, rows, cmp.Or(j.Moment.Point, j.Moment.At.Format(time.DateTime)+" UTC"))
	return nil
}

var _ helm.Timeline = (*timeline)(nil)
