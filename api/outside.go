package api

import (
	"context"
	"net/url"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/notify"
)

// outside are the verbs about forges and about who is told what happens.
func (s *server) outside() {
	const tag = "outside"
	add(s, route{"POST", "/apps/{app}/connect", "connect-app", tag, "Tie an app to a repository at a forge"}, func(ctx context.Context, in *struct {
		InApp
		Body struct {
			Kind     string `json:"kind" example:"github"`
			Repo     string `json:"repo" example:"team/rms"`
			Token    string `json:"token,omitempty" doc:"to read the repository and to write commit statuses"`
			CloneURL string `json:"clone_url,omitempty"`
			BaseURL  string `json:"base_url,omitempty" doc:"of the forge's API, where it is not the usual one"`
		}
	},
	) (wire.Connected, error) {
		b := in.Body
		secret, err := s.Helm.Connect(ctx, actor(ctx), in.App, helm.Origin{Kind: b.Kind, Repo: b.Repo, Token: b.Token, CloneURL: b.CloneURL, BaseURL: b.BaseURL})
		return wire.Connected{Hook: strings.TrimSuffix(s.URL, "/") + "/hooks/" + in.App, Secret: secret}, err
	})
	add(s, route{"GET", "/notify", "list-targets", tag, "List who is told what happens"}, func(ctx context.Context, _ *struct{}) ([]wire.Target, error) {
		if !s.Helm.May(ctx, actor(ctx), bosman.MayAdminister, "", "") {
			return nil, bosman.Forbidden("%s may not see who is told what happens", actor(ctx).Person).WithKept("nothing was changed").WithNext("ask an administrator")
		}
		all, err := s.Helm.Targets(ctx)
		out := make([]wire.Target, len(all))
		for n, t := range all {
			out[n] = wire.Target{Name: t.Name, To: where(t.URL), App: t.App, Kinds: t.Kinds, Private: t.Private, Signed: t.Secret != ""}
		}
		return out, err
	})
	add(s, route{"POST", "/notify", "add-target", tag, "Tell a webhook or a chat what happens"}, func(ctx context.Context, in *struct {
		Body struct {
			Name    string   `json:"name" example:"team-chat"`
			URL     string   `json:"url" doc:"https://… for a webhook, slack://… and so on for a chat; kept sealed, never shown"`
			App     string   `json:"app,omitempty" doc:"only about this app"`
			Kinds   []string `json:"kinds,omitempty" doc:"only these kinds of messages"`
			Private bool     `json:"private,omitempty" doc:"its address may be one of the local network"`
			Sign    bool     `json:"sign,omitempty" doc:"sign what is sent; the answer holds the secret, once"`
		}
	},
	) (wire.NewToken, error) {
		b := in.Body
		t := notify.Target{Name: b.Name, URL: b.URL, App: b.App, Kinds: b.Kinds, Private: b.Private}
		if b.Sign {
			t.Secret = access.RandomKey(24)
		}
		return wire.NewToken{Text: t.Secret}, s.Helm.AddTarget(ctx, actor(ctx), t)
	})
	add(s, route{"DELETE", "/notify/{name}", "remove-target", tag, "Tell it no more"}, func(ctx context.Context, in *InPerson) (wire.Ok, error) {
		return wire.Ok{Note: in.Name + " is told nothing any more"}, s.Helm.RemoveTarget(ctx, actor(ctx), in.Name)
	})
}

// where is what may be shown of an address that may hold a key.
func where(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return ""
	case u.Scheme == "http", u.Scheme == "https":
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme
}
