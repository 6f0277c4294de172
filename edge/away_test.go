package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/edge/control"
)

func TestAppRestartIsSmooth(t *testing.T) {
	r := start(t, nil)
	up, srv := r.backend("a", says("release 1"))
	r.put(route(up, 1, 1))
	if _, body, _ := r.get("/"); body != "release 1" {
		t.Fatal(body)
	}
	srv.CloseClientConnections()
	srv.Close() // the socket is gone
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			req := r.request("POST", "live.rms.localhost", "/", strings.NewReader("kept"))
			if status, body, _ := r.do(req); status != 200 || body != "kept" {
				t.Errorf("%d %q", status, body)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(w, req.Body); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
}

func TestDeadUpstreamIsNamedAndCounted(t *testing.T) {
	r := start(t, func(c *edge.Config) { c.ConnectWait = 100 * time.Millisecond; c.ConnectCount = 1 })
	r.put(route("unix:"+r.dir+"/nobody", 3, 1))
	status, body, _ := r.get("/")
	if status != 502 || !strings.Contains(body, "live of rms does not answer") || !strings.Contains(body, "does not listen yet") || !strings.Contains(body, "bosman log live --app rms") {
		t.Fatalf("%d %q", status, body)
	}
	s, err := r.client.Stats(t.Context(), "rms", "live")
	if err != nil || s.Instances[0].Releases[0].Failures != 1 || s.Instances[0].Releases[0].Errors() != 1 || s.Instances[0].Seconds[0].Errors != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	list, err := r.client.Routes(t.Context())
	if err != nil || list[0].State != control.Unwell || list[0].Note == "" {
		t.Fatalf("%+v %v", list, err)
	}
	// A switch during the wait takes the waiting request along.
	got := make(chan string, 1)
	up, _ := r.backend("b", says("b"))
	go func() {
		_, body, _ := r.get("/")
		got <- body
	}()
	time.Sleep(30 * time.Millisecond)
	r.put(route(up, 4, 2))
	if body := <-got; body != "b" {
		t.Fatalf("%q", body)
	}
	if status, body, _ = r.get("/"); status != 200 || body != "b" {
		t.Fatalf("%d %q", status, body)
	}
	stopped := route("", 4, 3)
	stopped.Stopped = "Anna stopped it."
	r.put(stopped)
	if status, body, _ = r.get("/"); status != 503 || !strings.Contains(body, "Anna stopped it.") {
		t.Fatalf("%d %q", status, body)
	}
}

func TestRetriesAGetOnceOnADeadConnection(t *testing.T) {
	r := start(t, nil)
	var n atomic.Int64
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		if n.Add(1)%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "second")
	})
	r.put(route(up, 1, 1))
	if status, body, _ := r.get("/"); status != 200 || body != "second" || n.Load() != 2 {
		t.Fatalf("%d %q after %d", status, body, n.Load())
	}
	if status, _, _ := r.do(r.request("POST", "live.rms.localhost", "/", strings.NewReader("x"))); status != 502 || n.Load() != 3 {
		t.Fatalf("a POST was sent twice: %d after %d", status, n.Load())
	}
}

