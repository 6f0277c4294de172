// Package changes is the board: each change a row, its road as columns. It
// must not know where changes come from.
package changes

import (
	"context"
	_ "embed"
	"net/http"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
)

// CSS is the look of the page.
//
//go:embed page.css
var CSS string

// Row is one change.
type Row struct {
	Number  int
	Branch  string
	Fork    string
	Title   string
	Author  string
	State   bosman.ChangeState
	Updated time.Time
	Road    bosman.Road
	Hazards int
	Waits   string // who or what it waits for, one sentence
}

// View is what the page shows.
type View struct {
	App      string
	All      bool
	Rows     []Row
	Stations []string // names of the columns
	Base     string
}

// Reader gives what the page shows.
type Reader interface {
	Board(ctx context.Context, a bosman.Actor, app string, all bool) (View, error)
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
}

// Show is GET /APP/changes.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.Board(ctx, kit.Actor(ctx), r.PathValue("app"), r.URL.Query().Get("show") == "all")
	if err != nil {
		return err
	}
	title := texts.T(ctx, "Changes")
	return p.Kit.Draw(w, r, layout.Frame{Title: title + " · " + v.App, App: v.App, Tab: "changes", Crumbs: []layout.Crumb{{Name: title}}}, Page(v))
}
