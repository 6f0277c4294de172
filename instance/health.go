package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/internal/nofollow"
)

// Judgement says what an instance's new processes must answer.
type Judgement struct {
	Health  string                // path; "" waits only until something listens
	Checks  []bosman.RequestCheck // made once it is well
	Host    string                // Host header: a name from ALLOWED_HOSTS
	HTTPS   bool                  // asks as the edge will for an https address: X-Forwarded-Proto: https
	Commit  string                // if the health answer names a commit (40 hex digits), it must be this one
	Timeout time.Duration         // for it to become well; 0 means 60 s
	Each    time.Duration         // for one answer; 0 means 5 s
}

const (
	healthPause = 100 * time.Millisecond
	bodyLimit   = 1 << 20
	logTail     = 40 // lines shown of a failure
)

// Target is where a process set answers.
func Target(s runtime.Spec) (network, address string) {
	for _, p := range s.Processes {
		switch {
		case p.Socket != "":
			return "unix", p.Socket
		case p.Port != 0:
			return "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
		}
	}
	return "", ""
}

// AwaitWell waits until the processes of s are well and pass the checks. The
// Failure always holds the last answer; with an error, which is KindFailed
// (or the context's own), also how the processes ended and the end of the
// log. A crash loop ends the wait early.
func (sv *Supervisor) AwaitWell(ctx context.Context, s runtime.Spec, j Judgement) (bosman.Failure, error) {
	if j.Timeout <= 0 {
		j.Timeout = 60 * time.Second
	}
	if j.Each <= 0 {
		j.Each = 5 * time.Second
	}
	network, address := Target(s)
	if network == "" {
		return bosman.Failure{}, bosman.Invalid("no process of %s answers requests", s.ID).WithNext("name one web: under processes:")
	}
	client := newClient(network, address, j.Each)
	defer client.CloseIdleConnections()
	limited, cancel := context.WithTimeout(ctx, j.Timeout)
	defer cancel()
	last, well := sv.await(limited, s, j, client)
	if ctx.Err() != nil {
		return bosman.Failure{Health: last}, ctx.Err()
	}
	if !well {
		return sv.failure(ctx, s, last, fmt.Sprintf("it did not become well within %s", j.Timeout))
	}
	for _, c := range j.Checks {
		if said, ok := check(ctx, client, j, c); !ok {
			if ctx.Err() != nil {
				return bosman.Failure{Health: last}, ctx.Err()
			}
			return sv.failure(ctx, s, said, "a check failed")
		}
	}
	return bosman.Failure{Health: last, TestedAt: time.Now().UTC()}, nil
}

// dial connects to where an instance listens: at a socket of its own, never at
// one that a link in its folder leads to.
func dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if network == "unix" {
		return nofollow.Dial(ctx, d, address)
	}
	return d.DialContext(ctx, network, address)
}

