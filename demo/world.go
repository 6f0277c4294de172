package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
)

// App is the name of the example application.
const App = "rms"

// The people of the story, and what they may do.
var people = []struct {
	name string
	role bosman.Role
}{
	{"anna", bosman.RoleTester},
	{"maria", bosman.RoleTester},
	{"piotr", bosman.RoleDeveloper},
}

func password(person string) string { return person + "-of-rms" }

// world is a Bosman at work and what the story remembers of it.
type world struct {
	opt   Options
	show  *show
	began time.Time

	database string // postgres or sqlite
	admin    string // the first administrator's password
	serve    *exec.Cmd
	ended    chan error
	client   *client.Client

	times times
}

// times are the measurements that the README speaks of.
type times struct {
	pushGreen, pushTester, deploy, revert, self time.Duration
}

func (t times) String() string {
	return fmt.Sprintf("push to green %s, push to a tester's address %s, deployment to the switch %s, revert to the switch %s, revert by itself %s after the bad switch",
		seconds(t.pushGreen), seconds(t.pushTester), seconds(t.deploy), seconds(t.revert), seconds(t.self))
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.opt.Data}, parts...)...)
}

func (w *world) data() string { return w.path("data") }
func (w *world) work() string { return w.path("rms") }

func (w *world) address() string { return "http://127.0.0.1:" + strconv.Itoa(w.opt.Port) }

// host is the name an instance answers to.
func (w *world) host(instance string) string {
	if w.opt.BaseDomain != "" {
		return instance + "-" + App + "." + w.opt.BaseDomain
	}
	return instance + "." + App + ".localhost"
}

