// Package problems is the list of an app's problems and the page of one. It
// must not know how reports come in.
package problems

import (
	"context"
	_ "embed"
	"net/http"
	"slices"

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

// List is what the list shows.
type List struct {
	App      string
	Resolved bool // these, not the open ones
	Problems []bosman.Problem
}

// View is one problem.
type View struct {
	Problem    bosman.Problem
	Events     []bosman.ErrorEvent // newest first
	MayResolve bool
}

// Reader gives what the pages show.
type Reader interface {
	ProblemList(ctx context.Context, a bosman.Actor, app string, resolved bool) (List, error)
	ProblemPage(ctx context.Context, a bosman.Actor, app string, n int) (View, error)
}

// Verbs are what may be done.
type Verbs interface {
	ResolveProblem(ctx context.Context, a bosman.Actor, app string, n int, resolved bool) error
}

// Pages serves the pages.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Index is GET /APP/problems.
func (p Pages) Index(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.ProblemList(ctx, kit.Actor(ctx), r.PathValue("app"), r.URL.Query().Get("show") == "resolved")
	if err != nil {
		return err
	}
	title := texts.T(ctx, "Problems")
	return p.Kit.Draw(w, r, layout.Frame{Title: title + " · " + v.App, App: v.App, Tab: "problems", Crumbs: []layout.Crumb{{Name: title}}}, IndexPage(v))
}

// Show is GET /APP/problems/N.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	v, err := p.Reader.ProblemPage(ctx, kit.Actor(ctx), app, n)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, layout.Frame{
		Title: ui.Problem(n) + " " + v.Problem.Title + " · " + app, App: app, Tab: "problems",
		Crumbs: []layout.Crumb{{Name: texts.T(ctx, "Problems"), Path: ui.Path(app, "problems")}, {Name: ui.Problem(n)}},
	}, Page(v))
}

// Act is POST /APP/problems/N/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	here := ui.Path(app, "problems", n)
	switch r.PathValue("verb") {
	case "resolve":
		err = p.Verbs.ResolveProblem(ctx, kit.Actor(ctx), app, n, true)
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is resolved. You hear of it if it comes back.", ui.Problem(n)), err)
	case "reopen":
		err = p.Verbs.ResolveProblem(ctx, kit.Actor(ctx), app, n, false)
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is open again.", ui.Problem(n)), err)
	}
	return bosman.NotFound("A problem cannot be asked for that.")
}

// stack gives the calls with the innermost first.
func stack(e bosman.ErrorEvent) []bosman.Frame {
	out := slices.Clone(e.Frames)
	slices.Reverse(out)
	return out
}

func tags(e bosman.ErrorEvent) [][2]string {
	var out [][2]string
	add := func(name, value string) {
		if value != "" {
			out = append(out, [2]string{name, value})
		}
	}
	add("request", trim(e.Method+" "+e.URL))
	add("transaction", e.Transaction)
	add("environment", e.Environment)
	add("platform", e.Platform)
	add("client", e.SDK)
	names := make([]string, 0, len(e.Tags))
	for name := range e.Tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(name, e.Tags[name])
	}
	return out
}

func trim(s string) string {
	if s == " " {
		return ""
	}
	return s
}

func join(lines []string) string {
	out := ""
	for _, l := range lines {
		out += l + "\n"
	}
	return out
}

func tone(p bosman.Problem) ui.Tone {
	switch {
	case !p.ResolvedAt.IsZero():
		return ui.Good
	case p.Level == "warning" || p.Level == "info":
		return ui.Warning
	}
	return ui.Failed
}

func word(p bosman.Problem) string {
	switch {
	case !p.ResolvedAt.IsZero():
		return "resolved"
	case p.Regressed:
		return "came back"
	}
	return "open"
}
