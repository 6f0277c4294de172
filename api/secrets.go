package api

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman/api/wire"
)

func (s *server) secrets() {
	const tag = "secrets"
	add(s, route{"GET", "/apps/{app}/secrets", "list-secrets", tag, "List the names of an app's secrets, never their values"}, func(ctx context.Context, in *InApp) ([]wire.Secret, error) {
		all, err := s.Helm.Secrets(ctx, actor(ctx), in.App)
		out := make([]wire.Secret, len(all))
		for n, v := range all {
			out[n] = wire.Secret(v)
		}
		return out, err
	})
	add(s, route{"POST", "/apps/{app}/secrets", "set-secrets", tag, "Set secrets in a scope"}, func(ctx context.Context, in *struct {
		InApp
		Body struct {
			Scope  string            `json:"scope" example:"kind:live" doc:"build, kind:KIND or instance:NAME"`
			Values map[string]string `json:"values"`
		}
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: fmt.Sprintf("set %d for %s; instances see them at their next start", len(in.Body.Values), in.Body.Scope)},
			s.Helm.SetSecrets(ctx, actor(ctx), in.App, in.Body.Scope, in.Body.Values)
	})
	add(s, route{"DELETE", "/apps/{app}/secrets/{scope}/{name}", "remove-secret", tag, "Forget a secret"}, func(ctx context.Context, in *struct {
		InApp
		Scope string `path:"scope"`
		Name  string `path:"name"`
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: "removed " + in.Name + " from " + in.Scope}, s.Helm.RemoveSecret(ctx, actor(ctx), in.App, in.Scope, in.Name)
	})
}
