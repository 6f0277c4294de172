package source

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/internal/need"
)

func noise(n int, seed int64) string {
	b := make([]byte, n)
	r := rand.New(rand.NewSource(seed))
	_, _ = r.Read(b) // never fails
	return string(b)
}

func TestLargeChunkedPush(t *testing.T) {
	need.Slow(t, "pushes 30 MB")
	h := newHost(t)
	c := h.clone()
	head := c.commit("big.bin", noise(30<<20, 1))
	c.git("-c", "http.postBuffer=65536", "push", "--quiet", "origin", "main")
	mustEqual(t, "pushed", h.received().Updates[0].New, head)
	entries, err := h.repo.Tree(t.Context(), head)
	if err != nil || len(entries) != 1 || entries[0].Bytes != 30<<20 {
		t.Fatalf("tree %v, %v", entries, err)
	}
	other := &clone{t: t, dir: t.TempDir()}
	other.git("clone", "--quiet", h.url, ".")
}

func TestPushAboveLimit(t *testing.T) {
	h := newHost(t, func(c *Config) { c.MaxPush = 100 << 10 })
	c := h.clone()
	c.commit("big.bin", noise(4<<20, 2))
	for _, buffer := range []string{"65536", "8000000"} { // chunked, and with a length
		if out, err := c.try("-c", "http.postBuffer="+buffer, "push", "origin", "main"); err == nil {
			t.Fatalf("4 MB were accepted: %s", out)
		} else {
			t.Logf("the client was told: %s", out)
		}
	}
	if heads, err := h.repo.Heads(t.Context()); err != nil || len(heads) != 0 {
		t.Fatalf("branches %v, %v", heads, err)
	}
	noQuarantine(t, h)
}

