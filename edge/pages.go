package edge

import (
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/bosman-cd/bosman/edge/control"
)

var pageText = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.25rem}
h1{font-size:1.35rem;font-weight:600;margin:0 0 .5rem}
p{margin:.4rem 0;opacity:.85}
</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.What}}</p>{{with .Next}}<p>{{.}}</p>{{end}}</main></body></html>
`))

// page answers for the edge itself, as HTML to browsers and text to others.
func (e *Edge) page(w http.ResponseWriter, r *http.Request, status int, title, what, next string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		e.write(w, title+". "+what+" "+next+"\n")
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(status)
	if err := pageText.Execute(w, map[string]string{"Title": title, "What": what, "Next": next}); err != nil {
		e.log.Debug("the client went away", "cause", err)
	}
}

func (e *Edge) write(w http.ResponseWriter, text string) {
	if _, err := w.Write([]byte(text)); err != nil {
		e.log.Debug("the client went away", "cause", err)
	}
}

func (e *Edge) unknown(w http.ResponseWriter, r *http.Request) {
	next := ""
	if e.cfg.UI.URL != "" {
		next = "Bosman itself is at " + e.cfg.UI.URL + "."
	}
	e.page(w, r, http.StatusNotFound, "No instance at this address", "Nothing answers to this name.", next)
}

func nameOf(r control.Route) string { return r.Instance + " of " + r.App }

func (e *Edge) stoppedPage(w http.ResponseWriter, r *http.Request, route control.Route) {
	what := route.Stopped
	if what == "" {
		what = "No release runs here."
	}
	retryAfter(w, 30*time.Second)
	e.page(w, r, http.StatusServiceUnavailable, nameOf(route)+" is stopped", what, "Start it in Bosman: "+e.cfg.UI.URL)
}

func (e *Edge) heldPage(w http.ResponseWriter, r *http.Request, route control.Route) {
	retryAfter(w, 5*time.Second)
	if route.App == "" {
		e.uiAway(w, r)
		return
	}
	e.page(w, r, http.StatusServiceUnavailable, nameOf(route)+" is busy for a moment", "It is being changed, and enough requests wait already.", "Try again in a few seconds.")
}

func (e *Edge) uiAway(w http.ResponseWriter, r *http.Request) {
	retryAfter(w, 5*time.Second)
	e.page(w, r, http.StatusServiceUnavailable, "Bosman is restarting", "The instances go on running meanwhile.", "Try again in a few seconds. If it stays like this, look at `bosman doctor` on the server.")
}

func (e *Edge) upstreamPage(w http.ResponseWriter, r *http.Request, route control.Route, status int, why string) {
	e.page(w, r, status, nameOf(route)+" does not answer", "The request reached the server, but "+why+".",
		"Try again in a moment. The team: look at its log with bosman log "+route.Instance+" --app "+route.App+", or revert.")
}
