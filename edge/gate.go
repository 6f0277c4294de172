package edge

import (
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/edge/wall"
)

// cookieName tells the passes of two instances on one host apart: browsers
// ignore the port.
func cookieName(r control.Route) string { return "bosman." + r.App + "." + r.Instance }

// mayPass says whether the request may pass the login wall; if not, it has
// been answered.
func (e *Edge) mayPass(w http.ResponseWriter, r *http.Request, route control.Route) bool {
	if len(e.key) == 0 {
		e.page(w, r, http.StatusServiceUnavailable, "This address is closed", "The edge was started without the key that opens it.", "Start it with the key file of bosman serve.")
		return false
	}
	if v := r.Header.Get(wall.BypassHeader); v != "" && wall.IsBypass(e.key, v) {
		return true
	}
	now := time.Now()
	for _, c := range r.CookiesNamed(cookieName(route)) {
		if _, err := wall.Verify(e.key, c.Value, wall.Pass, route.App, route.Instance, now); err == nil {
			return true
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	back := "/"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		back = wall.Back(r.URL.RequestURI())
	}
	to := e.cfg.UI.URL + wall.LoginPath + "?" + url.Values{"app": {route.App}, "instance": {route.Instance}, "back": {back}}.Encode()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Location", to)
		e.page(w, r, http.StatusUnauthorized, "Log in first", "This address is for the team.", "Log in at "+e.cfg.UI.URL+", then try again.")
		return false
	}
	http.Redirect(w, r, to, http.StatusFound)
	return false
}

// enter changes a token of the UI for the cookie that passes the wall.
func (e *Edge) enter(w http.ResponseWriter, r *http.Request, route control.Route) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet {
		e.unknown(w, r)
		return
	}
	now := time.Now()
	q := r.URL.Query()
	t, err := wall.Verify(e.key, q.Get("token"), wall.Enter, route.App, route.Instance, now)
	if err != nil || !now.Before(t.Until) || !e.nonces.take(t.Nonce, t.Expires, now) {
		e.page(w, r, http.StatusForbidden, "This link is no longer good", "It works once and for a minute.", "Open the instance again from "+e.cfg.UI.URL+".")
		return
	}
	pass, err := wall.Sign(e.key, wall.Token{Use: wall.Pass, App: route.App, Instance: route.Instance, Person: t.Person, Expires: t.Until})
	if err != nil {
		e.log.Error("a pass cannot be signed", "cause", err)
		e.page(w, r, http.StatusInternalServerError, "You cannot be let in", "A pass cannot be signed.", "See the log of the edge.")
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(route), Value: pass, Path: "/", Expires: t.Until,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: e.clientOf(r).proto == "https",
	})
	// Not http.Redirect, which would clean the path.
	w.Header().Set("Location", wall.Back(q.Get("back")))
	w.WriteHeader(http.StatusFound)
}

// nonces remembers the tokens used until they would expire anyway.
type nonces struct {
	mu   sync.Mutex
	used map[string]time.Time
}

const maxNonces = 10_000

// take is true the first time; false for a replay, for no nonce, and when too
// many are remembered.
func (n *nonces) take(nonce string, expires, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.used == nil {
		n.used = map[string]time.Time{}
	}
	if len(n.used) >= maxNonces {
		for k, t := range n.used {
			if !now.Before(t) {
				delete(n.used, k)
			}
		}
	}
	if _, seen := n.used[nonce]; seen || nonce == "" || len(n.used) >= maxNonces {
		return false
	}
	n.used[nonce] = expires
	return true
}
