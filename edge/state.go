package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

const stateVersion = 1

// state is the routes file. Fences outlive a deleted route, so that a stale
// writer cannot bring it back.
type state struct {
	Version int             `json:"version"`
	Routes  []control.Route `json:"routes"`
	Holds   []control.Hold  `json:"holds,omitempty"`
	Fences  map[string]int  `json:"fences"`
}

func (s state) clone() state {
	c := state{Version: stateVersion, Holds: slices.Clone(s.Holds), Fences: maps.Clone(s.Fences)}
	if c.Fences == nil {
		c.Fences = map[string]int{}
	}
	for _, r := range s.Routes {
		c.Routes = append(c.Routes, r.Clone())
	}
	return c
}

// fence refuses an operation older than one that acted on the instance before.
func (s state) fence(key string, operation int) error {
	if last := s.Fences[key]; operation < last {
		return bosman.Conflict("%s of %s is older than %s, which has routed it since",
			bosman.Ref(bosman.LetterOperation, operation), key, bosman.Ref(bosman.LetterOperation, last)).
			WithKept("the route stays as it is")
	}
	s.Fences[key] = operation
	return nil
}

func (s *state) put(r control.Route, uiHosts []string) error {
	if err := r.Check(); err != nil {
		return err
	}
	for _, h := range r.Hosts {
		if slices.Contains(uiHosts, h) {
			return bosman.Conflict("%s is the address of Bosman itself", h).WithKept("the route stays as it is")
		}
	}
	for _, o := range s.Routes {
		if o.Key() == r.Key() {
			continue
		}
		for _, h := range r.Hosts {
			if slices.Contains(o.Hosts, h) {
				return bosman.Conflict("%s is the address of %s already", h, o.Key()).WithKept("the route stays as it is")
			}
		}
		for _, p := range r.Ports {
			if slices.Contains(o.Ports, p) {
				return bosman.Conflict("port %d belongs to %s already", p, o.Key()).WithKept("the route stays as it is")
			}
		}
	}
	if err := s.fence(r.Key(), r.Operation); err != nil {
		return err
	}
	s.Routes = slices.DeleteFunc(s.Routes, func(o control.Route) bool { return o.Key() == r.Key() })
	s.Routes = append(s.Routes, r)
	slices.SortFunc(s.Routes, func(a, b control.Route) int { return strings.Compare(a.Key(), b.Key()) })
	return nil
}

func (s *state) delete(app, instance string, operation int) error {
	key := control.Key(app, instance)
	if err := s.fence(key, operation); err != nil {
		return err
	}
	s.Routes = slices.DeleteFunc(s.Routes, func(o control.Route) bool { return o.Key() == key })
	s.unhold(key)
	return nil
}

func (s *state) unhold(key string) {
	s.Holds = slices.DeleteFunc(s.Holds, func(h control.Hold) bool { return control.Key(h.App, h.Instance) == key })
}

// parseState reads a routes file and judges each of its routes.
func parseState(data []byte) (state, error) {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, err
	}
	if s.Version != stateVersion {
		return state{}, fmt.Errorf("version %d is not %d", s.Version, stateVersion)
	}
	seen := map[string]bool{}
	for _, r := range s.Routes {
		if err := r.Check(); err != nil {
			return state{}, err
		}
		if seen[r.Key()] {
			return state{}, fmt.Errorf("%s stands in it twice", r.Key())
		}
		seen[r.Key()] = true
	}
	return s.clone(), nil
}

// loadState reads the routes file at start. A damaged one is kept aside and
// the edge starts empty: alive, it can be told the routes again.
func (e *Edge) loadState() (state, error) {
	empty := state{}.clone()
	data, err := os.ReadFile(e.cfg.Routes)
	if errors.Is(err, fs.ErrNotExist) {
		e.log.Warn("there is no routes file; starting without routes", "file", e.cfg.Routes)
		return empty, nil
	}
	if err != nil {
		return empty, bosman.Unavailable("the routes file %s cannot be read", e.cfg.Routes).Because(err)
	}
	s, err := parseState(data)
	if err == nil {
		return s, nil
	}
	aside := e.cfg.Routes + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	if werr := atomicfile.Write(aside, data, 0o600); werr != nil {
		return empty, bosman.Unavailable("the routes file %s is damaged and cannot be kept aside", e.cfg.Routes).Because(errors.Join(err, werr))
	}
	e.log.Error("the routes file is damaged; starting without routes", "file", e.cfg.Routes, "kept", aside, "cause", err)
	return empty, nil
}

