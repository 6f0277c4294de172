package edge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/edge/wall"
)

// flight is one request on its way to an upstream. Only its own goroutine
// reads or changes target.
type flight struct {
	entry    *entry
	target   *target
	route    control.Route
	private  []string
	cancel   context.CancelCauseFunc
	start    time.Time
	answered bool
	upgraded atomic.Bool
}

type flightKey struct{}

func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// errTooMany refuses a request because enough others wait already.
var errTooMany = errors.New("too many requests wait for the upstream")

// forward sends the request to the entry's upstream, after holding it if need be.
func (e *Edge) forward(w http.ResponseWriter, r *http.Request, n *entry) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	f := &flight{entry: n, cancel: cancel, start: time.Now()}
	s, ok := e.board(w, r, n, f)
	if !ok {
		return
	}
	defer func() { f.target.leave(f) }()
	f.route, f.private = s.route, s.private
	if r.ContentLength < 0 || r.ContentLength > 256<<10 {
		// An answer may begin while the body is still coming. Not all writers
		// can (HTTP/2 always does); then nothing is lost but that.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	e.proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, flightKey{}, f)))
}

// board claims the current target for f. It waits while the entry is held and
// answers the request itself, giving false, when that takes too long or
// nothing runs.
func (e *Edge) board(w http.ResponseWriter, r *http.Request, n *entry, f *flight) (snapshot, bool) {
	var deadline time.Time
	var counted *hold
	for {
		now := time.Now()
		s := n.claim(f, now)
		switch {
		case s.gone:
			e.unknown(w, r)
			return s, false
		case !s.held && s.current != nil:
			return s, true
		case !s.held:
			e.stoppedPage(w, r, s.route)
			return s, false
		}
		if deadline.IsZero() {
			deadline = now.Add(s.limits.Wait)
			if n.waiting.Add(1) > int64(s.limits.Count) {
				n.waiting.Add(-1)
				s.hold.refused.Add(1)
				e.refuse(w, r, n, s)
				return s, false
			}
			defer n.waiting.Add(-1)
		}
		if counted != s.hold {
			counted = s.hold
			counted.waited.Add(1)
		}
		if !now.Before(deadline) {
			s.hold.refused.Add(1)
			e.refuse(w, r, n, s)
			return s, false
		}
		end := deadline
		if s.limits.Until.Before(end) {
			end = s.limits.Until
		}
		timer := time.NewTimer(time.Until(end))
		select {
		case <-s.changed:
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return s, false
		}
		timer.Stop()
	}
}

func (e *Edge) refuse(w http.ResponseWriter, r *http.Request, n *entry, s snapshot) {
	if s.current != nil {
		s.current.count.refused.Add(1)
	}
	e.heldPage(w, r, s.route)
}

func (e *Edge) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:   e.rewrite,
		Transport: roundTripper{e},
		// Streams and answers of unknown length are flushed at each write; for
		// the others that would cost a packet more each.
		FlushInterval:  50 * time.Millisecond,
		BufferPool:     &buffers{},
		ModifyResponse: e.response,
		ErrorHandler:   e.failure,
		ErrorLog:       e.httpLog,
	}
}

// dropped are headers by which a client could pretend to be a proxy.
var dropped = []string{"X-Real-Ip", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-User", wall.BypassHeader}

func (e *Edge) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL.Scheme, out.URL.Host, out.Host = "http", "upstream", in.Host
	out.URL.RawQuery = in.URL.RawQuery // as it came: the app judges odd ones
	f := flightOf(in.Context())
	for _, h := range dropped {
		out.Header.Del(h)
	}
	for h := range out.Header {
		if strings.Contains(h, "_") { // CGI and WSGI could not tell X_Forwarded_For from X-Forwarded-For
			delete(out.Header, h)
		}
	}
	c := e.clientOf(in)
	out.Header.Set("X-Forwarded-For", c.chain)
	out.Header.Set("X-Real-Ip", c.ip)
	out.Header.Set("X-Forwarded-Proto", c.proto)
	out.Header.Set("X-Forwarded-Host", c.host)
	if f != nil && !f.entry.ui {
		stripOwnCookies(out.Header)
	}
}

// stripOwnCookies keeps passes and sessions of Bosman from the application.
func stripOwnCookies(h http.Header) {
	lines := h.Values("Cookie")
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			if part != "" && !strings.HasPrefix(part, "bosman.") && !strings.HasPrefix(part, "bosman_") {
				kept = append(kept, part)
			}
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h.Set("Cookie", strings.Join(kept, "; "))
}

// roundTripper sends a request to its flight's target and bears with one that
// is away for a moment.
type roundTripper struct{ e *Edge }

func (rt roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	f := flightOf(req.Context())
	req, body := replayable(req)
	again := body == nil && (req.Method == http.MethodGet || req.Method == http.MethodHead || req.Method == http.MethodOptions) &&
		req.Header.Get("Upgrade") == ""
	var deadline time.Time
	for {
		resp, err := f.target.transport.RoundTrip(req)
		if err == nil || req.Context().Err() != nil {
			return resp, err
		}
		switch {
		case refused(err):
			if deadline.IsZero() {
				done, ok := rt.e.waitSlot(f, req)
				if !ok {
					return nil, errTooMany
				}
				defer done()
				deadline = time.Now().Add(rt.e.patience(f))
			}
			if !rt.e.await(req.Context(), f, deadline) {
				return nil, err
			}
			if body != nil {
				fresh, rerr := body.again()
				if rerr != nil {
					return nil, err
				}
				req.Body = fresh
			}
		case again && dead(err): // the app went away under a request that may be asked twice
			again = false
			f.entry.move(f)
		default:
			return nil, err
		}
	}
}

