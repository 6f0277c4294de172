package edge_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/internal/need"
)

// load sends about perSecond requests a second until stop; every 7th is slow,
// every 5th posts a body.
type load struct {
	ok, failed atomic.Int64
	first      atomic.Value // string: the first failure
	wg         sync.WaitGroup
	end        chan struct{}
}

func (r *rig) load(perSecond int) *load {
	l := &load{end: make(chan struct{})}
	l.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.end:
				return
			case <-tick.C:
			}
			l.wg.Go(func() { l.one(r, i) })
		}
	})
	return l
}

func (l *load) one(r *rig, i int) {
	path, method, body := "/", "GET", ""
	if i%7 == 0 {
		path = "/slow"
	}
	if i%5 == 0 {
		method, body = "POST", "body"
	}
	req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		l.fail(err.Error())
		return
	}
	req.Host = "live.rms.localhost"
	resp, err := r.http.Do(req)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(b), "release ") {
		l.fail(fmt.Sprint(resp.Status, " ", string(b), err))
		return
	}
	l.ok.Add(1)
}

func (l *load) fail(why string) {
	l.failed.Add(1)
	l.first.CompareAndSwap(nil, why)
}

func (l *load) stop() {
	close(l.end)
	l.wg.Wait()
}

func app(release int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			time.Sleep(300 * time.Millisecond)
		}
		fmt.Fprint(w, "release ", release)
	}
}

func TestSwitchesUnderLoadDropNothing(t *testing.T) {
	need.Slow(t, "20 switches under load")
	r := start(t, nil)
	up, srv := r.backend("s0", app(1))
	r.put(route(up, 1, 1))
	l := r.load(100)
	for i := 1; i <= 20; i++ {
		next, nextSrv := r.backend(fmt.Sprint("s", i), app(i+1))
		r.put(route(next, i+1, i+1))
		d, err := r.client.Drain(t.Context(), "rms", "live", up, 5*time.Second)
		if err != nil || d.Cut != 0 {
			t.Fatalf("drain: %+v %v", d, err)
		}
		srv.CloseClientConnections() // what an app that is killed does to whoever is left
		srv.Close()
		up, srv = next, nextSrv
		time.Sleep(60 * time.Millisecond)
	}
	l.stop()
	if l.failed.Load() != 0 || l.ok.Load() < 300 {
		t.Fatalf("%d ok, %d failed, first: %v", l.ok.Load(), l.failed.Load(), l.first.Load())
	}
	s, err := r.client.Stats(t.Context(), "rms", "live")
	if err != nil || len(s.Instances) != 1 {
		t.Fatal(s, err)
	}
	in := s.Instances[0]
	if len(in.Releases) != 6 || in.Releases[0].Release != 21 || !in.Releases[0].Current || in.Releases[1].Release != 20 {
		t.Errorf("releases: %+v", in.Releases)
	}
	var seconds, errors int64
	for _, x := range in.Seconds {
		seconds += x.Requests
		errors += x.Errors
	}
	if seconds != l.ok.Load() || errors != 0 {
		t.Errorf("the seconds count %d requests and %d errors, the client %d", seconds, errors, l.ok.Load())
	}
}

func TestDrainCutsStreamsAtTheDeadline(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", websocket)
	next, _ := r.backend("b", says("b"))
	r.put(route(up, 1, 1))
	if _, err := r.client.Drain(t.Context(), "rms", "live", up, time.Second); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("drained what is in use: %v", err)
	}
	c, in := r.upgrade()
	r.put(route(next, 2, 2))
	if got := echo(t, c, in, "still here"); got != "still here" {
		t.Fatalf("the switch broke the websocket: %q", got)
	}
	d, err := r.client.Drain(t.Context(), "rms", "live", up, 150*time.Millisecond)
	if err != nil || d.Cut != 1 || d.Upgraded != 1 || d.Took < 100*time.Millisecond {
		t.Fatalf("%+v %v", d, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Fatal("the websocket is still open")
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // it is counted after the client sees it cut
		s, err := r.client.Stats(t.Context(), "", "")
		if err == nil && s.Instances[0].Releases[1].Status[1] == 1 && s.Instances[0].Releases[1].InFlight == 0 {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v %v", s, err)
		}
	}
}

// websocket answers an upgrade and echoes what it gets.
func websocket(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "no upgrade", 400)
		return
	}
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if rw.Flush() != nil {
		return
	}
	_, _ = io.Copy(c, rw) // until either end is gone
}

func (r *rig) upgrade() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: live.rms.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		r.t.Fatalf("%+v %v", resp, err)
	}
	return c, in
}

