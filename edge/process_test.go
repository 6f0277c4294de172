package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

// edgeChild is the edge as a process of its own: EDGE_CHILD holds its Config.
func edgeChild() int {
	var cfg edge.Config
	if err := json.Unmarshal([]byte(os.Getenv("EDGE_CHILD")), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := edge.Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func dup(t testing.TB, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// parent keeps a listening socket and runs edges on it, as the shim does.
type parent struct {
	rig
	socket *os.File
}

func newParent(t testing.TB) *parent {
	t.Helper()
	dir := shortDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	p := &parent{rig: rig{t: t, dir: dir, addr: l.Addr().String()}, socket: f}
	p.cfg = config(t, dir, "")
	p.cfg.Listen = nil
	if err := l.Close(); err != nil { // the duplicate keeps the socket
		t.Fatal(err)
	}
	p.client = control.New(p.cfg.Control)
	p.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() { f.Close() })
	return p
}

// edge starts an edge and waits until it is ready. The socket is passed as
// ExtraFiles, which sets it blocking: the edge must set that right.
func (p *parent) edge(env ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.command(env...)
	ready, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	cmd.Env = append(cmd.Env, "BOSMAN_READY_FD=4")
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may be gone
			_ = cmd.Wait()         // it was killed
		}
	})
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(ready)
	if err = errors.Join(err, ready.Close()); err != nil || string(b) != "ready\n" {
		p.t.Fatalf("not ready: %q %v", b, err)
	}
	return cmd
}

func (p *parent) command(env ...string) *exec.Cmd {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cfg, err := json.Marshal(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(env, "EDGE_CHILD="+string(cfg), "LISTEN_FDS=1")...)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{p.socket}
	return cmd
}

// term ends an edge as an upgrade does.
func term(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the old edge: %v", err)
	}
}

func TestKilledEdgeLosesOnlyWhatIsInFlight(t *testing.T) {
	need.Slow(t, "kills edge processes")
	p := newParent(t)
	up, _ := p.backend("a", app(1))
	cmd := p.edge()
	p.put(route(up, 1, 1))
	slow := make(chan error, 1)
	go func() {
		resp, err := p.http.Do(p.request("GET", "live.rms.localhost", "/slow", nil))
		if err == nil {
			err = resp.Body.Close()
		}
		slow <- err
	}()
	time.Sleep(100 * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if err := <-slow; err == nil {
		t.Error("what was in flight should have failed: was the edge killed?")
	}
	l := &load{end: make(chan struct{})}
	for i := range 30 {
		l.wg.Go(func() { l.one(&p.rig, i) })
	}
	time.Sleep(200 * time.Millisecond)
	if n := l.ok.Load() + l.failed.Load(); n != 0 {
		t.Errorf("%d requests ended with no edge running", n)
	}
	next := p.edge() // knows the route from its file
	l.wg.Wait()
	if l.ok.Load() != 30 {
		t.Errorf("%d of 30 answered, first failure: %v", l.ok.Load(), l.first.Load())
	}
	term(t, next)
}

func TestUpgradeOnTheSameSocketsLosesNothing(t *testing.T) {
	need.Slow(t, "upgrades under 300 connections a second")
	p := newParent(t)
	up, _ := p.backend("a", app(1))
	cmd := p.edge()
	p.put(route(up, 1, 1))
	l := p.load(300)
	release := 1
	for range 5 {
		next := p.edge()
		term(t, cmd)
		cmd = next
		release++
		p.put(route(up, release, release)) // the new edge takes changes
		time.Sleep(100 * time.Millisecond)
	}
	l.stop()
	if l.failed.Load() != 0 || l.ok.Load() < 100 {
		t.Fatalf("%d ok, %d failed, first: %v", l.ok.Load(), l.failed.Load(), l.first.Load())
	}
	t.Logf("%d connections over 5 upgrades, none lost", l.ok.Load())
	list, err := p.client.Routes(t.Context())
	if err != nil || len(list) != 1 || list[0].Release != release {
		t.Fatalf("%+v %v", list, err)
	}
	from := time.Now()
	term(t, cmd) // with no connection coming in to wake it
	if d := time.Since(from); d > 10*time.Second {
		t.Errorf("an idle edge took %s to stop", d)
	}
	if _, err := os.Stat(p.cfg.Control); !errors.Is(err, os.ErrNotExist) {
		t.Error("the last edge left its control socket")
	}
}

// TestOldEdgeFollowsTheNewOne: between readiness of the new edge and the end
// of the old one both accept; a change must hold in both.
func TestOldEdgeFollowsTheNewOne(t *testing.T) {
	need.Slow(t, "two edge processes")
	p := newParent(t)
	a, _ := p.backend("a", app(1))
	b, _ := p.backend("b", app(2))
	older := p.edge()
	p.put(route(a, 1, 1))
	newer := p.edge()
	p.put(route(b, 2, 2))
	time.Sleep(600 * time.Millisecond)
	for range 40 {
		if _, body, _ := p.get("/"); body != "release 2" {
			t.Fatal(body)
		}
	}
	term(t, older)
	if _, err := p.client.Routes(t.Context()); err != nil {
		t.Fatal("the old edge took the new one's socket along: ", err)
	}
	term(t, newer)
}

// TestRoutesSurviveAKillDuringPut kills the edge at each point of a Put.
func TestRoutesSurviveAKillDuringPut(t *testing.T) {
	need.Slow(t, "kills edge processes")
	for point, want := range map[string]string{
		"edge.routes-before-write":  "release 1",
		"edge.routes-after-write":   "release 2",
		"edge.routes-before-answer": "release 2",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newParent(t)
			a, _ := p.backend("a", app(1))
			b, _ := p.backend("b", app(2))
			first := p.edge()
			p.put(route(a, 1, 1))
			term(t, first)
			cmd := p.edge(faults.Env + "=" + point + "=kill")
			once := *p.client
			once.Patience = 0
			if err := once.Put(t.Context(), route(b, 2, 2)); bosman.KindOf(err) != bosman.KindUnavailable {
				t.Fatalf("the edge should have died: %v", err)
			}
			_ = cmd.Wait() // it was killed
			next := p.edge()
			if _, body, _ := p.get("/"); body != want {
				t.Errorf("%q is served, want %q", body, want)
			}
			p.put(route(b, 2, 2)) // the caller asks again
			if _, body, _ := p.get("/"); body != "release 2" {
				t.Errorf("%q is served", body)
			}
			term(t, next)
		})
	}
}

