// Package control is how the rest of Bosman speaks to the edge: routes,
// draining, holding and traffic numbers, as JSON over a unix socket. It holds
// the shapes and the client; it must not know how the edge proxies, nor any
// stage.
package control

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Route says where the requests for one instance go. App and Instance are its
// identity.
type Route struct {
	App      string              `json:"app"`
	Instance string              `json:"instance"`
	Kind     bosman.InstanceKind `json:"kind"`
	// Hosts are host names without port, e.g. live.rms.localhost. Ports are
	// listening ports that belong to the instance alone, whatever the host.
	Hosts []string `json:"hosts,omitempty"`
	Ports []int    `json:"ports,omitempty"`
	// Upstream is unix:/absolute/socket or tcp:host:port; "" when nothing
	// runs, which Stopped then explains in one sentence.
	Upstream string `json:"upstream"`
	Stopped  string `json:"stopped,omitempty"`
	Release  int    `json:"release"`
	Commit   string `json:"commit,omitempty"`
	// Operation is the fence: a Put with a lower number than one seen before
	// for this instance is refused.
	Operation int `json:"operation"`
	// Static maps a URL prefix ("/static/") to absolute folders, looked up in
	// order: the current release's, then the previous release's, then the app.
	Static map[string][]string `json:"static,omitempty"`
	// Private maps a prefix of X-Accel-Redirect answers ("/protected/") to
	// the absolute folder they are served from.
	Private map[string]string `json:"private,omitempty"`
	Wall    bool              `json:"wall,omitempty"`    // ask for a log in
	NoIndex bool              `json:"noindex,omitempty"` // keep search engines out
	Health  string            `json:"health,omitempty"`  // path, "" for none
}

// Key is the identity as one string: app/instance.
func (r Route) Key() string { return Key(r.App, r.Instance) }

// Key joins an app's and an instance's name.
func Key(app, instance string) string { return app + "/" + instance }

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// Check says what is wrong with a route, nil if nothing is.
func (r Route) Check() error {
	if err := bosman.CheckName("app", r.App); err != nil {
		return err
	}
	if err := bosman.CheckName("instance", r.Instance); err != nil {
		return err
	}
	if r.Operation < 0 || r.Release < 0 {
		return bosman.Invalid("the route of %s has a negative operation or release", r.Key())
	}
	if r.Upstream != "" {
		if _, _, err := SplitUpstream(r.Upstream); err != nil {
			return err
		}
	}
	for _, h := range r.Hosts {
		if len(h) > 253 || !hostName.MatchString(h) && net.ParseIP(h) == nil {
			return bosman.Invalid("%q is not a host name", h).WithNext("give lower-case host names without a port")
		}
	}
	for _, p := range r.Ports {
		if p < 1 || p > 65535 {
			return bosman.Invalid("%d is not a port", p)
		}
	}
	for prefix, folders := range r.Static {
		if err := checkFolders("static", prefix, folders...); err != nil {
			return err
		}
	}
	for prefix, folder := range r.Private {
		if err := checkFolders("private", prefix, folder); err != nil {
			return err
		}
	}
	return nil
}

func checkFolders(what, prefix string, folders ...string) error {
	if !strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") {
		return bosman.Invalid("the %s prefix %q does not begin and end with a slash", what, prefix)
	}
	for _, f := range folders {
		if !filepath.IsAbs(f) {
			return bosman.Invalid("the %s folder %q is not an absolute path", what, f)
		}
	}
	return nil
}

// Clone is a copy that shares nothing.
func (r Route) Clone() Route {
	c := r
	c.Hosts, c.Ports = slices.Clone(r.Hosts), slices.Clone(r.Ports)
	if r.Static != nil {
		c.Static = make(map[string][]string, len(r.Static))
		for k, v := range r.Static {
			c.Static[k] = slices.Clone(v)
		}
	}
	if r.Private != nil {
		c.Private = make(map[string]string, len(r.Private))
		for k, v := range r.Private {
			c.Private[k] = v
		}
	}
	return c
}

