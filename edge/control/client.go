package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bosman-cd/bosman"
)

// Client speaks to the edge. Every call may be repeated, so a call that meets
// a restarting edge is asked again until Patience is over.
type Client struct {
	http *http.Client
	// Patience is how long a call waits for an edge that is away; 10 s.
	Patience time.Duration
}

// New gives a client for the edge that listens on the unix socket.
func New(socket string) *Client {
	d := net.Dialer{Timeout: 2 * time.Second}
	return &Client{
		Patience: 10 * time.Second,
		http: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
			DisableKeepAlives: true, // an upgraded edge takes the socket's name: always ask whoever holds it now
		}},
	}
}

// Put routes an instance. When it returns nil the route is on disk and in
// effect. KindConflict: a later operation has routed it, or another instance
// has the host or port.
func (c *Client) Put(ctx context.Context, r Route) error {
	return c.call(ctx, http.MethodPut, path("routes", r.App, r.Instance), r, nil)
}

// Delete takes an instance off the edge; no error if it is not there.
// KindConflict: a later operation has routed it.
func (c *Client) Delete(ctx context.Context, app, instance string, operation int) error {
	return c.call(ctx, http.MethodDelete, path("routes", app, instance)+"?operation="+strconv.Itoa(operation), nil, nil)
}

// Routes lists all routes in the order of their keys.
func (c *Client) Routes(ctx context.Context) ([]RouteStatus, error) {
	var out []RouteStatus
	return out, c.call(ctx, http.MethodGet, "/routes", nil, &out)
}

// Drain waits until no request is in flight on an upstream that the instance
// no longer uses (or uses, but is held). What is left after the deadline is
// cut.
func (c *Client) Drain(ctx context.Context, app, instance, upstream string, deadline time.Duration) (Drained, error) {
	var out Drained
	in := DrainRequest{App: app, Instance: instance, Upstream: upstream, Deadline: deadline}
	return out, c.call(ctx, http.MethodPost, "/drain", in, &out)
}

// DrainRequest is the body of a drain.
type DrainRequest struct {
	App      string        `json:"app"`
	Instance string        `json:"instance"`
	Upstream string        `json:"upstream"`
	Deadline time.Duration `json:"deadline"`
}

// Stats gives the traffic numbers of one instance, or of all with "", "".
func (c *Client) Stats(ctx context.Context, app, instance string) (Stats, error) {
	var out Stats
	q := url.Values{"app": {app}, "instance": {instance}}
	return out, c.call(ctx, http.MethodGet, "/stats?"+q.Encode(), nil, &out)
}

// Hold keeps new requests waiting; asking again with a later Until prolongs.
func (c *Client) Hold(ctx context.Context, h Hold) error {
	return c.call(ctx, http.MethodPost, "/hold", h, nil)
}

// Unhold lets requests through again. KindNotFound: there was no hold of that
// operation, so nobody can say that nothing passed.
func (c *Client) Unhold(ctx context.Context, app, instance string, operation int) (HoldReport, error) {
	var out HoldReport
	return out, c.call(ctx, http.MethodPost, "/unhold", Hold{App: app, Instance: instance, Operation: operation}, &out)
}

func path(parts ...string) string {
	var s string
	for _, p := range parts {
		s += "/" + url.PathEscape(p)
	}
	return s
}

// Failure is the JSON of an error.
type Failure struct {
	Kind    bosman.ErrorKind `json:"kind"`
	Message string           `json:"message"`
	Kept    string           `json:"kept,omitempty"`
	Next    string           `json:"next,omitempty"`
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return bosman.Internal("a request to the edge cannot be written").Because(err)
		}
	}
	deadline := time.Now().Add(c.Patience)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		again, err := c.once(ctx, method, path, body, out)
		if err == nil || !again || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// once makes one attempt; again says whether another may fare better.
func (c *Client) once(ctx context.Context, method, path string, body []byte, out any) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, bytes.NewReader(body))
	if err != nil {
		return false, bosman.Invalid("the edge cannot be asked that").Because(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return ctx.Err() == nil, away(err)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return ctx.Err() == nil, away(err)
	}
	if resp.StatusCode >= 300 {
		var f Failure
		if err := json.Unmarshal(data, &f); err != nil || f.Kind == "" {
			return false, bosman.Internal("the edge answered %s", resp.Status).Because(err)
		}
		return resp.StatusCode == http.StatusMisdirectedRequest,
			&bosman.Error{Kind: f.Kind, Message: f.Message, Kept: f.Kept, Next: f.Next}
	}
	if out == nil {
		return false, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return false, bosman.Internal("the edge's answer cannot be read").Because(err)
	}
	return false, nil
}

func away(err error) error {
	return bosman.Unavailable("the edge does not answer").
		WithKept("routes stay as they are").
		WithNext("see whether `bosman edge` runs: bosman doctor").Because(err)
}
