package web

import (
	"net/http"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/activity"
	"github.com/bosman-cd/bosman/web/build"
	"github.com/bosman-cd/bosman/web/change"
	"github.com/bosman-cd/bosman/web/changes"
	"github.com/bosman-cd/bosman/web/data"
	"github.com/bosman-cd/bosman/web/deployment"
	"github.com/bosman-cd/bosman/web/instance"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/login"
	"github.com/bosman-cd/bosman/web/overview"
	"github.com/bosman-cd/bosman/web/people"
	"github.com/bosman-cd/bosman/web/problems"
	"github.com/bosman-cd/bosman/web/releases"
)

// route is an address and what answers there.
type route struct {
	pattern string
	serve   kit.Func
	public  bool // also for those who are not logged in
}

// table lists all pages.
func (w *Web) table() []route {
	k, a := w.kit, adapter{w.cfg.Helm, w}
	over := overview.Pages{Kit: k, Reader: a, Verbs: a}
	board := changes.Pages{Kit: k, Reader: a}
	one := change.Pages{Kit: k, Reader: a, Verbs: a}
	builds := build.Pages{Kit: k, Reader: buildReader{a}, Verbs: a}
	inst := instance.Pages{Kit: k, Reader: instanceReader{a}, Verbs: a}
	dep := deployment.Pages{Kit: k, Reader: a, Verbs: a}
	prob := problems.Pages{Kit: k, Reader: a, Verbs: a}
	who := people.Pages{Kit: k, Reader: a, Verbs: a}
	act := activity.Pages{Kit: k, Reader: a}
	rel := releases.Pages{Kit: k, Reader: a}
	dat := data.Pages{Kit: k, Reader: a, Verbs: a}
	door := login.Pages{Kit: k, Reader: a, Door: w, Limit: w.limit, Addr: w.cfg.Addr}
	return []route{
		{"GET /login", door.Show, true},
		{"POST /login", door.Enter, true},
		{"POST /logout", door.Leave, true},
		{"GET /static/{file}", w.static, true},

		{"GET /{$}", over.Show, false},
		{"GET /search", w.search, false},
		{"GET /events", w.events, false},
		{"GET /wall", w.wall, false},
		{"GET /people", who.Index, false},
		{"POST /people", who.Add, false},
		{"POST /people/at-hand", who.AtHand, false},
		{"GET /people/{name}", who.Show, false},
		{"POST /people/{name}/{verb}", who.Act, false},
		{"GET /activity", act.Show, false},

		{"GET /{app}", over.Show, false},
		{"POST /{app}/policy", over.Confirm, false},
		{"GET /{app}/changes", board.Show, false},
		{"GET /{app}/changes/{n}", one.Show, false},
		{"POST /{app}/changes/{n}/{verb}", one.Act, false},
		{"GET /{app}/builds/{n}", builds.Show, false},
		{"GET /{app}/builds/{n}/log", w.buildLog, false},
		{"POST /{app}/builds/{n}/{verb}", builds.Act, false},
		{"GET /{app}/releases", rel.Show, false},
		{"GET /{app}/data", dat.Show, false},
		{"GET /{app}/backups/{n}", dat.Backup, false},
		{"POST /{app}/backups/{n}/{verb}", dat.Act, false},
		{"POST /{app}/kept/{name}/{id}/{verb}", dat.Kept, false},
		{"GET /{app}/instances/{name}", inst.Show, false},
		{"GET /{app}/instances/{name}/deploy", inst.Deploy, false},
		{"GET /{app}/instances/{name}/revert", inst.Revert, false},
		{"GET /{app}/instances/{name}/restore", inst.Restore, false},
		{"GET /{app}/instances/{name}/log", w.instanceLog, false},
		{"POST /{app}/instances/{name}/{verb}", inst.Act, false},
		{"GET /{app}/mails/{id}", inst.Mail, false},
		{"GET /{app}/mails/{id}/html", inst.MailHTML, false},
		{"GET /{app}/deployments/{n}", dep.Show, false},
		{"GET /{app}/deployments/{n}/log", w.operationLog, false},
		{"POST /{app}/deployments/{n}/cancel", dep.Cancel, false},
		{"GET /{app}/problems", prob.Index, false},
		{"GET /{app}/problems/{n}", prob.Show, false},
		{"POST /{app}/problems/{n}/{verb}", prob.Act, false},
		{"GET /{app}/activity", act.Show, false},
	}
}

func (w *Web) routes() http.Handler {
	none := w.known(w.kit.Handle(func(http.ResponseWriter, *http.Request) error {
		return bosman.NotFound("Nothing is at this address.").WithNext("look for it with the search above")
	}))
	// Two muxes, for /people/{name} and /{app}/changes are the same to one.
	own, apps, names := http.NewServeMux(), http.NewServeMux(), map[string]bool{"": true}
	own.Handle("/", none)
	apps.Handle("/", none)
	for _, r := range w.table() {
		h := w.kit.Handle(r.serve)
		if !r.public {
			h = w.known(h)
		}
		_, path, _ := strings.Cut(r.pattern, " /")
		first, _, _ := strings.Cut(path, "/")
		switch {
		case first == "{app}":
			apps.Handle(r.pattern, h)
		default:
			own.Handle(r.pattern, h)
			names[first] = true
		}
	}
	mux := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if names[first] {
			own.ServeHTTP(rw, r)
			return
		}
		apps.ServeHTTP(rw, r)
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(w.kit.Handle(func(http.ResponseWriter, *http.Request) error {
		return bosman.Forbidden("This form was sent from another site.").WithKept("nothing was changed").WithNext("open the page in Bosman and do it there")
	}))
	return guard(w.sessions.LoadAndSave(w.who(cross.Handler(mux))))
}

// who puts the person of the session into the context.
func (w *Web) who(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		a, _, err := w.actor(r.Context(), r)
		if err != nil {
			w.kit.Fail(rw, r, err)
			return
		}
		next.ServeHTTP(rw, r.WithContext(kit.WithActor(r.Context(), a)))
	})
}

// policy lets a page use only what Bosman itself serves.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// maxForm is how big the body of a form may be.
const maxForm = 1 << 20

func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}