// SplitUpstream gives network and address of unix:/path, tcp:host:port, a
// bare absolute path or a bare host:port.
func SplitUpstream(s string) (network, address string, err error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && kind == "unix":
		network, address = "unix", rest
	case ok && kind == "tcp":
		network, address = "tcp", rest
	case strings.HasPrefix(s, "/"):
		network, address = "unix", s
	default:
		network, address = "tcp", s
	}
	if network == "unix" {
		if !filepath.IsAbs(address) || len(address) > 107 {
			return "", "", bosman.Invalid("%q is not a usable socket path", s).WithNext("give an absolute path of at most 107 bytes")
		}
		return network, address, nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return "", "", bosman.Invalid("%q is not an upstream", s).WithNext("give unix:/path/to/socket or tcp:host:port").Because(err)
	}
	return network, address, nil
}

// Verified says what the edge knows of a route's upstream.
type Verified string

// What is known of an upstream.
const (
	Unverified Verified = "unverified" // no request answered yet since the edge started or the route was put
	Well       Verified = "well"       // it answered
	Unwell     Verified = "unwell"     // it cannot be reached or its health path fails
)

// RouteStatus is a route and what the edge knows of it.
type RouteStatus struct {
	Route
	State     Verified  `json:"state"`
	Note      string    `json:"note,omitempty"` // why it is unwell
	CheckedAt time.Time `json:"checked_at,omitzero"`
	Held      bool      `json:"held,omitempty"`
	InFlight  int       `json:"in_flight"`
}

// Hold asks the edge to keep new requests for an instance waiting. It
// survives a restart of the edge.
type Hold struct {
	App       string `json:"app"`
	Instance  string `json:"instance"`
	Operation int    `json:"operation"` // fence, as in Route
	// Until ends the hold by itself, so that a dead holder cannot keep an
	// instance shut; whoever relies on the hold asks Unhold whether it lapsed.
	Until time.Time     `json:"until"`
	Wait  time.Duration `json:"wait"`  // a request waits at most this long, then 503; 10 s when 0
	Count int           `json:"count"` // at most so many wait, the next get 503; 256 when 0
}

// HoldReport says how a hold went.
type HoldReport struct {
	Lapsed  bool  `json:"lapsed"` // it ended by itself: requests may have passed
	Waited  int64 `json:"waited"`
	Refused int64 `json:"refused"`
}

// Drained says how a drain went.
type Drained struct {
	Took     time.Duration `json:"took"`
	Cut      int           `json:"cut"`      // requests cut at the deadline
	Upgraded int           `json:"upgraded"` // those of them that were websockets and the like
}

// LatencyBounds are the upper bounds of ReleaseStats.Latency; a last bucket
// holds the rest.
var LatencyBounds = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Stats are the traffic numbers since StartedAt, when the edge started; they
// begin again at zero then.
type Stats struct {
	StartedAt time.Time       `json:"started_at"`
	Now       time.Time       `json:"now"`
	Instances []InstanceStats `json:"instances"`
}

// InstanceStats are the numbers of one instance.
type InstanceStats struct {
	App      string         `json:"app"`
	Instance string         `json:"instance"`
	Waiting  int            `json:"waiting"`  // requests held now
	Releases []ReleaseStats `json:"releases"` // the current one first, then at most five earlier, newest first
	Seconds  []Second       `json:"seconds"`  // the last 15 minutes, oldest first, seconds without requests left out
}

// ReleaseStats are the numbers of one upstream since it was switched to. They
// only grow, but for InFlight.
type ReleaseStats struct {
	Release   int       `json:"release"`
	Commit    string    `json:"commit,omitempty"`
	Upstream  string    `json:"upstream"`
	Operation int       `json:"operation"`
	Current   bool      `json:"current"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until,omitzero"` // when another took its place
	Requests  int64     `json:"requests"`       // answered, failed and aborted together
	Status    [6]int64  `json:"status"`         // answers by class; index 5 counts 5xx
	Failures  int64     `json:"failures"`       // requests the upstream did not answer
	Aborted   int64     `json:"aborted"`        // the client went away before an answer
	Refused   int64     `json:"refused"`        // 503 of the edge itself: held too long or too many
	Static    int64     `json:"static"`         // files served without asking the app
	InFlight  int64     `json:"in_flight"`
	Bytes     int64     `json:"bytes"`   // of response bodies
	Latency   []int64   `json:"latency"` // time to the first byte of the answer, counted by LatencyBounds
}

// Errors is what counts against the release: 5xx answers and no answer.
func (s ReleaseStats) Errors() int64 { return s.Status[5] + s.Failures }

// Second is the traffic of one second.
type Second struct {
	At       int64 `json:"at"` // unix seconds
	Release  int   `json:"release"`
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"` // 5xx and no answer
	Millis   int64 `json:"millis"` // latencies added up
}
