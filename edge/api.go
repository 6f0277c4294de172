package edge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/control"
)

// takeControl puts our control socket in the place of an older edge's and
// loads the routes, in one step under the lock: no change falls between.
func (e *Edge) takeControl() error {
	temp := e.cfg.Control + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return bosman.Unavailable("the control socket cannot be made").Because(err)
	}
	l, err := net.Listen("unix", temp)
	if err != nil {
		return bosman.Unavailable("the control socket cannot be made").Because(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	err = e.locked(func() error {
		if err := os.Chmod(temp, 0o600); err != nil {
			return err
		}
		if err := os.Rename(temp, e.cfg.Control); err != nil {
			return err
		}
		e.controlIno = inode(e.cfg.Control)
		s, err := e.loadState()
		if err != nil {
			return err
		}
		e.install(s)
		return nil
	})
	if err != nil {
		_ = os.Remove(temp) // there may be nothing left of it
		return errors.Join(err, l.Close())
	}
	e.api = &http.Server{Handler: e.routesAPI(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: e.httpLog}
	e.work.Go(func() {
		if err := e.api.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("the control socket broke", "cause", err)
		}
	})
	return nil
}

// dropControl closes the control API; the socket's name goes only if no
// other edge has taken it.
func (e *Edge) dropControl() error {
	err := e.locked(func() error {
		if e.superseded() {
			return nil
		}
		if err := os.Remove(e.cfg.Control); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e.api.Shutdown(ctx) != nil {
		err = errors.Join(err, e.api.Close())
	}
	return err
}

func inode(path string) uint64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// superseded says whether another edge has taken the control socket.
func (e *Edge) superseded() bool {
	now := inode(e.cfg.Control)
	return now != 0 && now != e.controlIno
}

func (e *Edge) routesAPI() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("PUT /routes/{app}/{instance}", answer(e.putRoute))
	m.HandleFunc("DELETE /routes/{app}/{instance}", answer(e.deleteRoute))
	m.HandleFunc("GET /routes", answer(e.listRoutes))
	m.HandleFunc("POST /drain", answer(e.drainUpstream))
	m.HandleFunc("GET /stats", answer(e.listStats))
	m.HandleFunc("POST /hold", answer(e.holdInstance))
	m.HandleFunc("POST /unhold", answer(e.unholdInstance))
	return m
}

var statusOf = map[bosman.ErrorKind]int{
	bosman.KindInvalid: http.StatusBadRequest, bosman.KindNotFound: http.StatusNotFound, bosman.KindConflict: http.StatusConflict,
	bosman.KindForbidden: http.StatusForbidden, bosman.KindBusy: http.StatusConflict, bosman.KindUnavailable: http.StatusServiceUnavailable,
}

// answer turns what f gives into JSON. 421 tells the client to ask the edge
// that has taken over.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		out, err := f(r)
		status := http.StatusOK
		if err != nil {
			b := bosman.AsError(err)
			if status = statusOf[b.Kind]; status == 0 {
				status = http.StatusInternalServerError
			}
			if errors.Is(err, errSuperseded) {
				status = http.StatusMisdirectedRequest
			}
			message := b.Message
			if b.Cause != nil {
				message += ": " + b.Cause.Error()
			}
			out = control.Failure{Kind: b.Kind, Message: message, Kept: b.Kept, Next: b.Next}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out) // the client sees a short answer and asks again
	}
}

func read(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return bosman.Invalid("the request cannot be read").Because(err)
	}
	return nil
}

func (e *Edge) putRoute(r *http.Request) (any, error) {
	var route control.Route
	if err := read(r, &route); err != nil {
		return nil, err
	}
	if route.App != r.PathValue("app") || route.Instance != r.PathValue("instance") {
		return nil, bosman.Invalid("the route is for %s, the address says otherwise", route.Key())
	}
	for i, h := range route.Hosts {
		route.Hosts[i] = strings.ToLower(strings.TrimSuffix(h, "."))
	}
	err := e.change(func(s *state) error { return s.put(route, e.uiHostList()) })
	if err == nil {
		e.log.Info("routed", "app", route.App, "instance", route.Instance, "release", route.Release, "operation", route.Operation, "upstream", route.Upstream)
		e.verifyLater(route)
	}
	return struct{}{}, err
}

func (e *Edge) uiHostList() []string {
	var out []string
	for h := range e.uiHosts {
		out = append(out, h)
	}
	return out
}

