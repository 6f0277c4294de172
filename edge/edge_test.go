package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/edge/control"
)

// TestMain lets the test run itself as an edge process.
func TestMain(m *testing.M) {
	if os.Getenv("EDGE_CHILD") != "" {
		os.Exit(edgeChild())
	}
	goleak.VerifyTestMain(m)
}

// rig is an edge in this process.
type rig struct {
	t      testing.TB
	dir    string
	addr   string
	cfg    edge.Config
	client *control.Client
	http   *http.Client
	stop   func() error
}

func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "edge") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func config(t testing.TB, dir, addr string) edge.Config {
	t.Helper()
	return edge.Config{
		Listen: []string{addr}, Control: filepath.Join(dir, "c.sock"), Routes: filepath.Join(dir, "edge.json"),
		WallKey: filepath.Join(dir, "wall.key"), Drain: 3 * time.Second,
		UI: edge.UI{Hosts: []string{"localhost"}, Upstream: "unix:" + filepath.Join(dir, "ui.sock"), URL: "http://localhost:8080"},
	}
}

func start(t testing.TB, change func(*edge.Config)) *rig {
	t.Helper()
	dir := shortDir(t)
	r := &rig{t: t, dir: dir, addr: freeAddr(t)}
	r.cfg = config(t, dir, r.addr)
	if testing.Verbose() {
		r.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if change != nil {
		change(&r.cfg)
	}
	r.run()
	return r
}

func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	ready, w, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := r.cfg
	fd := dup(r.t, w)
	cfg.Getenv = func(k string) string {
		if k == "BOSMAN_READY_FD" {
			return fmt.Sprint(fd)
		}
		return ""
	}
	go func() { done <- edge.Run(ctx, cfg) }()
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(ready)
		_ = ready.Close()
		got <- string(b)
	}()
	select {
	case s := <-got:
		if s != "ready\n" {
			r.t.Fatalf("readiness %q", s)
		}
	case err := <-done:
		r.t.Fatalf("the edge ended: %v", err)
	case <-time.After(5 * time.Second):
		r.t.Fatal("the edge is not ready")
	}
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(15 * time.Second):
			return errors.New("the edge does not stop")
		}
	}
	r.client = control.New(r.cfg.Control)
	r.http = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r.t.Cleanup(func() {
		r.http.CloseIdleConnections()
		if err := r.stop(); err != nil {
			r.t.Error(err)
		}
	})
}

// backend serves h on a unix socket.
func (r *rig) backend(name string, h http.HandlerFunc) (upstream string, srv *httptest.Server) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		r.t.Fatal(err)
	}
	srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	srv.Start()
	r.t.Cleanup(srv.Close)
	return "unix:" + path, srv
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func route(upstream string, release, operation int) control.Route {
	return control.Route{
		App: "rms", Instance: "live", Kind: bosman.KindLive, Hosts: []string{"live.rms.localhost"},
		Upstream: upstream, Release: release, Operation: operation,
	}
}

func (r *rig) put(rt control.Route) {
	r.t.Helper()
	if err := r.client.Put(r.t.Context(), rt); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) request(method, host, path string, body io.Reader) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	return req
}

func (r *rig) do(req *http.Request) (int, string, http.Header) {
	r.t.Helper()
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func (r *rig) get(path string) (int, string, http.Header) {
	r.t.Helper()
	return r.do(r.request("GET", "live.rms.localhost:8080", path, nil))
}

func TestRoutesByHost(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, req.Host, " ", req.URL.RequestURI(), " ", req.Header.Get("X-Forwarded-For"), " ", req.Header.Get("X-Forwarded-Proto"),
			" ", req.Header.Get("X_forwarded_for"), req.Header.Get("Cookie"))
	})
	r.backend("ui.sock", says("ui"))
	r.put(route(up, 7, 1))
	req := r.request("GET", "LIVE.rms.localhost.:8080", "/a%2Fb/?x=1;y", nil)
	req.Header.Set("X-Forwarded-For", "6.6.6.6")
	req.Header["X_Forwarded_For"] = []string{"6.6.6.6"}
	req.Header.Set("Cookie", "a=1; bosman.rms.live=secret; b=2")
	status, body, h := r.do(req)
	if want := "LIVE.rms.localhost.:8080 /a%2Fb/?x=1;y 127.0.0.1 http a=1; b=2"; status != 200 || body != want {
		t.Errorf("%d %q, want %q", status, body, want)
	}
	if h.Get("X-Bosman-Release") != "r7" {
		t.Error("the release is not named")
	}
	if status, body, _ := r.do(r.request("GET", "localhost:8080", "/", nil)); status != 200 || body != "ui" {
		t.Errorf("ui: %d %q", status, body)
	}
	status, body, _ = r.do(r.request("GET", "nobody.localhost", "/", nil))
	if status != 404 || body != "No instance at this address. Nothing answers to this name. Bosman itself is at http://localhost:8080.\n" {
		t.Errorf("unknown host: %d %q", status, body)
	}
	info, err := os.Stat(r.cfg.Control)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v %v", info.Mode(), err)
	}
}

func TestStaleOperationIsRefused(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", says("new"))
	old, _ := r.backend("b", says("old"))
	r.put(route(up, 7, 5))
	if err := r.client.Put(t.Context(), route(old, 6, 4)); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("a stale writer routed: %v", err)
	}
	if err := r.client.Delete(t.Context(), "rms", "live", 4); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("a stale writer deleted: %v", err)
	}
	if _, body, _ := r.get("/"); body != "new" {
		t.Fatalf("served %q", body)
	}
	if err := r.client.Delete(t.Context(), "rms", "live", 6); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := r.get("/"); status != 404 {
		t.Fatalf("deleted, but %d", status)
	}
	// The fence outlives the route, and a restart.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.run()
	if err := r.client.Put(t.Context(), route(old, 6, 5)); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("a stale writer brought back the route: %v", err)
	}
	r.put(route(old, 6, 7))
	other := route(up, 1, 1)
	other.Instance = "staging"
	if err := r.client.Put(t.Context(), other); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("two instances share a host: %v", err)
	}
}

func prefixes(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
