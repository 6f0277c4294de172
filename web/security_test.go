package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/edge/wall"
	"github.com/bosman-cd/bosman/web/internal/story"
	"github.com/bosman-cd/bosman/web/login"
)

// posts are all forms, with what they need.
var posts = []struct {
	path string
	form url.Values
	verb string // as the story writes it down
}{
	{"/rms/policy", nil, "confirm policy rms"},
	{"/rms/changes/21/try", url.Values{"instance": {"testing-anna"}}, "try rms c21 testing-anna"},
	{"/rms/changes/21/fresh", url.Values{"instance": {"testing-anna"}}, "reset rms testing-anna"},
	{"/rms/changes/21/accept", nil, "accept rms c21"},
	{"/rms/changes/21/send-back", url.Values{"why": {"no"}}, "send back rms c21: no"},
	{"/rms/changes/21/merge", nil, "merge rms c21"},
	{"/rms/changes/21/close", nil, "close rms c21"},
	{"/rms/changes/21/build", nil, "build rms c21"},
	{"/rms/builds/418/retry", nil, "retry rms b418"},
	{"/rms/builds/419/cancel", nil, "cancel rms b419"},
	{"/rms/instances/live/deploy", url.Values{"release": {"r137"}, "why": {"fair"}, "override": {"now"}}, "deploy rms live r137 fair/now"},
	{"/rms/instances/live/revert", url.Values{"database": {"restore"}, "why": {"bad"}}, "revert rms live restore bad"},
	{"/rms/instances/live/restart", nil, "restart rms live"},
	{"/rms/instances/live/stop", nil, "stop rms live"},
	{"/rms/instances/live/start", nil, "start rms live"},
	{"/rms/instances/live/backup", nil, "backup rms live"},
	{"/rms/instances/live/restore", url.Values{"backup": {"k31"}, "confirm": {"live"}}, "restore rms k31 live"},
	{"/rms/instances/testing-anna/fresh", nil, "reset rms testing-anna"},
	{"/rms/instances/testing-anna/remove", nil, "remove rms testing-anna"},
	{"/rms/instances/live/run", url.Values{"task": {"digest"}}, "run rms live: python manage.py send_digest"},
	{"/rms/backups/31/verify", nil, "verify rms k31"},
	{"/rms/backups/31/remove", url.Values{"confirm": {"k31"}}, "remove backup rms k31"},
	{"/rms/kept/testing-anna/20261122t080000000/restore", url.Values{"confirm": {"testing-anna"}}, "bring back rms testing-anna 20261122t080000000"},
	{"/rms/kept/testing-anna/20261122t080000000/restore", url.Values{"confirm": {"testing-anna"}, "any_release": {"yes"}}, "bring back rms testing-anna 20261122t080000000, of any release"},
	{"/rms/kept/testing-anna/20261122t080000000/remove", url.Values{"confirm": {"testing-anna"}}, "remove kept rms testing-anna 20261122t080000000"},
	{"/rms/deployments/51/cancel", nil, "cancel rms d51"},
	{"/rms/problems/12/resolve", nil, "resolve rms p12 true"},
	{"/rms/problems/7/reopen", nil, "resolve rms p7 false"},
	{"/people", url.Values{"name": {"ewa"}, "role": {"viewer"}}, "add person ewa viewer"},
	{"/people/jan/role", url.Values{"role": {"admin"}, "app": {"rms"}}, "allow jan admin rms"},
	{"/people/jan/disable", nil, "disable jan true"},
	{"/people/karol/enable", nil, "disable karol false"},
	{"/people/jan/password", url.Values{"password": {"another long one"}}, "password jan"},
	{"/people/jan/token", url.Values{"name": {"ci"}}, "token jan ci"},
}

func TestEveryFormDoesWhatItSays(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for _, p := range posts {
		before := len(s.story.Called())
		a := v.post(p.path, p.form)
		if a.Code != http.StatusSeeOther && a.Code != http.StatusOK {
			t.Errorf("%s: %d %s", p.path, a.Code, a.Body)
		}
		if got := s.story.Called()[before:]; len(got) != 1 || got[0] != p.verb {
			t.Errorf("%s called %v, not %q", p.path, got, p.verb)
		}
		if to := a.Header().Get("Location"); to != "" && v.get(to).Code != http.StatusOK {
			t.Errorf("%s leads to %s, which is not there", p.path, to)
		}
	}
}

