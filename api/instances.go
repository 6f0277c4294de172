package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/helm"
)

// inInstance is the input of what concerns one instance.
type inInstance struct {
	inApp
	Instance string `path:"instance" example:"live"`
}

func (s *server) instances() {
	const tag, at = "instances", "/apps/{app}/instances/{instance}"
	add(s, route{"GET", "/apps/{app}/instances", "list-instances", tag, "List an app's instances, live first"}, func(ctx context.Context, in *inApp) ([]bosman.Instance, error) {
		all, err := s.Helm.Instances(ctx, actor(ctx), in.App)
		return hideAll(all), err
	})
	add(s, route{"GET", at, "get-instance", tag, "One instance"}, func(ctx context.Context, in *inInstance) (bosman.Instance, error) {
		i, err := s.Helm.Instance(ctx, actor(ctx), in.App, in.Instance)
		return hide(i), err
	})
	add(s, route{"DELETE", at, "remove-instance", tag, "Take a testing or preview instance away, with its data"}, func(ctx context.Context, in *inInstance) (wire.Ok, error) {
		return wire.Ok{Note: "removed " + in.Instance}, s.Helm.RemoveInstance(ctx, actor(ctx), in.App, in.Instance)
	})
	add(s, route{"POST", at + "/deploy", "deploy", tag, "Send a release to an instance"}, func(ctx context.Context, in *struct {
		inInstance
		Body struct {
			Release  int    `json:"release,omitempty" doc:"its number; 0: what staging runs (for live), or main's newest green one"`
			Why      string `json:"why,omitempty"`
			Override string `json:"override,omitempty" doc:"an administrator's reason to pass a rule"`
		} `required:"false"`
	}) (bosman.Operation, error) {
		return s.Helm.Deploy(ctx, actor(ctx), helm.DeployRequest{App: in.App, Instance: in.Instance, Release: in.Body.Release, Why: in.Body.Why, Override: in.Body.Override})
	})
	add(s, route{"POST", at + "/revert", "revert", tag, "Take an instance back to the release before"}, func(ctx context.Context, in *struct {
		inInstance
		Body struct {
			Database string `json:"database,omitempty" enum:"keep,restore" doc:"keep the database (the default) or restore the backup made before the deployment"`
			Why      string `json:"why,omitempty"`
		} `required:"false"`
	}) (bosman.Operation, error) {
		return s.Helm.Revert(ctx, actor(ctx), in.App, in.Instance, in.Body.Database == "restore", in.Body.Why)
	})
	type verb = func(context.Context, bosman.Actor, string, string) (bosman.Operation, error)
	for _, v := range []struct {
		name, summary string
		do            verb
	}{
		{"reset", "Give a testing instance a fresh copy again", s.Helm.Reset},
		{"restart", "Restart an instance's processes", s.Helm.Restart},
		{"stop", "Stop an instance until it is started or deployed to", s.Helm.Stop},
		{"start", "Start a stopped instance", s.Helm.Start},
		{"backup", "Make and verify a backup now", s.Helm.MakeBackup},
	} {
		add(s, route{"POST", at + "/" + v.name, v.name, tag, v.summary}, func(ctx context.Context, in *inInstance) (bosman.Operation, error) {
			return v.do(ctx, actor(ctx), in.App, in.Instance)
		})
	}
	add(s, route{"GET", "/apps/{app}/mails", "list-mails", tag, "List the mail caught from an instance, newest first"}, func(ctx context.Context, in *struct {
		inApp
		capped
		Instance string `query:"instance" doc:"only of this instance"`
	}) ([]bosman.Mail, error) {
		return list(s.Helm.Mails(ctx, actor(ctx), in.App, in.Instance, in.Max))
	})
	add(s, route{"GET", "/apps/{app}/mails/{id}", "get-mail", tag, "One caught message"}, func(ctx context.Context, in *struct {
		inApp
		ID int64 `path:"id"`
	}) (bosman.Mail, error) {
		return s.Helm.Mail(ctx, actor(ctx), in.App, in.ID)
	})
}