// change makes one change to the routes: on disk first, then in effect. Only
// the edge that holds the control socket may.
func (e *Edge) change(edit func(*state) error) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	return e.locked(func() error {
		if e.superseded() {
			return errSuperseded
		}
		next := e.state.clone()
		if err := edit(&next); err != nil {
			return err
		}
		data, err := json.MarshalIndent(next, "", "  ")
		if err != nil {
			return bosman.Internal("the routes cannot be written").Because(err)
		}
		if err := e.listenFor(next); err != nil {
			return err
		}
		if err := faults.Point("edge.routes-before-write"); err != nil {
			return err
		}
		if err := atomicfile.Write(e.cfg.Routes, data, 0o600); err != nil {
			return bosman.Unavailable("the routes file cannot be written").
				WithKept("the route in effect stays as it is").WithNext("see whether the disk is full, then try again").Because(err)
		}
		if err := faults.Point("edge.routes-after-write"); err != nil {
			return err
		}
		e.install(next)
		e.closePorts(e.ports)
		return faults.Point("edge.routes-before-answer")
	})
}

var errSuperseded = &bosman.Error{Kind: bosman.KindUnavailable, Message: "another edge has taken over", Next: "ask again"}

// locked runs f while no other edge writes the routes file or takes over.
func (e *Edge) locked(f func() error) (err error) {
	lock, err := os.OpenFile(e.cfg.Routes+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return bosman.Unavailable("the routes file cannot be locked").Because(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return bosman.Unavailable("the routes file cannot be locked").Because(err)
	}
	return f()
}

// install puts a state into effect.
func (e *Edge) install(s state) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = s
	hosts, ports := map[string]*entry{}, map[int]*entry{}
	entries := make(map[string]*entry, len(s.Routes))
	for _, r := range s.Routes {
		n := e.entries[r.Key()]
		if n == nil {
			n = newEntry(r.Key())
		}
		n.set(r, e.cfg.AnswerWait, now)
		entries[r.Key()] = n
		for _, h := range r.Hosts {
			hosts[h] = n
		}
		for _, p := range r.Ports {
			ports[p] = n
		}
	}
	held := map[string]bool{}
	for _, h := range s.Holds {
		key := control.Key(h.App, h.Instance)
		if n := entries[key]; n != nil {
			n.setHold(&h)
			held[key] = true
		}
	}
	for key, n := range e.entries {
		if entries[key] == nil {
			n.remove(now)
			e.leaving = append(e.leaving, n)
		}
	}
	for key, n := range entries {
		if !held[key] {
			n.setHold(nil)
		}
	}
	e.leaving = slices.DeleteFunc(e.leaving, func(n *entry) bool { return n.inFlight() == 0 })
	e.entries, e.hosts, e.ports = entries, hosts, ports
}

// follow keeps an edge that was superseded in step with the routes file while
// its last requests end.
func (e *Edge) follow() {
	var seen os.FileInfo
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-e.life.Done():
			return
		case <-tick.C:
		}
		if !e.superseded() {
			continue
		}
		info, err := os.Stat(e.cfg.Routes)
		if err != nil || seen != nil && os.SameFile(seen, info) && seen.ModTime().Equal(info.ModTime()) {
			continue
		}
		data, err := os.ReadFile(e.cfg.Routes)
		if err != nil {
			continue
		}
		s, err := parseState(data)
		if err != nil {
			e.log.Warn("the routes file cannot be followed", "cause", err)
			continue
		}
		e.writing.Lock()
		e.install(s)
		e.writing.Unlock()
		seen = info
	}
}
