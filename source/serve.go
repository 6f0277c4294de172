package source

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/bosman-cd/bosman"
)

// Push is what somebody pushes. In Check its objects lie in quarantine and
// only Repo sees them.
type Push struct {
	App     string
	Person  string
	Updates []RefUpdate
	Repo    *Repo
}

// Receiver decides on pushes and acts on them.
type Receiver interface {
	// Check may refuse a push before anything moves; the parts of a
	// *bosman.Error are shown to who pushes.
	Check(ctx context.Context, p Push) error
	// Received is called once the refs of p moved, exactly once for each
	// push that moved any, also when the client or git went away meanwhile
	// (but not when this process did: compare Heads at start). What it
	// writes is shown as "remote: …" while the client listens; writing never
	// fails or waits long for a client. ctx ends when the Server closes, not
	// when the client hangs up.
	Received(ctx context.Context, p Push, progress io.Writer) error
}

// Config is what a Server needs. Log may be nil.
type Config struct {
	Repos *Repos
	// Authorize says who asks. An error of KindForbidden without a person
	// is answered with 401 (credentials are asked for), with a person 403.
	Authorize func(r *http.Request, app string, write bool) (person string, err error)
	Receiver  Receiver
	// HookBinary is the absolute path of the program whose `hook NAME` calls
	// RunHook; HookSocket the unix socket on which Hooks is served.
	HookBinary, HookSocket string
	// MaxPush is the most a push may weigh, in bytes; 0 is 2 GiB.
	MaxPush int64
	// ProtectedTags are patterns (path.Match) of tags that pushes may not
	// move or delete, for example "live-*".
	ProtectedTags []string
	Log           *slog.Logger
}

// Server answers git clients (ServeHTTP, at /APP.git/…) and the hooks that
// git runs for them (Hooks, on a unix socket).
//
// A push goes through these states:
//
//	begun ─► accepted ─► moved (post-receive ran, or git ended and a ref moved)
//	  ├────► refused
//	  └────► cancelled (the client went away)
//
// Git is stopped when the client goes away before accepted, never after.
type Server struct {
	cfg    Config
	ctx    context.Context // of work that outlives requests
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	pushes map[string]*push // by secret
	closed bool
}

type pushState int

const (
	pushBegun pushState = iota
	pushAccepted
	pushMoved
	pushRefused
	pushCancelled
)

type push struct {
	app, person string
	repo        *Repo
	state       pushState   // under Server.mu
	updates     []RefUpdate // set with accepted
}

// NewServer makes a Server. Close it when no more requests come.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Repos == nil || cfg.Authorize == nil || cfg.Receiver == nil {
		return nil, bosman.Internal("the git server lacks its repositories, Authorize or Receiver")
	}
	if !path.IsAbs(cfg.HookBinary) || !path.IsAbs(cfg.HookSocket) {
		return nil, bosman.Internal("the git server needs absolute paths of the hook's program and socket")
	}
	for _, p := range cfg.ProtectedTags {
		if _, err := path.Match(p, ""); err != nil {
			return nil, bosman.Invalid("%q is no pattern of tags", p).Because(err)
		}
	}
	if cfg.MaxPush == 0 {
		cfg.MaxPush = 2 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, pushes: map[string]*push{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close tells all Received calls to end and waits for them and for git.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// enter counts work that Close waits for; false once closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Add(1)
	}
	return !s.closed
}

func (s *Server) begin(p *push) (secret string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	secret = hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushes[secret] = p
	return secret
}

// step moves a push from one state to another and says whether it was there.
func (s *Server) step(p *push, from, to pushState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.state != from {
		return false
	}
	p.state = to
	return true
}

// accept keeps what Check agreed to, unless the client went away meanwhile.
func (s *Server) accept(p *push, updates []RefUpdate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.state != pushBegun {
		return false
	}
	p.state, p.updates = pushAccepted, updates
	return true
}

// end forgets a push whose git process ended. If git was killed after it was
// accepted, the refs that did move are handed to the receiver here.
func (s *Server) end(secret string, p *push) {
	s.mu.Lock()
	delete(s.pushes, secret)
	s.mu.Unlock()
	if !s.step(p, pushAccepted, pushMoved) {
		return
	}
	var moved []RefUpdate
	now, err := p.repo.rawRefs(s.ctx)
	if err != nil && s.ctx.Err() == nil {
		s.cfg.Log.Error("refs after a push cannot be read", "app", p.app, "person", p.person, "err", err)
	}
	for _, u := range p.updates {
		if err == nil && orZero(now[u.Ref]) == u.New && u.New != u.Old {
			moved = append(moved, u)
		}
	}
	if len(moved) > 0 {
		s.received(Push{App: p.app, Person: p.person, Updates: moved, Repo: p.repo}, io.Discard)
	}
}

func (s *Server) received(p Push, progress io.Writer) {
	if err := s.cfg.Receiver.Received(s.ctx, p, progress); err != nil && s.ctx.Err() == nil {
		tell(progress, err)
		s.cfg.Log.Error("a push could not be followed up", "app", p.App, "person", p.Person, "err", err)
	}
}

// checkRules refuses what git itself, whoever pushes, may not do here.
func (s *Server) checkRules(ctx context.Context, repo *Repo, updates []RefUpdate) error {
	main, err := repo.MainBranch(ctx)
	if err != nil {
		return err
	}
	for i := range updates {
		u := &updates[i]
		if u.Branch() == "" && u.Tag() == "" {
			return bosman.Invalid("%s is neither a branch nor a tag", u.Ref).WithKept("nothing was changed").
				WithNext("push to refs/heads/NAME or refs/tags/NAME")
		}
		if name := u.Branch() + u.Tag(); u.Created() && !goodName(name) {
			return bosman.Invalid("the name %q cannot be used here", name).WithKept("nothing was changed").
				WithNext("choose one of at most 200 bytes that does not begin with a dash, is not HEAD and not a hash")
		}
		if !u.Created() && !u.Deleted() {
			contained, err := repo.IsAncestor(ctx, u.Old, u.New)
			if err != nil {
				return err
			}
			u.Forced = !contained
		}
		if u.Branch() == main {
			switch {
			case u.Deleted():
				return bosman.Forbidden("%s cannot be deleted", main).WithKept("nothing was changed")
			case u.Forced:
				return bosman.Forbidden("%s cannot be rewritten: %s does not contain %s", main, bosman.Short(u.New), bosman.Short(u.Old)).
					WithKept("nothing was changed").WithNext("git pull, then push again")
			}
		}
		for _, pattern := range s.cfg.ProtectedTags {
			if ok, _ := path.Match(pattern, u.Tag()); ok && u.Tag() != "" {
				return bosman.Forbidden("the tag %s is Bosman's own", u.Tag()).WithKept("nothing was changed").
					WithNext("choose another name: " + strings.Join(s.cfg.ProtectedTags, ", ") + " are made by deployments")
			}
		}
	}
	return nil
}

// goodName refuses what git allows in a ref but programs and people take for
// something else.
func goodName(name string) bool {
	return len(name) <= 200 && !strings.HasPrefix(name, "-") && name != "HEAD" && !isHash(strings.ToLower(name)) && utf8.ValidString(name)
}
