package problem

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store for tests: it groups as Store says.
type memory struct {
	mu      sync.Mutex
	reports []Report
	seen    map[string]int
	groups  map[string]int
	counts  map[string]int64
	batches int
	hold    chan struct{}
	fail    error
}

func newMemory() *memory {
	return &memory{seen: map[string]int{}, groups: map[string]int{}, counts: map[string]int64{}}
}

func (s *memory) SaveEvents(_ context.Context, reports []Report) ([]Outcome, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	s.batches++
	var out []Outcome
	for _, r := range reports {
		if p, ok := s.seen[r.Event.App+r.Event.ID]; ok {
			out = append(out, Outcome{Problem: p, Duplicate: true})
			continue
		}
		key := r.Group.Fine
		if key == "" {
			key = r.Group.Coarse
		}
		p, known := s.groups[key]
		if !known {
			p = len(s.groups) + 1
			s.groups[key] = p
		}
		s.seen[r.Event.App+r.Event.ID] = p
		s.reports = append(s.reports, r)
		out = append(out, Outcome{Problem: p, New: !known})
	}
	return out, nil
}

func (s *memory) AddCounts(_ context.Context, counts []Count) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range counts {
		s.counts[c.Instance+" "+c.Name] += c.N
	}
	return nil
}

func (s *memory) last(t testing.TB) Report {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) == 0 {
		t.Fatal("nothing was saved")
	}
	return s.reports[len(s.reports)-1]
}

// anyKey knows every key but "unknown"; the key is the instance's name.
type anyKey struct{}

func (anyKey) Lookup(_ context.Context, key string) (app, instance string, err error) {
	if key == "unknown" {
		return "", "", bosman.NotFound("no such key")
	}
	return "rms", key, nil
}

func intake(t testing.TB, change func(*Config)) (*Intake, *memory, *Bodies) {
	t.Helper()
	bodies, err := NewBodies(filepath.Join(t.TempDir(), "bodies"))
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	cfg := Config{Keys: anyKey{}, Store: store, Bodies: bodies}
	if change != nil {
		change(&cfg)
	}
	in, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	return in, store, bodies
}

// fixture makes the request that a real client sent.
func fixture(t testing.TB, name string) *http.Request {
	t.Helper()
	head, err := os.ReadFile("testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile("testdata/" + name + ".body")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.TrimRight(string(head), "\r\n"), "\r\n", "\n") + "\n\n"
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(text)))
	line, err := r.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Fields(line)
	req := httptest.NewRequest(parts[0], parts[1], bytes.NewReader(body))
	h, err := r.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for k, v := range h {
		if k != "Transfer-Encoding" && k != "Content-Length" {
			req.Header[k] = v
		}
	}
	return req
}

func send(in *Intake, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	in.ServeHTTP(w, r)
	return w
}

