package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/faults"
)

// ask asks for an operation in words: "deploy live 2", "revert live",
// "try feature testing-anna".
func ask(ctx context.Context, s *server, words ...string) (bosman.Operation, error) {
	admin := bosman.Actor{Person: firstAdmin, From: "test"}
	switch words[0] {
	case "deploy":
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return bosman.Operation{}, err
		}
		return s.helm.Deploy(ctx, admin, helm.DeployRequest{App: "tiny", Instance: words[1], Release: n, Override: "for the test"})
	case "revert":
		return s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: words[1], Why: "for the test"})
	case "restore": // a revert with the data
		return s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: words[1], Restore: true, ConfirmLoss: true, Why: "for the test"})
	case "try":
		return s.helm.Try(ctx, admin, "tiny", words[1], words[2])
	case "close": // a change, and wait for its preview to go
		if err := s.helm.CloseChange(ctx, admin, "tiny", words[1]); err != nil {
			return bosman.Operation{}, err
		}
		for {
			wake := s.store.Wake()
			if _, err := s.store.Instance(ctx, "tiny", words[2]); bosman.KindOf(err) == bosman.KindNotFound {
				return s.store.Operation(ctx, "tiny", 1)
			} else if err != nil {
				return bosman.Operation{}, err
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return bosman.Operation{}, ctx.Err()
			}
		}
	case "rehearse": // and then something that is over
		if _, err := s.helm.Rehearse(ctx, admin, "tiny", words[1]); err != nil {
			return bosman.Operation{}, err
		}
		for {
			wake := s.store.Wake()
			r, err := s.helm.Rehearsal(ctx, admin, "tiny", words[1])
			if err != nil {
				return bosman.Operation{}, err
			}
			if r.State != bosman.RehearsalRunning {
				return s.store.Operation(ctx, "tiny", 1)
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return bosman.Operation{}, ctx.Err()
			}
		}
	}
	return bosman.Operation{}, fmt.Errorf("%q is nothing to ask for", words)
}

// runServe is `bosman serve` as a process of its own: it asks for one
// operation if there are words, and ends when that has ended.
func runServe(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	failed := false
	started := func(s *server) {
		if len(args) == 2 {
			return
		}
		wg.Go(func() {
			defer stop()
			if err := askAndWait(ctx, s, args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "ask:", err)
				failed = true
			}
		})
	}
	err := Run(ctx, Options{Data: args[0], Listen: args[1], Stdout: io.Discard, Stderr: os.Stderr, LogLevel: "warn", started: started})
	wg.Wait()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if failed || err != nil {
		return 1
	}
	return 0
}

func askAndWait(ctx context.Context, s *server, words []string) error {
	op, err := ask(ctx, s, words...)
	for err == nil && !op.State.Final() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		op, err = s.store.Operation(ctx, op.App, op.Number)
	}
	if err == nil && op.State != bosman.OpDone {
		return fmt.Errorf("%s is %s: %w", opRef(op.Number), op.State, op.Error)
	}
	return err
}

// command is a serve of this world as a process of its own.
func (w *world) command(env []string, words ...string) (*exec.Cmd, *bytes.Buffer) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), self, append([]string{"serve", w.data, fmt.Sprintf("127.0.0.1:%d", w.port)}, words...)...)
	cmd.Env = append(os.Environ(), env...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// child runs serve as a process that asks for one operation, and says whether
// it was killed on the way.
func (w *world) child(plan string, words ...string) (killed bool) {
	w.t.Helper()
	cmd, out := w.command([]string{faults.Env + "=" + plan, faults.Env + "_ONCE=" + filepath.Join(w.t.TempDir(), "once")}, words...)
	err := cmd.Run()
	if err == nil {
		return false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return true
	}
	w.t.Fatalf("serve %v with %s: %v\n%s", words, plan, err, out)
	return false
}

// probe asks live again and again, like people do.
type probe struct {
	stop func()

	mu       sync.Mutex
	asked    int
	failures []failed
	slowest  time.Duration
}

// failed is a request without a right answer.
type failed struct {
	begun, ended time.Time
	what         string
}

func (f failed) String() string {
	return fmt.Sprintf("asked at %s, after %s: %s", f.begun.Format("15:04:05.000"), f.ended.Sub(f.begun).Round(time.Millisecond), f.what)
}

// watch starts a probe of live: about 80 requests a second, half of them on
// new connections.
func (w *world) watch() *probe {
	p := &probe{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	kept := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	fresh := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	wg.Go(func() {
		t := time.NewTicker(12 * time.Millisecond)
		defer t.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			client := kept
			if n%2 == 0 {
				client = fresh
			}
			wg.Go(func() { p.ask(client, w.port) })
		}
	})
	p.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		kept.CloseIdleConnections()
	})
	w.t.Cleanup(p.stop)
	return p
}

func (p *probe) ask(client *http.Client, port int) {
	begun := time.Now()
	failure := ""
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err == nil {
		req.Host = "live.tiny.localhost"
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			err = errors.Join(err, resp.Body.Close())
			if text := string(body); err == nil && (resp.StatusCode != http.StatusOK || !strings.HasPrefix(text, "hello ") || !strings.HasSuffix(text, " on live")) {
				failure = fmt.Sprintf("%d %.80q", resp.StatusCode, text)
			}
		}
	}
	if err != nil {
		failure = err.Error()
	}
	took := time.Since(begun)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	p.slowest = max(p.slowest, took)
	if failure != "" {
		p.failures = append(p.failures, failed{begun, begun.Add(took), failure})
	}
}

