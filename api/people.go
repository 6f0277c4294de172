package api

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// InPerson is the input of what concerns one person.
type InPerson struct {
	Name string `path:"name" example:"anna"`
}

func (s *server) people() {
	const tag = "people"
	add(s, route{"GET", "/people", "list-people", tag, "List everybody"}, func(ctx context.Context, _ *struct{}) ([]bosman.Person, error) {
		return list(s.Helm.People(ctx, actor(ctx)))
	})
	add(s, route{"POST", "/people", "add-person", tag, "Add somebody"}, func(ctx context.Context, in *struct {
		Body struct {
			Name     string      `json:"name" example:"anna"`
			Email    string      `json:"email,omitempty"`
			Role     bosman.Role `json:"role" example:"tester" doc:"viewer, developer, tester or admin"`
			Password string      `json:"password,omitempty" doc:"without one they cannot log in by password"`
		}
	},
	) (wire.Ok, error) {
		b := in.Body
		return wire.Ok{Note: "added " + b.Name + " as " + string(b.Role)}, s.Helm.AddPerson(ctx, actor(ctx), bosman.Person{Name: b.Name, Email: b.Email, Role: b.Role}, b.Password)
	})
	add(s, route{"POST", "/people/{name}/allow", "allow", tag, "Give a person a role, everywhere or on one app"}, func(ctx context.Context, in *struct {
		InPerson
		Body struct {
			Role bosman.Role `json:"role"`
			App  string      `json:"app,omitempty"`
		}
	},
	) (wire.Ok, error) {
		note := in.Name + " is " + string(in.Body.Role) + " now"
		if in.Body.App != "" {
			note += " on " + in.Body.App
		}
		return wire.Ok{Note: note}, s.Helm.Allow(ctx, actor(ctx), in.Name, in.Body.Role, in.Body.App)
	})
	add(s, route{"POST", "/people/{name}/disable", "disable-person", tag, "Shut a person out, or let them in again"}, func(ctx context.Context, in *struct {
		InPerson
		Body struct {
			Disabled bool `json:"disabled"`
		}
	},
	) (wire.Ok, error) {
		note := in.Name + " may come in again"
		if in.Body.Disabled {
			note = in.Name + " is shut out"
		}
		return wire.Ok{Note: note}, s.Helm.DisablePerson(ctx, actor(ctx), in.Name, in.Body.Disabled)
	})
	add(s, route{"POST", "/people/{name}/password", "set-password", tag, "Set a password: your own, or anybody's as administrator"}, func(ctx context.Context, in *struct {
		InPerson
		Body struct {
			Password string `json:"password"`
		}
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: "set the password of " + in.Name}, s.Helm.SetPassword(ctx, actor(ctx), in.Name, in.Body.Password)
	})
	add(s, route{"GET", "/people/{name}/tokens", "list-tokens", tag, "List a person's tokens"}, func(ctx context.Context, in *InPerson) ([]bosman.Token, error) {
		return list(s.Helm.Tokens(ctx, actor(ctx), in.Name))
	})
	add(s, route{"POST", "/people/{name}/tokens", "new-token", tag, "Make a token; its text is shown once"}, func(ctx context.Context, in *struct {
		InPerson
		Body struct {
			Name string `json:"name" example:"laptop" doc:"what it is for"`
		}
	},
	) (wire.NewToken, error) {
		text, err := s.Helm.NewToken(ctx, actor(ctx), in.Name, in.Body.Name)
		return wire.NewToken{Text: text}, err
	})
	add(s, route{"DELETE", "/tokens/{id}", "remove-token", tag, "End a token"}, func(ctx context.Context, in *struct {
		ID string `path:"id"`
	},
	) (wire.Ok, error) {
		return wire.Ok{Note: "ended the token " + in.ID}, s.Helm.RemoveToken(ctx, actor(ctx), in.ID)
	})
	add(s, route{"GET", "/at-hand", "list-at-hand", tag, "Who is there to help now"}, func(ctx context.Context, _ *struct{}) ([]bosman.Person, error) {
		if _, err := s.Helm.People(ctx, actor(ctx)); err != nil {
			return nil, err
		}
		return list(s.Helm.AtHand(ctx))
	})
	add(s, route{"POST", "/at-hand", "set-at-hand", tag, "Say until when you are there to help; a past moment ends it"}, func(ctx context.Context, in *struct {
		Body struct {
			Until time.Time `json:"until"`
		}
	},
	) (wire.Ok, error) {
		note := "you are at hand until " + in.Body.Until.UTC().Format(time.RFC3339)
		if in.Body.Until.Before(time.Now()) {
			note = "you are not at hand any more"
		}
		return wire.Ok{Note: note}, s.Helm.SetAtHand(ctx, actor(ctx), in.Body.Until)
	})
	add(s, route{"POST", "/git-token", "git-token", tag, "Make a short-lived token of your own for git"}, func(ctx context.Context, _ *struct{}) (wire.NewToken, error) {
		if s.GitToken == nil {
			return wire.NewToken{}, bosman.Unavailable("this server gives no tokens to git").WithNext("make one: bosman people token new NAME")
		}
		text, expires, err := s.GitToken(ctx, actor(ctx))
		return wire.NewToken{Text: text, Expires: expires}, err
	})
}
