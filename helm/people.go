package helm

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/store"
)

// People lists everybody; for whoever may see anything.
func (h *Helm) People(ctx context.Context, a bosman.Actor) ([]bosman.Person, error) {
	if err := h.may(ctx, a, bosman.MaySee, "", ""); err != nil {
		return nil, err
	}
	return h.Store.People(ctx)
}

// AddPerson adds somebody; password may be empty.
func (h *Helm) AddPerson(ctx context.Context, a bosman.Actor, p bosman.Person, password string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return err
	}
	if err := bosman.CheckName("person", p.Name); err != nil {
		return err
	}
	if p.Name == bosman.System().Person {
		return bosman.Invalid("%q is Bosman's own name", p.Name)
	}
	if err := checkRole(p.Role); err != nil {
		return err
	}
	if _, err := h.Store.Person(ctx, p.Name); err == nil {
		return bosman.Conflict("there is already a person %s", p.Name).WithNext("bosman people lists them")
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	if password != "" {
		var err error
		if p.PasswordHash, err = access.HashPassword(password); err != nil {
			return err
		}
	}
	p.CreatedAt = h.now()
	return h.savePerson(ctx, a, p, "added "+p.Name+" as "+string(p.Role))
}

func checkRole(r bosman.Role) error {
	for _, known := range bosman.Roles() {
		if r == known {
			return nil
		}
	}
	return bosman.Invalid("%q is not a role", r).WithNext("take viewer, developer, tester or admin")
}

func (h *Helm) savePerson(ctx context.Context, a bosman.Actor, p bosman.Person, what string) error {
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SavePerson(ctx, p); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{What: what, Subject: p.Name})
	})
}

// Allow gives a person a role, everywhere or (with app) on one app. The last
// administrator cannot be taken away.
func (h *Helm) Allow(ctx context.Context, a bosman.Actor, name string, role bosman.Role, app string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return err
	}
	if err := checkRole(role); err != nil {
		return err
	}
	p, err := h.Store.Person(ctx, name)
	if err != nil {
		return err
	}
	if app == "" {
		if p.Role == bosman.RoleAdmin && role != bosman.RoleAdmin {
			if err := h.anotherAdmin(ctx, name); err != nil {
				return err
			}
		}
		p.Role = role
		return h.savePerson(ctx, a, p, "made "+name+" "+string(role))
	}
	if _, err := h.Store.App(ctx, app); err != nil {
		return err
	}
	if p.AppRoles == nil {
		p.AppRoles = map[string]bosman.Role{}
	}
	p.AppRoles[app] = role
	return h.savePerson(ctx, a, p, "made "+name+" "+string(role)+" on "+app)
}

// anotherAdmin fails unless somebody else administers too.
func (h *Helm) anotherAdmin(ctx context.Context, name string) error {
	all, err := h.Store.People(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Name != name && p.Role == bosman.RoleAdmin && !p.Disabled {
			return nil
		}
	}
	return bosman.Conflict("%s is the last administrator", name).WithKept("nothing was changed").WithNext("make somebody else an administrator first")
}

// DisablePerson ends or gives back a person's access.
func (h *Helm) DisablePerson(ctx context.Context, a bosman.Actor, name string, disabled bool) error {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return err
	}
	p, err := h.Store.Person(ctx, name)
	if err != nil {
		return err
	}
	if disabled && p.Role == bosman.RoleAdmin {
		if err := h.anotherAdmin(ctx, name); err != nil {
			return err
		}
	}
	p.Disabled = disabled
	what := "let " + name + " in again"
	if disabled {
		what = "shut " + name + " out"
	}
	return h.savePerson(ctx, a, p, what)
}

// SetPassword changes a password: one's own, or anybody's by an
// administrator.
func (h *Helm) SetPassword(ctx context.Context, a bosman.Actor, name, password string) error {
	if a.Person != name {
		if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
			return err
		}
	}
	p, err := h.Store.Person(ctx, name)
	if err != nil {
		return err
	}
	if p.PasswordHash, err = access.HashPassword(password); err != nil {
		return err
	}
	return h.savePerson(ctx, a, p, "set the password of "+name)
}

// NewToken makes a token for oneself, or by an administrator for anybody. The
// text is shown once and not kept.
func (h *Helm) NewToken(ctx context.Context, a bosman.Actor, person, name string) (text string, err error) {
	if a.Person != person {
		if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
			return "", err
		}
	}
	if _, err := h.Store.Person(ctx, person); err != nil {
		return "", err
	}
	t, text := access.NewToken(person, name, h.now())
	return text, h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveToken(ctx, t); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{What: "made the token " + name + " for " + person, Subject: person})
	})
}

