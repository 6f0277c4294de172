// Package api is Bosman's JSON API over HTTP: it reads requests, calls helm
// and writes what helm says. The nouns are its JSON; what is not a noun is in
// api/wire. It must not know storage, stages or pages, and it judges nothing
// that helm judges.
package api

import (
	"context"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
)

// Logs says where the logs lie (internal/logfile); "" where there is none.
type Logs interface {
	Build(app string, build int) string
	Instance(app, instance string) string
	Operation(app string, op int) string
}

// Config is what the API needs. GitToken and Log may be nil.
type Config struct {
	Helm *helm.Helm
	// Identify says who asks; an error of KindForbidden is answered with 401.
	Identify func(*http.Request) (bosman.Actor, error)
	Logs     Logs
	// GitToken makes a short-lived token for the actor, for git's credential
	// helper on the server's own machine.
	GitToken func(ctx context.Context, a bosman.Actor) (text string, expires time.Time, err error)
	URL      string // of the pages and of git, for people
	Version  string
	Log      *slog.Logger
}

// Limits of requests.
const (
	MaxBody    = 1 << 20
	streamIdle = 15 * time.Second // between signs of life on a stream
)

type server struct {
	Config
	api huma.API
}

// New makes the handler of everything under /api/.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	mux := http.NewServeMux()
	s := &server{Config: cfg, api: humago.New(mux, describe())}
	s.apps()
	s.changes()
	s.rehearsals()
	s.builds()
	s.instances()
	s.reverts()
	s.operations()
	s.backups()
	s.points()
	s.databases()
	s.masks()
	s.people()
	s.secrets()
	s.problems()
	s.outside()
	s.recovery()
	s.streams()
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		(&Refusal{status: http.StatusNotFound, Kind: string(bosman.KindNotFound), Message: "there is no " + r.Method + " " + r.URL.Path, Next: "see /api/openapi.json"}).write(w)
	})
	return s.guard(mux)
}

// describe is the head of the OpenAPI document.
func describe() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[bosman.Error](), reflect.TypeFor[Refusal]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Bosman", Version: "1",
				Description: "Whatever the command line and the pages do. Times are RFC 3339 in UTC, 0001-01-01T00:00:00Z means never; durations ending in _ns are nanoseconds; numbers are per app. Send a token as `Authorization: Bearer TOKEN`.",
			},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		OpenAPIPath:   "/api/openapi",
		Formats:       huma.DefaultFormats,
		DefaultFormat: "application/json",
	}
}

type actorKey struct{}

// actor is who asks; guard put it there.
func actor(ctx context.Context) bosman.Actor {
	a, _ := ctx.Value(actorKey{}).(bosman.Actor)
	return a
}

// guard lets in requests that say who they are, are not made by a page of
// somebody else, and are JSON of a bearable size.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Path == "/api/openapi.json" || r.URL.Path == "/api/openapi.yaml" {
			next.ServeHTTP(w, r)
			return
		}
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		if changes && !sameOrigin(r) {
			s.refuse(w, r, bosman.Forbidden("this request comes from another site").WithKept("nothing was changed"))
			return
		}
		if changes && r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")) {
			(&Refusal{status: http.StatusUnsupportedMediaType, Kind: string(bosman.KindInvalid), Message: "the body must be JSON", Kept: "nothing was changed", Next: "send Content-Type: application/json"}).write(w)
			return
		}
		a, err := s.Identify(r)
		if err != nil {
			p := problemOf(r.Context(), s.Log, err)
			if bosman.KindOf(err) == bosman.KindForbidden {
				p.status = http.StatusUnauthorized
				w.Header().Set("WWW-Authenticate", `Bearer realm="Bosman"`)
			}
			p.write(w)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
	})
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	problemOf(r.Context(), s.Log, err).write(w)
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || t == "application/x-ndjson")
}

// sameOrigin refuses what a browser sends for another site. A request with a
// cookie and no token must say where it comes from.
func sameOrigin(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site != "":
		return site == "same-origin" || site == "none"
	case origin != "":
		u, err := url.Parse(origin)
		return err == nil && u.Host == r.Host
	}
	return r.Header.Get("Cookie") == "" || r.Header.Get("Authorization") != ""
}

// output is what huma writes as the body.
type output[T any] struct{ Body T }

// route is one operation of the API.
type route struct{ method, path, id, tag, summary string }

// add registers a handler: errors become problems, and what changes something
// is not broken off when the caller hangs up.
func add[I, O any](s *server, r route, f func(context.Context, *I) (O, error)) {
	huma.Register(s.api, huma.Operation{
		Method: r.method, Path: "/api/v1" + r.path, OperationID: r.id, Summary: r.summary, Tags: []string{r.tag}, MaxBodyBytes: MaxBody,
	}, func(ctx context.Context, in *I) (*output[O], error) {
		if of, ok := any(in).(interface{ app() string }); ok && r.method == http.MethodGet {
			if _, err := s.Helm.App(ctx, actor(ctx), of.app()); err != nil { // a listing of no app is not an empty one
				return nil, problemOf(ctx, s.Log, err)
			}
		}
		if r.method != http.MethodGet {
			ctx = context.WithoutCancel(ctx)
		}
		v, err := f(ctx, in)
		if err != nil {
			return nil, problemOf(ctx, s.Log, err)
		}
		return &output[O]{Body: v}, nil
	})
}

// list makes an empty list of a missing one.
func list[T any](all []T, err error) ([]T, error) {
	if all == nil {
		all = []T{}
	}
	return all, err
}

// InApp is the input of what concerns one app.
type InApp struct {
	App string `path:"app" example:"rms"`
}

func (i *InApp) app() string { return i.App }

// Capped is how many rows a listing gives.
type Capped struct {
	Max int `query:"max" minimum:"1" maximum:"1000" default:"100" doc:"at most so many, newest first"`
}

// hide takes away what must not leave the server.
func hide(i bosman.Instance) bosman.Instance {
	i.Database = bosman.Database{}
	return i
}

func hideAll(all []bosman.Instance) []bosman.Instance {
	out := make([]bosman.Instance, len(all))
	for n, i := range all {
		out[n] = hide(i)
	}
	return out
}
