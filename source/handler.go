package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
)

const (
	stopGrace  = 3 * time.Second  // before TERM, and then before KILL, of an abandoned git
	drainLimit = 10 * time.Second // for what a client still sends after the answer
	// how long a client may neither send what it announced nor take what it gets
	clientPatience = 10 * time.Minute
)

// ServeHTTP answers git's smart protocol at /APP.git/…: info/refs,
// git-upload-pack and git-receive-pack.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app, service, ok := route(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	write := service == "git-receive-pack"
	person, err := s.cfg.Authorize(r, app, write)
	if err != nil {
		refuse(w, person, err)
		return
	}
	repo, err := s.cfg.Repos.Open(app)
	if err != nil {
		refuse(w, person, err)
		return
	}
	if !s.enter() {
		refuse(w, person, bosman.Unavailable("Bosman is stopping").WithKept("nothing was changed").WithNext("try again in a moment"))
		return
	}
	defer s.work.Done()
	if err := s.bridge(w, r, repo, person, write); err != nil {
		s.cfg.Log.Warn("a git request failed", "app", app, "person", person, "service", service, "err", err)
	}
}

// route reads the app and service from the path.
func route(r *http.Request) (app, service string, ok bool) {
	app, rest, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	if !found || bosman.CheckName("app", app) != nil {
		return "", "", false
	}
	service = rest
	method := http.MethodPost
	if rest == "info/refs" {
		service, method = r.URL.Query().Get("service"), http.MethodGet
	}
	return app, service, r.Method == method && (service == "git-upload-pack" || service == "git-receive-pack")
}