// Tokens lists tokens: one's own, or by an administrator those of all.
func (h *Helm) Tokens(ctx context.Context, a bosman.Actor, person string) ([]bosman.Token, error) {
	if person != a.Person {
		if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
			return nil, err
		}
	}
	return h.Store.Tokens(ctx, person)
}

// RemoveToken ends a token: one's own, or any by an administrator.
func (h *Helm) RemoveToken(ctx context.Context, a bosman.Actor, id string) error {
	t, err := h.Store.Token(ctx, id)
	if err != nil {
		return err
	}
	if t.Person != a.Person {
		if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
			return err
		}
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.RemoveToken(ctx, id); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{What: "ended the token " + t.Name + " of " + t.Person, Subject: t.Person})
	})
}

// SetAtHand says until when a person is there to help; a moment in the past
// ends it.
func (h *Helm) SetAtHand(ctx context.Context, a bosman.Actor, until time.Time) error {
	p, err := h.Store.Person(ctx, a.Person)
	if err != nil {
		return err
	}
	p.AtHandUntil = until.UTC()
	what := "is at hand until " + until.UTC().Format(time.RFC3339)
	if !until.After(h.now()) {
		what = "is not at hand any more"
	}
	return h.savePerson(ctx, a, p, what)
}

// AtHand lists who is there to help now.
func (h *Helm) AtHand(ctx context.Context) ([]bosman.Person, error) {
	all, err := h.Store.People(ctx)
	if err != nil {
		return nil, err
	}
	var out []bosman.Person
	for _, p := range all {
		if p.AtHandUntil.After(h.now()) && !p.Disabled {
			out = append(out, p)
		}
	}
	return out, nil
}

// SecretInfo is what is shown of a secret: never its value.
type SecretInfo struct {
	Scope string    `json:"scope"`
	Name  string    `json:"name"`
	SetAt time.Time `json:"set_at"`
	SetBy string    `json:"set_by"`
}

// Secrets lists the names of an app's secrets.
func (h *Helm) Secrets(ctx context.Context, a bosman.Actor, app string) ([]SecretInfo, error) {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return nil, err
	}
	all, err := h.Store.Secrets(ctx, app)
	if err != nil {
		return nil, err
	}
	out := make([]SecretInfo, len(all))
	for n, s := range all {
		out[n] = SecretInfo{Scope: s.Scope, Name: s.Name, SetAt: s.SetAt, SetBy: s.SetBy}
	}
	return out, nil
}

// SetSecrets sets secrets in a scope: "build", "kind:live" or
// "instance:testing-anna". Instances see them at their next start.
func (h *Helm) SetSecrets(ctx context.Context, a bosman.Actor, app, scope string, values map[string]string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return err
	}
	if _, err := h.Store.App(ctx, app); err != nil {
		return err
	}
	if err := checkScope(scope); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		for name, value := range values {
			if err := secret.CheckName(name); err != nil {
				return bosman.AsError(err).WithKept("no secret was set")
			}
			sealed, err := h.Box.Seal(value)
			if err != nil {
				return err
			}
			if err := s.SaveSecret(ctx, store.SealedSecret{App: app, Scope: scope, Name: name, Sealed: sealed, SetAt: h.now(), SetBy: a.Person}); err != nil {
				return err
			}
			if err := h.note(ctx, s, a, bosman.Activity{App: app, What: "set the secret " + name + " for " + scope, Subject: name}); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkScope(scope string) error {
	if scope == "build" {
		return nil
	}
	for _, prefix := range []string{"kind:", "instance:"} {
		if len(scope) > len(prefix) && scope[:len(prefix)] == prefix {
			_, err := KindOf(scope[len(prefix):])
			return err
		}
	}
	return bosman.Invalid("%q is not a scope of secrets", scope).WithNext("take build, kind:live (or staging, testing, preview), or instance:NAME")
}

// RemoveSecret forgets a secret.
func (h *Helm) RemoveSecret(ctx context.Context, a bosman.Actor, app, scope, name string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.RemoveSecret(ctx, app, scope, name); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "removed the secret " + name + " for " + scope, Subject: name})
	})
}

// SecretsFor opens the secrets that an instance gets: those of its kind, then
// its own. For the wiring, not for people.
func (h *Helm) SecretsFor(ctx context.Context, i bosman.Instance) (map[string]string, error) {
	return h.open(ctx, i.App, "kind:"+string(i.Kind), "instance:"+i.Name)
}

// BuildSecrets opens the secrets that team builds may ask for by name.
func (h *Helm) BuildSecrets(ctx context.Context, app string) (map[string]string, error) {
	return h.open(ctx, app, "build")
}

func (h *Helm) open(ctx context.Context, app string, scopes ...string) (map[string]string, error) {
	all, err := h.Store.Secrets(ctx, app)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, scope := range scopes {
		for _, s := range all {
			if s.Scope == scope {
				if out[s.Name], err = h.Box.Open(s.Sealed); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}