// TestForbiddenIsNotOffered and is refused as well.
func TestForbiddenIsNotOffered(t *testing.T) {
	s := start(t)
	v := s.as("zofia") // a viewer
	for _, path := range pages {
		for _, f := range all(v.page(path), "form") {
			if attr(f, "method") != "post" {
				continue
			}
			if to := attr(f, "action"); to != "/logout" && to != "/people/at-hand" && !strings.HasPrefix(to, "/people/zofia/") {
				t.Errorf("%s offers %s to a viewer", path, to)
			}
		}
	}
	for _, path := range adminPages {
		if a := v.get(path); a.Code != http.StatusForbidden {
			t.Errorf("%s: %d for a viewer", path, a.Code)
		}
	}
	for _, p := range posts {
		if a := v.post(p.path, p.form); a.Code != http.StatusForbidden {
			t.Errorf("%s: %d for a viewer", p.path, a.Code)
		}
	}
	if got := s.story.Called(); len(got) != 0 {
		t.Errorf("a viewer did %v", got)
	}
	jan := text(s.as("jan").page("/rms/instances/live")) // a developer
	if strings.Contains(jan, "Deploy…") || strings.Contains(jan, "Revert to") || strings.Contains(jan, "Restart") {
		t.Error("a developer is offered live's verbs")
	}
	if anna := text(s.as("anna").page("/rms/instances/live")); !strings.Contains(anna, "Deploy…") || !strings.Contains(anna, "Revert to r134") || strings.Contains(anna, "Restore…") {
		t.Error("a tester is not offered what a tester may")
	}
}

// TestFormsOfOtherSitesAreRefused also those of instances, which are the same
// site but another origin.
func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for _, headers := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site"},
		{"Sec-Fetch-Site": "same-site"},
		{"Origin": "https://evil.example"},
		{"Origin": "null"},
		{"Origin": "http://testing-anna.rms.localhost:8080"},
	} {
		v.headers = headers
		for _, p := range posts {
			if a := v.post(p.path, p.form); a.Code != http.StatusForbidden {
				t.Errorf("%s with %v: %d", p.path, headers, a.Code)
			}
		}
		if a := v.post("/logout", nil); a.Code != http.StatusForbidden {
			t.Errorf("logout with %v: %d", headers, a.Code)
		}
		r := httptest.NewRequest(http.MethodPost, "/api/x", nil)
		r.AddCookie(&http.Cookie{Name: CookieName, Value: v.cookies[CookieName]})
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		if who, ok := s.Identify(r); ok {
			t.Errorf("a request with %v is taken for %s", headers, who.Person)
		}
	}
	if got := s.story.Called(); len(got) != 0 {
		t.Errorf("other sites did %v", got)
	}
}

func TestStrangersSeeNothing(t *testing.T) {
	s := start(t)
	for _, r := range s.table() {
		method, path, _ := strings.Cut(r.pattern, " ")
		if r.public {
			continue
		}
		path = strings.NewReplacer("{app}", "rms", "{n}", "21", "{name}", "live", "{verb}", "merge", "{id}", "8", "{$}", "").Replace(path)
		v := s.visitor()
		a := v.do(httptest.NewRequest(method, path, nil))
		switch {
		case method == http.MethodGet && (a.Code != http.StatusSeeOther || !strings.HasPrefix(a.Header().Get("Location"), "/login?next=")):
			t.Errorf("%s: %d %s", r.pattern, a.Code, a.Header().Get("Location"))
		case method == http.MethodPost && a.Code != http.StatusForbidden:
			t.Errorf("%s: %d", r.pattern, a.Code)
		}
	}
	if got := s.story.Called(); len(got) != 0 {
		t.Errorf("strangers did %v", got)
	}
}