func newClient(network, address string, each time.Duration) *http.Client {
	return &http.Client{
		Timeout: each,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dial(ctx, &net.Dialer{}, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// await polls until the answer is good, the time is up or it crashes.
func (sv *Supervisor) await(ctx context.Context, s runtime.Spec, j Judgement, client *http.Client) (last string, well bool) {
	last = "no answer yet"
	for ctx.Err() == nil {
		said, ok := sv.ask(ctx, client, s, j)
		if ok {
			return said, true
		}
		if ctx.Err() == nil || last == "no answer yet" {
			last = said
		}
		if st, err := sv.rt.Status(ctx, s.Handle()); err == nil && st.State == runtime.StateCrashed {
			return last, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(healthPause):
		}
	}
	return last, false
}

func (sv *Supervisor) ask(ctx context.Context, client *http.Client, s runtime.Spec, j Judgement) (string, bool) {
	if j.Health == "" {
		network, address := Target(s)
		conn, err := dial(ctx, &net.Dialer{Timeout: j.Each}, network, address)
		if err != nil {
			return "nobody listens yet: " + plain(err), false
		}
		_ = conn.Close() // it listens; nothing was said
		return "it listens; without a health: path nothing more is known", true
	}
	code, location, body, err := get(ctx, client, j, j.Health)
	switch {
	case err != nil:
		return fmt.Sprintf("GET %s: %s", j.Health, plain(err)), false
	case code >= 300 && code < 400:
		return fmt.Sprintf("GET %s answered %d to %s; a health path must answer itself, also to Host: %s", j.Health, code, location, j.Host), false
	case code < 200 || code > 299:
		return fmt.Sprintf("GET %s answered %d: %s", j.Health, code, firstLine(body)), false
	}
	if other := foreignCommit(body, j.Commit); other != "" {
		return fmt.Sprintf("GET %s answers for commit %s, not %s", j.Health, bosman.Short(other), bosman.Short(j.Commit)), false
	}
	return fmt.Sprintf("GET %s answered %d", j.Health, code), true
}

// check makes one smoke request.
func check(ctx context.Context, client *http.Client, j Judgement, c bosman.RequestCheck) (string, bool) {
	want := c.Status
	if want == 0 {
		want = http.StatusOK
	}
	code, _, body, err := get(ctx, client, j, c.Get)
	switch {
	case err != nil:
		return fmt.Sprintf("GET %s: %s", c.Get, plain(err)), false
	case code != want:
		return fmt.Sprintf("GET %s answered %d, expected %d: %s", c.Get, code, want, firstLine(body)), false
	case c.Contains != "" && !strings.Contains(body, c.Contains):
		return fmt.Sprintf("GET %s answered %d without %q: %s", c.Get, code, c.Contains, firstLine(body)), false
	}
	return "", true
}

func get(ctx context.Context, client *http.Client, j Judgement, path string) (code int, location, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://app"+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	if j.Host != "" {
		req.Host = j.Host
		req.Header.Set("X-Forwarded-Host", j.Host)
	}
	req.Header.Set("X-Forwarded-Proto", "http")
	if j.HTTPS {
		req.Header.Set("X-Forwarded-Proto", "https")
	}
	req.Header.Set("X-Forwarded-For", "127.0.0.1")
	req.Header.Set("User-Agent", "Bosman-check")
	res, err := client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, bodyLimit))
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	return res.StatusCode, res.Header.Get("Location"), string(b), err
}

// foreignCommit is a full commit hash that the body names instead of ours.
func foreignCommit(body, commit string) string {
	if len(commit) != 40 || strings.Contains(body, commit) {
		return ""
	}
	isHex := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' }
	for _, word := range strings.FieldsFunc(body, func(r rune) bool { return !isHex(r) }) {
		if len(word) == 40 {
			return word
		}
	}
	return ""
}

func plain(err error) string {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

func firstLine(body string) string {
	body = strings.TrimSpace(body)
	if strings.HasPrefix(body, "<") { // a page: its title says most
		if _, after, ok := strings.Cut(body, "<title>"); ok {
			body, _, _ = strings.Cut(after, "</title>")
			body = strings.Join(strings.Fields(body), " ")
		}
	}
	line, _, _ := strings.Cut(body, "\n")
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "…"
	}
	if line == "" {
		return "(empty)"
	}
	return line
}

// failure gathers what a person needs to see why.
func (sv *Supervisor) failure(ctx context.Context, s runtime.Spec, said, what string) (bosman.Failure, error) {
	f := bosman.Failure{Health: said, TestedAt: time.Now().UTC()}
	st, err := sv.rt.Status(ctx, s.Handle())
	if err == nil {
		if last := st.LastExit(); last != nil {
			f.Exit = last.String()
		}
		if st.State == runtime.StateCrashed {
			what = "its processes end again and again"
		}
	}
	f.LogTail = LogTail(s.LogFile(), logTail)
	e := bosman.Failed("%s is not well: %s (%s)", s.ID, said, what)
	if f.Exit != "" {
		e = bosman.Failed("%s is not well: %s (%s; last: %s)", s.ID, said, what, f.Exit)
	}
	return f, e.WithNext("see the end of its log")
}

// LogTail is the end of a log as text, "source text" a line.
func LogTail(path string, lines int) string {
	tail, err := logfile.Tail(path, lines)
	if err != nil {
		return "(the log cannot be read: " + err.Error() + ")"
	}
	var b strings.Builder
	for _, l := range tail {
		b.WriteString(l.Source + " " + l.Text + "\n")
	}
	return b.String()
}
