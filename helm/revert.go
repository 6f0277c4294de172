package helm

import (
	"context"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// KeptData is what helm asks of the data that stands beside that of instances.
type KeptData interface {
	// Kept lists what restores and fresh copies replaced, newest first, then
	// the ways back that deployments left.
	Kept(ctx context.Context, i bosman.Instance) ([]bosman.KeptCopy, error)
	// DropKept drops one of them.
	DropKept(ctx context.Context, i bosman.Instance, c bosman.KeptCopy) error
	// Written tells what was written since the backup of a deployment.
	Written(ctx context.Context, i bosman.Instance, operation int) (bosman.Written, error)
}

// RevertRequest says what to take back and how.
type RevertRequest struct {
	App, Instance string
	Restore       bool   // the data from before the deployment takes the place of the present one, which is kept
	ConfirmLoss   bool   // what was written since may be taken out
	Why           string // the reason
	Override      string // an administrator's reason to go below the rollback floor with the code alone
}

// Revert takes an instance back to the release before. It needs only the
// right to revert: no window, nobody at hand, no fresh backup; it takes over
// from a running deployment. What was written since the backup is given up
// only when somebody confirms it, and what is replaced is always kept.
// KindConflict, with what to do, when the code alone must not go back.
func (h *Helm) Revert(ctx context.Context, a bosman.Actor, req RevertRequest) (bosman.Operation, error) {
	i, err := h.Instance(ctx, a, req.App, req.Instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if err := h.may(ctx, a, bosman.MayRevert, req.App, i.Kind); err != nil {
		return bosman.Operation{}, err
	}
	if req.Restore {
		if err := h.may(ctx, a, bosman.MayRestore, req.App, i.Kind); err != nil {
			return bosman.Operation{}, err
		}
	}
	if req.Override != "" {
		if err := h.may(ctx, a, bosman.MayAdminister, req.App, i.Kind); err != nil {
			return bosman.Operation{}, err
		}
	}
	return h.revert(ctx, a, i, req)
}

// RevertByItself is the watch's revert of a deployment that does badly. It has
// decided that nothing breaks and nothing is lost by it.
func (h *Helm) RevertByItself(ctx context.Context, op bosman.Operation, restore bool, why string) (bosman.Operation, error) {
	i, err := h.Store.Instance(ctx, op.App, op.Instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	return h.revert(ctx, bosman.System(), i, RevertRequest{App: op.App, Instance: op.Instance, Restore: restore, Why: why})
}

func (h *Helm) revert(ctx context.Context, a bosman.Actor, i bosman.Instance, req RevertRequest) (bosman.Operation, error) {
	back, err := h.wayBack(ctx, i, req.Restore)
	op := bosman.Operation{App: i.App, Instance: i.Name, Plan: bosman.PlanRevert, From: i.Release, Release: back.to, Reverts: back.deployment.Number, Why: req.Why, Auto: a.System}
	if err != nil {
		return op, err
	}
	if running := back.running; running.Plan == bosman.PlanRevert {
		return running, bosman.Busy("%s is already being reverted by %s", i.Name, opRef(running.Number)).WithNext("bosman log " + opRef(running.Number) + " -f")
	}
	if op.Release == 0 {
		return op, bosman.Conflict("%s has no release to go back to", i.Name).WithKept("it was left as it is").WithNext("deploy another release: bosman deploy " + i.Name + " --release rN")
	}
	written := bosman.Written{}
	if req.Restore {
		if err := h.replaceable(ctx, i); err != nil {
			return op, err
		}
		if op.Backup = back.deployment.Backup; op.Backup == 0 {
			return op, bosman.Conflict("%s has no backup of its own to restore", opRef(back.deployment.Number)).WithKept("it was left as it is").WithNext("choose one: bosman backup list --instance " + i.Name + ", or revert with --database keep")
		}
		if written, err = h.written(ctx, i, back.deployment); err != nil {
			return op, err
		}
		if !a.System && !req.ConfirmLoss && !written.None() {
			return op, written.Unconfirmed(i.Name)
		}
	} else if refused := back.refused(); refused != "" && !a.System && req.Override == "" {
		data := fmt.Sprintf("take the data back too: bosman revert %s --database restore (first: --explain)", i.Name)
		if i.Database.Adopted() {
			data = fmt.Sprintf("its database is not Bosman's, so the data goes back by hand: bosman revert %s --explain says how", i.Name)
		}
		return op, bosman.Conflict("%s", refused).WithKept(i.Name + " was left as it is").
			WithNext(data + "; or fix it forward; an administrator may pass this rule: --override \"reason\"")
	}
	policy, _ := bosman.RevertPolicyOf(back.deployment.WayBack, written)
	op.WayBack = &bosman.WayBack{Policy: policy, Confirmed: req.ConfirmLoss, Override: req.Override}
	if req.Override != "" {
		op.Override = req.Override
	}
	return h.ask(ctx, a, op)
}

// way is the way back of an instance.
type way struct {
	to         int              // release; 0: there is none
	deployment bosman.Operation // that is taken back
	running    bosman.Operation // what owns the instance now, unless it is final
	floor      bosman.Floor
	left       bool // the deployment failed, but left the schema changed
}

// refused says why the code alone must not go back; "" if it may.
func (w way) refused() string {
	switch {
	case w.left:
		return fmt.Sprintf("%s failed, but left the database changed: %s", opRef(w.deployment.Number), w.floor.Because)
	case w.floor.Below != 0:
		return fmt.Sprintf("%s is below the rollback floor, which is %s: %s", releaseRef(w.floor.Below), releaseRef(w.floor.Release), w.floor.Because)
	}
	return ""
}

// wayBack finds out what a revert of an instance takes back and goes to.
func (h *Helm) wayBack(ctx context.Context, i bosman.Instance, restore bool) (way, error) {
	w := way{to: i.Previous}
	if i.Operation != 0 {
		running, err := h.Store.Operation(ctx, i.App, i.Operation)
		if err != nil {
			return w, err
		}
		if !running.State.Final() {
			w.running = running
		}
	}
	if w.running.Plan == bosman.PlanDeploy && !w.running.Committed {
		// Not switched yet: what runs now is what must go on running.
		w.to, w.deployment = i.Release, w.running
		w.floor = bosman.Floor{Release: i.Release}
		return w, nil
	}
	ops, err := h.Store.Operations(ctx, i.App, i.Name, 0)
	if err != nil {
		return w, err
	}
	for _, o := range ops {
		if o.Plan != bosman.PlanDeploy {
			continue
		}
		if !o.Committed && o.State.Final() && o.WayBack.NotAdditive() && o.Backup != 0 && i.Release != 0 {
			w.deployment, w.left = o, true
			if restore { // it never switched: its data goes back under the same code
				w.to = i.Release
			}
			w.floor = bosman.Floor{Release: i.Release, Because: because(o)}
			return w, nil
		}
		if o.Committed && o.Release == i.Release {
			w.deployment = o
			break
		}
	}
	w.floor = floorOf(ops, i, w.to)
	return w, nil
}

func because(o bosman.Operation) string {
	if o.WayBack.Destructive {
		return fmt.Sprintf("%s with %s: %s", opRef(o.Number), releaseRef(o.Release), o.WayBack.Schema)
	}
	return fmt.Sprintf("%s with %s: %s was not well on the new schema: %s", opRef(o.Number), releaseRef(o.Release), releaseRef(o.From), o.WayBack.ProofNote)
}

// floorOf computes how far back the code alone may go: not below the last
// deployment whose migrations are still there and took something away. ops are
// an instance's operations, newest first.
func floorOf(ops []bosman.Operation, i bosman.Instance, to int) bosman.Floor {
	f := bosman.Floor{Release: i.Release}
	for _, o := range ops {
		if o.Plan != bosman.PlanDeploy {
			continue
		}
		if o.WayBack.NotAdditive() { // also of one that failed: its migrations are there
			return bosman.Floor{Release: i.Release, Below: to, Because: because(o)}
		}
		if !o.Committed {
			continue
		}
		f.Release = o.From
		if o.From == to {
			break
		}
	}
	return f
}

func (h *Helm) written(ctx context.Context, i bosman.Instance, d bosman.Operation) (bosman.Written, error) {
	if h.KeptData == nil || d.Number == 0 {
		return bosman.Written{}, nil
	}
	return h.KeptData.Written(ctx, i, d.Number)
}

// swapTakes is what a change of places takes, without the start of the
// application.
const swapTakes = time.Second

// PlanRevert says what a revert would do, before anybody asks for it.
func (h *Helm) PlanRevert(ctx context.Context, a bosman.Actor, app, instance string) (bosman.RevertPlan, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return bosman.RevertPlan{}, err
	}
	if err := h.may(ctx, a, bosman.MayRevert, app, i.Kind); err != nil {
		return bosman.RevertPlan{}, err
	}
	back, err := h.wayBack(ctx, i, true)
	if err != nil {
		return bosman.RevertPlan{}, err
	}
	d := back.deployment
	p := bosman.RevertPlan{Instance: instance, Release: back.to, From: i.Release, Reverts: d.Number, Backup: d.Backup, Floor: back.floor, Refused: back.refused()}
	if p.Written, err = h.written(ctx, i, d); err != nil {
		if !i.Database.Adopted() || ctx.Err() != nil {
			return p, err
		}
		p.Written = bosman.Written{} // its server is not ours and may be gone; the code goes back all the same
	}
	p.Policy, p.Why = bosman.RevertPolicyOf(d.WayBack, p.Written)
	p.Point = h.pointBefore(i, d)
	if d.WayBack != nil {
		p.Schema, p.Proof, p.ProofNote, p.KeptNote = d.WayBack.Schema, d.WayBack.Proof, d.WayBack.ProofNote, d.WayBack.KeptNote
		p.Kept, p.KeptBytes = d.WayBack.Kept != "", d.WayBack.KeptBytes
	}
	if found := h.adopted(ctx, i); found != nil {
		p.Adopted, p.Lost, p.ByHand, p.Kept = true, bosman.LostToRevert(found.Abilities), found.ByHand, false
		if p.Policy == bosman.RevertRestore {
			p.Policy, p.Why = bosman.RevertAsk, d.WayBack.AdoptedWhy(p.Written)
		}
	}
	if p.Proof != bosman.ProofNone {
		p.ProvenBy, p.ProvenOn = d.Number, instance
	} else if p.Schema != "" {
		if err := h.provenElsewhere(ctx, &p, app, d); err != nil {
			return p, err
		}
	}
	if d.Backup == 0 {
		return p, nil
	}
	b, err := h.Store.Backup(ctx, app, d.Backup)
	if err != nil {
		return p, ignoreMissing(err)
	}
	p.BackupAt, p.Expected = b.CreatedAt, b.VerifyTook
	if p.Kept {
		p.Expected = swapTakes
	}
	return p, nil
}

// provenElsewhere finds the deployment of staging that saw the same release
// before on the same schema.
func (h *Helm) provenElsewhere(ctx context.Context, p *bosman.RevertPlan, app string, d bosman.Operation) error {
	ops, err := h.Store.Operations(ctx, app, string(bosman.KindStaging), 0)
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy && o.Release == d.Release && o.From == d.From && o.WayBack != nil && o.WayBack.Proof != bosman.ProofNone {
			p.ProvenBy, p.ProvenOn, p.ProofNote = o.Number, o.Instance, o.WayBack.ProofNote
			return err
		}
	}
	return err
}

// Forecast is what staging learned of the migrations a deployment brings.
type Forecast struct {
	NotAdditive bool
	Text        string // one sentence; "" when nothing is known
}

// Forecast says what is known beforehand of a deployment of live: whether on
// staging the migrations since the release that live runs took something
// away, or the release before was not well on the new schema.
func (h *Helm) Forecast(ctx context.Context, op bosman.Operation) (Forecast, error) {
	i, err := h.Store.Instance(ctx, op.App, op.Instance)
	if err != nil || i.Kind != bosman.KindLive || i.Release == 0 || i.Release == op.Release {
		return Forecast{}, err
	}
	ops, err := h.Store.Operations(ctx, op.App, string(bosman.KindStaging), 0)
	if err != nil {
		return Forecast{}, err
	}
	ran, proven := false, 0
	for _, o := range ops {
		if o.Plan != bosman.PlanDeploy || !o.Committed {
			continue
		}
		if ran = ran || o.Release == op.Release; !ran {
			continue
		}
		if o.Release == i.Release {
			break
		}
		if o.WayBack.NotAdditive() {
			data := "a revert will take the data back too"
			if i.Database.Adopted() {
				data = "a revert will need the data of before, which is put back by hand: the database is not Bosman's"
			}
			return Forecast{true, fmt.Sprintf("not additive, as staging's %s: %s", because(o), data)}, nil
		}
		if o.WayBack != nil && o.WayBack.Proof == bosman.ProofGood && proven == 0 {
			proven = o.Number
		}
	}
	if step, err := h.SchemaStep(ctx, op.App, i.Release, op.Release); err == nil && step.Against() != "" {
		if !ran { // an administrator passes staging by: the texts are all there is
			return Forecast{true, "it never ran on staging, and may not be additive: " + step.Against()}, nil
		}
		return Forecast{true, "not additive: " + step.Against()}, nil
	}
	if proven != 0 {
		return Forecast{Text: fmt.Sprintf("its migrations only add; proven on staging by %s", opRef(proven))}, nil
	}
	return Forecast{}, nil
}

// KeptCopies lists what restores and fresh copies replaced, and the ways back,
// of an instance, or of all.
func (h *Helm) KeptCopies(ctx context.Context, a bosman.Actor, app, instance string) ([]bosman.KeptCopy, error) {
	all, err := h.Instances(ctx, a, app)
	if err != nil || h.KeptData == nil {
		return nil, err
	}
	var out []bosman.KeptCopy
	for _, i := range all {
		if instance != "" && i.Name != instance || i.Release == 0 {
			continue
		}
		kept, err := h.KeptData.Kept(ctx, i)
		if err != nil {
			return nil, err
		}
		for n, c := range kept {
			if c.Operation == 0 || !c.At.IsZero() {
				continue
			}
			op, err := h.Store.Operation(ctx, app, c.Operation)
			if err != nil {
				return nil, err
			}
			kept[n].At = op.StartedAt
		}
		if err := h.tellReleases(ctx, i, kept); err != nil {
			return nil, err
		}
		out = append(out, kept...)
	}
	return out, nil
}

// keptCopy finds what was replaced, for who may restore.
func (h *Helm) keptCopy(ctx context.Context, a bosman.Actor, app, instance, id string) (bosman.Instance, bosman.KeptCopy, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return i, bosman.KeptCopy{}, err
	}
	if err := h.may(ctx, a, bosman.MayRestore, app, i.Kind); err != nil {
		return i, bosman.KeptCopy{}, err
	}
	all, err := h.KeptCopies(ctx, a, app, instance)
	for _, c := range all {
		if c.ID == id && id != "" {
			return i, c, err
		}
	}
	if err == nil {
		err = bosman.NotFound("nothing of %s was kept as %q", instance, id).WithKept("nothing was changed").WithNext("bosman kept list --instance " + instance)
	}
	return i, bosman.KeptCopy{}, err
}

// RemoveKept drops what was replaced, for good.
func (h *Helm) RemoveKept(ctx context.Context, a bosman.Actor, app, instance, id string) error {
	i, c, err := h.keptCopy(ctx, a, app, instance, id)
	if err != nil {
		return err
	}
	if i.Operation != 0 {
		return bosman.Busy("%s is held by %s", instance, opRef(i.Operation)).WithKept("nothing was removed").WithNext("wait until it ends")
	}
	if err := h.KeptData.DropKept(ctx, i, c); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "removed the data of " + instance + " kept as " + id, Subject: instance, Instance: instance}, event(bosman.EventInstanceChanged, instance))
	})
}