func TestSessions(t *testing.T) {
	s := start(t)
	v := s.visitor()
	v.cookies[CookieName] = "chosen-by-somebody-else"
	a := v.post("/login", url.Values{"name": {"anna"}, "password": {password}, "next": {"/rms/changes"}})
	if a.Code != http.StatusSeeOther || a.Header().Get("Location") != "/rms/changes" {
		t.Fatalf("log in: %d %s", a.Code, a.Header().Get("Location"))
	}
	first := v.cookies[CookieName]
	if first == "chosen-by-somebody-else" || len(first) < 20 {
		t.Errorf("the session's token was kept: %q", first)
	}
	c := a.Result().Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" {
		t.Errorf("the cookie is %+v", c)
	}
	again := v.post("/login", url.Values{"name": {"anna"}, "password": {password}})
	if again.Code != http.StatusSeeOther || v.cookies[CookieName] == first {
		t.Error("a second log-in keeps the token")
	}
	old := s.visitor()
	old.cookies[CookieName] = first
	if old.get("/rms").Code != http.StatusSeeOther {
		t.Error("the old token is still good")
	}
	// the API knows the session
	r := httptest.NewRequest(http.MethodGet, "/api/x", nil)
	r.AddCookie(&http.Cookie{Name: CookieName, Value: v.cookies[CookieName]})
	if who, ok := s.Identify(r); !ok || who.Person != "anna" || !strings.HasPrefix(who.From, "web ") {
		t.Errorf("identified as %+v %v", who, ok)
	}
	// leaving ends it, also for who kept the cookie
	kept := v.cookies[CookieName]
	if v.post("/logout", nil).Code != http.StatusSeeOther {
		t.Error("no way out")
	}
	v.cookies[CookieName] = kept
	if v.get("/rms").Code != http.StatusSeeOther {
		t.Error("the session goes on after leaving")
	}
	// a session ends by itself
	w := s.as("anna")
	s.now = time.Now().Add(sessionFor + time.Minute) // the library counts by the real clock
	if w.get("/rms").Code != http.StatusSeeOther {
		t.Error("a session lasts for ever")
	}
}

func TestSessionsEndWithThePasswordAndTheRight(t *testing.T) {
	s := start(t)
	one, two := s.as("anna"), s.as("anna")
	if a := one.post("/people/anna/password", url.Values{"old": {"wrong one here"}, "password": {"another long one"}}); a.Code != http.StatusSeeOther || len(s.story.Called()) != 0 {
		t.Errorf("the password was changed with a wrong one: %d %v", a.Code, s.story.Called())
	}
	if a := one.post("/people/anna/password", url.Values{"old": {password}, "password": {"another long one"}}); a.Code != http.StatusSeeOther || len(s.story.Called()) != 1 {
		t.Errorf("the password was not changed: %d %s", a.Code, a.Body)
	}
	if one.get("/rms").Code != http.StatusOK {
		t.Error("who changed the password is out")
	}
	if two.get("/rms").Code != http.StatusSeeOther {
		t.Error("the other session goes on")
	}
	jan := s.as("jan")
	for n := range s.story.Persons {
		if s.story.Persons[n].Name == "jan" {
			s.story.Persons[n].Disabled = true
		}
	}
	if jan.get("/rms").Code != http.StatusSeeOther {
		t.Error("somebody shut out is still in")
	}
}

func TestGuessingIsLimited(t *testing.T) {
	s := start(t)
	v := s.visitor()
	wrong := url.Values{"name": {"anna"}, "password": {"wrong"}}
	codes := map[int]int{}
	for range 13 {
		codes[v.post("/login", wrong).Code]++
	}
	if codes[http.StatusUnauthorized] != 10 || codes[http.StatusTooManyRequests] != 3 {
		t.Errorf("answers %v", codes)
	}
	right := url.Values{"name": {"anna"}, "password": {password}}
	if v.post("/login", right).Code != http.StatusTooManyRequests {
		t.Error("the right password passes the limit")
	}
	elsewhere := s.visitor()
	elsewhere.addr = "10.0.0.77:1"
	if a := elsewhere.post("/login", right); a.Code != http.StatusSeeOther {
		t.Errorf("guessing shuts out the person: %d", a.Code)
	}
	s.now = s.now.Add(16 * time.Minute)
	if a := v.post("/login", right); a.Code != http.StatusSeeOther {
		t.Errorf("the limit never ends: %d", a.Code)
	}
}

