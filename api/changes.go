package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
)

// InChange is the input of what concerns one change.
type InChange struct {
	InApp
	Ref string `path:"ref" example:"c12" doc:"c12, 12, a branch or the URL of a pull request, escaped as one segment"`
}

// Reason is the optional body of a verb.
type Reason struct {
	Why string `json:"why,omitempty" doc:"the reason, for people"`
}

func (r *Reason) text() string {
	if r == nil {
		return ""
	}
	return r.Why
}

func changeView(v helm.ChangeView) wire.ChangeView {
	v.On = hideAll(v.On)
	return wire.ChangeView(v)
}

func (s *server) changes() {
	const tag = "changes"
	add(s, route{"GET", "/apps/{app}/changes", "list-changes", tag, "List changes with their roads, latest activity first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		All bool `query:"all" doc:"also merged and closed ones"`
	},
	) ([]wire.ChangeView, error) {
		views, err := s.Helm.Changes(ctx, actor(ctx), in.App, in.All, in.Max)
		out := make([]wire.ChangeView, len(views))
		for n, v := range views {
			out[n] = changeView(v)
		}
		return out, err
	})
	add(s, route{"GET", "/apps/{app}/changes/{ref}", "get-change", tag, "One change with its road, newest build and sign-offs"}, func(ctx context.Context, in *InChange) (wire.ChangeView, error) {
		v, err := s.Helm.ChangePage(ctx, actor(ctx), in.App, in.Ref)
		return changeView(v), err
	})
	type why struct {
		InChange
		Body *Reason
	}
	add(s, route{"POST", "/apps/{app}/changes/{ref}/accept", "accept-change", tag, "Say that the change's present head is good"}, func(ctx context.Context, in *why) (wire.Ok, error) {
		return wire.Ok{Note: "accepted " + in.Ref}, s.Helm.Accept(ctx, actor(ctx), in.App, in.Ref, in.Body.text())
	})
	add(s, route{"POST", "/apps/{app}/changes/{ref}/send-back", "send-change-back", tag, "Say that it is not, and why"}, func(ctx context.Context, in *why) (wire.Ok, error) {
		return wire.Ok{Note: "sent " + in.Ref + " back"}, s.Helm.SendBack(ctx, actor(ctx), in.App, in.Ref, in.Body.text())
	})
	add(s, route{"POST", "/apps/{app}/changes/{ref}/merge", "merge-change", tag, "Move main to the change's tested merge result"}, func(ctx context.Context, in *struct {
		InChange
		Body *struct {
			Override string `json:"override,omitempty" doc:"an administrator's reason to merge although the migrations fail on a copy of staging's data"`
		}
	},
	) (wire.Merged, error) {
		if in.Body != nil && in.Body.Override != "" {
			m, err := s.Helm.MergeAnyway(ctx, actor(ctx), in.App, in.Ref, in.Body.Override)
			return wire.Merged(m), err
		}
		m, err := s.Helm.Merge(ctx, actor(ctx), in.App, in.Ref)
		return wire.Merged(m), err
	})
	add(s, route{"POST", "/apps/{app}/changes/{ref}/close", "close-change", tag, "Take a change off the road"}, func(ctx context.Context, in *InChange) (wire.Ok, error) {
		return wire.Ok{Note: "closed " + in.Ref}, s.Helm.CloseChange(ctx, actor(ctx), in.App, in.Ref)
	})
	add(s, route{"POST", "/apps/{app}/changes/{ref}/try", "try-change", tag, "Put a change on a testing instance with a fresh copy"}, func(ctx context.Context, in *struct {
		InChange
		Body struct {
			Instance string `json:"instance" example:"testing-anna"`
			CopyBody
		}
	},
	) (bosman.Operation, error) {
		if in.Body.Exact {
			return s.Helm.TryExact(ctx, actor(ctx), in.App, in.Ref, in.Body.Instance)
		}
		return s.Helm.Try(ctx, actor(ctx), in.App, in.Ref, in.Body.Instance)
	})
}
