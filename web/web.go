// Package web is Bosman's pages: drawn by the server, live by its events,
// usable without scripts. It calls only helm for verbs and reads; it must not
// know SQL, processes or git.
package web

import (
	"context"
	"database/sql"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/edge/wall"
	"github.com/bosman-cd/bosman/web/kit"
)

// CookieName is the name of the session's cookie.
const CookieName = "bosman_session"

// sessionFor is how long a person stays logged in.
const sessionFor = 7 * 24 * time.Hour

// People knows persons; *store.Store does.
type People interface {
	Person(ctx context.Context, name string) (bosman.Person, error)
	People(ctx context.Context) ([]bosman.Person, error)
	Token(ctx context.Context, id string) (bosman.Token, error)
	SaveToken(ctx context.Context, t bosman.Token) error
}

// Events gives what happened, in order; *store.Store does.
type Events interface {
	EventsAfter(ctx context.Context, id int64, max int) ([]bosman.Event, error)
	LastEvent(ctx context.Context) (int64, error)
	Wake() <-chan struct{} // closed at the next event
}

// Logs gives the paths of logs (package logfile). A log that does not exist
// is empty. Operation may give "" where operations have no log of their own.
type Logs interface {
	Build(app string, n int) string
	Instance(app, instance string) string
	Operation(app string, n int) string
}

// Stats gives the traffic numbers of an instance; *control.Client does.
type Stats interface {
	Stats(ctx context.Context, app, instance string) (control.Stats, error)
}

// Config is what New needs. Stats, Wall, Log, Now and Addr may be left out.
type Config struct {
	Helm     Helm
	People   People
	Events   Events
	Sessions *sql.DB // with the table sessions
	Logs     Logs
	Stats    Stats                      // nil: no plots of traffic
	Wall     wall.Key                   // signs the tokens of the login wall; nil: no wall
	Addr     func(*http.Request) string // who asks; the address of the connection by default
	Base     string                     // Bosman's own address, "http://localhost:8080"
	Secure   bool                       // cookies only over HTTPS
	Log      *slog.Logger
	Now      func() time.Time
	Limit    *access.Limit // failed log-ins, counted together with those elsewhere; nil: by itself
}

// Web serves the pages.
type Web struct {
	cfg      Config
	kit      *kit.Kit
	sessions *scs.SessionManager
	handler  http.Handler
	limit    *access.Limit

	mu      sync.Mutex
	closed  chan struct{}
	zones   map[string]zoneOf
	streams sync.WaitGroup
}

// New makes the pages. Close ends their streams.
func New(cfg Config) *Web {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Addr == nil {
		cfg.Addr = func(r *http.Request) string {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			if err != nil {
				return r.RemoteAddr
			}
			return host
		}
	}
	if cfg.Limit == nil {
		cfg.Limit = access.NewLimit(cfg.Now)
	}
	s := &scs.SessionManager{Codec: scs.GobCodec{}} // scs.New starts a goroutine that nobody can end
	s.Cookie.Persist = true
	s.Store = &sessionStore{db: cfg.Sessions, now: cfg.Now}
	s.Lifetime = sessionFor
	s.Cookie.Name = CookieName
	s.Cookie.HttpOnly = true
	s.Cookie.SameSite = http.SameSiteLaxMode
	s.Cookie.Secure = cfg.Secure
	s.Cookie.Path = "/"
	s.HashTokenInStore = true
	w := &Web{cfg: cfg, sessions: s, limit: cfg.Limit, closed: make(chan struct{}), zones: map[string]zoneOf{}}
	s.ErrorFunc = func(rw http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() != nil {
			return
		}
		cfg.Log.Error("a session was not read or kept", "err", err)
		http.Error(rw, "Bosman cannot read its sessions. Nothing was changed. Try again.", http.StatusServiceUnavailable)
	}
	w.kit = &kit.Kit{World: world{w}, Sessions: s, Log: cfg.Log, Now: cfg.Now, CSS: assets().css.path, JS: assets().js.path}
	w.handler = w.routes()
	return w
}

// ServeHTTP answers a request for a page.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) }

// Close ends all streams and waits for them.
func (w *Web) Close() {
	w.mu.Lock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
	w.mu.Unlock()
	w.streams.Wait()
}

// begin counts a stream; false after Close.
func (w *Web) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
		return false
	default:
	}
	w.streams.Add(1)
	return true
}