func TestRequestsForTheUIAreHeldWhileItRestarts(t *testing.T) {
	r := start(t, func(c *edge.Config) { c.UI.HoldFor = 2 * time.Second; c.UI.HoldCount = 5 })
	var wg sync.WaitGroup
	var ok, refused atomic.Int64
	ask := func() {
		wg.Go(func() {
			req := r.request("POST", "localhost", "/push", io.MultiReader(strings.NewReader("pack"))) // chunked
			req.Close = true                                                                          // one refused closes its connection, which the next must not take
			status, body, h := r.do(req)
			switch {
			case status == 200 && body == "pack":
				ok.Add(1)
			case status == 503 && h.Get("Retry-After") != "" && strings.Contains(body, "Bosman is restarting"):
				refused.Add(1)
			default:
				t.Errorf("%d %q", status, body)
			}
		})
	}
	for range 8 {
		ask()
	}
	for end := time.Now().Add(5 * time.Second); refused.Load() < 3 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	time.Sleep(200 * time.Millisecond)
	if refused.Load() != 3 {
		t.Errorf("%d refused at once, want 3", refused.Load())
	}
	_, srv := r.backend("ui.sock", func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(w, req.Body); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if ok.Load() != 5 {
		t.Errorf("%d held requests were answered, want 5", ok.Load())
	}
	srv.Close()
	from := time.Now()
	ask()
	wg.Wait()
	if d := time.Since(from); refused.Load() != 4 || d < 1900*time.Millisecond || d > 10*time.Second {
		t.Errorf("given up after %s, %d refused", d, refused.Load())
	}
}

func TestHoldIsBoundedAndLapses(t *testing.T) {
	r := start(t, nil)
	var n atomic.Int64
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) { n.Add(1); fmt.Fprint(w, "release 1") })
	r.put(route(up, 1, 1))
	hold := control.Hold{App: "rms", Instance: "live", Operation: 2, Until: time.Now().Add(20 * time.Second), Wait: 2 * time.Second, Count: 2}
	if err := r.client.Hold(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	if d, err := r.client.Drain(t.Context(), "rms", "live", up, time.Second); err != nil || d.Cut != 0 {
		t.Fatal(d, err)
	}
	// Two wait, the third is refused at once, the two when their time is up.
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 3 {
		wg.Go(func() {
			if status, _, h := r.get("/"); status == 503 && h.Get("Retry-After") != "" {
				refused.Add(1)
			}
		})
	}
	for end := time.Now().Add(time.Second); refused.Load() < 1 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	time.Sleep(50 * time.Millisecond)
	if refused.Load() != 1 {
		t.Errorf("%d refused at once, want 1", refused.Load())
	}
	wg.Wait()
	if refused.Load() != 3 || n.Load() != 0 {
		t.Errorf("%d refused, %d passed a hold", refused.Load(), n.Load())
	}
	// A restart of the edge keeps the hold; a waiting request is let through.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.run()
	wg.Go(func() {
		if status, body, _ := r.get("/"); status != 200 || body != "release 1" {
			t.Errorf("%d %q", status, body)
		}
	})
	time.Sleep(100 * time.Millisecond)
	if n.Load() != 0 {
		t.Error("a restart forgot the hold")
	}
	rep, err := r.client.Unhold(t.Context(), "rms", "live", 2)
	if err != nil || rep.Lapsed || rep.Waited != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	wg.Wait()
	if _, err := r.client.Unhold(t.Context(), "rms", "live", 2); bosman.KindOf(err) != bosman.KindNotFound {
		t.Fatalf("unheld twice: %v", err)
	}
	hold.Until = time.Now().Add(100 * time.Millisecond)
	if err := r.client.Hold(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := r.get("/"); status != 200 {
		t.Fatal("the hold did not lapse")
	}
	if rep, err := r.client.Unhold(t.Context(), "rms", "live", 2); err != nil || !rep.Lapsed {
		t.Fatalf("the lapse is not reported: %+v %v", rep, err)
	}
	hold.Operation, hold.Until = 1, time.Now().Add(time.Second)
	if err := r.client.Hold(t.Context(), hold); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("a stale operation held: %v", err)
	}
}

// TestUpstreamsAreVerifiedAfterAStart: without any request, the list of
// routes says which upstreams answer.
func TestUpstreamsAreVerifiedAfterAStart(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/healthz" || req.Host != "live.rms.localhost" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	well := route(up, 1, 1)
	well.Health = "/healthz"
	sick, gone := well.Clone(), well.Clone()
	sick.Instance, sick.Hosts, sick.Health = "staging", nil, "/other"
	gone.Instance, gone.Hosts, gone.Upstream = "testing-anna", nil, "unix:"+r.dir+"/nobody"
	for _, rt := range []control.Route{well, sick, gone} {
		r.put(rt)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.run()
	want := map[string]control.Verified{"live": control.Well, "staging": control.Unwell, "testing-anna": control.Unwell}
	var list []control.RouteStatus
	for range 40 {
		var err error
		if list, err = r.client.Routes(t.Context()); err != nil {
			t.Fatal(err)
		}
		right := 0
		for _, s := range list {
			if s.State == want[s.Instance] && (s.Note != "") == (s.State == control.Unwell) {
				right++
			}
		}
		if right == 3 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%+v", list)
}
