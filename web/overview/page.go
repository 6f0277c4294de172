// Package overview is the first page: all apps and their instances as the
// jobs table. It must not know where the rows come from.
package overview

import (
	"context"
	_ "embed"
	"net/http"
	"time"

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

// Row is a line of the jobs table: an instance, or the builds of changes.
type Row struct {
	Name         string
	Kind         bosman.InstanceKind // "" for the builds of changes
	State        bosman.InstanceState
	Note         string
	URL          string
	Weather      bosman.Weather
	LastSuccess  time.Time
	SuccessRef   string
	LastFailure  time.Time
	FailureRef   string
	LastDuration time.Duration
	Running      string
	RunningRoad  bosman.Road
	Release      int
	Commit       string
	Title        string
	Change       int
	Since        time.Time
	By           string
	CopyFrom     string
	CopyAt       time.Time
	Held         *bosman.Held // why it does not follow main
}

// App is one app with its rows.
type App struct {
	Name string
	Rows []Row
	Open int // changes on their way
	// Problems that nobody resolved.
	Problems int
	// Troubles say which backups are missing or failed.
	Troubles []string
	// Loosened is what main's manifest would loosen of live's protection.
	Loosened []string
}

// View is what the page shows.
type View struct {
	Only     string // one app, "" for all
	Apps     []App
	MayAdmin bool
	Base     string // Bosman's own address, for commands
}

// Reader gives what the page shows; app "" means all.
type Reader interface {
	Overview(ctx context.Context, a bosman.Actor, app string) (View, error)
}

// Verbs are what may be done from the page.
type Verbs interface {
	ConfirmPolicy(ctx context.Context, a bosman.Actor, app string) error
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Show is GET / and GET /APP.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.Overview(ctx, kit.Actor(ctx), r.PathValue("app"))
	if err != nil {
		return err
	}
	f := layout.Frame{Title: texts.T(ctx, "Apps"), App: v.Only, Tab: "overview"}
	if v.Only != "" {
		f.Title = v.Only
	}
	return p.Kit.Draw(w, r, f, Page(v))
}

// Confirm is POST /APP/policy.
func (p Pages) Confirm(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	err := p.Verbs.ConfirmPolicy(ctx, kit.Actor(ctx), app)
	return p.Kit.Answer(w, r, ui.Path(app), texts.T(ctx, "The policy of main now holds for live."), err)
}

// Status is the sign of the row and its word.
func (r Row) Status() (ui.Tone, string) {
	if r.Running != "" {
		return ui.Running, r.Running + " at work"
	}
	if r.Kind == "" {
		switch {
		case r.SuccessRef == "" && r.FailureRef == "":
			return ui.Waiting, "nothing ran yet"
		case r.LastFailure.After(r.LastSuccess):
			return ui.Failed, "the last build failed"
		}
		return ui.Good, "the last build is green"
	}
	word := string(r.State)
	if r.Note != "" {
		word += ": " + r.Note
	}
	return ui.OfInstance(r.State), word
}

// Fresh says whether nothing was ever built or deployed.
func (a App) Fresh() bool {
	for _, r := range a.Rows {
		if r.Release != 0 || r.Running != "" || r.SuccessRef != "" || r.FailureRef != "" {
			return false
		}
	}
	return true
}
