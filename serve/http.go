package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/manifest"
	"github.com/bosman-cd/bosman/problem"
)

// listen opens the sockets Bosman is reached at:
//
//	run/serve.sock  pages, API, git and error reports, behind the edge
//	bosman.sock     API for this machine; who asks is known by its Unix user
//	run/hook.sock   git's hooks
func (s *server) listen(ctx context.Context) (map[string]func(context.Context) error, error) {
	out := map[string]func(context.Context) error{}
	pages, err := s.pages()
	if err != nil {
		return nil, err
	}
	for _, l := range []struct {
		name, path string
		mode       os.FileMode
		handler    http.Handler
	}{
		{"pages", s.path("run", "serve.sock"), 0o600, pages},
		{"command line", s.path("bosman.sock"), 0o660, s.api(s.identifyLocal)},
		{"hooks", s.path("run", "hook.sock"), 0o600, s.git.Hooks()},
	} {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, bosman.Unavailable("the socket %s of an earlier start cannot be removed", l.path).Because(err)
		}
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "unix", l.path)
		if err != nil {
			return nil, bosman.Unavailable("cannot listen on %s", l.path).WithNext("choose a data folder with a shorter path").Because(err)
		}
		if err := os.Chmod(l.path, l.mode); err != nil {
			return nil, err
		}
		if l.name == "command line" {
			giveToGroup(l.path)
		}
		srv := &http.Server{Handler: l.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ConnContext: withPeer}
		out[l.name] = func(ctx context.Context) error {
			done := make(chan struct{})
			defer func() { <-done }()
			stop, end := context.WithCancel(ctx)
			defer end()
			go func() {
				defer close(done)
				<-stop.Done()
				if l.name == "pages" {
					s.web.Close() // else its streams would hold up the end
				}
				grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
				defer cancel()
				if srv.Shutdown(grace) != nil {
					_ = srv.Close() // streams last as long as their clients
				}
			}()
			if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}
	}
	return out, nil
}

// giveToGroup lets the members of the group bosman use the command line.
func giveToGroup(path string) {
	g, err := user.LookupGroup("bosman")
	if err != nil {
		return // there is no such group: only our own user may
	}
	if gid, err := strconv.Atoi(g.Gid); err == nil {
		_ = os.Chown(path, -1, gid) // without the right to, only our own user may
	}
}

// SchemaPath is where editors find the JSON Schema of bosman.yaml.
const SchemaPath = "/bosman.schema.json"

// front sends a request where it belongs.
type front struct {
	git, intake, hooks, api, pages http.Handler
}

// ServeHTTP is the first look at a request from the edge.
func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case strings.HasSuffix(first, ".git"):
		f.git.ServeHTTP(w, r)
	case problem.Matches(r.URL.Path):
		f.intake.ServeHTTP(w, r)
	case r.URL.Path == SchemaPath:
		w.Header().Set("Content-Type", "application/schema+json")
		_, _ = w.Write(manifest.Schema()) // whoever asked may have gone
	case strings.HasPrefix(r.URL.Path, hookPrefix):
		f.hooks.ServeHTTP(w, r)
	case first == "api":
		f.api.ServeHTTP(w, r)
	default:
		f.pages.ServeHTTP(w, r)
	}
}

// from says where a request comes from, for the activity log.
func from(how string, r *http.Request) string {
	return strings.TrimSpace(how + " " + client(r))
}

// byCredentials gives the person of a token or of a name and password.
func (s *server) byCredentials(ctx context.Context, r *http.Request) (bosman.Person, bool, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		p, err := access.ByToken(ctx, s.store, token, time.Now())
		return p, true, err
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return bosman.Person{}, false, nil
	}
	for _, text := range []string{password, name} {
		if access.IsToken(text) {
			p, err := access.ByToken(ctx, s.store, text, time.Now())
			return p, true, err
		}
	}
	done, wait := s.limit.Try(client(r), name)
	if wait > 0 {
		return bosman.Person{}, true, bosman.Busy("too many log-ins with a wrong password").WithKept("nothing was done").
			WithNext("wait " + short(wait.Round(time.Second)) + " and try again, or use a token: bosman token new")
	}
	defer s.limit.Slot()()
	p, err := access.Login(ctx, s.store, name, password)
	done(err == nil)
	return p, true, err
}

// authorizeGit says who asks for a repository.
func (s *server) authorizeGit(r *http.Request, app string, write bool) (string, error) {
	p, given, err := s.byCredentials(r.Context(), r)
	if err != nil {
		return "", err
	}
	if !given {
		return "", bosman.Forbidden("git asks as nobody").WithNext("log in with your name and password, or a token as password")
	}
	verb := bosman.MaySee
	if write {
		verb = bosman.MayPush
	}
	if err := access.Check(p, verb, app, ""); err != nil {
		return p.Name, err
	}
	return p.Name, nil
}

// identify says who asks over the network: by token or session.
func (s *server) identify(session func(*http.Request) (bosman.Actor, bool)) func(*http.Request) (bosman.Actor, error) {
	return func(r *http.Request) (bosman.Actor, error) {
		p, given, err := s.byCredentials(r.Context(), r)
		if err != nil {
			return bosman.Actor{}, err
		}
		if given {
			return bosman.Actor{Person: p.Name, From: from("api", r)}, nil
		}
		if a, ok := session(r); ok {
			return a, nil
		}
		return bosman.Actor{}, bosman.Forbidden("nobody is logged in").WithNext("send a token: Authorization: Bearer bos_…")
	}
}

type peerKey struct{}

// withPeer notes which Unix user is at the other end of a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// actAs is the header by which root, who may do anything anyway, says for
// whom it asks.
const actAs = "Bosman-As"

// identifyLocal says who asks on this machine: root and Bosman's own user are
// the first administrator, members of the group bosman the person of their
// name.
func (s *server) identifyLocal(r *http.Request) (bosman.Actor, error) {
	cred, ok := r.Context().Value(peerKey{}).(unix.Ucred)
	if !ok {
		return bosman.Actor{}, bosman.Forbidden("the Unix user who asks is not known")
	}
	if cred.Uid == 0 || int(cred.Uid) == os.Geteuid() {
		name := firstAdmin
		if as := r.Header.Get(actAs); as != "" {
			name = as
		}
		return bosman.Actor{Person: name, From: "cli"}, nil
	}
	u, err := user.LookupId(strconv.Itoa(int(cred.Uid)))
	if err != nil {
		return bosman.Actor{}, bosman.Forbidden("the Unix user %d has no name", cred.Uid)
	}
	if _, err := s.store.Person(r.Context(), u.Username); err != nil {
		return bosman.Actor{}, bosman.Forbidden("%s is nobody Bosman knows", u.Username).WithNext("ask an administrator: bosman people add " + u.Username)
	}
	return bosman.Actor{Person: u.Username, From: "cli"}, nil
}
