package edge

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/bosman-cd/bosman/edge/control"
)

// verifyAll asks every upstream that was loaded whether it is well, four at a
// time. An unwell one stays routed, since nothing better is known; the list of
// routes says so, and its first answer makes it well.
func (e *Edge) verifyAll() {
	e.mu.RLock()
	routes := e.state.clone().Routes
	e.mu.RUnlock()
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for _, r := range routes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			e.verify(r)
		})
	}
	wg.Wait()
}

func (e *Edge) verifyLater(r control.Route) { e.work.Go(func() { e.verify(r) }) }

func (e *Edge) verify(r control.Route) {
	n, err := e.entry(r.App, r.Instance)
	if err != nil {
		return // deleted meanwhile
	}
	t, _ := n.targets()
	if !t.same(r) {
		return
	}
	ctx, cancel := context.WithTimeout(e.life, 5*time.Second)
	defer cancel()
	note := ""
	if r.Health == "" {
		c, err := t.dial(ctx)
		if err != nil {
			note = reason(err)
		} else {
			_ = c.Close() // it was opened only to see that it can be
		}
	} else {
		note = e.health(ctx, t, r)
	}
	switch {
	case e.life.Err() != nil: // shutting down says nothing of the upstream
		return
	case note == "":
		t.heard(control.Well, "")
		return
	}
	t.heard(control.Unwell, note)
	e.log.Warn("an upstream is not well", "app", r.App, "instance", r.Instance, "release", r.Release, "note", note)
}

// health asks the health path; "" when it is well.
func (e *Edge) health(ctx context.Context, t *target, r control.Route) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://upstream"+r.Health, nil)
	if err != nil {
		return "its health path is not a path"
	}
	if len(r.Hosts) > 0 {
		req.Host = r.Hosts[0]
	}
	resp, err := t.transport.RoundTrip(req) //nolint:bodyclose // shut closes it
	if err != nil {
		return reason(err)
	}
	shut(resp.Body)
	if resp.StatusCode >= 400 {
		return "its health path " + r.Health + " answers " + resp.Status
	}
	return ""
}
