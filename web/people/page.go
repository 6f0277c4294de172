// Package people is who may do what: the matrix, everybody's role, who is at
// hand, passwords and tokens. It must not know how rights are checked.
package people

import (
	"context"
	_ "embed"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// CSS is the look of the pages.
//
//go:embed page.css
var CSS string

// List is what the page of all shows.
type List struct {
	People   []bosman.Person
	Apps     []string
	MayAdmin bool
	Me       string
}

// View is the page of one person.
type View struct {
	Person   bosman.Person
	Tokens   []bosman.Token
	Apps     []string
	Me       bool
	MayAdmin bool
	NewToken string // shown once
}

// Reader gives what the pages show.
type Reader interface {
	Everybody(ctx context.Context, a bosman.Actor) (List, error)
	Somebody(ctx context.Context, a bosman.Actor, name string) (View, error)
}

// Verbs are what may be done.
type Verbs interface {
	AddPerson(ctx context.Context, a bosman.Actor, p bosman.Person, password string) error
	Allow(ctx context.Context, a bosman.Actor, name string, role bosman.Role, app string) error
	DisablePerson(ctx context.Context, a bosman.Actor, name string, disabled bool) error
	ChangePassword(ctx context.Context, a bosman.Actor, name, old, password string) error
	NewToken(ctx context.Context, a bosman.Actor, person, name string) (text string, err error)
	RemoveToken(ctx context.Context, a bosman.Actor, id string) error
	SetAtHand(ctx context.Context, a bosman.Actor, until time.Time) error
}

// Pages serves the pages.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

func frame(ctx context.Context, more ...layout.Crumb) layout.Frame {
	title := texts.T(ctx, "People")
	f := layout.Frame{Title: title, Tab: "people", Crumbs: append([]layout.Crumb{{Name: title, Path: "/people"}}, more...)}
	if len(more) > 0 {
		f.Title = more[0].Name + " · " + title
	}
	return f
}

// Index is GET /people.
func (p Pages) Index(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.Everybody(ctx, kit.Actor(ctx))
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, frame(ctx), IndexPage(v))
}

// Show is GET /people/NAME.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error { return p.show(w, r, "") }

func (p Pages) show(w http.ResponseWriter, r *http.Request, token string) error {
	ctx, name := r.Context(), r.PathValue("name")
	v, err := p.Reader.Somebody(ctx, kit.Actor(ctx), name)
	if err != nil {
		return err
	}
	v.NewToken = token
	return p.Kit.Draw(w, r, frame(ctx, layout.Crumb{Name: name}), Page(v))
}

// Add is POST /people.
func (p Pages) Add(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	name := kit.Form(r, "name")
	err := p.Verbs.AddPerson(ctx, kit.Actor(ctx), bosman.Person{Name: name, Email: kit.Form(r, "email"), Role: bosman.Role(kit.Form(r, "role"))}, r.PostFormValue("password"))
	return p.Kit.Answer(w, r, "/people", texts.T(ctx, "%s may come in.", name), err)
}

// AtHand is POST /people/at-hand.
func (p Pages) AtHand(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	hours, err := strconv.Atoi(kit.Form(r, "hours"))
	if err != nil || hours < 0 || hours > 24 {
		return bosman.Invalid("that is no number of hours").WithNext("take 0 to 24")
	}
	until := p.Kit.Now().Add(time.Duration(hours) * time.Hour)
	say := texts.T(ctx, "You are at hand until %s.", ui.ClockText(ui.WithNow(ctx, p.Kit.Now().UTC()), until))
	if hours == 0 {
		until, say = p.Kit.Now().Add(-time.Minute), texts.T(ctx, "You are not at hand any more.")
	}
	return p.Kit.Answer(w, r, "/people", say, p.Verbs.SetAtHand(ctx, kit.Actor(ctx), until))
}

// Act is POST /people/NAME/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	a, here := kit.Actor(ctx), ui.Path("people", name)
	switch r.PathValue("verb") {
	case "role":
		role, app := bosman.Role(kit.Form(r, "role")), kit.Form(r, "app")
		say := texts.T(ctx, "%s is now %s.", name, string(role))
		if app != "" {
			say = texts.T(ctx, "%s is now %s on %s.", name, string(role), app)
		}
		return p.Kit.Answer(w, r, here, say, p.Verbs.Allow(ctx, a, name, role, app))
	case "disable":
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is shut out.", name), p.Verbs.DisablePerson(ctx, a, name, true))
	case "enable":
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s may come in again.", name), p.Verbs.DisablePerson(ctx, a, name, false))
	case "password":
		err := p.Verbs.ChangePassword(ctx, a, name, r.PostFormValue("old"), r.PostFormValue("password"))
		return p.Kit.Answer(w, r, here, texts.T(ctx, "The password is changed. Other sessions have ended."), err)
	case "token":
		text, err := p.Verbs.NewToken(ctx, a, name, kit.Form(r, "name"))
		if err != nil {
			return p.Kit.Answer(w, r, here, "", err)
		}
		return p.show(w, r, text)
	case "end-token":
		return p.Kit.Answer(w, r, here, texts.T(ctx, "The token has ended."), p.Verbs.RemoveToken(ctx, a, kit.Form(r, "id")))
	}
	return bosman.NotFound("A person cannot be asked for that.")
}

// kinds are the columns of the matrix: what concerns the app, then instances.
func kinds() []bosman.InstanceKind {
	return []bosman.InstanceKind{"", bosman.KindTesting, bosman.KindStaging, bosman.KindLive}
}

// where says on which of the kinds a role may do v: "everywhere", "testing", "".
func where(r bosman.Role, v bosman.Verb) (all bool, on []string) {
	all = true
	for _, k := range kinds() {
		if !r.Allowed(v, k) {
			all = false
			continue
		}
		if k != "" {
			on = append(on, string(k))
		}
	}
	return all, on
}

func appRoles(p bosman.Person) string {
	names := make([]string, 0, len(p.AppRoles))
	for app := range p.AppRoles {
		names = append(names, app)
	}
	slices.Sort(names)
	for n, app := range names {
		names[n] = string(p.AppRoles[app]) + " on " + app
	}
	return strings.Join(names, ", ")
}

// about says what a verb covers.
func about(v bosman.Verb) string {
	switch v {
	case bosman.MaySee:
		return "all pages and logs"
	case bosman.MayPush:
		return "branches; build, retry"
	case bosman.MayTry:
		return "fresh copy and a change on it"
	case bosman.MaySignOff:
		return "accept, send back"
	case bosman.MayMerge:
		return "move main"
	case bosman.MayDeploy:
		return "a release to an instance"
	case bosman.MayRevert:
		return "to the release before"
	case bosman.MayOperate:
		return "restart, stop, start, back up"
	case bosman.MayRestore:
		return "a backup in place of the data"
	case bosman.MayRun:
		return "commands and tasks"
	case bosman.MayAdminister:
		return "apps, people, secrets, overrides"
	}
	return ""
}
