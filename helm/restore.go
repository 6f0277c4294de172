package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
)

// RestoreRequest says which backup takes the place of an instance's data.
type RestoreRequest struct {
	App         string
	Backup      int
	Instance    string // "" is the one it was made of
	Migrate     bool   // the release command of the running release is run on the data
	ConfirmLoss bool   // what was written since leaves the instance; it is kept
}

// Restore puts a backup in place of an instance's database and files; the
// present ones are kept. KindConflict, with what to do, without a word that
// what was written since may leave, and for data of another release with
// another schema.
func (h *Helm) Restore(ctx context.Context, a bosman.Actor, req RestoreRequest) (bosman.Operation, error) {
	app, backup, instance := req.App, req.Backup, req.Instance
	b, err := h.Store.Backup(ctx, app, backup)
	if err != nil {
		return bosman.Operation{}, err
	}
	if instance == "" {
		instance = b.Instance
	}
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if err := h.may(ctx, a, bosman.MayRestore, app, i.Kind); err != nil {
		return bosman.Operation{}, err
	}
	if b.Instance == string(bosman.KindLive) && i.Kind != bosman.KindLive {
		return bosman.Operation{}, bosman.Forbidden("live's data does not leave live").WithKept(i.Name + " was left as it is")
	}
	if err := h.replaceable(ctx, i); err != nil {
		return bosman.Operation{}, err
	}
	if b.VerifiedAt.IsZero() {
		return bosman.Operation{}, bosman.Conflict("%s was never verified: %s", bosman.Ref(bosman.LetterBackup, backup), b.Error).WithKept(i.Name + " was left as it is").WithNext("take another: bosman backup list")
	}
	if err := h.fits(ctx, i, b, req.Migrate); err != nil {
		return bosman.Operation{}, err
	}
	if !req.ConfirmLoss {
		return bosman.Operation{}, bosman.Conflict("what was written to %s since %s would leave it", i.Name, b.CreatedAt.UTC().Format("2006-01-02 15:04 UTC")).
			WithKept(i.Name + " was left as it is").WithNext("confirm the loss (confirm_loss): bosman backup restore " + bosman.Ref(bosman.LetterBackup, backup) + " --yes; what is replaced is kept")
	}
	op := bosman.Operation{App: app, Instance: instance, Plan: bosman.PlanRestore, Release: i.Release, From: i.Release, Backup: backup}
	if req.Migrate {
		op.WayBack = &bosman.WayBack{Migrate: true, Confirmed: true}
	}
	return h.ask(ctx, a, op)
}

// RestoreBackup is Restore by who has confirmed it, without a release command.
func (h *Helm) RestoreBackup(ctx context.Context, a bosman.Actor, app string, backup int, instance string) (bosman.Operation, error) {
	return h.Restore(ctx, a, RestoreRequest{App: app, Backup: backup, Instance: instance, ConfirmLoss: true})
}

// fits refuses data of another release whose schema the running release does
// not have, unless it is to be migrated.
func (h *Helm) fits(ctx context.Context, i bosman.Instance, b bosman.Backup, migrate bool) error {
	if b.Release == 0 || i.Release == 0 || b.Release == i.Release {
		return nil
	}
	why, behind, err := h.schemaBetween(ctx, i, b)
	if err != nil || why == "" || behind && migrate {
		return err
	}
	ref, data, runs := bosman.Ref(bosman.LetterBackup, b.Number), releaseRef(b.Release), releaseRef(i.Release)
	next := fmt.Sprintf("first deploy %s: bosman deploy %s --release %s", data, i.Name, data)
	if behind {
		next = fmt.Sprintf("bring the data to %s: bosman backup restore %s --migrate; or %s", runs, ref, next)
	}
	return bosman.Conflict("%s holds the data of %s, but %s runs %s: %s", ref, data, i.Name, runs, why).
		WithKept(i.Name + " was left as it is").WithNext(next)
}

// schemaBetween says what lies between the schema of a backup and that of the
// release an instance runs; behind is true when the release's command brings
// the data up to it.
func (h *Helm) schemaBetween(ctx context.Context, i bosman.Instance, b bosman.Backup) (why string, behind bool, err error) {
	step, err := h.SchemaStep(ctx, i.App, b.Release, i.Release)
	switch {
	case err == nil && len(step.Missing) > 0:
		return fmt.Sprintf("%s does not know the migration %s", releaseRef(i.Release), step.Missing[0]), false, nil
	case err == nil && len(step.Migrations) > 0:
		return fmt.Sprintf("the migration %s is not in the data", step.Migrations[0]), true, nil
	case err == nil && step.Known:
		return "", false, nil
	case ctx.Err() != nil:
		return "", false, err
	}
	// Their texts cannot be read: what deployments between them did tells.
	ops, err := h.Store.Operations(ctx, b.App, b.Instance, 0)
	behind = b.Release < i.Release
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy && o.WayBack != nil && o.WayBack.Schema != "" &&
			o.Release > min(b.Release, i.Release) && o.Release <= max(b.Release, i.Release) {
			return fmt.Sprintf("between them lies %s with %s", opRef(o.Number), o.WayBack.Schema), behind, err
		}
	}
	return "", behind, err
}
