package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/web/internal/story"
)

const password = "correct horse"

// hashed is one hash for all people of all stories: each takes 64 MB.
var hashed = func() string {
	h, err := access.HashPassword(password)
	if err != nil {
		return ""
	}
	return h
}()

type site struct {
	*Web
	t      *testing.T
	story  *story.Story
	events *story.Events
	logs   story.Logs
	now    time.Time
	key    []byte
}

// start makes the pages over a story; change may alter both before.
func start(t *testing.T, change ...func(*story.Story, *Config)) *site {
	t.Helper()
	s := &site{t: t, now: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC), events: story.NewEvents(), logs: story.Logs{Dir: t.TempDir()}, key: []byte(strings.Repeat("k", 32))}
	s.story = story.New(s.now)
	for n := range s.story.Persons {
		s.story.Persons[n].PasswordHash = hashed
	}
	if err := s.story.WriteLogs(s.logs.Dir); err != nil {
		t.Fatal(err)
	}
	db, err := story.Sessions(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Helm: s.story, People: story.Knows{Story: s.story}, Events: s.events, Sessions: db, Logs: s.logs, Stats: story.Stats{Now: s.now},
		Wall: s.key, Base: "http://localhost:8080", Now: func() time.Time { return s.now },
	}
	for _, c := range change {
		c(s.story, &cfg)
	}
	s.Web = New(cfg)
	t.Cleanup(func() {
		s.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// visitor is a browser: it keeps cookies and follows nothing by itself.
type visitor struct {
	s       *site
	cookies map[string]string
	addr    string
	headers map[string]string
}

func (s *site) visitor() *visitor {
	return &visitor{s: s, cookies: map[string]string{}, addr: "10.0.0.9:4711", headers: map[string]string{"Sec-Fetch-Site": "same-origin"}}
}

// as is a visitor who logged in.
func (s *site) as(name string) *visitor {
	s.t.Helper()
	v := s.visitor()
	if a := v.post("/login", url.Values{"name": {name}, "password": {password}}); a.Code != http.StatusSeeOther {
		s.t.Fatalf("%s could not log in: %d %s", name, a.Code, a.Body)
	}
	return v
}

func (v *visitor) do(r *http.Request) *httptest.ResponseRecorder {
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for name, value := range v.headers {
		r.Header.Set(name, value)
	}
	r.RemoteAddr = v.addr
	w := httptest.NewRecorder()
	v.s.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name] = c.Value
	}
	return w
}

func (v *visitor) get(path string) *httptest.ResponseRecorder {
	return v.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (v *visitor) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.do(r)
}

// page gets a page and parses it.
func (v *visitor) page(path string) *html.Node {
	v.s.t.Helper()
	a := v.get(path)
	if a.Code != http.StatusOK {
		v.s.t.Fatalf("%s: %d %s", path, a.Code, a.Body)
	}
	return parse(v.s.t, a)
}

func parse(t *testing.T, a *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	n, err := html.Parse(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func all(n *html.Node, tags ...string) []*html.Node {
	var out []*html.Node
	for c := range n.Descendants() {
		if c.Type != html.ElementNode {
			continue
		}
		if len(tags) == 0 {
			out = append(out, c)
		}
		for _, tag := range tags {
			if c.Data == tag {
				out = append(out, c)
			}
		}
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// pages are all kinds of pages of the story.
var pages = []string{
	"/", "/rms", "/intranet", "/rms/changes", "/rms/changes?show=all", "/rms/changes/18", "/rms/changes/20", "/rms/changes/21", "/rms/changes/22",
	"/rms/changes/23", "/rms/changes/24", "/rms/changes/26", "/rms/changes/27", "/rms/changes/28", "/rms/builds/418", "/rms/builds/419", "/rms/builds/417",
	"/rms/releases", "/rms/instances/live", "/rms/instances/staging", "/rms/instances/testing-anna", "/rms/instances/testing-maria", "/intranet/instances/live",
	"/intranet/instances/staging", "/rms/deployments/44", "/rms/deployments/45", "/rms/deployments/46", "/rms/deployments/47", "/rms/deployments/51",
	"/rms/deployments/52", "/rms/problems", "/rms/problems?show=resolved", "/rms/problems/12", "/rms/problems/7", "/rms/mails/8", "/rms/mails/7", "/people",
	"/people/piotr", "/people/anna", "/activity", "/rms/activity", "/search?q=list", "/search?q=nothing-like-it", "/intranet/changes", "/intranet/releases", "/intranet/problems",
}

// adminPages are pages before something is done.
var adminPages = []string{"/rms/instances/live/deploy", "/rms/instances/staging/deploy", "/rms/instances/live/revert", "/rms/instances/live/restore?backup=k31"}
