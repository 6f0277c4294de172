package api

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// MomentQuery says which moment is meant; one of both.
type MomentQuery struct {
	InInstance
	At    time.Time `query:"at" doc:"a moment that has passed"`
	Point string    `query:"point" doc:"the name of a restore point"`
}

// MomentBody says which moment is meant; one of both.
type MomentBody struct {
	At    time.Time `json:"at,omitzero" doc:"a moment that has passed"`
	Point string    `json:"point,omitempty" doc:"the name of a restore point"`
}

// points are the verbs about moments that databases can be recovered at.
func (s *server) points() {
	const tag, at = "databases", "/apps/{app}/instances/{instance}/recover"
	add(s, route{"GET", "/apps/{app}/backups/points", "list-points", tag, "List the moments that staging's and live's databases can be recovered at, and how the last recovery went"}, func(ctx context.Context, in *InApp) (bosman.PointInTime, error) {
		return s.Helm.PointInTime(ctx, actor(ctx), in.App)
	})
	add(s, route{"GET", at, "plan-recovery", tag, "Say what recovering a database at a moment would take"}, func(ctx context.Context, in *MomentQuery) (bosman.RecoveryPlan, error) {
		return s.Helm.PlanRecovery(ctx, actor(ctx), in.App, in.Instance, bosman.Moment{At: in.At, Point: in.Point})
	})
	add(s, route{"POST", at, "recover-to", tag, "Begin to bring a database as it was at a moment beside the present one, which stays as it is"}, func(ctx context.Context, in *struct {
		InInstance
		Body *MomentBody
	},
	) (bosman.PointRecovery, error) {
		b := or(in.Body)
		return s.Helm.RecoverTo(ctx, actor(ctx), in.App, in.Instance, bosman.Moment{At: b.At, Point: b.Point})
	})
}
