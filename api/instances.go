package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
)

// InInstance is the input of what concerns one instance.
type InInstance struct {
	InApp
	Instance string `path:"instance" example:"live"`
}

// DeployBody says what to deploy; all of it may be left out.
type DeployBody struct {
	Release  int    `json:"release,omitempty" doc:"its number; 0: what staging runs (for live), or main's newest green one"`
	Why      string `json:"why,omitempty"`
	Override string `json:"override,omitempty" doc:"an administrator's reason to pass a rule"`
}

// or gives an empty body for a missing one.
func or[T any](body *T) T {
	if body == nil {
		var none T
		return none
	}
	return *body
}

func (s *server) instances() {
	const tag, at = "instances", "/apps/{app}/instances/{instance}"
	add(s, route{"GET", "/apps/{app}/instances", "list-instances", tag, "List an app's instances, live first"}, func(ctx context.Context, in *InApp) ([]bosman.Instance, error) {
		all, err := s.Helm.Instances(ctx, actor(ctx), in.App)
		return hideAll(all), err
	})
	add(s, route{"GET", at, "get-instance", tag, "One instance"}, func(ctx context.Context, in *InInstance) (bosman.Instance, error) {
		i, err := s.Helm.Instance(ctx, actor(ctx), in.App, in.Instance)
		return hide(i), err
	})
	add(s, route{"DELETE", at, "remove-instance", tag, "Take a testing or preview instance away, with its data"}, func(ctx context.Context, in *InInstance) (wire.Ok, error) {
		return wire.Ok{Note: "removed " + in.Instance}, s.Helm.RemoveInstance(ctx, actor(ctx), in.App, in.Instance)
	})
	add(s, route{"POST", at + "/deploy", "deploy", tag, "Send a release to an instance"}, func(ctx context.Context, in *struct {
		InInstance
		Body *DeployBody
	},
	) (bosman.Operation, error) {
		b := or(in.Body)
		return s.Helm.Deploy(ctx, actor(ctx), helm.DeployRequest{App: in.App, Instance: in.Instance, Release: b.Release, Why: b.Why, Override: b.Override})
	})
	type verb = func(context.Context, bosman.Actor, string, string) (bosman.Operation, error)
	for _, v := range []struct {
		name, summary string
		do            verb
	}{
		{"restart", "Restart an instance's processes", s.Helm.Restart},
		{"stop", "Stop an instance until it is started or deployed to", s.Helm.Stop},
		{"start", "Start a stopped instance", s.Helm.Start},
		{"backup", "Make and verify a backup now", s.Helm.MakeBackup},
	} {
		add(s, route{"POST", at + "/" + v.name, v.name, tag, v.summary}, func(ctx context.Context, in *InInstance) (bosman.Operation, error) {
			return v.do(ctx, actor(ctx), in.App, in.Instance)
		})
	}
	add(s, route{"GET", "/apps/{app}/mails", "list-mails", tag, "List the mail caught from an instance, newest first"}, func(ctx context.Context, in *struct {
		InApp
		Capped
		Instance string `query:"instance" doc:"only of this instance"`
	},
	) ([]bosman.Mail, error) {
		return list(s.Helm.Mails(ctx, actor(ctx), in.App, in.Instance, in.Max))
	})
	add(s, route{"GET", "/apps/{app}/mails/{id}", "get-mail", tag, "One caught message"}, func(ctx context.Context, in *struct {
		InApp
		ID int64 `path:"id"`
	},
	) (bosman.Mail, error) {
		return s.Helm.Mail(ctx, actor(ctx), in.App, in.ID)
	})
}
