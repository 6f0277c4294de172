// Package activity is the log of who changed what. It must not know how it is
// written.
package activity

import (
	"context"
	_ "embed"
	"net/http"
	"strconv"
	"strings"

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

// View is what the page shows.
type View struct {
	App   string // "" for all
	Lines []bosman.Activity
	Older int64 // where older ones begin; 0 for none
	Later bool  // this is not the newest page
}

// Day is the lines of one day.
type Day struct {
	Name  string
	Lines []bosman.Activity
}

// Reader gives what the page shows.
type Reader interface {
	ActivityPage(ctx context.Context, a bosman.Actor, app string, before int64) (View, error)
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
}

// Show is GET /activity and GET /APP/activity.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	before := int64(0)
	if s := r.URL.Query().Get("before"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return bosman.Invalid("%q is no place in the log", s)
		}
		before = n
	}
	v, err := p.Reader.ActivityPage(ctx, kit.Actor(ctx), r.PathValue("app"), before)
	if err != nil {
		return err
	}
	title := texts.T(ctx, "Activity")
	return p.Kit.Draw(w, r, layout.Frame{Title: title, App: v.App, Tab: "activity", Crumbs: []layout.Crumb{{Name: title}}}, Page(v))
}

func days(ctx context.Context, lines []bosman.Activity) []Day {
	var out []Day
	now := ui.Now(ctx)
	for _, l := range lines {
		at := l.At.In(now.Location())
		name := at.Format("Monday 2 January 2006")
		if at.Format("2006-01-02") == now.Format("2006-01-02") {
			name = texts.T(ctx, "Today")
		}
		if len(out) == 0 || out[len(out)-1].Name != name {
			out = append(out, Day{Name: name})
		}
		d := &out[len(out)-1]
		d.Lines = append(d.Lines, l)
	}
	return out
}

// split parts what was done around the ref it speaks of, so that the ref can
// be a link.
func split(l bosman.Activity) (before, ref, after string) {
	for at := 0; l.Subject != ""; {
		n := strings.Index(l.What[at:], l.Subject)
		if n < 0 {
			break
		}
		from, to := at+n, at+n+len(l.Subject)
		if !inWord(l.What, from-1) && !inWord(l.What, to) {
			return l.What[:from], l.Subject, l.What[to:]
		}
		at = to
	}
	return l.What, "", ""
}

func inWord(s string, n int) bool {
	if n < 0 || n >= len(s) {
		return false
	}
	c := s[n]
	return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
