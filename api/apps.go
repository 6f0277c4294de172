package api

import (
	"context"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

func (s *server) apps() {
	const tag = "apps"
	add(s, route{"GET", "/me", "me", tag, "Who the server takes you for"}, func(ctx context.Context, _ *struct{}) (wire.Me, error) {
		a := actor(ctx)
		me := wire.Me{Person: a.Person, From: a.From, URL: s.URL}
		people, err := s.Helm.People(ctx, a)
		if bosman.KindOf(err) == bosman.KindForbidden {
			return me, nil
		}
		for _, p := range people {
			if p.Name == a.Person {
				me.Role, me.On = p.Role, p.AppRoles
			}
		}
		return me, err
	})
	add(s, route{"GET", "/apps", "list-apps", tag, "List the apps you may see"}, func(ctx context.Context, _ *struct{}) ([]bosman.App, error) {
		return list(s.Helm.Apps(ctx, actor(ctx)))
	})
	add(s, route{"POST", "/apps", "add-app", tag, "Add an app with an empty repository, staging and live"}, func(ctx context.Context, in *struct {
		Body struct {
			Name string `json:"name" example:"rms"`
		}
	},
	) (bosman.App, error) {
		return s.Helm.AddApp(ctx, actor(ctx), in.Body.Name)
	})
	add(s, route{"GET", "/apps/{app}", "get-app", tag, "One app"}, func(ctx context.Context, in *InApp) (bosman.App, error) {
		return s.Helm.App(ctx, actor(ctx), in.App)
	})
	add(s, route{"DELETE", "/apps/{app}", "remove-app", tag, "Stop an app and forget it; only its backups stay"}, func(ctx context.Context, in *struct {
		InApp
		Confirm string `query:"confirm" doc:"the app's name"`
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: "removed " + in.App}, s.Helm.RemoveApp(ctx, actor(ctx), in.App, in.Confirm)
	})
	add(s, route{"GET", "/status", "status", tag, "The jobs table: each instance, then the builds of changes"}, func(ctx context.Context, in *struct {
		App string `query:"app" doc:"only this app"`
	},
	) ([]wire.Job, error) {
		jobs, err := s.Helm.Status(ctx, actor(ctx), in.App)
		out := make([]wire.Job, len(jobs))
		for n, j := range jobs {
			out[n] = wire.Job(j)
		}
		return out, err
	})
	add(s, route{"GET", "/apps/{app}/policy", "get-policy", tag, "What holds for live, and what main would loosen"}, func(ctx context.Context, in *InApp) (wire.LivePolicy, error) {
		p, err := s.Helm.Policy(ctx, in.App, bosman.KindLive)
		if err != nil {
			return wire.LivePolicy{}, err
		}
		loosened, err := list(s.Helm.Loosened(ctx, in.App))
		return wire.LivePolicy{After: p.Deploy.After, Window: p.Deploy.Window, AtHand: p.Deploy.AtHand, WatchFor: p.Watch.For.String(), Reverts: p.Watch.Revert, Loosened: loosened}, err
	})
	add(s, route{"POST", "/apps/{app}/confirm-policy", "confirm-policy", tag, "Let main's policy for live hold, also where it loosens"}, func(ctx context.Context, in *InApp) (wire.Ok, error) {
		return wire.Ok{Note: "main's policy for live holds now"}, s.Helm.ConfirmPolicy(ctx, actor(ctx), in.App)
	})
	add(s, route{"GET", "/apps/{app}/tasks", "list-tasks", tag, "The named commands of main's manifest"}, func(ctx context.Context, in *InApp) ([]wire.Task, error) {
		m, err := s.Helm.Manifest(ctx, in.App)
		if err != nil {
			return nil, err
		}
		out := []wire.Task{}
		for name, run := range m.Tasks {
			out = append(out, wire.Task{Name: name, Run: run})
		}
		slices.SortFunc(out, func(a, b wire.Task) int { return strings.Compare(a.Name, b.Name) })
		return out, nil
	})
	add(s, route{"GET", "/activity", "activity", tag, "Who changed what, newest first"}, func(ctx context.Context, in *struct {
		Capped
		App    string `query:"app" doc:"only this app"`
		Before int64  `query:"before" doc:"only lines with a smaller id"`
	},
	) ([]bosman.Activity, error) {
		return list(s.Helm.Activity(ctx, actor(ctx), in.App, in.Before, in.Max))
	})
}