// take gives what was seen since the last take.
func (p *probe) take() (asked int, failures []failed, slowest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, failures, slowest = p.asked, p.failures, p.slowest
	p.asked, p.failures, p.slowest = 0, nil, 0
	return asked, failures, slowest
}

// served fails the test if any request since the last look did.
func (w *world) served(p *probe, begun time.Time) {
	w.t.Helper()
	asked, failures, slowest := p.take()
	if len(failures) > 0 {
		w.t.Errorf("%d of %d requests to live failed, the first: %s", len(failures), asked, failures[0])
	}
	if rate := float64(asked) / time.Since(begun).Seconds(); rate < 50 {
		w.t.Errorf("only %.0f requests a second were made", rate)
	}
	if slowest > 10*time.Second {
		w.t.Errorf("a request to live took %s", slowest)
	}
}

// last gives the newest operation.
func (w *world) last() bosman.Operation {
	w.t.Helper()
	ops, err := w.s.store.Operations(w.t.Context(), "tiny", "", 1)
	if err != nil || len(ops) == 0 {
		w.t.Fatalf("no operation: %v", err)
	}
	return ops[0]
}

// tidy demands that rows, routes, journal and the processes of the host say
// the same, and that nobody holds anything.
func (w *world) tidy() {
	w.t.Helper()
	w.tidyAfter(5 * time.Second)
}

// tidyAfter is tidy where processes may take a time to come up or go.
func (w *world) tidyAfter(limit time.Duration) {
	w.t.Helper()
	ctx := w.t.Context()
	// The run's end is written after the row's.
	w.until("the journal is empty", 10*time.Second, func() bool {
		runs, err := w.s.engine.Running(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		return len(runs) == 0
	})
	open, err := w.s.store.UnfinishedOperations(ctx)
	if err != nil || len(open) != 0 {
		w.t.Errorf("unfinished operations: %+v %v", open, err)
	}
	all, err := w.s.store.Instances(ctx, "tiny")
	if err != nil {
		w.t.Fatal(err)
	}
	var want []string
	for _, i := range all {
		if i.Operation != 0 {
			w.t.Errorf("%s is still owned by %s", i.Name, opRef(i.Operation))
		}
		var sets []string
		if i.Release != 0 && !i.Stopped {
			sets = append(sets, i.ProcessID)
			if i.Kind == bosman.KindLive || i.Kind == bosman.KindStaging {
				sets = append(sets, i.ProcessID+"-work")
			}
		}
		var running []string
		for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
			running, err = w.s.instances.Running(ctx, i)
			slices.Sort(running)
			if err == nil && slices.Equal(running, sets) || time.Now().After(end) {
				break
			}
		}
		if err != nil || !slices.Equal(running, sets) {
			w.t.Errorf("%s has the process sets %v, want %v (%v)", i.Name, running, sets, err)
		}
		for _, id := range sets {
			want = append(want, w.s.instances.handle(i, id).RunDir)
		}
		if i.Release == 0 {
			continue
		}
		if now, err := w.s.routes.Current(ctx, i); err != nil || now.Release != i.Release || now.ID != i.ProcessID {
			w.t.Errorf("%s is routed to %+v (%v), but its row says r%d in %s", i.Name, now, err, i.Release, i.ProcessID)
		}
	}
	slices.Sort(want)
	var host []string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if host = w.host(); slices.Equal(host, want) {
			return
		}
	}
	w.t.Errorf("the host runs %v, want %v", host, want)
}

// host gives the folders of process sets that processes of this host hold
// files in or name in their environment: what is asked of nobody but the
// kernel.
func (w *world) host() []string {
	w.t.Helper()
	root := filepath.Join(w.data, "instances") + "/"
	found := map[string]bool{}
	note := func(text string) {
		for {
			_, rest, ok := strings.Cut(text, root)
			if !ok {
				return
			}
			if parts := strings.SplitN(rest, "/", 5); len(parts) >= 4 && parts[2] == "run" {
				id, _, _ := strings.Cut(parts[3], "\x00")
				found[root+strings.Join(append(parts[:3:3], id), "/")] = true
			}
			text = rest
		}
	}
	for _, proc := range w.processes() {
		env, _ := os.ReadFile(filepath.Join(proc, "environ")) // it may have ended
		note(string(env))
		fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
		for _, fd := range fds {
			to, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
			note(to)
		}
	}
	var out []string
	for dir := range found {
		out = append(out, dir)
	}
	slices.Sort(out)
	return out
}

// processes gives the folders in /proc of all processes but our own.
func (w *world) processes() []string {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.t.Fatal(err)
	}
	own := fmt.Sprintf("/proc/%d", os.Getpid())
	return slices.DeleteFunc(all, func(p string) bool { return p == own })
}

// lines reads a file of lines, each once; none if it is not there.
func lines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, l := range strings.Fields(string(b)) {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}
