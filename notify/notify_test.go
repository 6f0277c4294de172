package notify

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is an outbox in memory.
type box struct {
	mu      sync.Mutex
	entries map[int64]Entry
	next    map[int64]time.Time
	reasons []string
	last    int64
}

func newBox() *box { return &box{entries: map[int64]Entry{}, next: map[int64]time.Time{}} }

func (b *box) Add(_ context.Context, e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	e.ID = b.last
	b.entries[e.ID], b.next[e.ID] = e, e.At
	return nil
}

func (b *box) Due(_ context.Context, now time.Time, max int) ([]Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Entry
	for id, e := range b.entries {
		if !b.next[id].After(now) && len(list) < max {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return int(a.ID - b.ID) })
	return list, nil
}

func (b *box) Done(_ context.Context, e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, e.ID)
	return nil
}

func (b *box) Retry(_ context.Context, e Entry, next time.Time, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Tries++
	b.entries[e.ID], b.next[e.ID] = e, next
	b.reasons = append(b.reasons, reason)
	return nil
}

func (b *box) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

type fixed []Target

func (f fixed) Targets(context.Context) ([]Target, error) { return f, nil }

// receiver is the other side: it answers with the statuses in turn.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
	statuses []int
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	r := &receiver{statuses: statuses}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests, r.bodies = append(r.requests, req), append(r.bodies, string(body))
		status := http.StatusOK
		if len(r.statuses) > 0 {
			status, r.statuses = r.statuses[0], r.statuses[1:]
		}
		if status == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		if status == 429 {
			w.Header().Set("Retry-After", "77")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func notifier(t *testing.T, b *box, now *time.Time, targets ...Target) *Notifier {
	t.Helper()
	n, err := New(Config{Outbox: b, Targets: fixed(targets), Now: func() time.Time { return *now }, Timeout: 2 * time.Second, Tries: 3})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var failedMessage = Message{Kind: "deployment.failed", App: "rms", Instance: "live", Title: "d37 failed", Text: "live still runs r136", URL: "http://localhost:8080/rms/d37"}

func TestWebhook(t *testing.T) {
	r, b, now := newReceiver(t), newBox(), time.Unix(1_800_000_000, 0)
	n := notifier(t, b, &now,
		Target{Name: "team", URL: r.URL + "/hook", Secret: "s3cret", Private: true},
		Target{Name: "other app", URL: r.URL, App: "shop", Private: true},
		Target{Name: "other kind", URL: r.URL, Kinds: []string{"problem.new"}, Private: true})
	if err := n.Send(t.Context(), failedMessage); err != nil {
		t.Fatal(err)
	}
	if len(r.requests) != 0 || b.left() != 1 {
		t.Fatalf("told before the commit: %d requests, %d in the outbox", len(r.requests), b.left())
	}
	for _, e := range b.entries {
		if strings.Contains(string(e.Data), "s3cret") {
			t.Error("the outbox holds the secret")
		}
	}
	if err := n.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.requests) != 1 || b.left() != 0 {
		t.Fatalf("%d requests, %d left", len(r.requests), b.left())
	}
	req := r.requests[0]
	if req.URL.Path != "/hook" || req.Header.Get(HeaderKind) != "deployment.failed" || req.Header.Get(HeaderTimestamp) != "1800000000" || req.Header.Get(HeaderDelivery) == "" {
		t.Errorf("request %s %v", req.URL, req.Header)
	}
	ts, err := strconv.ParseInt(req.Header.Get(HeaderTimestamp), 10, 64)
	if err != nil || req.Header.Get(HeaderSignature) != Sign("s3cret", ts, []byte(r.bodies[0])) || req.Header.Get(HeaderSignature) == Sign("other", ts, []byte(r.bodies[0])) {
		t.Errorf("signature %s", req.Header.Get(HeaderSignature))
	}
	var m Message
	if err := json.Unmarshal([]byte(r.bodies[0]), &m); err != nil || m.Title != "d37 failed" || m.Instance != "live" || !m.At.Equal(now) {
		t.Errorf("body %s", r.bodies[0])
	}
}

// TestSignatureIsPinned holds the signature to what
// printf '1.{}' | openssl dgst -sha256 -hmac key says.
func TestSignatureIsPinned(t *testing.T) {
	if got := Sign("key", 1, []byte("{}")); got != "sha256=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224" {
		t.Errorf("signature %s", got)
	}
}

func TestRetries(t *testing.T) {
	r, b, now := newReceiver(t, 500, 429, 200), newBox(), time.Unix(1_800_000_000, 0)
	n := notifier(t, b, &now, Target{Name: "team", URL: r.URL, Private: true})
	if err := n.Send(t.Context(), failedMessage); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		wait           time.Duration
		requests, left int
	}{{0, 1, 1}, {5 * time.Second, 1, 1}, {10 * time.Second, 2, 1}, {60 * time.Second, 2, 1}, {80 * time.Second, 3, 0}} {
		now = now.Add(c.wait)
		if err := n.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(r.requests) != c.requests || b.left() != c.left {
			t.Fatalf("step %d: %d requests, %d left; reasons %v", i, len(r.requests), b.left(), b.reasons)
		}
	}
	if a, z := r.requests[0].Header.Get(HeaderDelivery), r.requests[2].Header.Get(HeaderDelivery); a != z {
		t.Errorf("the attempts have different names %s and %s", a, z)
	}
}

func TestGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		statuses []int
		requests int
	}{"at last": {[]int{500, 500, 500, 500, 500}, 3}, "gone": {[]int{410}, 1}, "redirect": {[]int{302, 302, 302, 302}, 3}} {
		r, b, now := newReceiver(t, c.statuses...), newBox(), time.Unix(1_800_000_000, 0)
		n := notifier(t, b, &now, Target{Name: "team", URL: r.URL, Private: true})
		if err := n.Send(t.Context(), failedMessage); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if err := n.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(24 * time.Hour)
		}
		if len(r.requests) != c.requests || b.left() != 0 {
			t.Errorf("%s: %d requests, %d left", name, len(r.requests), b.left())
		}
	}
}

func TestGuard(t *testing.T) {
	r, b, now := newReceiver(t), newBox(), time.Unix(1_800_000_000, 0)
	n := notifier(t, b, &now, Target{Name: "a", URL: r.URL}, Target{Name: "b", URL: strings.Replace(r.URL, "127.0.0.1", "localhost", 1)})
	if err := n.Send(t.Context(), failedMessage); err != nil {
		t.Fatal(err)
	}
	if err := n.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.requests) != 0 || len(b.reasons) != 2 || !strings.Contains(b.reasons[0], "inside the network") {
		t.Errorf("%d requests, reasons %q", len(r.requests), b.reasons)
	}
	for a, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "10.1.2.3": false, "127.0.0.1": false, "169.254.169.254": false, "::1": false, "fd00::1": false,
		"fe80::1%eth0": false, "::ffff:10.0.0.1": false, "100.64.0.1": false, "0.0.0.0": false, "64:ff9b::a00:1": false, "224.0.0.1": false, "172.20.0.1": false, "2002:a00:1::": false,
	} {
		if public(netip.MustParseAddr(a)) != want {
			t.Errorf("public(%s) = %v", a, !want)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for u, want := range map[string]bool{"https://x.pl/h": true, "slack://hook:a-b-c@webhook": true, "file:///etc/passwd": false, "": false, "mattermost://x/y": false, "gopher://x": false} {
		if err := CheckTarget(Target{Name: "t", URL: u}); (err == nil) != want {
			t.Errorf("%s: %v", u, err)
		}
	}
}

func TestChat(t *testing.T) {
	r, b, now := newReceiver(t), newBox(), time.Unix(1_800_000_000, 0)
	n := notifier(t, b, &now, Target{Name: "chat", URL: strings.Replace(r.URL, "http://", "generic://", 1) + "/room?disabletls=yes", Private: true})
	if err := n.Send(t.Context(), failedMessage); err != nil {
		t.Fatal(err)
	}
	if err := n.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.left() != 0 || len(r.bodies) != 1 || !strings.Contains(r.bodies[0], "d37 failed\nlive still runs r136\nhttp://localhost:8080/rms/d37") {
		t.Errorf("left %d, bodies %q, reasons %q", b.left(), r.bodies, b.reasons)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestRun(t *testing.T) {
	r, b := newReceiver(t), newBox()
	n, err := New(Config{Outbox: b, Targets: fixed{{Name: "team", URL: r.URL, Private: true}}, Poll: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	if err := n.Send(ctx, failedMessage); err != nil {
		t.Fatal(err)
	}
	n.Wake()
	for deadline := time.Now().Add(5 * time.Second); b.left() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not delivered after a wake-up")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