// TestFixtures replays every captured request.
func TestFixtures(t *testing.T) {
	type want struct {
		typ, message, level, fn string
		frames                  int
		unhandled, coarseOnly   bool
	}
	const minifiedText = "Cannot read properties of undefined (reading 'reduce')"
	events := map[string]want{
		"browser-minified-exception":        {"TypeError", minifiedText, "error", "?", 13, false, true},
		"go-message-with-threads":           {"", "queue is 90% full", "info", "main", 1, false, true},
		"go-panic":                          {"runtime.boundsError", "runtime error: index out of range [5] with length 0", "fatal", "total", 3, true, false},
		"node-big-event-gzip-chunked":       {"Error", "big", "error", "?", 8, false, false},
		"node-chained-cause":                {"Error", "config unreadable", "error", "?", 8, false, false},
		"node-event-two-attachments-binary": {"Error", "with attachment", "error", "?", 10, false, false},
		"node-exception":                    {"TypeError", "Cannot read properties of undefined (reading 'items')", "error", "pay", 9, false, false},
		"node-message-synthetic":            {"", "hello from node", "warning", "?", 8, false, true},
		"node-unhandled-a":                  {"TypeError", "unhandled rej", "error", "Timeout._onTimeout", 3, true, false},
		"py-custom-fingerprint-store":       {"IndexError", "list index out of range", "error", "<module>", 1, false, false},
		"py-django-chained-store":           {"RuntimeError", "could not load order 17", "error", "chain", 3, true, false},
		"py-django-exception-store":         {"ZeroDivisionError", "division by zero", "error", "price", 4, true, false},
		"py-event-with-attachment-envelope": {"ZeroDivisionError", "division by zero", "error", "<module>", 1, false, false},
		"py-logging-logentry-store":         {"", "stock for sku-1 is -3", "error", "", 0, false, true},
		"py-message-store":                  {"", "Stock below zero for sku 8812", "warning", "", 0, false, true},
		"raven-go-base64zlib":               {"*errors.fundamental", "raven go error", "error", "main", 2, false, false},
		"raven-js-minified-store":           {"TypeError", minifiedText, "error", "?", 5, false, true},
		"raven-node-exception-base64zlib":   {"TypeError", "Cannot read properties of null (reading 'x')", "error", "Object.<anonymous>", 7, false, false},
		"raven-node-message-base64zlib":     {"", "raven message", "warning", "", 0, false, true},
	}
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) < 30 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	seen := 0
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".http")
		t.Run(name, func(t *testing.T) {
			in, store, bodies := intake(t, nil)
			w := send(in, fixture(t, name))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			x, isEvent := events[name]
			if !isEvent {
				if len(store.reports) != 0 {
					t.Fatalf("saved %+v", store.reports)
				}
				return
			}
			seen++
			r := store.last(t)
			var answer struct{ ID string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.ID != r.Event.ID || !eventID.MatchString(answer.ID) {
				t.Errorf("answer %s, event %s", w.Body, r.Event.ID)
			}
			e := r.Event
			if e.Type != x.typ || e.Message != x.message || e.Level != x.level || len(e.Frames) != x.frames || e.Unhandled != x.unhandled {
				t.Errorf("type %q message %q level %q frames %d unhandled %v, want %+v", e.Type, e.Message, e.Level, len(e.Frames), e.Unhandled, x)
			}
			if x.fn != "" && e.Frames[len(e.Frames)-1].Function != x.fn {
				t.Errorf("last function %q", e.Frames[len(e.Frames)-1].Function)
			}
			if (r.Group.Fine == "") != x.coarseOnly || r.Group.Coarse == "" {
				t.Errorf("group %+v", r.Group)
			}
			if e.App != "rms" || e.Instance == "" || e.At.IsZero() || e.ReleaseName == "" || e.Platform == "" || r.Title == "" {
				t.Errorf("event %+v title %q", e, r.Title)
			}
			body, err := bodies.Read(e.Body)
			if err != nil || !json.Valid(body) || !bytes.Contains(body, []byte(e.ID)) {
				t.Errorf("body %v", err)
			}
		})
	}
	if seen != len(events) {
		t.Errorf("%d of %d events seen", seen, len(events))
	}
}