// refuse answers in plain text, which git shows to the person.
func refuse(w http.ResponseWriter, person string, err error) {
	e := bosman.AsError(err)
	status := http.StatusInternalServerError
	switch e.Kind {
	case bosman.KindForbidden:
		status = http.StatusForbidden
		if person == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="Bosman", charset="UTF-8"`)
			status = http.StatusUnauthorized
		}
	case bosman.KindNotFound:
		status = http.StatusNotFound
	case bosman.KindInvalid:
		status = http.StatusBadRequest
	case bosman.KindConflict, bosman.KindBusy:
		status = http.StatusConflict
	case bosman.KindUnavailable:
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	tell(w, e)
}

// tell writes the parts of an error that are for people, a line each.
func tell(w io.Writer, err error) {
	e := bosman.AsError(err)
	text := "Bosman: " + e.Message + "\n"
	for _, more := range []string{e.Kept, e.Next} {
		if more != "" {
			text += "  " + more + "\n"
		}
	}
	_, _ = io.WriteString(w, text) // who does not listen any more misses it
}

// bridge runs git http-backend for one request, speaking CGI: body to stdin,
// headers and body from stdout, each piece passed on as it comes.
func (s *Server) bridge(w http.ResponseWriter, r *http.Request, repo *Repo, person string, write bool) (err error) {
	ctl := http.NewResponseController(w)
	if err := ctl.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err // HTTP/2 is always full duplex
	}
	p := &push{app: repo.App, person: person, repo: repo}
	cmd := exec.Command(repo.bin, "http-backend")
	cmd.Env = append(repo.baseEnv(), s.cgiEnv(r, repo, person)...)
	if write && r.Method == http.MethodPost {
		secret := s.begin(p)
		defer s.end(secret, p)
		cmd.Env = append(cmd.Env, envBinary+"="+s.cfg.HookBinary, envSocket+"="+s.cfg.HookSocket, envSecret+"="+secret)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr := &tail{max: 4096}
	cmd.Stderr = stderr
	cmd.WaitDelay = stopGrace
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	// our own pipe: cmd.Wait must not close it before all is read
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = stdout.Close() }() // read to its end or abandoned
	cmd.Stdout = childOut
	err = errors.Join(cmd.Start(), childOut.Close())
	if err != nil {
		refuse(w, person, bosman.Unavailable("git cannot start").Because(err).WithNext("try again in a moment"))
		return err
	}

	exited := make(chan struct{})
	broken := make(chan error, 1)
	bodyDone := make(chan struct{})
	watchDone := make(chan struct{})
	go func() { // the request's body
		defer close(bodyDone)
		broken <- s.feed(w, r, ctl, stdin)
	}()
	go func() { // the client's presence
		defer close(watchDone)
		s.watch(r.Context(), cmd, p, broken, exited)
	}()

	copyErr := s.answer(w, ctl, bufio.NewReader(stdout))
	waitErr := cmd.Wait()
	close(exited)
	<-watchDone
	// the client may still be sending: give it a while to notice the answer
	s.deadline(ctl.SetReadDeadline, drainLimit)
	<-bodyDone
	s.deadline(ctl.SetReadDeadline, 0)
	if r.Context().Err() != nil {
		return nil // hanging up is no failure
	}
	if waitErr != nil {
		waitErr = fmt.Errorf("git http-backend: %w: %s", waitErr, strings.TrimSpace(stderr.String()))
	}
	return errors.Join(copyErr, waitErr)
}

// feed copies the body to git. What git does not want (it refused early) is
// read and dropped, so that the client gets to read the answer. The error is
// the client's: a body that broke off.
func (s *Server) feed(w http.ResponseWriter, r *http.Request, ctl *http.ResponseController, stdin io.WriteCloser) error {
	body := http.MaxBytesReader(w, r.Body, s.cfg.MaxPush+(1<<20))
	buf := make([]byte, 64<<10)
	var readErr error
	open := true
	for readErr == nil {
		var n int
		if open {
			s.deadline(ctl.SetReadDeadline, clientPatience)
		}
		n, readErr = body.Read(buf)
		if n > 0 && open {
			_, err := stdin.Write(buf[:n])
			open = err == nil
		}
	}
	s.deadline(ctl.SetReadDeadline, 0) // from here on only the client's presence is read
	if errors.Is(readErr, io.EOF) {
		readErr = nil
	}
	_ = stdin.Close() // git may have ended already
	return readErr
}

// deadline sets a deadline some time from now, or none (0): the server's own
// time-outs are for pages, not for clones.
func (s *Server) deadline(set func(time.Time) error, in time.Duration) {
	var at time.Time
	if in > 0 {
		at = time.Now().Add(in)
	}
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.cfg.Log.Debug("a git connection takes no deadline", "err", err)
	}
}

// watch stops git if the client goes away, unless the push is accepted:
// hanging up then cancels nothing.
func (s *Server) watch(gone context.Context, cmd *exec.Cmd, p *push, broken <-chan error, exited <-chan struct{}) {
	for waiting := true; waiting; {
		select {
		case <-exited:
			return
		case <-gone.Done():
			waiting = false
		case err := <-broken:
			waiting = err == nil
			broken = nil
		}
	}
	if !s.step(p, pushBegun, pushCancelled) {
		return // accepted, or over
	}
	// First let git notice the end of its input and tidy up in peace: a signal
	// to all its processes at once may leave half-received objects.
	group := -cmd.Process.Pid
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-exited:
			return
		case <-time.After(stopGrace):
			_ = syscall.Kill(group, sig) // gone is fine too
		}
	}
}

// answer passes on CGI headers and body. When the client is gone it goes on
// reading, so that git never blocks.
func (s *Server) answer(w http.ResponseWriter, ctl *http.ResponseController, out *bufio.Reader) error {
	header, err := textproto.NewReader(out).ReadMIMEHeader()
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		_, derr := io.Copy(io.Discard, out)
		return errors.Join(fmt.Errorf("the answer of git http-backend is not understood: %w", err), derr)
	}
	status := http.StatusOK
	for name, values := range header {
		if name == "Status" {
			code, _, _ := strings.Cut(values[0], " ")
			if status, err = strconv.Atoi(code); err != nil || status < 200 || status > 599 {
				status = http.StatusBadGateway
			}
			continue
		}
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	buf := make([]byte, 32<<10)
	var gone error
	for {
		n, err := out.Read(buf)
		if n > 0 && gone == nil {
			s.deadline(ctl.SetWriteDeadline, clientPatience)
			if _, gone = w.Write(buf[:n]); gone == nil {
				gone = ctl.Flush()
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (s *Server) cgiEnv(r *http.Request, repo *Repo, person string) []string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "127.0.0.1" // a unix socket
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "SERVER_SOFTWARE=bosman",
		"REQUEST_METHOD=" + r.Method, "QUERY_STRING=" + r.URL.RawQuery,
		"GIT_PROJECT_ROOT=" + s.cfg.Repos.dir, "GIT_HTTP_EXPORT_ALL=1",
		"PATH_INFO=" + r.URL.Path, "REMOTE_ADDR=" + host, "REMOTE_USER=" + clean(person),
		"CONTENT_TYPE=" + r.Header.Get("Content-Type"),
		"GIT_COMMITTER_NAME=" + clean(person), "GIT_COMMITTER_EMAIL=" + clean(person) + "@localhost", // of the reflog
		// on top of safe.directory
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_1=receive.maxInputSize", "GIT_CONFIG_VALUE_1=" + strconv.FormatInt(s.cfg.MaxPush, 10),
	}
	// CONTENT_LENGTH is left out, so that git reads to the end of its input:
	// told a length, it spins for ever when a client breaks off before.
	for header, name := range map[string]string{"Content-Encoding": "HTTP_CONTENT_ENCODING", "Git-Protocol": "HTTP_GIT_PROTOCOL", "Accept-Language": "HTTP_ACCEPT_LANGUAGE"} {
		if v := r.Header.Get(header); v != "" {
			env = append(env, name+"="+clean(v))
		}
	}
	return env
}

func clean(s string) string {
	if s = strings.Map(func(c rune) rune {
		if c < ' ' || c == '<' || c == '>' {
			return -1
		}
		return c
	}, s); s == "" {
		return "somebody"
	}
	return s
}
