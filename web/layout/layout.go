// Package layout is the frame of every page: top bar, tabs, breadcrumb,
// search, messages, and the calm pages for errors. It must not know what the
// pages inside it show.
package layout

import (
	_ "embed"

	"github.com/bosman-cd/bosman"
)

// CSS is the look that all pages share.
//
//go:embed layout.css
var CSS string

// Crumb is a step of the breadcrumb.
type Crumb struct{ Name, Path string }

// Flash is what the page before left to say: good news, or a failure.
type Flash struct {
	Say   string
	Error *bosman.Error
}

// Frame is what surrounds a page.
type Frame struct {
	Title  string // of the document
	App    string // "" outside of an app
	Apps   []string
	Tab    string  // the tab that is open: "overview", "changes", "releases", "data", "problems", "activity", "people"
	Crumbs []Crumb // after the app; the last one is this page
	Person string  // "" for strangers
	Flash  *Flash
	Query  string // what was searched for
	CSS    string // addresses of the assets
	JS     string
	Events string // address of the event stream; "" for a page that does not change
}
