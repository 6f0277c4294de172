package web

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/web/internal/story"
)

// message is one event of a stream.
type message struct{ id, name, data string }

// listen opens a stream as a person; messages end with it.
func (s *site) listen(ctx context.Context, base, person, path, lastID string) <-chan message {
	s.t.Helper()
	v := s.as(person)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	r.AddCookie(&http.Cookie{Name: CookieName, Value: v.cookies[CookieName]})
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %s %s", path, a.Status, a.Header.Get("Content-Type"))
	}
	out := make(chan message, 1000)
	go func() {
		defer close(out)
		defer func() { _ = a.Body.Close() }() // a test's stream
		var m message
		for sc := bufio.NewScanner(a.Body); sc.Scan(); {
			key, value, _ := strings.Cut(sc.Text(), ": ")
			switch key {
			case "id":
				m.id = value
			case "event":
				m.name = value
			case "data":
				m.data = value
			case "":
				if m.data != "" {
					out <- m
				}
				m = message{}
			}
		}
	}()
	return out
}

func next(t *testing.T, c <-chan message) message {
	t.Helper()
	select {
	case m, ok := <-c:
		if !ok {
			t.Fatal("the stream ended")
		}
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return message{}
}

func TestEventsResume(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
	s := start(t, func(s *story.Story, _ *Config) {
		for n := range s.Persons {
			if s.Persons[n].Name == "zofia" {
				s.Persons[n].Role, s.Persons[n].AppRoles = "", map[string]bosman.Role{"rms": bosman.RoleViewer}
			}
		}
	})
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.events.Add("rms", bosman.EventBuildEnded, "b1")
	s.events.Add("rms", bosman.EventBuildEnded, "b2")
	s.events.Add("intranet", bosman.EventBuildEnded, "b3")
	s.events.Add("rms", bosman.EventBuildEnded, "b4")
	c := s.listen(ctx, srv.URL, "zofia", "/events?from=0&app=rms", "1")
	for _, want := range []string{"2", "4"} {
		if m := next(t, c); m.id != want || m.name != "changed" {
			t.Errorf("%+v, not id %s", m, want)
		}
	}
	s.events.Add("rms", bosman.EventOperationStep, "d5")
	if m := next(t, c); m.id != "5" || !strings.Contains(m.data, `"subject":"d5"`) {
		t.Errorf("live: %+v", m)
	}
	// of apps that are not theirs people hear nothing, whatever they ask for
	c = s.listen(ctx, srv.URL, "zofia", "/events?from=2", "")
	if m := next(t, c); m.id != "4" {
		t.Errorf("%+v", m)
	}
	// an installation that is stopped ends its streams
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("streams do not end")
	}
	if a := s.as("zofia").get("/events"); a.Code != http.StatusServiceUnavailable {
		t.Errorf("a stream after the end: %d", a.Code)
	}
	cancel()
	for range c {
	}
}

func TestLogsResumeAndEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
	s := start(t)
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path := s.logs.Build("rms", 418)
	lines, _, err := logfile.Read(path, 0, 1000)
	if err != nil || len(lines) < 5 {
		t.Fatal(len(lines), err)
	}
	c := s.listen(ctx, srv.URL, "zofia", "/rms/builds/418/log?from=0", fmt.Sprint(lines[2].Next))
	var got []string
	for m := range c {
		if m.name == "end" {
			break
		}
		if strings.Contains(m.data, "<script") || strings.Contains(m.data, "\x1b") {
			t.Errorf("a line is not safe: %q", m.data)
		}
		got = append(got, m.id)
	}
	if len(got) != len(lines)-3 || got[0] != fmt.Sprint(lines[3].Next) {
		t.Errorf("%d lines from %v, not %d", len(got), got[:1], len(lines)-3)
	}
	// a log that grows
	c = s.listen(ctx, srv.URL, "zofia", "/rms/instances/staging/log", "")
	w := logfile.New(s.logs.Instance("rms", "staging"), logfile.Options{})
	if err := w.Line("web.1", "\x1b[31mred\x1b[0m <b>&"); err != nil {
		t.Fatal(err)
	}
	if m := next(t, c); !strings.Contains(m.data, `<span class="a1">red</span> &lt;b&gt;&amp;`) {
		t.Errorf("%+v", m)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// and as text
	a := s.as("zofia").get("/rms/builds/418/log")
	if a.Header().Get("Content-Type") != "text/plain; charset=utf-8" || strings.Count(a.Body.String(), "\n") != len(lines) {
		t.Errorf("as text: %s, %d lines", a.Header().Get("Content-Type"), strings.Count(a.Body.String(), "\n"))
	}
	if a := s.as("zofia").get("/rms/builds/77777/log"); a.Code != http.StatusNotFound {
		t.Errorf("the log of no build: %d", a.Code)
	}
	cancel()
	for range c {
	}
}

// opLogs gives operations the log of their instance, as the wiring does.
type opLogs struct{ story.Logs }

func (l opLogs) Operation(app string, _ int) string { return l.Instance(app, "live") }

func TestDeploymentShowsItsOwnPartOfTheLog(t *testing.T) {
	s := start(t, func(s *story.Story, cfg *Config) {
		logs, ok := cfg.Logs.(story.Logs)
		if !ok {
			t.Fatal("start makes other logs")
		}
		cfg.Logs = opLogs{logs}
		for n := range s.Ops {
			if s.Ops[n].Number == 47 { // the log is written while the test runs
				s.Ops[n].StartedAt, s.Ops[n].EndedAt = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
			}
		}
	})
	v := s.as("zofia")
	if page := text(v.page("/rms/deployments/47")); !strings.Contains(page, "GET /candidates/?page=") {
		t.Error("the log of its time is missing")
	}
	if page := text(v.page("/rms/deployments/44")); strings.Contains(page, "GET /candidates/?page=") {
		t.Error("another time's log is shown")
	}
}
