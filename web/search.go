package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/search"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// search is GET /search?q=&app=: one thing found is opened at once, several
// are listed.
func (w *Web) search(rw http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	a, q, app := kit.Actor(ctx), strings.TrimSpace(r.URL.Query().Get("q")), r.URL.Query().Get("app")
	if len(q) > 200 {
		q = q[:200]
	}
	found, err := w.find(ctx, a, app, q)
	if err != nil {
		return err
	}
	if len(found) == 1 {
		http.Redirect(rw, r, found[0].Path, http.StatusSeeOther)
		return nil
	}
	title := texts.T(ctx, "Search")
	return w.kit.Draw(rw, r, layout.Frame{Title: title, App: app, Query: q, Crumbs: []layout.Crumb{{Name: title}}}, search.Page(q, found))
}

// find looks in one app, or in all that a may see.
func (w *Web) find(ctx context.Context, a bosman.Actor, app, q string) ([]search.Hit, error) {
	if q == "" {
		return nil, nil
	}
	apps, err := w.cfg.Helm.Apps(ctx, a)
	if err != nil {
		return nil, err
	}
	var out []search.Hit
	for _, one := range apps {
		if app != "" && one.Name != app {
			continue
		}
		hits, err := w.findIn(ctx, a, one.Name, q)
		if err != nil {
			return nil, err
		}
		out = append(out, hits...)
	}
	return out, nil
}

func (w *Web) findIn(ctx context.Context, a bosman.Actor, app, q string) ([]search.Hit, error) {
	if hit, ok, err := w.findRef(ctx, a, app, q); ok || err != nil {
		return hit, err
	}
	var out []search.Hit
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(q)) }
	if has(app) {
		out = append(out, search.Hit{Ref: app, Name: "app", Path: ui.Path(app)})
	}
	instances, err := w.cfg.Helm.Instances(ctx, a, app)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if has(i.Name) {
			out = append(out, search.Hit{App: app, Ref: i.Name, Name: "instance", Path: ui.Path(app, "instances", i.Name)})
		}
	}
	changes, err := w.findChanges(ctx, a, app, q, has)
	if err != nil {
		return nil, err
	}
	out = append(out, changes...)
	for _, resolved := range []bool{false, true} {
		found, err := w.cfg.Helm.Problems(ctx, a, app, resolved, 200)
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if p.ResolvedAt.IsZero() == !resolved && (has(p.Title) || has(p.Culprit)) {
				out = append(out, search.Hit{App: app, Ref: ui.Problem(p.Number), Name: p.Title, Path: ui.Path(app, "problems", p.Number)})
			}
		}
	}
	return out, nil
}

// findRef finds what a ref such as b412 names.
func (w *Web) findRef(ctx context.Context, a bosman.Actor, app, q string) ([]search.Hit, bool, error) {
	ref := strings.ToLower(q)
	path := ui.RefPath(app, ref)
	if path == "" {
		return nil, false, nil
	}
	n, err := bosman.ParseRef(bosman.Letter(ref[0]), ref)
	if err != nil {
		return nil, false, nil //nolint:nilerr // not a ref after all
	}
	name := ""
	switch bosman.Letter(ref[0]) {
	case bosman.LetterBuild:
		var b bosman.Build
		b, err = w.cfg.Helm.BuildOf(ctx, a, app, n)
		name = "build of " + b.Branch
	case bosman.LetterOperation:
		var o bosman.Operation
		o, err = w.cfg.Helm.Operation(ctx, a, app, n)
		name = string(o.Plan) + " " + o.Instance
	case bosman.LetterChange:
		var c bosman.Change
		c, err = w.cfg.Helm.FindChange(ctx, a, app, ref)
		name = title(c)
	case bosman.LetterProblem:
		var p bosman.Problem
		p, _, err = w.cfg.Helm.Problem(ctx, a, app, n)
		name = p.Title
	case bosman.LetterRelease, bosman.LetterBackup:
		name = "release"
	}
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil, false, nil
	}
	return []search.Hit{{App: app, Ref: ref, Name: name, Path: path}}, true, err
}

// findChanges looks through the changes on their way, and by branch through
// those that were built lately.
func (w *Web) findChanges(ctx context.Context, a bosman.Actor, app, q string, has func(string) bool) ([]search.Hit, error) {
	open, err := w.cfg.Helm.Changes(ctx, a, app, false, 0)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, c := range open {
		if has(c.Branch) || has(c.Title) || has(c.Author) || len(q) >= 6 && strings.HasPrefix(c.Head, q) {
			numbers = append(numbers, c.Number)
		}
	}
	builds, err := w.cfg.Helm.Builds(ctx, a, app, -1, 300)
	if err != nil {
		return nil, err
	}
	tried := map[int]bool{}
	var out []search.Hit
	for _, b := range builds {
		if b.Change != 0 && !tried[b.Change] && len(tried) < 100 {
			tried[b.Change] = true
			numbers = append(numbers, b.Change)
		}
	}
	slices.Sort(numbers)
	for _, n := range slices.Backward(slices.Compact(numbers)) {
		c, err := w.cfg.Helm.FindChange(ctx, a, app, ui.Change(n))
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if has(c.Branch) || has(c.Title) || has(c.Author) || len(q) >= 6 && strings.HasPrefix(c.Head, q) {
			out = append(out, search.Hit{App: app, Ref: ui.Change(n), Name: title(c), Path: ui.Path(app, "changes", n)})
		}
		if c.Branch == q && c.Fork == "" {
			return out[len(out)-1:], nil
		}
	}
	return out, nil
}