func (e *Edge) patience(f *flight) time.Duration {
	if f.entry.ui {
		return e.cfg.UI.HoldFor
	}
	return e.cfg.ConnectWait
}

// waitSlot lets a bounded number of requests wait. Bodies are not read
// meanwhile, so that a request takes its header and two buffers of memory.
func (e *Edge) waitSlot(f *flight, req *http.Request) (done func(), ok bool) {
	limit := int64(e.cfg.ConnectCount)
	var size int64
	if f.entry.ui {
		limit = int64(e.cfg.UI.HoldCount)
		size = 16 << 10
		for k, vs := range req.Header {
			for _, v := range vs {
				size += int64(len(k) + len(v))
			}
		}
	}
	done = func() {
		f.entry.waiting.Add(-1)
		e.heldBytes.Add(-size)
	}
	if n, held := f.entry.waiting.Add(1), e.heldBytes.Add(size); n > limit || size > 0 && held > e.cfg.UI.HoldBytes {
		done()
		return nil, false
	}
	return done, true
}

// await waits until the target accepts connections or another takes its place.
func (e *Edge) await(ctx context.Context, f *flight, deadline time.Time) bool {
	if f.entry.move(f) {
		return true
	}
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	f.entry.mu.RLock()
	changed := f.entry.changed
	f.entry.mu.RUnlock()
	if f.entry.move(f) { // switched in between
		return true
	}
	accepts, done := f.target.up(e)
	defer done()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-accepts:
		return true
	case <-changed:
		f.entry.move(f)
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// dead says whether err means that the upstream broke the connection.
func dead(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || refused(err)
}

// accel is the X-Accel-Redirect of an answer: the edge serves the file.
type accel struct {
	path   string
	header http.Header
}

func (*accel) Error() string { return "the application hands over a file" }

// response sees every answer before it is passed on.
func (e *Edge) response(resp *http.Response) error {
	f := flightOf(resp.Request.Context())
	f.answered = true
	f.entry.answered(f.target, resp.StatusCode, time.Since(f.start))
	f.target.heard(control.Well, "")
	if f.entry.ui {
		return nil
	}
	h := resp.Header
	h.Set("X-Bosman-Release", bosman.Ref(bosman.LetterRelease, f.target.release))
	if f.route.NoIndex {
		h.Set("X-Robots-Tag", "noindex, nofollow")
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		f.upgraded.Store(true)
		return nil
	}
	if to := h.Get("X-Accel-Redirect"); to != "" && len(f.private) > 0 {
		return &accel{path: to, header: h.Clone()}
	}
	resp.Body = &countingBody{ReadCloser: resp.Body, total: &f.target.count.bytes}
	return nil
}

type countingBody struct {
	io.ReadCloser
	total *atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.total.Add(int64(n))
	return n, err
}

// failure answers for an upstream that did not.
func (e *Edge) failure(w http.ResponseWriter, r *http.Request, err error) {
	f := flightOf(r.Context())
	if a := (*accel)(nil); errors.As(err, &a) {
		e.handOver(w, r, f, a)
		return
	}
	cut := errors.Is(context.Cause(r.Context()), errCut)
	switch {
	case f.answered: // and was counted, but an upgrade failed half-way
	case errors.Is(err, errTooMany):
		f.target.count.refused.Add(1)
		e.heldPage(w, r, f.route)
		return
	case r.Context().Err() != nil && !cut:
		f.target.count.aborted.Add(1)
		panic(http.ErrAbortHandler) // the client is gone; net/http closes the connection
	default:
		f.entry.failed(f.target, time.Since(f.start))
	}
	level := slog.LevelDebug // the first time it is news, then it is in the numbers
	if !cut && !f.answered && f.target.heard(control.Unwell, reason(err)) {
		level = slog.LevelWarn
	}
	e.log.Log(r.Context(), level, "upstream did not answer", "app", f.route.App, "instance", f.route.Instance, "release", f.target.release,
		"method", r.Method, "path", r.URL.Path, "cause", err)
	if f.entry.ui {
		e.uiAway(w, r)
		return
	}
	status := http.StatusBadGateway
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		status = http.StatusGatewayTimeout
	}
	e.upstreamPage(w, r, f.route, status, reason(err))
}

// reason says in a few words what an upstream did.
func reason(err error) string {
	ne := net.Error(nil)
	switch {
	case errors.Is(err, errCut):
		return "the release that answered was replaced before the answer was complete"
	case errors.Is(err, syscall.ENOENT):
		return "its process does not listen yet"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "its process refuses connections"
	case errors.Is(err, syscall.EAGAIN):
		return "its process has more requests waiting than it accepts"
	case dead(err):
		return "its process closed the connection without an answer"
	case errors.As(err, &ne) && ne.Timeout():
		return "its process took too long to answer"
	}
	return "its process gave an answer that is not HTTP"
}

// buffers lends copy buffers.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

func retryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(d.Seconds()))))
}