func (e *Edge) deleteRoute(r *http.Request) (any, error) {
	operation, err := strconv.Atoi(r.FormValue("operation"))
	if err != nil {
		return nil, bosman.Invalid("the operation is missing").Because(err)
	}
	return struct{}{}, e.change(func(s *state) error { return s.delete(r.PathValue("app"), r.PathValue("instance"), operation) })
}

func (e *Edge) listRoutes(*http.Request) (any, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := []control.RouteStatus{}
	for _, route := range e.state.Routes {
		n := e.entries[route.Key()]
		s := control.RouteStatus{Route: route, State: control.Unverified, InFlight: n.inFlight()}
		snap := n.look()
		s.Held = snap.held
		if t := snap.current; t != nil {
			t.mu.Lock()
			s.State, s.Note, s.CheckedAt = t.state, t.note, t.checked
			t.mu.Unlock()
		}
		out = append(out, s)
	}
	return out, nil
}

func (e *Edge) entry(app, instance string) (*entry, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	key := control.Key(app, instance)
	if n := e.entries[key]; n != nil {
		return n, nil
	}
	for _, n := range e.leaving {
		if n.key == key {
			return n, nil
		}
	}
	return nil, bosman.NotFound("the edge has no route for %s", key)
}

func (e *Edge) drainUpstream(r *http.Request) (any, error) {
	var in control.DrainRequest
	if err := read(r, &in); err != nil {
		return nil, err
	}
	n, err := e.entry(in.App, in.Instance)
	if err != nil {
		if bosman.KindOf(err) == bosman.KindNotFound {
			return control.Drained{}, nil // nothing is in flight on what is not there
		}
		return nil, err
	}
	deadline := time.Now().Add(in.Deadline)
	start := time.Now()
	s := n.look()
	current, past := n.targets()
	var sum control.Drained
	if current != nil && current.upstream == in.Upstream {
		if !s.held {
			return nil, bosman.Conflict("%s still uses %s", n.key, in.Upstream).WithNext("route it elsewhere or hold it first")
		}
		past = append(past, current)
	}
	for _, t := range past {
		if t.upstream == in.Upstream {
			d := t.drain(r.Context(), deadline)
			sum.Cut += d.Cut
			sum.Upgraded += d.Upgraded
		}
	}
	sum.Took = time.Since(start)
	return sum, nil
}

func (e *Edge) listStats(r *http.Request) (any, error) {
	app, instance := r.FormValue("app"), r.FormValue("instance")
	out := control.Stats{StartedAt: e.started, Now: time.Now(), Instances: []control.InstanceStats{}}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, route := range e.state.Routes {
		if (app == "" || route.App == app) && (instance == "" || route.Instance == instance) {
			out.Instances = append(out.Instances, e.entries[route.Key()].stats())
		}
	}
	return out, nil
}

func (e *Edge) holdInstance(r *http.Request) (any, error) {
	var h control.Hold
	if err := read(r, &h); err != nil {
		return nil, err
	}
	if _, err := e.entry(h.App, h.Instance); err != nil {
		return nil, err
	}
	now := time.Now()
	if !h.Until.After(now) || h.Until.After(now.Add(time.Hour)) {
		return nil, bosman.Invalid("a hold must end within the next hour")
	}
	def(&h.Wait, 10*time.Second)
	def(&h.Count, 256)
	return struct{}{}, e.change(func(s *state) error {
		key := control.Key(h.App, h.Instance)
		if err := s.fence(key, h.Operation); err != nil {
			return err
		}
		s.unhold(key)
		s.Holds = append(s.Holds, h)
		return nil
	})
}

func (e *Edge) unholdInstance(r *http.Request) (any, error) {
	var in control.Hold
	if err := read(r, &in); err != nil {
		return nil, err
	}
	n, err := e.entry(in.App, in.Instance)
	if err != nil {
		return nil, err
	}
	var report control.HoldReport
	err = e.change(func(s *state) error {
		snap := n.look()
		if snap.hold == nil || snap.limits.Operation != in.Operation {
			return bosman.NotFound("%s does not hold %s", bosman.Ref(bosman.LetterOperation, in.Operation), n.key)
		}
		report = control.HoldReport{Lapsed: !snap.held, Waited: snap.hold.waited.Load(), Refused: snap.hold.refused.Load()}
		s.unhold(n.key)
		return nil
	})
	return report, err
}
