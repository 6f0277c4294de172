// Package edge is the reverse proxy, `bosman edge`. It listens on sockets that
// its parent keeps, sends each request to the instance its host name or port
// belongs to, serves static files, holds requests while an upstream is away,
// keeps the login wall and counts traffic. It owns nothing but its routes file
// and works without `bosman serve`; it must not know stages, the store or
// deployments: whoever routes tells it over package control.
package edge

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/bosman-cd/bosman"
)

// Config is what the edge needs to run. Routes, Control, UI.Upstream and, when
// no sockets are inherited, Listen have no defaults.
type Config struct {
	Listen   []string // addresses, e.g. "127.0.0.1:8080"; unused when sockets are inherited
	PortHost string   // host for ports of routes that nobody listens on yet; "127.0.0.1"
	Control  string   // unix socket of the control API, made with mode 0600
	Routes   string   // the routes file; a .lock is made beside it
	UI       UI
	// TrustedProxies may say who the client is in X-Forwarded-*.
	TrustedProxies []netip.Prefix
	WallKey        string // key file shared with serve (wall.LoadKey); "" refuses whatever has a wall

	Drain          time.Duration // how long requests may take to end when the edge stops; 30 s
	ConnectWait    time.Duration // how long a request waits for an upstream that refuses connections; 2 s
	ConnectCount   int           // how many requests of one instance wait so; 256
	HoldHeader     time.Duration // how long a client may take to send its header; 10 s
	Idle           time.Duration // how long an idle connection is kept; 90 s
	AnswerWait     time.Duration // how long an instance may take to begin its answer; 10 min
	MaxHeaderBytes int           // 64 KB

	Log    *slog.Logger                    `json:"-"` // nothing when nil
	Getenv func(string) string             `json:"-"` // os.Getenv; LISTEN_FDS, LISTEN_PID, BOSMAN_READY_FD
	Wrap   func(net.Listener) net.Listener `json:"-"` // wraps each public listener, for TLS; none when nil
}

// UI says where requests for Bosman itself go. They are held while it restarts.
type UI struct {
	Hosts    []string // e.g. "localhost", "127.0.0.1", "example.org"
	Upstream string   // of serve, as in control.Route
	URL      string   // its address for people, e.g. "http://localhost:8080"

	HoldFor   time.Duration // 8 s
	HoldCount int           // 1024
	HoldBytes int64         // memory that held requests may take; 64 MB
}

func (c Config) filled() (Config, error) {
	if c.Routes == "" || c.Control == "" {
		return c, bosman.Invalid("the edge needs a routes file and a control socket")
	}
	if len(c.Control) > 100 {
		return c, bosman.Invalid("the control socket's path %s is too long", c.Control).WithNext("give one of at most 100 bytes")
	}
	def(&c.PortHost, "127.0.0.1")
	def(&c.Drain, 30*time.Second)
	def(&c.ConnectWait, 2*time.Second)
	def(&c.ConnectCount, 256)
	def(&c.HoldHeader, 10*time.Second)
	def(&c.Idle, 90*time.Second)
	def(&c.AnswerWait, 10*time.Minute)
	def(&c.MaxHeaderBytes, 64<<10)
	def(&c.UI.HoldFor, 8*time.Second)
	def(&c.UI.HoldCount, 1024)
	def(&c.UI.HoldBytes, 64<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Wrap == nil {
		c.Wrap = func(l net.Listener) net.Listener { return l }
	}
	return c, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
