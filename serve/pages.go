package serve

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/api"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/edge/wall"
	"github.com/bosman-cd/bosman/web"
)

// Version is Bosman's own.
const Version = "0.1.0"

// logs says where logs lie, for pages and programs.
type logs struct {
	data    string
	records *records
}

// Build is the log of a build.
func (l logs) Build(app string, n int) string { return build.LogPath(l.data, app, n) }

// Instance is the log of an instance.
func (l logs) Instance(app, instance string) string { return instanceLog(l.data, app, instance) }

// Operation is where the commands of an operation write: its instance's log.
func (l logs) Operation(app string, n int) string {
	op, err := l.records.Operation(context.Background(), app, n)
	if err != nil {
		return ""
	}
	return l.Instance(app, op.Instance)
}

// pages answers what comes through the edge.
func (s *server) pages() (http.Handler, error) {
	key, err := wall.LoadKey(s.path("wall.key"))
	if err != nil {
		return nil, err
	}
	s.web = web.New(web.Config{
		Helm: s.helm, People: s.store, Events: s.store, Sessions: s.store.DB(), Logs: logs{s.opt.Data, s.records}, Stats: s.edge,
		Wall: key, Addr: client, Base: s.addresses.Page(""), Secure: s.addresses.scheme == "https", Log: s.log,
		Limit: s.limit,
	})
	return front{git: s.git, intake: s.intake, hooks: s.forges, api: s.api(s.identify(s.web.Identify)), pages: s.web}, nil
}

// client is the address of who asks, as the edge saw it: nobody else reaches
// the socket that pages are served on.
func client(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	return strings.TrimSpace(first)
}

// api answers programs.
func (s *server) api(identify func(*http.Request) (bosman.Actor, error)) http.Handler {
	return api.New(api.Config{
		Helm: s.helm, Identify: identify, Logs: logs{s.opt.Data, s.records}, GitToken: s.gitToken, URL: s.addresses.Page(""), Version: Version, Log: s.log,
	})
}

// gitTokenFor is how long a token for git on this machine is good.
const gitTokenFor = time.Hour

// gitToken makes a short-lived token, for git's credential helper.
func (s *server) gitToken(ctx context.Context, a bosman.Actor) (string, time.Time, error) {
	if _, err := s.store.Person(ctx, a.Person); err != nil {
		return "", time.Time{}, err
	}
	t, text := access.NewToken(a.Person, "git", time.Now())
	t.ExpiresAt = time.Now().Add(gitTokenFor).UTC()
	return text, t.ExpiresAt, s.store.SaveToken(ctx, t)
}