// TestPutsDuringKills kills the edge at any moment while routes are put: what
// was answered holds afterwards.
func TestPutsDuringKills(t *testing.T) {
	need.Slow(t, "kills edge processes")
	p := newParent(t)
	var answered atomic.Int64
	var wg sync.WaitGroup
	cmd := p.edge()
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			if err := p.client.Put(ctx, route("unix:"+p.dir+"/x", i, i)); err == nil {
				answered.Store(int64(i))
			} else if ctx.Err() == nil {
				t.Errorf("put %d: %v", i, err)
				return
			}
		}
	})
	for i := range 6 {
		time.Sleep(time.Duration(40+13*i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		before := answered.Load()
		cmd = p.edge()
		list, err := p.client.Routes(t.Context())
		if err != nil || before > 0 && (len(list) != 1 || int64(list[0].Release) < before) {
			t.Fatalf("answered up to %d, but %+v %v", before, list, err)
		}
	}
	cancel()
	wg.Wait()
	if answered.Load() < 6 {
		t.Errorf("only %d puts", answered.Load())
	}
	term(t, cmd)
}

func TestDamagedRoutesFileIsKeptAside(t *testing.T) {
	for name, content := range map[string]string{
		"cut":     `{"version":1,"routes":[{"app":"rms","inst`,
		"version": `{"version":99,"routes":[]}`,
		"route":   `{"version":1,"routes":[{"app":"../x","instance":"live"}]}`,
		"empty":   ``,
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			var mu sync.Mutex
			r := start(t, func(c *edge.Config) {
				if err := os.WriteFile(c.Routes, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				c.Log = slog.New(slog.NewTextHandler(&lockedWriter{&mu, &log}, nil))
			})
			mu.Lock()
			if !strings.Contains(log.String(), "the routes file is damaged") {
				t.Errorf("it does not say so: %s", log.String())
			}
			mu.Unlock()
			kept, err := filepath.Glob(r.cfg.Routes + ".damaged-*")
			if err != nil || len(kept) != 1 {
				t.Fatal(kept, err)
			}
			if b, err := os.ReadFile(kept[0]); err != nil || string(b) != content {
				t.Fatalf("%q %v", b, err)
			}
			up, _ := r.backend("a", app(1))
			r.put(route(up, 1, 1))
			if _, body, _ := r.get("/"); body != "release 1" {
				t.Fatal(body)
			}
		})
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