func post(path, body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

const auth = "Sentry sentry_version=7, sentry_key=k"

func TestAnswers(t *testing.T) {
	in, store, _ := intake(t, func(c *Config) { c.MaxBody, c.MaxDecoded, c.MaxEvent = 4000, 6000, 3000 })
	big := `{"message": "` + strings.Repeat("x", 3500) + `"}`
	huge := `{"message": "` + strings.Repeat("x", 9000) + `"}`
	for _, c := range []struct {
		name string
		req  *http.Request
		want int
	}{
		{"store", post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth), 200},
		{"no slash", post("/api/1/store", `{"message":"a"}`, "X-Sentry-Auth", auth), 200},
		{"no project", post("/api/store/", `{"message":"a"}`, "X-Sentry-Auth", auth), 200},
		{"behind a prefix", post("/errors/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth), 200},
		{"key in the query", post("/api/1/store/?sentry_key=k", `{"message":"a"}`), 200},
		{"keys in any order", post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", "Sentry sentry_key = k , sentry_secret=s"), 200},
		{"key in the envelope", post("/api/1/envelope/", "{\"dsn\":\"http://k@x/1\"}\n{\"type\":\"event\"}\n{\"message\":\"a\"}"), 200},
		{"empty envelope", post("/api/1/envelope/", "{}", "X-Sentry-Auth", auth), 200},
		{"unknown item", post("/api/1/envelope/", "{}\n{\"type\":\"odd\",\"length\":3}\na\nb\n{\"type\":\"event\"}\n{\"message\":\"after\"}", "X-Sentry-Auth", auth), 200},
		{"wrong length", post("/api/1/envelope/", "{}\n{\"type\":\"odd\",\"length\":2}\nabc\n", "X-Sentry-Auth", auth), 400},
		{"length past the end", post("/api/1/envelope/", "{}\n{\"type\":\"odd\",\"length\":99}\nabc\n", "X-Sentry-Auth", auth), 400},
		{"negative length", post("/api/1/envelope/", "{}\n{\"type\":\"odd\",\"length\":-1}\nabc\n", "X-Sentry-Auth", auth), 400},
		{"no envelope", post("/api/1/envelope/", "hello", "X-Sentry-Auth", auth), 400},
		{"bare NaN", post("/api/1/store/", `{"message":"NaN stays","extra":{"a":NaN,"b":[-Infinity]}}`, "X-Sentry-Auth", auth), 200},
		{"not JSON", post("/api/1/store/", `{"message"`, "X-Sentry-Auth", auth), 400},
		{"a list", post("/api/1/store/", `[1]`, "X-Sentry-Auth", auth), 400},
		{"empty", post("/api/1/store/", ``, "X-Sentry-Auth", auth), 400},
		{"unknown encoding", post("/api/1/store/", `{}`, "X-Sentry-Auth", auth, "Content-Encoding", "lzma"), 400},
		{"broken gzip", post("/api/1/store/", `{}`, "X-Sentry-Auth", auth, "Content-Encoding", "gzip"), 400},
		{"no key", post("/api/1/store/", `{"message":"a"}`), 401},
		{"unknown key", post("/api/1/store/?sentry_key=unknown", `{"message":"a"}`), 401},
		{"version 9", post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", "Sentry sentry_version=9, sentry_key=k"), 400},
		{"large event", post("/api/1/store/", big, "X-Sentry-Auth", auth), 413},
		{"large body", post("/api/1/store/", huge, "X-Sentry-Auth", auth), 413},
		{"GET", httptest.NewRequest(http.MethodGet, "/api/1/envelope/", nil), 405},
		{"pixel", httptest.NewRequest(http.MethodGet, "/api/1/store/?sentry_key=k&sentry_data="+url.QueryEscape(`{"message":"p"}`), nil), 200},
		{"elsewhere", post("/api/1/other/", `{}`), 404},
		{"security", post("/api/1/security/?sentry_key=k", `{}`), 200},
		{"cron", httptest.NewRequest(http.MethodGet, "/api/1/cron/nightly/k?status=error", nil), 200},
		{"preflight", httptest.NewRequest(http.MethodOptions, "/api/1/envelope/", nil), 200},
	} {
		w := send(in, c.req)
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: a browser may not read the answer", c.name)
		}
	}
	if !slices.ContainsFunc(store.reports, func(r Report) bool { return r.Event.Message == "after" }) {
		t.Error("an item after an unknown one was lost")
	}
	if w := send(in, httptest.NewRequest(http.MethodOptions, "/api/1/envelope/", nil)); !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "x-sentry-auth") {
		t.Error("a browser may not send the key")
	}
}

func TestMatches(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/rms/envelope/": true, "/api/rms/store": true, "/api/store/": true, "/api/envelope/": false, "/api/rms/cron/a/": true,
		"/api/v1/apps": false, "/x/api/7/envelope": true, "/api/7/security": true, "/api/7/envelope/x": false,
	} {
		if Matches(path) != want {
			t.Errorf("Matches(%q) = %v", path, !want)
		}
	}
}

func TestEncodings(t *testing.T) {
	in, store, _ := intake(t, func(c *Config) { c.MaxDecoded = 100_000 })
	bomb := bytes.Repeat([]byte("0"), 10_000_000)
	for name, encode := range encoders {
		raw := encode(t, []byte(`{"message":"`+name+`"}`))
		r := post("/api/1/store/", string(raw), "X-Sentry-Auth", auth, "Content-Encoding", strings.TrimSuffix(name, "-raw"))
		if w := send(in, r); w.Code != http.StatusOK || store.last(t).Event.Message != name {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		r = post("/api/1/envelope/", string(encode(t, bomb)), "X-Sentry-Auth", auth, "Content-Encoding", strings.TrimSuffix(name, "-raw"))
		if w := send(in, r); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s bomb: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestIdempotent(t *testing.T) {
	told := 0
	in, store, _ := intake(t, func(c *Config) { c.Saved = func(context.Context, Report, Outcome) { told++ } })
	for range 3 {
		if w := send(in, fixture(t, "node-exception")); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if len(store.reports) != 1 || told != 1 {
		t.Errorf("%d saved, told %d times", len(store.reports), told)
	}
}

func TestRateLimit(t *testing.T) {
	in, store, _ := intake(t, func(c *Config) { c.Rate, c.Burst = 0.1, 2 })
	var codes []int
	for range 4 {
		w := send(in, post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth))
		codes = append(codes, w.Code)
		if w.Code == 429 && (w.Header().Get("Retry-After") != "10" || w.Header().Get("X-Sentry-Rate-Limits") != "10:error;default:key:too_many") {
			t.Errorf("headers %v", w.Header())
		}
	}
	if !slices.Equal(codes, []int{200, 200, 429, 429}) {
		t.Errorf("codes %v", codes)
	}
	if w := send(in, post("/api/1/store/?sentry_key=other", `{"message":"a"}`)); w.Code != 200 {
		t.Errorf("another key: %d", w.Code)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if store.counts["k limited"] != 2 {
		t.Errorf("counts %v", store.counts)
	}
}

func TestCounts(t *testing.T) {
	in, store, _ := intake(t, nil)
	for _, name := range []string{"py-sessions-aggregate-envelope", "node-sessions-aggregate", "node-session", "browser-session", "node-client-report", "node-checkin-ok"} {
		if w := send(in, fixture(t, name)); w.Code != http.StatusOK {
			t.Fatalf("%s: %d", name, w.Code)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if store.counts["pub104pub104 sessions"] != 4 || store.counts["pub104pub104 sessions.crashed"] != 1 ||
		store.counts["nodepub213 discarded.event_processor.error"] != 2 || store.counts["nodepub213 discarded.before_send.error"] != 1 || store.counts["brpub sessions"] != 1 {
		t.Errorf("counts %v", store.counts)
	}
}

// TestOverload holds that a flood is answered, not kept in memory.
func TestOverload(t *testing.T) {
	in, store, _ := intake(t, func(c *Config) { c.Queue, c.Requests = 2, 5 })
	store.hold = make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var once sync.Once
	codes := map[int]int{}
	for range 40 {
		wg.Go(func() {
			w := send(in, post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth))
			mu.Lock()
			codes[w.Code]++
			busy := codes[503]
			mu.Unlock()
			if busy >= 35 {
				once.Do(func() { close(store.hold) })
			}
		})
	}
	wg.Wait()
	if codes[200]+codes[503] != 40 || codes[200] < 2 || codes[503] < 35 {
		t.Errorf("codes %v", codes)
	}
}

func TestStoreFailure(t *testing.T) {
	in, store, _ := intake(t, nil)
	store.fail = errors.New("disk full")
	w := send(in, post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if w := send(in, post("/api/1/store/", `{"message":"a"}`, "X-Sentry-Auth", auth)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d", w.Code)
	}
}

func TestSweep(t *testing.T) {
	in, store, bodies := intake(t, nil)
	var names []string
	for _, name := range []string{"node-exception", "py-message-store", "go-panic"} {
		if w := send(in, fixture(t, name)); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
		names = append(names, store.last(t).Event.Body)
	}
	if err := os.WriteFile(filepath.Join(bodies.dir, ".new-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	keep := func(name string) (bool, error) { return name == names[1], nil }
	if n, _, err := bodies.Sweep(t.Context(), time.Hour, keep); n != 0 || err != nil {
		t.Errorf("young ones: %d, %v", n, err)
	}
	n, size, err := bodies.Sweep(t.Context(), -time.Second, keep)
	if n != 3 || size == 0 || err != nil {
		t.Errorf("%d removed, %d bytes, %v", n, size, err)
	}
	if _, err := bodies.Read(names[0]); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("a removed body: %v", err)
	}
	if _, err := bodies.Read(names[1]); err != nil {
		t.Errorf("a kept body: %v", err)
	}
	if _, err := bodies.Read("../../etc/passwd"); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a path outside: %v", err)
	}
}
