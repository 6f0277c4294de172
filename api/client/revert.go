package client

import (
	"context"
	"net/http"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// Revert says how to take an instance back.
type Revert struct {
	Restore     bool   // put the data from before the deployment in place
	ConfirmLoss bool   // of what was written since
	Why         string // for the activity log
	Override    string // an administrator's reason to pass the rollback floor
}

// Revert takes an instance back.
func (c *Client) Revert(ctx context.Context, app, instance string, r Revert) (bosman.Operation, error) {
	database := "keep"
	if r.Restore {
		database = "restore"
	}
	return post[bosman.Operation](ctx, c, at("apps", app, "instances", instance, "revert"), m{"database": database, "confirm_loss": r.ConfirmLoss, "why": r.Why, "override": r.Override})
}

// PlanRevert says what a revert would do.
func (c *Client) PlanRevert(ctx context.Context, app, instance string) (bosman.RevertPlan, error) {
	return get[bosman.RevertPlan](ctx, c, at("apps", app, "instances", instance, "revert"))
}

// Kept lists data that was replaced, of an instance ("" for all).
func (c *Client) Kept(ctx context.Context, app, instance string) ([]bosman.KeptCopy, error) {
	return get[[]bosman.KeptCopy](ctx, c, at("apps", app, "kept"), "instance", instance)
}

// RestoreKept puts data that was replaced back; anyRelease also where it may not
// fit the release that runs.
func (c *Client) RestoreKept(ctx context.Context, app, instance, id string, anyRelease bool) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "instances", instance, "kept", id, "restore"), m{"any_release": anyRelease})
}

// PlanKept says what RestoreKept would do.
func (c *Client) PlanKept(ctx context.Context, app, instance, id string) (bosman.KeptPlan, error) {
	return get[bosman.KeptPlan](ctx, c, at("apps", app, "instances", instance, "kept", id, "restore"))
}

// RemoveKept drops it for good.
func (c *Client) RemoveKept(ctx context.Context, app, instance, id string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("apps", app, "instances", instance, "kept", id), nil, &out)
}
