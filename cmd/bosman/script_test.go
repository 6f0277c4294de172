package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/serve"
)

// TestScripts plays the stories of testdata/script on the real program: its
// command line, git over HTTP and requests through the edge. Besides the usual
// commands of testscript there are:
//
//	world FLAG...     bosman serve, its people, the app tiny and a clone of it
//	serve start|stop|kill
//	burn              the server is lost: every process ends, the data folder
//	                  is moved away ($ASHES), and $DATA is another, empty one
//	get HOST PATH     a request to an instance ("live") through the edge; what
//	                  is answered, "200 hello", is the standard output
//	wait-for REGEXP COMMAND ...   until its output matches
//	exits CODE COMMAND ...        it must end with that exit code
func TestScripts(t *testing.T) {
	play(t, testscript.Params{Dir: "../../testdata/script"})
}

// inS3 are the stories whose target, $TARGET, is in S3; that of others is a
// folder.
var inS3 = []string{"server-burned-log"}

// newBucket gives an S3 server of a story's own: what a program must know of
// it, and its bucket.
func newBucket(env *testscript.Env) ([]string, string, error) {
	backend := s3mem.New()
	if err := backend.CreateBucket("bosman"); err != nil {
		return nil, "", err
	}
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	env.Defer(srv.Close)
	return []string{"BOSMAN_S3_ENDPOINT=" + srv.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}, "s3://bosman/backups/site", nil
}

func play(t *testing.T, params testscript.Params) {
	t.Helper()
	need.Root(t)
	need.Program(t, "bwrap", "bubblewrap")
	need.Program(t, "git", "git")
	need.File(t, "/usr/bin/python3", "python3")
	bin := t.TempDir()
	program := filepath.Join(bin, "bosman")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	tiny, err := filepath.Abs("../../testdata/tiny")
	if err != nil {
		t.Fatal(err)
	}
	params.WorkdirRoot = t.TempDir()
	params.Setup = func(env *testscript.Env) error {
		s, err := newStory(env, program, tiny)
		if err != nil {
			return err
		}
		env.Setenv("TARGET", filepath.Join(env.WorkDir, "vault"))
		if !slices.Contains(inS3, strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")) {
			return nil
		}
		known, at, err := newBucket(env)
		if err != nil {
			return err
		}
		env.Vars, s.env = append(env.Vars, known...), known
		env.Setenv("TARGET", at)
		return nil
	}
	params.Cmds = map[string]func(*testscript.TestScript, bool, []string){
		"world":    cmdWorld,
		"serve":    cmdServe,
		"burn":     cmdBurn,
		"get":      cmdGet,
		"wait-for": cmdWaitFor,
		"exits":    cmdExits,
	}
	testscript.Run(t, params)
}

// story is one script's Bosman.
type story struct {
	program, tiny, dir, data string
	port                     int
	flags                    []string // of serve, besides the usual ones
	env                      []string // the same of its environment
	cmd                      *exec.Cmd
	ended                    chan error
	log                      bytes.Buffer // of serve; read when it has ended
}

type storyKey struct{}

func newStory(env *testscript.Env, program, tiny string) (*story, error) {
	dir, err := os.MkdirTemp("", "story") // short: sockets lie below it
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // instances run as users of their own
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &story{program: program, tiny: tiny, dir: dir, data: filepath.Join(dir, "data")}
	addr, ok := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil || !ok {
		return nil, errors.Join(err, errors.New("no port"))
	}
	s.port = addr.Port
	env.Values[storyKey{}] = s
	env.Setenv("PATH", filepath.Dir(program)+":/usr/local/bin:/usr/bin:/bin")
	env.Setenv("HOME", dir)
	env.Setenv("BOSMAN_DATA", s.data)
	env.Setenv("DATA", s.data)
	env.Setenv("URL", "http://127.0.0.1:"+strconv.Itoa(s.port))
	env.Setenv("GIT_TERMINAL_PROMPT", "0")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env.Setenv("GIT_"+who+"_NAME", "Piotr")
		env.Setenv("GIT_"+who+"_EMAIL", "piotr@example.org")
	}
	for _, p := range []string{"anna", "maria", "piotr", "vera"} {
		env.Setenv(strings.ToUpper(p), fmt.Sprintf("http://%s:%s-password@127.0.0.1:%d/tiny.git", p, p, s.port))
	}
	closed := time.Now().UTC().Add(12 * time.Hour)
	env.Setenv("CLOSED", fmt.Sprintf("Mon-Sun %02d:00-%02d:30", closed.Hour(), closed.Hour()))
	env.Defer(func() {
		err := s.stop(syscall.SIGTERM)
		if serr := serve.StopAll(context.Background(), s.data, program); serr != nil && !errors.Is(serr, os.ErrNotExist) {
			err = errors.Join(err, serr)
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			env.T().Log("cleaning up: ", err)
			env.T().FailNow()
		}
	})
	return s, nil
}

