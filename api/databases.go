package api

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// CopyBody says which copy is wanted; all of it may be left out.
type CopyBody struct {
	Exact bool `json:"exact,omitempty" doc:"the source's data of this moment, however long that takes, instead of a copy prepared earlier"`
}

func (s *server) databases() {
	add(s, route{"GET", "/apps/{app}/databases", "list-databases", "databases", "List an app's databases with their sizes, and how its servers make copies"}, func(ctx context.Context, in *InApp) (bosman.Storage, error) {
		return s.Helm.DatabasesOf(ctx, actor(ctx), in.App)
	})
	add(s, route{"POST", "/apps/{app}/instances/{instance}/reset", "reset", "instances", "Give a testing instance a fresh copy again"}, func(ctx context.Context, in *struct {
		InInstance
		Body *CopyBody
	},
	) (bosman.Operation, error) {
		if or(in.Body).Exact {
			return s.Helm.ResetExact(ctx, actor(ctx), in.App, in.Instance)
		}
		return s.Helm.Reset(ctx, actor(ctx), in.App, in.Instance)
	})
}
