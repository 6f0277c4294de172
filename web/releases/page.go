// Package releases is the list of an app's releases: what each holds, where it
// runs, and which are bad. It must not know how they are made.
package releases

import (
	"context"
	_ "embed"
	"net/http"

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

// Row is one release.
type Row struct {
	Release bosman.Release
	Title   string
	Change  int
	On      []string // instances that run it
}

// View is what the page shows.
type View struct {
	App       string
	Rows      []Row
	MayDeploy bool // to live
}

// Reader gives what the page shows.
type Reader interface {
	ReleaseList(ctx context.Context, a bosman.Actor, app string) (View, error)
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
}

// Show is GET /APP/releases.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.ReleaseList(ctx, kit.Actor(ctx), r.PathValue("app"))
	if err != nil {
		return err
	}
	title := texts.T(ctx, "Releases")
	return p.Kit.Draw(w, r, layout.Frame{Title: title + " · " + v.App, App: v.App, Tab: "releases", Crumbs: []layout.Crumb{{Name: title}}}, Page(v))
}

func testsTone(s bosman.TestsState) ui.Tone {
	switch s {
	case bosman.TestsGreen:
		return ui.Good
	case bosman.TestsRed:
		return ui.Failed
	case bosman.TestsPending:
	}
	return ui.Waiting
}
