package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// Numbered is the input of what has a number.
type Numbered struct {
	InApp
	N int `path:"n" minimum:"1" doc:"its number, without the letter"`
}

func (s *server) builds() {
	const tag = "builds"
	add(s, route{"GET", "/apps/{app}/builds", "list-builds", tag, "List builds without reports, newest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		Change int `query:"change" default:"-1" doc:"only of this change; 0: of main; -1: all"`
	},
	) ([]bosman.Build, error) {
		return list(s.Helm.Builds(ctx, actor(ctx), in.App, in.Change, in.Max))
	})
	add(s, route{"POST", "/apps/{app}/builds", "build", tag, "Queue a build of a branch as merged with main, or of main"}, func(ctx context.Context, in *struct {
		InApp
		Body struct {
			Branch string `json:"branch" example:"interview-dates" doc:"a branch, or c12"`
		}
	},
	) (bosman.Build, error) {
		return s.Helm.Build(ctx, actor(ctx), in.App, in.Body.Branch)
	})
	add(s, route{"GET", "/apps/{app}/builds/{n}", "get-build", tag, "One build with its report"}, func(ctx context.Context, in *Numbered) (bosman.Build, error) {
		return s.Helm.BuildOf(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"POST", "/apps/{app}/builds/{n}/retry", "retry-build", tag, "Queue the same build again"}, func(ctx context.Context, in *Numbered) (bosman.Build, error) {
		return s.Helm.Retry(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"POST", "/apps/{app}/builds/{n}/cancel", "cancel-build", tag, "End a build that is queued or running"}, func(ctx context.Context, in *struct {
		Numbered
		Body *Reason
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: "cancelled " + bosman.Ref(bosman.LetterBuild, in.N)}, s.Helm.CancelBuild(ctx, actor(ctx), in.App, in.N, in.Body.text())
	})
	add(s, route{"GET", "/apps/{app}/releases", "list-releases", tag, "List releases, newest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
	},
	) ([]bosman.Release, error) {
		return list(s.Helm.Releases(ctx, actor(ctx), in.App, in.Max))
	})
}