// noQuarantine waits for git to have taken away its half-received objects.
func noQuarantine(t *testing.T, h *host) {
	t.Helper()
	for range 100 {
		left, err := filepath.Glob(filepath.Join(h.repo.Dir(), "objects", "*incoming-*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("half-received objects remain")
}

func TestProgressComesWhileTheHookRuns(t *testing.T) {
	h := newHost(t)
	release := make(chan struct{})
	h.recv.received = func(_ context.Context, _ Push, progress io.Writer) error {
		if _, err := io.WriteString(progress, "b1 is running\n"); err != nil {
			return err
		}
		<-release
		_, err := io.WriteString(progress, "b1 is green\n")
		return err
	}
	c := h.clone()
	c.commit("a", "1")
	cmd := c.command("push", "origin", "main")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen []string
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), "b1 is running") {
			close(release) // only now may the hook go on: the line came while it ran
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	mustContain(t, strings.Join(seen, "\n"), "remote: b1 is running", "remote: b1 is green")
	h.received()
}

func TestConcurrentPushes(t *testing.T) {
	need.Slow(t, "ten clones push at once")
	h := newHost(t)
	c := h.clone()
	c.commit("a", "1")
	c.git("push", "--quiet", "origin", "main")
	h.received()
	const pushers = 10
	var wg sync.WaitGroup
	for i := range pushers {
		d := &clone{t: t, dir: t.TempDir()}
		d.git("clone", "--quiet", h.url, ".")
		d.git("checkout", "--quiet", "-b", fmt.Sprintf("change-%d", i))
		d.commit(fmt.Sprintf("f%d", i), noise(1000, int64(i)))
		wg.Go(func() {
			if out, err := d.try("push", "--quiet", "origin", "HEAD"); err != nil {
				t.Errorf("push %d: %v %s", i, err, out)
			}
		})
	}
	wg.Wait()
	for range pushers {
		h.received()
	}
	heads, err := h.repo.Heads(t.Context())
	if err != nil || len(heads) != pushers+1 {
		t.Fatalf("branches %v, %v", heads, err)
	}
	// two move main from the same commit: one wins
	h.recv.check = func(context.Context, Push) error { time.Sleep(200 * time.Millisecond); return nil }
	var won, lost int
	var mu sync.Mutex
	for i := range 2 {
		d := &clone{t: t, dir: t.TempDir()}
		d.git("clone", "--quiet", h.url, ".")
		d.commit("main-file", fmt.Sprint(i))
		wg.Go(func() {
			_, err := d.try("push", "--quiet", "origin", "main")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				lost++
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 1 {
		t.Fatalf("%d pushes won and %d lost", won, lost)
	}
	h.received()
}

func TestClientKilledInMidPush(t *testing.T) {
	h := newHost(t)
	// a client by hand: it announces 50 MB and dies after 1 MB
	c := h.clone()
	c.commit("a", "1")
	host := strings.TrimSuffix(h.url[strings.Index(h.url, "@")+1:], "/rms.git")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", "http://"+host+"/rms.git/git-receive-pack", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(testPerson, testToken)
	line := fmt.Sprintf("%s %s refs/heads/main\x00 report-status side-band-64k", Zero, c.git("rev-parse", "HEAD"))
	_, err = fmt.Fprintf(conn, "POST /rms.git/git-receive-pack HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 50000000\r\n\r\n%04x%s0000PACK\x00\x00\x00\x02\x00\x00\x10\x00",
		host, req.Header.Get("Authorization"), len(line)+4, line)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "git to start", func() bool { return busy(h) == 1 })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "git to end", func() bool { return busy(h) == 0 })
	noQuarantine(t, h)
	c.git("push", "--quiet", "origin", "main")
	h.received()
}

func busy(h *host) int {
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	return len(h.srv.pushes)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 400 {
		if ok() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestHangingUpCancelsNothing(t *testing.T) {
	h := newHost(t)
	entered, release := make(chan struct{}), make(chan struct{})
	h.recv.received = func(ctx context.Context, _ Push, progress io.Writer) error {
		close(entered)
		<-release
		for range 100 { // nobody listens: it must neither fail nor wait
			if _, err := io.WriteString(progress, strings.Repeat("x", 1000)+"\n"); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	c := h.clone()
	head := c.commit("a", "1")
	cmd := c.command("push", "origin", "main")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the client should have been killed")
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	mustEqual(t, "received", h.received().Updates[0].New, head)
	waitFor(t, "git to end", func() bool { return busy(h) == 0 })
	if n := len(h.recv.pushes()); n != 1 {
		t.Fatalf("received %d times", n)
	}
}

func TestGitKilledAfterTheRefsMoved(t *testing.T) {
	// a hook that dies before it calls: the push is received all the same
	h := newHost(t)
	hook := filepath.Join(h.repo.Dir(), "hooks", hookPostReceive)
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nkill -9 $PPID\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.clone()
	head := c.commit("a", "1")
	if out, err := c.try("push", "origin", "main"); err == nil {
		t.Logf("the client noticed nothing: %s", out)
	}
	p := h.received()
	mustEqual(t, "received", p.Updates[0], RefUpdate{Ref: "refs/heads/main", Old: Zero, New: head})
}

func TestCloseEndsTheFollowUp(t *testing.T) {
	h := newHost(t)
	entered := make(chan struct{})
	h.recv.received = func(ctx context.Context, _ Push, _ io.Writer) error {
		close(entered)
		<-ctx.Done() // as one that follows a build does
		return ctx.Err()
	}
	c := h.clone()
	head := c.commit("a", "1")
	done := make(chan error, 1)
	go func() {
		_, err := c.try("push", "origin", "main")
		done <- err
	}()
	<-entered
	h.srv.Close()
	if err := <-done; err != nil {
		t.Fatalf("the push is in and should say so: %v", err)
	}
	if n := len(h.recv.pushes()); n != 1 {
		t.Fatalf("Close did not wait: %d received", n)
	}
	if at, err := h.repo.Resolve(t.Context(), "main"); err != nil || at != head {
		t.Fatalf("main is at %s, %v", at, err)
	}
	out, err := c.try("push", "origin", "main:after")
	if err == nil {
		t.Fatal("a closed server took a push")
	}
	mustContain(t, out, "Bosman is stopping")
}

// serveChild is a server in a process of its own, to be killed.
func serveChild(dir string) {
	fail := func(err error) {
		if err != nil {
			slog.Error("child", "err", err)
			os.Exit(1)
		}
	}
	repos, err := New(context.Background(), filepath.Join(dir, "git"))
	fail(err)
	_, err = repos.Create(context.Background(), "rms", "")
	fail(err)
	self, err := os.Executable()
	fail(err)
	srv, err := NewServer(Config{Repos: repos, Authorize: authorize, Receiver: &receiver{}, HookBinary: self, HookSocket: filepath.Join(dir, "s")})
	fail(err)
	hooks, err := net.Listen("unix", filepath.Join(dir, "s"))
	fail(err)
	web, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fail(os.WriteFile(filepath.Join(dir, "address"), []byte(web.Addr().String()+"\n"), 0o600))
	go func() { fail(http.Serve(hooks, srv.Hooks())) }()
	fail(http.Serve(web, srv))
}

func TestServerKilled(t *testing.T) {
	need.Slow(t, "starts and kills servers")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		point string
		moved bool
	}{
		{"source.before-accept", false},
		{"source.after-accept", false}, // git had no answer yet
		{"source.before-received", true},
	} {
		t.Run(tt.point, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "k")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "SOURCE_TEST_SERVE="+dir, "BOSMAN_FAULTS="+tt.point+"=kill")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var address string
			waitFor(t, "the server", func() bool {
				b, err := os.ReadFile(filepath.Join(dir, "address"))
				address = strings.TrimSpace(string(b))
				return err == nil && strings.HasSuffix(string(b), "\n")
			})
			c := &clone{t: t, dir: t.TempDir()}
			c.git("init", "--quiet", "--initial-branch=main")
			head := c.commit("a", "1")
			if out, err := c.try("push", "http://"+testPerson+":"+testToken+"@"+address+"/rms.git", "main"); err == nil {
				t.Fatalf("the push should have failed: %s", out)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the server should have died")
			}
			repos, err := New(t.Context(), filepath.Join(dir, "git"))
			if err != nil {
				t.Fatal(err)
			}
			repo, err := repos.Open("rms")
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if tt.moved {
				want = head
			}
			// git itself may still be ending
			waitFor(t, "the refs", func() bool {
				heads, err := repo.Heads(t.Context())
				return err == nil && heads["main"] == want
			})
		})
	}
}
