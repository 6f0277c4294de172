package client

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// PointInTime lists the moments that databases can be recovered at.
func (c *Client) PointInTime(ctx context.Context, app string) (bosman.PointInTime, error) {
	return get[bosman.PointInTime](ctx, c, at("apps", app, "backups", "points"))
}

// PlanRecovery says what recovering a database at a moment would take.
func (c *Client) PlanRecovery(ctx context.Context, app, instance string, w bosman.Moment) (bosman.RecoveryPlan, error) {
	query := []string{"point", w.Point}
	if !w.At.IsZero() {
		query = append(query, "at", w.At.UTC().Format(time.RFC3339Nano))
	}
	return get[bosman.RecoveryPlan](ctx, c, at("apps", app, "instances", instance, "recover"), query...)
}

// RecoverTo begins to bring a database as it was at a moment beside its own.
func (c *Client) RecoverTo(ctx context.Context, app, instance string, w bosman.Moment) (bosman.PointRecovery, error) {
	body := m{}
	if w.Point != "" {
		body["point"] = w.Point
	}
	if !w.At.IsZero() {
		body["at"] = w.At.UTC()
	}
	return post[bosman.PointRecovery](ctx, c, at("apps", app, "instances", instance, "recover"), body)
}