// startServe runs bosman serve beside us, as a process of its own that
// outlives us.
func (w *world) startServe(ctx context.Context) error {
	log, err := os.OpenFile(w.path("serve.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(w.path("serve.out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	args := []string{"serve", "--data", w.data(), "--listen", ":" + strconv.Itoa(w.opt.Port)}
	if w.opt.BaseDomain != "" {
		args = append(args, "--base-domain", w.opt.BaseDomain)
	}
	if w.opt.PortPerInst != 0 {
		args = append(args, "--port-per-instance", strconv.Itoa(w.opt.PortPerInst))
	}
	said, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close(), log.Close())
	}
	cmd := exec.Command(w.opt.Program, args...) //nolint:noctx // it outlives the story
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if cerr := errors.Join(out.Close(), log.Close()); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("start bosman serve: %w", err)
	}
	w.serve, w.ended = cmd, make(chan error, 1)
	go func(ended chan<- error) { ended <- cmd.Wait() }(w.ended)
	if err := os.WriteFile(w.path("serve.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	w.client = client.New(client.Config{Socket: filepath.Join(w.data(), "bosman.sock"), Agent: "bosman demo"})
	return w.until(ctx, "bosman serve answers", 3*time.Minute, func() (bool, error) {
		select {
		case err := <-w.ended:
			w.serve = nil
			return false, fmt.Errorf("bosman serve ended: %w: %s", err, lastLine(w.path("serve.log")))
		default:
		}
		text, err := os.ReadFile(w.path("serve.out"))
		if err != nil || !bytes.Contains(text[said.Size():], []byte("Bosman serves")) {
			return false, err
		}
		code, _, err := w.get(ctx, "localhost", "/api/openapi.json")
		return err == nil && code == http.StatusOK, nil
	})
}

// endServe ends the server that we, or a demo before us, started.
func (w *world) endServe() error {
	if w.serve != nil {
		if err := w.serve.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case err := <-w.ended:
			w.serve = nil
			if err != nil {
				return fmt.Errorf("bosman serve did not end well: %w", err)
			}
			return nil
		case <-time.After(30 * time.Second):
			return bosman.Failed("bosman serve does not end").WithNext("kill " + strconv.Itoa(w.serve.Process.Pid))
		}
	}
	text, err := os.ReadFile(w.path("serve.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !w.isServe(pid) {
		return nil // it ended long ago
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	for range 300 {
		if !w.isServe(pid) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return bosman.Failed("bosman serve (process %d) does not end", pid).WithNext("kill -9 " + strconv.Itoa(pid))
}

// isServe says whether a process is the server of this demo.
func (w *world) isServe(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(line, []byte("\x00serve\x00")) && bytes.Contains(line, []byte(w.data()))
}

// refusal is a command that ended with a code other than 0.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// bosman runs the command line as a person ("" is the administrator); what
// it prints as JSON goes to out unless that is nil.
func (w *world) bosman(ctx context.Context, as string, out any, args ...string) error {
	text, err := w.bosmanText(ctx, as, nil, append([]string{"--json"}, args...)...)
	if out == nil || text == "" {
		return err
	}
	if jerr := json.Unmarshal([]byte(text), out); jerr != nil && err == nil {
		return fmt.Errorf("bosman %s does not print JSON: %w: %q", strings.Join(args, " "), jerr, firstLine(text))
	}
	return err
}

// bosmanText runs the command line and gives what it prints.
func (w *world) bosmanText(ctx context.Context, as string, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.opt.Program, args...)
	cmd.Env = append(os.Environ(), "BOSMAN_DATA="+w.data(), "BOSMAN_APP="+App, "BOSMAN_AS="+as, "BOSMAN_URL=")
	cmd.Stdin = stdin
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said := strings.TrimSpace(complaint.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		return out.String(), &refusal{code: exit.ExitCode(), text: fmt.Sprintf("bosman %s (exit code %d): %s", strings.Join(args, " "), exit.ExitCode(), said)}
	}
	return out.String(), err
}

// refused says whether err is a command that ended with a code, and what it
// said.
func refused(err error, code int) (string, bool) {
	var r *refusal
	if !errors.As(err, &r) {
		return "", false
	}
	return r.text, r.code == code
}

// git runs git in the clone, as the author of the demo.
func (w *world) git(ctx context.Context, args ...string) (string, error) {
	cmd := w.gitCommand(ctx, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func (w *world) gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = w.work()
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Demo", "GIT_AUTHOR_EMAIL=demo@example.org", "GIT_COMMITTER_NAME=Demo", "GIT_COMMITTER_EMAIL=demo@example.org")
	return cmd
}

// pushed is what a push said and how long it took.
type pushed struct {
	text string
	took time.Duration
	err  error
}

// push pushes a branch as a person over HTTP; each line that git shows
// meanwhile goes to line.
func (w *world) push(ctx context.Context, person, branch string, line func(string)) pushed {
	began := time.Now()
	remote := fmt.Sprintf("http://%s:%s@127.0.0.1:%d/%s.git", person, password(person), w.opt.Port, App)
	cmd := w.gitCommand(ctx, "push", remote, branch)
	r, out, err := os.Pipe()
	if err != nil {
		return pushed{err: err}
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // with git's helpers, which hold the pipe
	err = cmd.Start()
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	var text strings.Builder
	if err == nil {
		err = eachLine(r, func(l string) {
			l = strings.TrimSpace(strings.TrimPrefix(l, "remote:"))
			text.WriteString(l + "\n")
			if line != nil {
				line(l)
			}
		})
		if werr := cmd.Wait(); werr != nil {
			err = fmt.Errorf("git push of %s: %w: %s", branch, werr, strings.TrimSpace(text.String()))
		}
	}
	return pushed{text: text.String(), took: time.Since(began), err: errors.Join(err, r.Close())}
}

func eachLine(r io.Reader, each func(string)) error {
	var rest []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			at := bytes.IndexAny(rest, "\r\n")
			if at < 0 {
				break
			}
			each(string(rest[:at]))
			rest = rest[at+1:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// later runs something beside the story.
type later[T any] struct {
	wg    sync.WaitGroup
	value T
}

func beside[T any](do func() T) *later[T] {
	l := &later[T]{}
	l.wg.Go(func() { l.value = do() })
	return l
}

func (l *later[T]) wait() T {
	l.wg.Wait()
	return l.value
}

// until looks again and again whether something became true.
func (w *world) until(ctx context.Context, what string, limit time.Duration, ok func() (bool, error)) error {
	end := time.Now().Add(limit)
	for {
		yes, err := ok()
		if yes || err != nil {
			return err
		}
		if time.Now().After(end) {
			return bosman.Failed("not within %s: %s", limit, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// instance waits until an instance serves a release and nothing is at work
// on it; release 0 is any.
func (w *world) settled(ctx context.Context, name string, release int, limit time.Duration) (bosman.Instance, error) {
	var i bosman.Instance
	err := w.until(ctx, fmt.Sprintf("%s runs %s and nothing is at work on it", name, bosman.Ref(bosman.LetterRelease, release)), limit, func() (ok bool, err error) {
		i, err = w.client.Instance(ctx, App, name)
		if errors.Is(err, client.ErrUnreachable) {
			return false, nil
		}
		return i.Release != 0 && (release == 0 || i.Release == release) && i.Operation == 0, err
	})
	return i, err
}

// op waits until an operation ends, or with watched until it has switched.
func (w *world) op(ctx context.Context, n int, watched bool) (bosman.Operation, error) {
	var op bosman.Operation
	err := w.until(ctx, bosman.Ref(bosman.LetterOperation, n)+" ends", 10*time.Minute, func() (ok bool, err error) {
		op, err = w.client.Operation(ctx, App, n)
		if errors.Is(err, client.ErrUnreachable) {
			return false, nil
		}
		for _, s := range op.Steps {
			if s.State == bosman.StepRunning && w.show != nil {
				w.show.tell("%s %s", s.Name, s.Note)
			}
		}
		return op.State.Final() || watched && op.State == bosman.OpWatching, err
	})
	return op, err
}

// well says why an operation did not end as it should.
func well(op bosman.Operation) error {
	if op.State == bosman.OpDone || op.State == bosman.OpWatching {
		return nil
	}
	ref := bosman.Ref(bosman.LetterOperation, op.Number)
	if op.Error == nil {
		return bosman.Failed("%s is %s", ref, op.State)
	}
	text := op.Error.Message
	if op.Failure != nil && op.Failure.LogTail != "" {
		text += "\n" + op.Failure.LogTail
	}
	return bosman.Failed("%s is %s: %s", ref, op.State, text)
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
