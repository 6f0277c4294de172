// Package change is the page of one change: its road, what failed first, and
// the verbs that move it on. It must not know how they are done.
package change

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

// CSS is the look of the page.
//
//go:embed page.css
var CSS string

// On is an instance that shows the change.
type On struct {
	Instance bosman.Instance
	Current  bool // with the change's newest release
	Mails    int  // caught since
	MayTry   bool
}

// May is what the reader may do.
type May struct{ Try, SignOff, Merge, Push, Override bool }

// View is what the page shows.
type View struct {
	Change   bosman.Change
	Road     bosman.Road
	Build    *bosman.Build // newest, with its report
	Builds   []bosman.Build
	Signoffs []bosman.Signoff
	On       []On
	Stale    bool
	May      May
	NoMerge  string   // why it cannot be merged now; "" if it can
	NoTry    string   // why it cannot be tried now; "" if it can
	TryOn    []string // instances to choose from, the reader's own first
	Tried    bool     // the reader's own instance shows it
	CopyNote string   // how fresh a copy would be

	Rehearsal *bosman.Rehearsal // of its migrations on a copy; nil without one
}

// Reader gives what the page shows.
type Reader interface {
	Change(ctx context.Context, a bosman.Actor, app, ref string) (View, error)
}

// Verbs are what may be done from the page.
type Verbs interface {
	Try(ctx context.Context, a bosman.Actor, app, ref, instance string) (bosman.Operation, error)
	Reset(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Accept(ctx context.Context, a bosman.Actor, app, ref, why string) error
	SendBack(ctx context.Context, a bosman.Actor, app, ref, why string) error
	MergeChange(ctx context.Context, a bosman.Actor, app, ref, override string) (note string, err error)
	CloseChange(ctx context.Context, a bosman.Actor, app, ref string) error
	Build(ctx context.Context, a bosman.Actor, app, branch string) (bosman.Build, error)
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Show is GET /APP/changes/N.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	v, err := p.Reader.Change(ctx, kit.Actor(ctx), app, ui.Change(n))
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, layout.Frame{
		Title: ui.Change(n) + " " + v.Change.Title + " · " + app, App: app, Tab: "changes",
		Crumbs: []layout.Crumb{{Name: texts.T(ctx, "Changes"), Path: ui.Path(app, "changes")}, {Name: ui.Change(n)}},
	}, Page(v))
}

// Act is POST /APP/changes/N/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	a, ref, here := kit.Actor(ctx), ui.Change(n), ui.Path(app, "changes", n)
	say := ""
	switch r.PathValue("verb") {
	case "try":
		var op bosman.Operation
		op, err = p.Verbs.Try(ctx, a, app, ref, kit.Form(r, "instance"))
		if err == nil {
			here = ui.Path(app, "deployments", op.Number)
		}
	case "fresh":
		var op bosman.Operation
		op, err = p.Verbs.Reset(ctx, a, app, kit.Form(r, "instance"))
		if err == nil {
			here = ui.Path(app, "deployments", op.Number)
		}
	case "accept":
		err, say = p.Verbs.Accept(ctx, a, app, ref, kit.Form(r, "why")), texts.T(ctx, "You accepted %s.", ref)
	case "send-back":
		err, say = p.Verbs.SendBack(ctx, a, app, ref, kit.Form(r, "why")), texts.T(ctx, "You sent %s back. Its author sees why.", ref)
	case "merge":
		say, err = p.Verbs.MergeChange(ctx, a, app, ref, kit.Form(r, "override"))
		say = ui.Sentence(say)
	case "close":
		err, say = p.Verbs.CloseChange(ctx, a, app, ref), texts.T(ctx, "%s is closed. A push opens it again.", ref)
	case "build":
		var b bosman.Build
		b, err = p.Verbs.Build(ctx, a, app, ref)
		if err == nil {
			here = ui.Path(app, "builds", b.Number)
		}
	default:
		return bosman.NotFound("A change cannot be asked for that.")
	}
	return p.Kit.Answer(w, r, here, say, err)
}

// dangers are the hazards that are not collisions, what blocks the merge first.
func (v View) dangers() []string {
	said := func(h string) bool {
		return slices.ContainsFunc(v.Change.Collisions, func(c bosman.Collision) bool { return h == c.String() || h == c.Text })
	}
	var out []string
	if b := v.Change.Blocked; b != "" && !said(b) {
		out = append(out, b)
	}
	for _, h := range v.Change.Hazards {
		if h != v.Change.Blocked && !said(h) {
			out = append(out, h)
		}
	}
	return out
}

// accepted says whether the newest word on the present head is a yes.
func (v View) accepted() bool {
	for i := len(v.Signoffs) - 1; i >= 0; i-- {
		if s := v.Signoffs[i]; s.Commit == v.Change.Head {
			return s.Verdict == bosman.Accepted
		}
	}
	return false
}

// open is the address of the reader's own instance, if it shows the change.
func (v View) open() string {
	if !v.Tried || len(v.TryOn) == 0 {
		return ""
	}
	for _, o := range v.On {
		if o.Instance.Name == v.TryOn[0] && ui.WebURL(o.Instance.URL) {
			return o.Instance.URL
		}
	}
	return ""
}

// stopped says whether only its rehearsal keeps it from being merged.
func (v View) stopped() bool {
	return v.NoMerge != "" && v.NoMerge == v.Rehearsal.Stops()
}

// tryClass makes trying the first thing to do, but not with red tests.
func tryClass(v View) string {
	if v.Build != nil && v.Build.State == bosman.BuildRed {
		return ""
	}
	return "primary"
}
