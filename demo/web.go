package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bosman-cd/bosman/edge/wall"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// dial reaches everything at 127.0.0.1: programs do not resolve *.localhost.
func (w *world) httpClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", w.opt.Port))
			},
		},
	}
}

// get asks a host through the edge.
func (w *world) get(ctx context.Context, host, path string) (int, string, error) {
	c := w.httpClient(20 * time.Second)
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.address()+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = fmt.Sprintf("%s:%d", host, w.opt.Port)
	return answer(c, req)
}

func answer(c *http.Client, req *http.Request) (int, string, error) {
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return resp.StatusCode, string(body), err
}

// visitor is somebody logged in to the application on an instance.
type visitor struct {
	w        *world
	instance string
	pass     string // of the login wall; "" on live
	cookies  map[string]string
	client   *http.Client
}

// visit logs in to the application.
func (w *world) visit(ctx context.Context, instance, name, password string) (*visitor, error) {
	v := &visitor{w: w, instance: instance, cookies: map[string]string{}, client: w.httpClient(20 * time.Second)}
	if err := v.letIn(); err != nil {
		return nil, err
	}
	if code, _, err := v.do(ctx, http.MethodGet, "/login/", "", nil); err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("the log-in page of %s answers %d: %w", instance, code, orNil(err))
	}
	form := url.Values{"username": {name}, "password": {password}, "csrfmiddlewaretoken": {v.cookies["csrftoken"]}}
	code, _, err := v.do(ctx, http.MethodPost, "/login/", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil || code != http.StatusFound {
		return nil, fmt.Errorf("%s could not log in to %s: answer %d: %w", name, instance, code, orNil(err))
	}
	return v, nil
}

// letIn gets the visitor past the login wall, as the probes of Bosman do.
func (v *visitor) letIn() error {
	if v.instance == "live" {
		return nil
	}
	key, err := wall.LoadKey(filepath.Join(v.w.data(), "wall.key"))
	if err != nil {
		return err
	}
	v.pass = wall.Bypass(key)
	return nil
}

var errAnswer = fmt.Errorf("not what was expected")

func orNil(err error) error {
	if err == nil {
		return errAnswer
	}
	return err
}

// do makes a request as the visitor.
func (v *visitor) do(ctx context.Context, method, path, contentType string, body io.Reader) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, v.w.address()+path, body)
	if err != nil {
		return 0, "", err
	}
	req.Host = fmt.Sprintf("%s:%d", v.w.host(v.instance), v.w.opt.Port)
	req.Header.Set("Referer", "http://"+req.Host+path)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("X-Csrftoken", v.cookies["csrftoken"])
	}
	if v.pass != "" {
		req.Header.Set(wall.BypassHeader, v.pass)
	}
	for name, value := range v.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	for _, c := range resp.Cookies() {
		v.cookies[c.Name] = c.Value
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return resp.StatusCode, string(text), err
}

// api calls the application's REST interface.
func (v *visitor) api(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	code, text, err := v.do(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	if code >= 300 {
		return fmt.Errorf("%s %s on %s answers %d: %s", method, path, v.instance, code, firstLine(text))
	}
	return json.Unmarshal([]byte(text), out)
}

// count says how many candidates an instance has.
func (v *visitor) count(ctx context.Context, query string) (int, error) {
	var page struct{ Count int }
	return page.Count, v.api(ctx, http.MethodGet, "/api/candidates/?"+query, nil, &page)
}

// add takes in a candidate.
func (v *visitor) add(ctx context.Context, number int, city string) error {
	return v.api(ctx, http.MethodPost, "/api/candidates/", map[string]any{
		"first_name": "Ewa", "last_name": fmt.Sprintf("Probe %d", number), "email": fmt.Sprintf("probe%d.%s@example.org", number, strings.ToLower(city)),
		"phone": "+48 601 111 222", "city": city, "position": "Tester", "source": "website", "experience": 3, "applied_on": time.Now().Format(time.DateOnly),
	}, &struct{}{})
}

// probe asks an instance many times a second and counts what fails.
type probe struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	began  time.Time

	asked, failed atomic.Int64
	mu            sync.Mutex
	slowest       time.Duration
	sample        string
	codes         map[int]int
}

// probed is what a probe met.
type probed struct {
	asked, failed int64
	rate          float64
	slowest       time.Duration
	sample        string
}

func (p probed) String() string {
	return fmt.Sprintf("%d requests (%.0f a second), %d failed, the slowest took %d ms", p.asked, p.rate, p.failed, p.slowest.Milliseconds())
}

// none says that no request may have failed, and that there were enough.
func (p probed) none() error { return p.atMost(0) }

func (p probed) atMost(n int64) error {
	switch {
	case p.failed > n:
		return fmt.Errorf("%s; the first: %s", p, p.sample)
	case p.rate < probeRate*0.9:
		return fmt.Errorf("%s: that was too few for a proof", p)
	}
	return nil
}

// probeRate is how many requests a second a probe makes.
const probeRate = 56

// mixed is what a probe asks for: a page of work among many light answers, so
// that a small machine is not kept busy by the probe.
var mixed = []string{"/candidates/", "/healthz", "/healthz", "/healthz", "/healthz", "/healthz", "/healthz", "/healthz"}

// probe begins to ask live: each path in turn.
func (w *world) probe(ctx context.Context, paths ...string) *probe {
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{cancel: cancel, began: time.Now(), codes: map[int]int{}}
	c := w.httpClient(15 * time.Second)
	if t, ok := c.Transport.(*http.Transport); ok {
		t.DisableKeepAlives = true // on a used connection the client would ask again by itself, and hide a failure
	}
	host := fmt.Sprintf("%s:%d", w.host("live"), w.opt.Port)
	p.wg.Go(func() {
		defer c.CloseIdleConnections()
		var inner sync.WaitGroup
		defer inner.Wait()
		t := time.NewTicker(time.Second / probeRate)
		defer t.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			path := paths[n%len(paths)]
			inner.Go(func() { p.ask(context.WithoutCancel(ctx), c, w.address()+path, host) })
		}
	})
	return p
}

func (p *probe) ask(ctx context.Context, c *http.Client, address, host string) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	req.Host = host
	code, body, err := answer(c, req)
	took := time.Since(began)
	p.asked.Add(1)
	bad := ""
	switch {
	case err != nil:
		bad = err.Error()
	case code != http.StatusOK:
		bad = fmt.Sprintf("%d %s", code, firstLine(body))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code]++
	p.slowest = max(p.slowest, took)
	if bad != "" {
		p.failed.Add(1)
		if p.sample == "" {
			p.sample = fmt.Sprintf("%s after %d ms: %s", address, took.Milliseconds(), bad)
		}
	}
}

// stop ends the probe and gives what it met.
func (p *probe) stop() probed {
	p.cancel()
	lasted := time.Since(p.began)
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return probed{asked: p.asked.Load(), failed: p.failed.Load(), rate: float64(p.asked.Load()) / lasted.Seconds(), slowest: p.slowest, sample: p.sample}
}
