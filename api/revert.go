package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
)

// RevertBody says how to revert; all of it may be left out.
type RevertBody struct {
	Database    string `json:"database,omitempty" enum:"keep,restore" doc:"keep the database (the default) or put the data from before the deployment in its place"`
	ConfirmLoss bool   `json:"confirm_loss,omitempty" doc:"what was written since may be taken out; it is kept aside"`
	Why         string `json:"why,omitempty"`
	Override    string `json:"override,omitempty" doc:"an administrator's reason to go below the rollback floor with the code alone"`
}

// KeptBody says what is confirmed; all of it may be left out.
type KeptBody struct {
	AnyRelease bool `json:"any_release,omitempty" doc:"put it in place although it is of another release than the one that runs, or nobody knows of which"`
}

// KeptID names data that was replaced.
type KeptID struct {
	InInstance
	ID string `path:"id" example:"20261123t090000000" doc:"as the list of kept data gives it"`
}

func (s *server) reverts() {
	const tag, at = "instances", "/apps/{app}/instances/{instance}"
	add(s, route{"POST", at + "/revert", "revert", tag, "Take an instance back to the release before"}, func(ctx context.Context, in *struct {
		InInstance
		Body *RevertBody
	},
	) (bosman.Operation, error) {
		b := or(in.Body)
		return s.Helm.Revert(ctx, actor(ctx), helm.RevertRequest{App: in.App, Instance: in.Instance, Restore: b.Database == "restore", ConfirmLoss: b.ConfirmLoss, Why: b.Why, Override: b.Override})
	})
	add(s, route{"GET", at + "/revert", "plan-revert", tag, "Say what a revert would do: how far back, with or without the data, what was written since"}, func(ctx context.Context, in *InInstance) (bosman.RevertPlan, error) {
		return s.Helm.PlanRevert(ctx, actor(ctx), in.App, in.Instance)
	})
	add(s, route{"GET", "/apps/{app}/kept", "list-kept", tag, "List the data that restores and fresh copies replaced, and the ways back of deployments"}, func(ctx context.Context, in *struct {
		InApp
		Instance string `query:"instance" doc:"only of this instance"`
	},
	) ([]bosman.KeptCopy, error) {
		return list(s.Helm.KeptCopies(ctx, actor(ctx), in.App, in.Instance))
	})
	add(s, route{"POST", at + "/kept/{id}/restore", "restore-kept", tag, "Put data that was replaced back in its place; the present data is kept in turn"}, func(ctx context.Context, in *struct {
		KeptID
		Body *KeptBody
	},
	) (bosman.Operation, error) {
		return s.Helm.RestoreKept(ctx, actor(ctx), in.App, in.Instance, in.ID, or(in.Body).AnyRelease)
	})
	add(s, route{"GET", at + "/kept/{id}/restore", "plan-restore-kept", tag, "Say what putting replaced data back would do: of which release it is, how old, what was written since"}, func(ctx context.Context, in *KeptID) (bosman.KeptPlan, error) {
		return s.Helm.PlanKept(ctx, actor(ctx), in.App, in.Instance, in.ID)
	})
	add(s, route{"DELETE", at + "/kept/{id}", "remove-kept", tag, "Drop data that was replaced, for good"}, func(ctx context.Context, in *KeptID) (wire.Ok, error) {
		return wire.Ok{Note: "removed what was kept of " + in.Instance + " as " + in.ID}, s.Helm.RemoveKept(ctx, actor(ctx), in.App, in.Instance, in.ID)
	})
}