func echo(t testing.TB, c net.Conn, in *bufio.Reader, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(in, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWebsocketEcho(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", websocket)
	r.put(route(up, 1, 1))
	c, in := r.upgrade()
	for _, text := range []string{"one", strings.Repeat("x", 100_000)} {
		if got := echo(t, c, in, text); got != text {
			t.Fatalf("%d bytes came back as %d", len(text), len(got))
		}
	}
}

// TestUploadStreams sends 50 MB in chunks and sees the first bytes arrive
// before the last are sent.
func TestUploadStreams(t *testing.T) {
	r := start(t, nil)
	first := make(chan struct{})
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		h := sha256.New()
		b := make([]byte, 1)
		if _, err := io.ReadFull(req.Body, b); err != nil {
			t.Error(err)
		}
		h.Write(b)
		close(first)
		n, err := io.Copy(h, req.Body)
		fmt.Fprintf(w, "%d %x %v", n+1, h.Sum(nil), err)
	})
	r.put(route(up, 1, 1))
	pr, pw := io.Pipe()
	h := sha256.New()
	go func() {
		chunk := []byte(strings.Repeat("0123456789abcdef", 64<<10)) // 1 MB
		for i := range 50 {
			if i == 1 {
				select {
				case <-first:
				case <-time.After(5 * time.Second):
					t.Error("the body is buffered")
				}
			}
			h.Write(chunk)
			if _, err := pw.Write(chunk); err != nil {
				t.Error(err)
				return
			}
		}
		_ = pw.Close() // of a pipe: never fails
	}()
	status, body, _ := r.do(r.request("POST", "live.rms.localhost", "/", pr))
	if want := fmt.Sprintf("%d %x <nil>", 50<<20, h.Sum(nil)); status != 200 || body != want {
		t.Fatalf("%d %s, want %s", status, body, want)
	}
}

// TestAnswerBeforeTheBodyEnds: an app refuses an upload; the client, which
// sends no more, must get the answer and not keep the request alive.
func TestAnswerBeforeTheBodyEnds(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil { // net/http would wait for the body first
			t.Error(err)
		}
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	r.put(route(up, 1, 1))
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: live.rms.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%+v %v", resp, err)
	}
	for end := time.Now().Add(4 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		list, err := r.client.Routes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if list[0].InFlight == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the request is still in flight")
		}
	}
}

// TestAmbiguousRequestsAreRefused: what could hide a second request in the
// first never reaches the app.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	r := start(t, nil)
	var n atomic.Int64
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) { n.Add(1) })
	r.put(route(up, 1, 1))
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: live.rms.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: live.rms.localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: live.rms.localhost\r\nX : y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: live.rms.localhost\r\nHost: other\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: live.rms.localhost\r\nCookie: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
		"TRACE / HTTP/1.1\r\nHost: live.rms.localhost\r\n\r\n",
	} {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, head)
		if err := c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode < 400 || n.Load() != 0 {
			t.Errorf("%.90q: %+v", head, resp)
		}
		c.Close()
	}
}

func TestEventsAreFlushed(t *testing.T) {
	r := start(t, nil)
	next := make(chan struct{})
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush() // the reader's deadline finds out
			select {
			case <-next:
			case <-req.Context().Done():
				return
			}
		}
	})
	r.put(route(up, 1, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	resp, err := r.http.Do(r.request("GET", "live.rms.localhost", "/", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := in.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q %v", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		next <- struct{}{}
	}
}

func TestTrustedProxyMaySayWhoAsks(t *testing.T) {
	r := start(t, func(c *edge.Config) { c.TrustedProxies = prefixes(t, "127.0.0.0/8") })
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		h := req.Header
		fmt.Fprint(w, h.Get("X-Forwarded-For"), "|", h.Get("X-Real-Ip"), "|", h.Get("X-Forwarded-Proto"), "|", h.Get("X-Forwarded-Host"))
	})
	r.put(route(up, 1, 1))
	req := r.request("GET", "live.rms.localhost", "/", nil)
	req.Header.Set("X-Forwarded-For", "9.9.9.9, 5.5.5.5, 127.0.0.2")
	req.Header.Set("X-Forwarded-Proto", "https")
	if _, body, _ := r.do(req); body != "9.9.9.9, 5.5.5.5, 127.0.0.2, 127.0.0.1|5.5.5.5|https|live.rms.localhost" {
		t.Fatal(body)
	}
}

func TestAPortBelongsToAnInstance(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", says("mine"))
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	rt := route(up, 1, 1)
	rt.Ports = []int{atoi(t, port)}
	r.put(rt)
	get := func() string {
		resp, err := r.http.Get("http://127.0.0.1:" + port + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := get(); got != "mine" {
		t.Fatal(got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.run()
	if got := get(); got != "mine" {
		t.Fatal(got)
	}
	defer func() {
		if err := r.client.Delete(t.Context(), "rms", "live", 1); err != nil {
			t.Error(err)
		}
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			t.Error("the port of a deleted route is still open")
		}
	}()
	rt2 := route(up, 1, 1)
	rt2.Instance, rt2.Hosts, rt2.Ports = "staging", nil, rt.Ports
	if err := r.client.Put(t.Context(), rt2); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("two instances share a port: %v", err)
	}
}
