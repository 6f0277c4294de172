package edge

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/bosman-cd/bosman/edge/wall"
)

// ServeHTTP answers one public request.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.draining.Load() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	if !strings.HasPrefix(r.URL.Path, "/") || r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		http.Error(w, "This request is not supported.", http.StatusBadRequest)
		return
	}
	n := e.find(r)
	switch {
	case n == nil:
		e.unknown(w, r)
		return
	case n.ui:
		e.forward(w, r, n)
		return
	}
	s := n.look()
	if s.route.NoIndex {
		w.Header().Set("X-Robots-Tag", "noindex, nofollow")
	}
	switch {
	case r.URL.Path == wall.EnterPath:
		e.enter(w, r, s.route)
	case strings.HasPrefix(r.URL.Path, "/.bosman/"):
		e.unknown(w, r)
	case s.route.NoIndex && r.URL.Path == "/robots.txt":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		e.write(w, "User-agent: *\nDisallow: /\n")
	case s.route.Wall && !e.mayPass(w, r, s.route):
	case e.static(w, r, n, s):
	default:
		w.Header().Del("X-Robots-Tag") // set on the answer, so that it does not stand there twice
		e.forward(w, r, n)
	}
}

// find gives the entry a request belongs to: by port if the port belongs to
// an instance, else by host name; nil for an unknown one.
func (e *Edge) find(r *http.Request) *entry {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		if n := e.ports[a.Port]; n != nil {
			return n
		}
	}
	host := hostOf(r.Host)
	if e.uiHosts[host] { // first: no route may take the UI's address
		return e.ui
	}
	return e.hosts[host]
}

// hostOf is a Host header as routes name hosts: lower case, no port, no final dot.
func hostOf(s string) string {
	if h, _, err := net.SplitHostPort(s); err == nil {
		s = h
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// client is who asks.
type client struct {
	ip    string // the client itself
	chain string // X-Forwarded-For to pass on
	proto string // http or https
	host  string
}

func (e *Edge) clientOf(r *http.Request) client {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	c := client{ip: remote, chain: remote, proto: "http", host: r.Host}
	if r.TLS != nil {
		c.proto = "https"
	}
	if !e.trusted(remote) {
		return c
	}
	if p := r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
		c.proto = p
	}
	if h := r.Header.Get("X-Forwarded-Host"); h != "" {
		c.host = h
	}
	before := strings.Join(r.Header.Values("X-Forwarded-For"), ", ")
	if before == "" {
		return c
	}
	c.chain = before + ", " + remote
	hops := strings.Split(before, ",")
	for i := len(hops) - 1; i >= 0; i-- {
		c.ip = strings.TrimSpace(hops[i])
		if !e.trusted(c.ip) {
			break
		}
	}
	return c
}

func (e *Edge) trusted(ip string) bool {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	a = a.Unmap()
	for _, p := range e.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
