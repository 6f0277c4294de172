package problem

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/internal/need"
	"github.com/getsentry/sentry-go"
)

// served puts an intake behind a real listener and gives a DSN for it.
func served(t *testing.T) (dsn string, store *memory, in *Intake, bodies *Bodies) {
	t.Helper()
	in, store, bodies = intake(t, nil)
	srv := httptest.NewServer(in)
	t.Cleanup(srv.Close)
	return DSN("livekey", srv.URL, "rms"), store, in, bodies
}

// TestPythonClient lets Debian's sentry-sdk report a crash of its own.
func TestPythonClient(t *testing.T) {
	need.File(t, "/usr/lib/python3/dist-packages/sentry_sdk/__init__.py", "python3-sentry-sdk")
	dsn, store, _, bodies := served(t)
	const program = `
import logging, sentry_sdk
sentry_sdk.init(release="rms@r136+abcdef12", environment="live")
def pay(order, password):
    return 1 / order
try:
    pay(0, "geheim")
except ZeroDivisionError:
    sentry_sdk.capture_exception()
logging.getLogger("shop").error("order %s is late", 17)
sentry_sdk.flush(5)
pay(0, "geheim")
`
	cmd := exec.Command("/usr/bin/python3", "-c", program)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "SENTRY_DSN=" + dsn}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the program should have crashed: %s", out)
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.reports) != 3 {
		t.Fatalf("%d reports; client said %s", len(store.reports), out)
	}
	caught, late, crash := store.reports[0], store.reports[1], store.reports[2]
	if caught.Event.Type != "ZeroDivisionError" || caught.Event.Release != 136 || caught.Event.Environment != "live" || caught.Event.Instance != "livekey" {
		t.Errorf("caught %+v", caught.Event)
	}
	if late.Event.Message != "order 17 is late" || late.Group.Key != "message: order %s is late" {
		t.Errorf("logged %q, %+v", late.Event.Message, late.Group)
	}
	if !crash.Event.Unhandled || crash.Group.Fine != caught.Group.Fine {
		t.Errorf("the crash is another problem: %+v %+v", crash.Group, caught.Group)
	}
	body, err := bodies.Read(caught.Event.Body)
	if err != nil || strings.Contains(string(body), "geheim") || !strings.Contains(string(body), `"order":"0"`) {
		t.Errorf("body %s, %v", body, err)
	}
}

// TestGoClient lets sentry-go report an error, a message and a panic.
func TestGoClient(t *testing.T) {
	dsn, store, _, _ := served(t)
	transport := &http.Transport{}
	client, err := sentry.NewClient(sentry.ClientOptions{Dsn: dsn, Release: FormatRelease("rms", 7, "0123456789"), Environment: "staging", AttachStacktrace: true, Transport: sentry.NewHTTPSyncTransport(), HTTPTransport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	defer client.Close()
	hub := sentry.NewHub(client, sentry.NewScope())
	hub.CaptureException(errors.Join(errors.New("queue 5 is full")))
	hub.CaptureMessage("hello")
	func() {
		defer func() { hub.RecoverWithContext(context.Background(), recover()) }()
		var m map[string]int
		m["x"] = 1 //nolint:govet,staticcheck // it is to panic
	}()
	if len(store.reports) != 3 {
		t.Fatalf("%d reports", len(store.reports))
	}
	for i, want := range []string{"queue 5 is full", "hello", "assignment to entry in nil map"} {
		e := store.reports[i].Event
		if e.Message != want || e.Release != 7 || e.Platform != "go" || len(e.Frames) == 0 {
			t.Errorf("report %d: %+v", i, e)
		}
	}
	if r := store.reports[2]; r.Group.Fine == "" || !strings.Contains(r.Group.Key, "problem.TestGoClient") {
		t.Errorf("panic: %+v", r.Group)
	}
}

// BenchmarkIntake measures whole requests with a real event of 6 KB: reading,
// scrubbing, grouping, a synced body file and a committed batch.
func BenchmarkIntake(b *testing.B) {
	in, store, _ := intake(b, func(c *Config) { c.Rate, c.Burst, c.Requests = 1e9, 1e9, 1000 })
	body := strings.TrimSpace(string(readFile(b, "testdata/node-exception.body")))
	const id = "ea169dcd0cb5470ca3c48295a6ee3915"
	var n atomic.Int64
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s := strconv.FormatInt(n.Add(1), 16)
			r := post("/api/1/envelope/?sentry_key=k", strings.ReplaceAll(body, id, strings.Repeat("0", 32-len(s))+s))
			if w := send(in, r); w.Code != http.StatusOK {
				b.Errorf("%d %s", w.Code, w.Body)
			}
		}
	})
	b.ReportMetric(float64(n.Load())/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64(n.Load())/float64(max(store.batches, 1)), "events/commit")
}

// BenchmarkNormalise measures the CPU of one event without any disk.
func BenchmarkNormalise(b *testing.B) {
	lines := strings.Split(string(readFile(b, "testdata/node-exception.body")), "\n")
	s := newScrubber(nil)
	b.SetBytes(int64(len(lines[2])))
	for b.Loop() {
		m, err := object([]byte(lines[2]))
		if err != nil {
			b.Fatal(err)
		}
		s.value(m, 0)
		group(normalise(m, "rms", "live", time.Now(), ""))
	}
}
