package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

func (s *server) problems() {
	const tag = "problems"
	add(s, route{"GET", "/apps/{app}/problems", "list-problems", tag, "List an app's problems, latest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		Resolved bool `query:"resolved" doc:"also resolved ones"`
	},
	) ([]bosman.Problem, error) {
		return list(s.Helm.Problems(ctx, actor(ctx), in.App, in.Resolved, in.Max))
	})
	add(s, route{"GET", "/apps/{app}/problems/{n}", "get-problem", tag, "One problem and its newest reports"}, func(ctx context.Context, in *Numbered) (wire.ProblemView, error) {
		p, events, err := s.Helm.Problem(ctx, actor(ctx), in.App, in.N)
		if events == nil {
			events = []bosman.ErrorEvent{}
		}
		return wire.ProblemView{Problem: p, Reports: events}, err
	})
	add(s, route{"POST", "/apps/{app}/problems/{n}/resolve", "resolve-problem", tag, "Say that a problem is mended, or that it is not"}, func(ctx context.Context, in *struct {
		Numbered
		Body struct {
			Resolved bool `json:"resolved"`
		}
	},
	) (wire.Ok, error) {
		note := "reopened "
		if in.Body.Resolved {
			note = "resolved "
		}
		return wire.Ok{Note: note + bosman.Ref(bosman.LetterProblem, in.N)}, s.Helm.ResolveProblem(ctx, actor(ctx), in.App, in.N, in.Body.Resolved)
	})
}