func TestLimitCountsAddressesAndNames(t *testing.T) {
	now := time.Unix(0, 0)
	l := access.NewLimit(func() time.Time { return now })
	try := func(addr, name string) bool {
		done, wait := l.Try(addr, name)
		if wait > 0 {
			return false
		}
		done(false)
		return true
	}
	passed := 0
	for n := range 50 { // one address, many names
		if try("a", strings.Repeat("n", n+1)) {
			passed++
		}
	}
	if passed != 30 {
		t.Errorf("an address may fail %d times", passed)
	}
	passed = 0
	for n := range 100 { // many addresses, one name
		if try(strings.Repeat("b", n+1), "anna") {
			passed++
		}
	}
	if passed != 60 {
		t.Errorf("a name may fail %d times", passed)
	}
	for range 100 { // who gets in is not counted
		done, wait := l.Try("c", "jan")
		if wait > 0 {
			t.Fatal("log-ins that were good are counted")
		}
		done(true)
	}
}

func TestLocal(t *testing.T) {
	for in, want := range map[string]string{
		"/rms": "/rms", "/wall?app=rms&back=%2F": "/wall?app=rms&back=%2F", "": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
		"/\t/evil.example": "/", "/\n/evil": "/", "evil": "/", "/login": "/", "javascript:alert(1)": "/", "/a//b": "/a//b",
	} {
		if got := login.Local(in); got != want {
			t.Errorf("%q leads to %q, not %q", in, got, want)
		}
	}
	s := start(t)
	a := s.visitor().post("/login", url.Values{"name": {"anna"}, "password": {password}, "next": {"//evil.example/x"}})
	if got := a.Header().Get("Location"); got != "/" {
		t.Errorf("log-in leads to %q", got)
	}
}

