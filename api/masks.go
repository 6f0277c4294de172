package api

import (
	"context"

	"github.com/bosman-cd/bosman"
)

func (s *server) masks() {
	add(s, route{"GET", "/apps/{app}/instances/{instance}/masks", "list-masks", "databases", "Say what is masked in copies of an instance's data, and what looks personal and is not"}, func(ctx context.Context, in *InInstance) ([]bosman.MaskReport, error) {
		return list(s.Helm.MasksOf(ctx, actor(ctx), in.App, in.Instance))
	})
}
