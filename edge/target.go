package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/internal/nofollow"
)

// errCut is the cause with which a request is ended at a drain's deadline.
var errCut = errors.New("cut at the end of a drain")

// target is one upstream of an entry from the switch to it until its last
// request is over:
//
//	current ─► retired (requests in flight) ─► idle (connections closed)
type target struct {
	network, address string
	upstream         string
	release          int
	commit           string
	operation        int
	since            time.Time
	transport        *http.Transport
	count            counters

	mu      sync.Mutex
	live    map[*flight]struct{}
	retired bool
	until   time.Time
	idle    chan struct{} // closed when live becomes empty; nil while nobody waits
	state   control.Verified
	note    string
	checked time.Time

	probe  chan struct{} // closed when the upstream accepts again; nil while nobody asks
	askers int
}

func newTarget(r control.Route, answerWait time.Duration, now time.Time) *target {
	network, address, err := control.SplitUpstream(r.Upstream)
	if err != nil {
		network, address = "unix", "/nonexistent" // refused by Check; from a hand-edited file only
	}
	t := &target{
		network: network, address: address, upstream: r.Upstream, release: r.Release, commit: r.Commit,
		operation: r.Operation, since: now, live: map[*flight]struct{}{}, state: control.Unverified,
	}
	t.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) },
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        60 * time.Second,
		ResponseHeaderTimeout:  answerWait,
		ExpectContinueTimeout:  time.Second,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return t
}

func (t *target) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	if t.network == "unix" { // in a folder of the instance, whose own requests must not become ours
		return nofollow.Dial(ctx, &d, t.address)
	}
	return d.DialContext(ctx, t.network, t.address)
}

// same says whether a route names this very upstream.
func (t *target) same(r control.Route) bool {
	return t != nil && t.upstream == r.Upstream && t.release == r.Release && t.commit == r.Commit
}

// claim puts a request on the target. Callers hold the entry's lock, which
// the switch takes too, so no request is ever claimed for a retired target.
func (t *target) claim(f *flight) {
	t.mu.Lock()
	t.live[f] = struct{}{}
	t.mu.Unlock()
	f.target = t
}

func (t *target) leave(f *flight) {
	t.mu.Lock()
	delete(t.live, f)
	empty := len(t.live) == 0
	if empty && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	closeIdle := empty && t.retired
	t.mu.Unlock()
	if closeIdle {
		t.transport.CloseIdleConnections()
	}
}

func (t *target) retire(now time.Time) {
	t.mu.Lock()
	t.retired, t.until = true, now
	t.mu.Unlock()
	t.transport.CloseIdleConnections()
}

func (t *target) inFlight() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}

// drain waits until no request is in flight, then cuts what is left.
func (t *target) drain(ctx context.Context, deadline time.Time) control.Drained {
	start := time.Now()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		t.mu.Lock()
		if len(t.live) == 0 {
			t.mu.Unlock()
			break
		}
		if t.idle == nil {
			t.idle = make(chan struct{})
		}
		idle := t.idle
		t.mu.Unlock()
		select {
		case <-idle:
			continue
		case <-ctx.Done(): // whoever asked is gone; what is in flight goes on
			return control.Drained{Took: time.Since(start)}
		case <-timer.C:
		}
		d := t.cut()
		d.Took = time.Since(start)
		t.transport.CloseIdleConnections()
		return d
	}
	t.transport.CloseIdleConnections()
	return control.Drained{Took: time.Since(start)}
}

func (t *target) cut() control.Drained {
	t.mu.Lock()
	defer t.mu.Unlock()
	var d control.Drained
	for f := range t.live {
		d.Cut++
		if f.upgraded.Load() {
			d.Upgraded++
		}
		f.cancel(errCut)
	}
	return d
}

// heard notes that the upstream answers, or why it does not, and says whether
// that is news.
func (t *target) heard(s control.Verified, note string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == s && s == control.Well {
		return false // the common case: every answer comes here
	}
	news := t.state != s || t.note != note
	t.state, t.note, t.checked = s, note, time.Now()
	return news
}

// up gives a channel that closes when the upstream accepts a connection. One
// goroutine asks for all who wait. done must be called once.
func (t *target) up(e *Edge) (accepts <-chan struct{}, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.askers++
	if t.probe == nil {
		t.probe = make(chan struct{})
		accepts := t.probe
		e.work.Go(func() { t.ask(e.life, accepts) })
	}
	return t.probe, func() {
		t.mu.Lock()
		t.askers--
		t.mu.Unlock()
	}
}

func (t *target) ask(ctx context.Context, accepts chan struct{}) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		c, err := t.dial(ctx)
		if err == nil {
			_ = c.Close() // it was opened only to see that it can be
		}
		t.mu.Lock()
		if err == nil || t.askers == 0 || ctx.Err() != nil {
			t.probe = nil
			close(accepts)
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		time.Sleep(pause)
	}
}

// refused says whether err means that the upstream does not accept
// connections now; nothing was sent. A full backlog of a unix socket is EAGAIN.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" &&
		(errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN))
}

// counters only grow.
type counters struct {
	status                            [6]atomic.Int64
	failures, aborted, refused, files atomic.Int64
	bytes                             atomic.Int64
	latency                           [12]atomic.Int64
}

func (t *target) stats(current bool) control.ReleaseStats {
	t.mu.Lock()
	s := control.ReleaseStats{
		Release: t.release, Commit: t.commit, Upstream: t.upstream, Operation: t.operation, Current: current,
		Since: t.since, Until: t.until, InFlight: int64(len(t.live)),
	}
	t.mu.Unlock()
	c := &t.count
	for i := range c.status {
		s.Status[i] = c.status[i].Load()
		s.Requests += s.Status[i]
	}
	s.Failures, s.Aborted, s.Refused = c.failures.Load(), c.aborted.Load(), c.refused.Load()
	s.Static, s.Bytes = c.files.Load(), c.bytes.Load()
	s.Requests += s.Failures + s.Aborted
	for i := range c.latency {
		s.Latency = append(s.Latency, c.latency[i].Load())
	}
	return s
}