func TestWall(t *testing.T) {
	s := start(t)
	ask := "/wall?app=rms&instance=testing-anna&back=" + url.QueryEscape("/candidates/?page=2")
	v := s.visitor()
	a := v.get(ask)
	if a.Code != http.StatusSeeOther || a.Header().Get("Location") != "/login?next="+url.QueryEscape(ask) {
		t.Fatalf("a stranger: %d %s", a.Code, a.Header().Get("Location"))
	}
	// a form's answer must not redirect to another host: browsers refuse that
	a = v.post("/login", url.Values{"name": {"zofia"}, "password": {password}, "next": {ask}})
	if a.Code != http.StatusOK || a.Header().Get("Refresh") != "0; url="+ask {
		t.Fatalf("log in on the way to the wall: %d %q", a.Code, a.Header().Get("Refresh"))
	}
	a = v.get(ask)
	to, err := url.Parse(a.Header().Get("Location"))
	if err != nil || a.Code != http.StatusSeeOther {
		t.Fatalf("%d %v", a.Code, err)
	}
	if got := to.Scheme + "://" + to.Host + to.Path; got != "http://testing-anna.rms.localhost:8080"+wall.EnterPath {
		t.Errorf("leads to %s", got)
	}
	if got := to.Query().Get("back"); got != "/candidates/?page=2" {
		t.Errorf("back to %q", got)
	}
	token, err := wall.Verify(s.key, to.Query().Get("token"), wall.Enter, "rms", "testing-anna", s.now)
	if err != nil || token.Person != "zofia" {
		t.Errorf("token %+v: %v", token, err)
	}
	if _, err := wall.Verify(s.key, to.Query().Get("token"), wall.Enter, "rms", "staging", s.now); err == nil {
		t.Error("the token is good elsewhere")
	}
	for _, back := range []string{"//evil.example", "https://evil.example/", `/\evil`} {
		a := v.get("/wall?app=rms&instance=staging&back=" + url.QueryEscape(back))
		to, err := url.Parse(a.Header().Get("Location"))
		if err != nil || to.Query().Get("back") != "/" {
			t.Errorf("back to %q is let through: %s", back, a.Header().Get("Location"))
		}
	}
	for _, path := range []string{"/wall", "/wall?app=rms&instance=nothing", "/wall?app=other&instance=live", "/wall?app=intranet&instance=live"} {
		if a := v.get(path); a.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
}

func TestDangerAsksForTheName(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for _, confirm := range []string{"", "Live", "staging"} {
		a := v.post("/rms/instances/live/restore", url.Values{"backup": {"k31"}, "confirm": {confirm}})
		if a.Code != http.StatusSeeOther || len(s.story.Called()) != 0 {
			t.Errorf("restored with %q: %d", confirm, a.Code)
		}
		if page := text(v.page("/rms/instances/live")); !strings.Contains(page, "its name was not typed") || !strings.Contains(page, "live was left as it is") {
			t.Error("nobody hears why")
		}
	}
	page := text(v.page("/rms/instances/live/revert"))
	for _, want := range []string{"back to r134", "159 rows written since leave the site", "public.notes_note", "stands ready beside the present data", "Seen on staging by d50", "type live", "No window, approval or backup is waited for"} {
		if !strings.Contains(page, want) {
			t.Errorf("revert does not say %q", want)
		}
	}
}

func TestFlashIsShownOnce(t *testing.T) {
	s := start(t)
	v := s.as("anna")
	if a := v.post("/rms/changes/21/accept", nil); a.Code != http.StatusSeeOther {
		t.Fatal(a.Code)
	}
	v.headers["X-Bosman-Live"] = "1"
	if strings.Contains(text(v.page("/rms/changes/21")), "You accepted c21") {
		t.Error("a live page takes the message")
	}
	delete(v.headers, "X-Bosman-Live")
	if !strings.Contains(text(v.page("/rms/changes/21")), "You accepted c21") {
		t.Error("no message")
	}
	if strings.Contains(text(v.page("/rms/changes/21")), "You accepted c21") {
		t.Error("the message stays")
	}
}

func TestSearchOpensWhatIsOne(t *testing.T) {
	v := start(t).as("zofia")
	for q, want := range map[string]string{
		"b418": "/rms/builds/418", "d44": "/rms/deployments/44", "c21": "/rms/changes/21", "p12": "/rms/problems/12", "shortlist": "/rms/changes/21",
		"r136": "/rms/releases#r136", "testing-anna": "/rms/instances/testing-anna", "C21": "/rms/changes/21",
	} {
		a := v.get("/search?app=rms&q=" + url.QueryEscape(q))
		if a.Code != http.StatusSeeOther || a.Header().Get("Location") != want {
			t.Errorf("%s: %d %s", q, a.Code, a.Header().Get("Location"))
		}
	}
	if page := text(v.page("/search?q=list")); !strings.Contains(page, "The list opens in 40 ms") || !strings.Contains(page, "The list remembers its filter") {
		t.Errorf("several are not listed: %s", page)
	}
}

func TestOneAppIsNotShownToOthers(t *testing.T) {
	s := start(t, func(s *story.Story, _ *Config) {
		for n := range s.Persons {
			if s.Persons[n].Name == "zofia" {
				s.Persons[n].Role, s.Persons[n].AppRoles = "", map[string]bosman.Role{"intranet": bosman.RoleViewer}
			}
		}
	})
	v := s.as("zofia")
	for _, path := range append(append([]string{}, pages...), "/rms/builds/418/log", "/rms/instances/live/log", "/rms/mails/8/html", "/wall?app=rms&instance=staging") {
		if !strings.HasPrefix(path, "/rms") && !strings.HasPrefix(path, "/wall") {
			continue
		}
		if a := v.get(path); a.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
	if page := text(v.page("/")); strings.Contains(page, "rms") {
		t.Errorf("the overview shows it: %s", page)
	}
	if page := text(v.page("/search?q=shortlist")); strings.Contains(page, "salary") {
		t.Error("the search finds it")
	}
}
