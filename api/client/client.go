// Package client calls Bosman's JSON API, over the unix socket on the server's
// own machine or over HTTP with a token. Errors are *bosman.Error as the
// server sent them; a server out of reach is ErrUnreachable. It must not know
// helm or any stage.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bosman-cd/bosman"
)

// ErrUnreachable is in the chain of errors when no server answered.
var ErrUnreachable = errors.New("the server is out of reach")

// Config says where the server is: at Socket, or at URL with Token.
type Config struct {
	Socket string // DATA/bosman.sock
	URL    string // http://localhost:8080; wins over Socket
	Token  string
	As     string // over the socket, as root: for whom to ask
	Agent  string // User-Agent
}

// Client calls one server. It may be used by several goroutines.
type Client struct {
	cfg  Config
	base string
	http *http.Client
}

// New makes a client; nothing is dialled yet.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, base: strings.TrimSuffix(cfg.URL, "/"), http: &http.Client{}}
	if cfg.URL == "" {
		c.base = "http://bosman"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", cfg.Socket)
		}}
	}
	return c
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Where is the server's address for people.
func (c *Client) Where() string {
	if c.cfg.URL != "" {
		return c.cfg.URL
	}
	return c.cfg.Socket
}

// send makes a request and gives the answer if it is a good one.
func (c *Client) send(ctx context.Context, method, path string, contentType string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, bosman.Invalid("the address %q is not understood", c.base).WithNext("set BOSMAN_URL to something like http://localhost:8080")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	if c.cfg.As != "" {
		req.Header.Set("Bosman-As", c.cfg.As)
	}
	if c.cfg.Agent != "" {
		req.Header.Set("User-Agent", c.cfg.Agent)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 300 {
		err := readProblem(resp)
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

func (c *Client) unreachable(err error) error {
	e := bosman.Unavailable("no Bosman answers at %s", c.Where()).Because(fmt.Errorf("%w: %w", ErrUnreachable, err))
	if c.cfg.URL != "" {
		return e.WithNext("look whether it runs there, and at BOSMAN_URL and BOSMAN_TOKEN")
	}
	return e.WithNext("start it with bosman serve, or set BOSMAN_DATA, or BOSMAN_URL and BOSMAN_TOKEN for another machine")
}

// readProblem reads the error of an answer.
func readProblem(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return bosman.Unavailable("the server's answer broke off").Because(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	var e bosman.Error
	if err := json.Unmarshal(data, &e); err != nil || e.Kind == "" {
		e := bosman.Unavailable("the server answered %s", resp.Status).WithNext("look whether a Bosman is at this address")
		return e.Because(ErrUnreachable)
	}
	return &e
}

// call sends in (nil for none) as JSON and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, "application/json", body, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return bosman.Unavailable("the server's answer is not understood").WithNext("look whether bosman here and there are of one version").Because(err)
	}
	return nil
}

// get reads a T.
func get[T any](ctx context.Context, c *Client, path string, query ...string) (T, error) {
	var out T
	return out, c.call(ctx, http.MethodGet, path+params(query), nil, &out)
}

// post sends in and reads a T.
func post[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	var out T
	if in == nil {
		in = struct{}{}
	}
	return out, c.call(ctx, http.MethodPost, path, in, &out)
}

// params makes "?a=b" of pairs, leaving out empty values.
func params(pairs []string) string {
	q := url.Values{}
	for n := 0; n+1 < len(pairs); n += 2 {
		if pairs[n+1] != "" {
			q.Set(pairs[n], pairs[n+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// at joins parts of a path, escaping each.
func at(parts ...any) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(fmt.Sprint(p)))
	}
	return b.String()
}
