package source

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Hooks answers the hook processes of pushes in progress. Serve it at
// HookPath on the unix socket that Config.HookSocket names. Each push has a
// secret of its own, which ends with it.
func (s *Server) Hooks() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+HookPath+hookPreReceive, func(w http.ResponseWriter, r *http.Request) { s.hook(w, r, s.preReceive) })
	mux.HandleFunc("POST "+HookPath+hookPostReceive, func(w http.ResponseWriter, r *http.Request) { s.hook(w, r, s.postReceive) })
	return mux
}

type hookFunc func(r *http.Request, p *push, updates []RefUpdate, out io.Writer) error

func (s *Server) hook(w http.ResponseWriter, r *http.Request, do hookFunc) {
	w.Header().Set("Trailer", trailerExit)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !s.enter() {
		return // without the trailer the hook knows that we went away
	}
	defer s.work.Done()
	secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	p := s.pushes[secret] // 256 random bits: no need to hide how long a look-up takes
	s.mu.Unlock()
	out := newProgress(w)
	var err error
	switch body, rerr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookInput)); {
	case p == nil:
		err = bosman.Forbidden("no such push is in progress").WithKept("nothing was changed").WithNext("push again")
	case rerr != nil:
		err = bosman.Invalid("the push names too many refs").Because(rerr).WithKept("nothing was changed").WithNext("push fewer refs at once")
	default:
		var updates []RefUpdate
		if updates, err = parseUpdates(string(body)); err == nil {
			err = do(r, p, updates, out)
		}
	}
	if err != nil {
		tell(out, err)
		w.Header().Set(trailerExit, "1")
		return
	}
	w.Header().Set(trailerExit, "0")
}

func (s *Server) preReceive(r *http.Request, p *push, updates []RefUpdate, _ io.Writer) error {
	repo := *p.repo
	quarantine := filepath.Clean(r.Header.Get(headerQuarantine))
	objects := filepath.Join(repo.dir, "objects")
	if strings.HasPrefix(quarantine, objects+string(filepath.Separator)) {
		repo.env = []string{"GIT_OBJECT_DIRECTORY=" + quarantine, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + objects, "GIT_QUARANTINE_PATH=" + quarantine}
	}
	err := s.checkRules(r.Context(), &repo, updates)
	if err == nil {
		err = s.cfg.Receiver.Check(r.Context(), Push{App: p.app, Person: p.person, Updates: updates, Repo: &repo})
	}
	if err != nil {
		s.step(p, pushBegun, pushRefused)
		return err
	}
	if err := faults.Point("source.before-accept"); err != nil {
		return err
	}
	if !s.accept(p, updates) {
		return bosman.Conflict("the push was given up").WithKept("nothing was changed")
	}
	return faults.Point("source.after-accept")
}

func (s *Server) postReceive(_ *http.Request, p *push, updates []RefUpdate, out io.Writer) error {
	if err := faults.Point("source.before-received"); err != nil {
		return err
	}
	if !s.step(p, pushAccepted, pushMoved) {
		return bosman.Conflict("this push was followed up already")
	}
	// what was forced is known from before
	for i := range updates {
		for _, before := range p.updates {
			if before.Ref == updates[i].Ref {
				updates[i].Forced = before.Forced
			}
		}
	}
	s.received(Push{App: p.app, Person: p.person, Updates: updates, Repo: p.repo}, out)
	return nil
}

// progress writes to a client that may be slow or gone: after the first
// failure it drops what comes. It may be used by several goroutines.
type progress struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	ctl  *http.ResponseController
	gone bool
}

const progressPatience = 10 * time.Second

func newProgress(w http.ResponseWriter) *progress {
	return &progress{w: w, ctl: http.NewResponseController(w)}
}

// Write never fails.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return len(b), nil
	}
	err := p.ctl.SetWriteDeadline(time.Now().Add(progressPatience))
	if err == nil {
		_, err = p.w.Write(b)
	}
	if err == nil {
		err = p.ctl.Flush()
	}
	p.gone = err != nil
	return len(b), nil
}
