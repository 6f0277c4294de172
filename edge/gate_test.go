package edge_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/edge/wall"
)

// walled is an instance behind the login wall, and the key that opens it.
func walled(t *testing.T) (*rig, wall.Key) {
	r := start(t, nil)
	key, err := wall.LoadKey(r.cfg.WallKey)
	if err != nil {
		t.Fatal(err)
	}
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Cookie") != "" || req.Header.Get(wall.BypassHeader) != "" {
			t.Error("the app sees the pass")
		}
		_, _ = w.Write([]byte("inside"))
	})
	rt := route(up, 2, 1)
	rt.Wall = true
	r.put(rt)
	return r, key
}

func sign(t *testing.T, k wall.Key, tok wall.Token) string {
	t.Helper()
	s, err := wall.Sign(k, tok)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) enter(token, back string) (int, string, http.Header) {
	return r.get(wall.EnterPath + "?" + url.Values{"token": {token}, "back": {back}}.Encode())
}

func TestWallLetsInWhoComesFromTheUI(t *testing.T) {
	r, key := walled(t)
	status, _, h := r.get("/candidates/?page=2")
	want := "http://localhost:8080/wall?app=rms&back=%2Fcandidates%2F%3Fpage%3D2&instance=live"
	if status != 302 || h.Get("Location") != want {
		t.Fatalf("%d %s", status, h.Get("Location"))
	}
	token := sign(t, key, wall.NewEnter("rms", "live", "anna", time.Now(), time.Time{}))
	status, _, h = r.enter(token, "/candidates/?page=2")
	c, err := http.ParseSetCookie(h.Get("Set-Cookie"))
	if err != nil || status != 302 || h.Get("Location") != "/candidates/?page=2" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" {
		t.Fatalf("%d %v %+v %v", status, h, c, err)
	}
	req := r.request("GET", "live.rms.localhost", "/", nil)
	req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	if status, body, _ := r.do(req); status != 200 || body != "inside" {
		t.Fatalf("%d %q", status, body)
	}
	if status, _, h := r.enter(token, "/"); status != 403 || h.Get("Set-Cookie") != "" {
		t.Errorf("the token was good twice: %d", status)
	}
	req = r.request("GET", "live.rms.localhost", "/", nil)
	req.Header.Set(wall.BypassHeader, wall.Bypass(key))
	if status, body, _ := r.do(req); status != 200 || body != "inside" {
		t.Errorf("a probe: %d %q", status, body)
	}
}

func TestWallKeepsOthersOut(t *testing.T) {
	r, key := walled(t)
	now := time.Now()
	good := wall.Token{Use: wall.Pass, App: "rms", Instance: "live", Person: "anna", Expires: now.Add(time.Hour)}
	change := func(f func(*wall.Token)) string {
		c := good
		f(&c)
		return sign(t, key, c)
	}
	valid := sign(t, key, good)
	body, sum, _ := strings.Cut(valid, ".")
	otherBody, _, _ := strings.Cut(change(func(c *wall.Token) { c.Person = "eve" }), ".")
	for name, value := range map[string]string{
		"nothing":       "",
		"noise":         "x.y",
		"no signature":  body + ".",
		"other body":    otherBody + "." + sum,
		"other key":     sign(t, wall.Key(strings.Repeat("k", 32)), good),
		"expired":       change(func(c *wall.Token) { c.Expires = now.Add(-time.Second) }),
		"other app":     change(func(c *wall.Token) { c.App = "crm" }),
		"other":         change(func(c *wall.Token) { c.Instance = "staging" }),
		"an enter":      sign(t, key, wall.NewEnter("rms", "live", "anna", now, time.Time{})),
		"bypass as it":  wall.Bypass(key),
		"with a suffix": valid + "A",
	} {
		req := r.request("GET", "live.rms.localhost", "/", nil)
		req.AddCookie(&http.Cookie{Name: "bosman.rms.live", Value: value})
		req.Header.Set("Authorization", "Bearer anything")
		if status, _, _ := r.do(req); status != 302 {
			t.Errorf("%s: %d", name, status)
		}
	}
	enter := wall.NewEnter("rms", "live", "anna", now, time.Time{})
	for name, f := range map[string]func(*wall.Token){
		"expired":  func(c *wall.Token) { c.Expires = now },
		"a pass":   func(c *wall.Token) { c.Use = wall.Pass },
		"no nonce": func(c *wall.Token) { c.Nonce = "" },
		"over":     func(c *wall.Token) { c.Until = now },
		"other":    func(c *wall.Token) { c.Instance = "staging" },
	} {
		c := enter
		f(&c)
		if status, _, h := r.enter(sign(t, key, c), "/"); status != 403 || h.Get("Set-Cookie") != "" {
			t.Errorf("entered with %s: %d", name, status)
		}
	}
	req := r.request("POST", "live.rms.localhost", "/", strings.NewReader("x"))
	if status, _, _ := r.do(req); status != 401 {
		t.Errorf("a POST: %d", status)
	}
	req = r.request("GET", "live.rms.localhost", "/", nil)
	req.Header.Set(wall.BypassHeader, strings.Repeat("0", 64))
	if status, _, _ := r.do(req); status != 302 {
		t.Errorf("a wrong bypass: %d", status)
	}
}

func TestWallGoesOnOnTheSameHostOnly(t *testing.T) {
	r, key := walled(t)
	for back, want := range map[string]string{
		"/a?b=c":              "/a?b=c",
		"":                    "/",
		"http://evil.example": "/",
		"//evil.example":      "/",
		`/\evil.example`:      "/",
		"/\t/evil.example":    "/",
		"/a\r\nX: y":          "/",
		"evil":                "/",
		" /a":                 "/",
		"/ok/../x":            "/ok/../x",
	} {
		token := sign(t, key, wall.NewEnter("rms", "live", "anna", time.Now(), time.Time{}))
		if status, _, h := r.enter(token, back); status != 302 || h.Get("Location") != want {
			t.Errorf("%q: %d to %q", back, status, h.Get("Location"))
		}
	}
	_, _, h := r.do(r.request("GET", "live.rms.localhost", "//evil.example/x", nil))
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Host != "localhost:8080" || u.Query().Get("back") != "/" {
		t.Errorf("%v %v", u, err)
	}
}

func TestWallWithoutKeyIsShut(t *testing.T) {
	r := start(t, func(c *edge.Config) { c.WallKey = "" })
	up, _ := r.backend("a", says("inside"))
	rt := route(up, 2, 1)
	rt.Wall = true
	r.put(rt)
	if status, body, _ := r.get("/"); status != 503 || strings.Contains(body, "inside") {
		t.Errorf("%d %q", status, body)
	}
	if status, _, _ := r.enter("x.y", "/"); status != 403 {
		t.Errorf("%d", status)
	}
}
