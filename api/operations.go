package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
)

// RestoreBody says where to restore; it may be left out.
type RestoreBody struct {
	Instance    string `json:"instance,omitempty" doc:"the one it was made of when empty"`
	ConfirmLoss bool   `json:"confirm_loss,omitempty" doc:"what was written since may leave; it is kept"`
	Migrate     bool   `json:"migrate,omitempty" doc:"run the release command on data of an older release"`
}

func (s *server) operations() {
	const tag = "operations"
	add(s, route{"GET", "/apps/{app}/operations", "list-operations", tag, "List deployments and the other operations, newest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		Instance string `query:"instance" doc:"only on this instance"`
	},
	) ([]bosman.Operation, error) {
		return list(s.Helm.Operations(ctx, actor(ctx), in.App, in.Instance, in.Max))
	})
	add(s, route{"GET", "/apps/{app}/operations/{n}", "get-operation", tag, "One operation with its steps"}, func(ctx context.Context, in *Numbered) (bosman.Operation, error) {
		return s.Helm.Operation(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"POST", "/apps/{app}/operations/{n}/cancel", "cancel-operation", tag, "End an operation that still waits"}, func(ctx context.Context, in *Numbered) (wire.Ok, error) {
		return wire.Ok{Note: "cancelled " + bosman.Ref(bosman.LetterOperation, in.N)}, s.Helm.CancelOperation(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"GET", "/apps/{app}/backups", "list-backups", tag, "List backups, newest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		Instance string `query:"instance" doc:"only of this instance"`
	},
	) ([]bosman.Backup, error) {
		return list(s.Helm.Backups(ctx, actor(ctx), in.App, in.Instance, in.Max))
	})
	add(s, route{"POST", "/apps/{app}/backups/{n}/restore", "restore-backup", tag, "Put a backup in place of an instance's database and files, which are kept"}, func(ctx context.Context, in *struct {
		Numbered
		Body *RestoreBody
	},
	) (bosman.Operation, error) {
		return s.Helm.Restore(ctx, actor(ctx), helm.RestoreRequest{App: in.App, Backup: in.N, Instance: or(in.Body).Instance, Migrate: or(in.Body).Migrate, ConfirmLoss: or(in.Body).ConfirmLoss})
	})
}