func storyOf(ts *testscript.TestScript) *story {
	s, ok := ts.Value(storyKey{}).(*story)
	if !ok {
		ts.Fatalf("there is no story")
	}
	return s
}

func (s *story) start() error {
	out, err := os.OpenFile(s.dir+"/serve.out", os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	s.log.Reset()
	s.cmd = exec.Command(s.program, "serve", "--listen", "127.0.0.1:"+strconv.Itoa(s.port), "--log-level", "warn")
	s.cmd.Args = append(s.cmd.Args, s.flags...)
	s.cmd.Env = append(append(os.Environ(), s.env...), "BOSMAN_DATA="+s.data)
	s.cmd.Stdout, s.cmd.Stderr = out, &s.log
	err = s.cmd.Start()
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(s.cmd, s.ended)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(s.dir + "/serve.out")
		if err == nil && bytes.Contains(text, []byte("Bosman serves")) {
			return nil
		}
		select {
		case err := <-s.ended:
			s.cmd = nil
			return fmt.Errorf("bosman serve ended: %w\n%s", err, s.log.String())
		default:
		}
	}
	return errors.New("bosman serve did not start within a minute")
}

// stop ends serve; instances run on.
func (s *story) stop(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-s.ended
	s.cmd = nil
	if sig == syscall.SIGKILL {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bosman serve: %w\n%s", err, s.log.String())
	}
	return nil
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve start|stop|kill")
	}
	s := storyOf(ts)
	switch args[0] {
	case "start":
		ts.Check(s.start())
	case "stop":
		ts.Check(s.stop(syscall.SIGTERM))
	case "kill":
		ts.Check(s.stop(syscall.SIGKILL))
	default:
		ts.Fatalf("usage: serve start|stop|kill")
	}
}

// cmdBurn takes the server away as a fire would, but for the disk that the
// test runs on.
func cmdBurn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: burn")
	}
	s := storyOf(ts)
	ts.Check(s.stop(syscall.SIGKILL))
	ts.Check(serve.StopAll(context.Background(), s.data, s.program))
	ashes := filepath.Join(s.dir, "ashes")
	ts.Check(os.Rename(s.data, ashes))
	s.data = filepath.Join(s.dir, "second")
	ts.Setenv("ASHES", ashes)
	ts.Setenv("DATA", s.data)
	ts.Setenv("BOSMAN_DATA", s.data)
}

// cmdWorld makes what every story begins with.
func cmdWorld(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: world FLAG...")
	}
	s := storyOf(ts)
	s.flags = args
	ts.Check(s.start())
	for _, p := range [][2]string{{"anna", "tester"}, {"maria", "tester"}, {"piotr", "developer"}, {"vera", "viewer"}} {
		cmd := exec.Command(s.program, "people", "add", p[0], "--role", p[1], "--password-stdin")
		cmd.Env = append(os.Environ(), "BOSMAN_DATA="+s.data)
		cmd.Stdin = strings.NewReader(p[0] + "-password\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("people add %s: %v\n%s", p[0], err, out)
		}
	}
	ts.Check(ts.Exec("bosman", "app", "add", "tiny"))
	files, err := os.ReadDir(s.tiny)
	ts.Check(err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(s.tiny, f.Name()))
		ts.Check(err)
		target := ts.MkAbs(f.Name())
		if _, err := os.Stat(target); err == nil {
			continue // the script has its own
		}
		ts.Check(os.WriteFile(target, data, 0o600))
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "--", ".", ":!.tmp"}, {"commit", "-qm", "Start"}} {
		ts.Check(ts.Exec("git", args...))
	}
}

func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get HOST PATH")
	}
	s := storyOf(ts)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", s.port, args[1]), nil)
	ts.Check(err)
	req.Host = args[0] + ".tiny.localhost"
	client := http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	ts.Check(err)
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	ts.Check(errors.Join(err, resp.Body.Close()))
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, body)
	ts.Check(err)
}

// patience is how long a story waits for something.
const patience = 90 * time.Second

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: wait-for REGEXP COMMAND ...")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	s := storyOf(ts)
	var said []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if args[1] == "get" {
			ts.Fatalf("wait-for takes programs")
		}
		cmd := exec.Command(args[1], args[2:]...)
		if args[1] == "bosman" {
			cmd = exec.Command(s.program, args[2:]...)
		}
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = append(os.Environ(), "BOSMAN_DATA="+s.data, "BOSMAN_AS="+ts.Getenv("BOSMAN_AS"))
		said, _ = cmd.CombinedOutput() // it may fail until it does not
		if re.Match(said) {
			return
		}
	}
	ts.Fatalf("not within %s: %s in\n%s", patience, args[0], said)
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s ended with the exit code %d, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}
