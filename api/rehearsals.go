package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// InRehearsal is the input of what concerns one rehearsal.
type InRehearsal struct {
	InApp
	Ref string `path:"ref" example:"c12" doc:"r12, or what names a change: then the release of its newest build"`
}

func (s *server) rehearsals() {
	const tag = "changes"
	add(s, route{"GET", "/apps/{app}/rehearsals/{ref}", "get-rehearsal", tag, "What a release's command did to a copy of staging's database"}, func(ctx context.Context, in *InRehearsal) (bosman.Rehearsal, error) {
		return s.Helm.Rehearsal(ctx, actor(ctx), in.App, in.Ref)
	})
	add(s, route{"POST", "/apps/{app}/rehearsals/{ref}", "rehearse", tag, "Rehearse a release on a copy of staging's database, also again"}, func(ctx context.Context, in *InRehearsal) (wire.Ok, error) {
		n, err := s.Helm.Rehearse(ctx, actor(ctx), in.App, in.Ref)
		return wire.Ok{Note: bosman.Ref(bosman.LetterRelease, n) + " is rehearsed"}, err
	})
	add(s, route{"POST", "/apps/{app}/rehearsals/{ref}/accept", "accept-rehearsal", tag, "Let a release pass although its rehearsal never came to its database"}, func(ctx context.Context, in *struct {
		InRehearsal
		Body *Reason
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: in.Ref + " may pass"}, s.Helm.AcceptRehearsal(ctx, actor(ctx), in.App, in.Ref, in.Body.text())
	})
}
