package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
)

// TestMain lets the test program be the hook that git runs.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "hook" {
		os.Exit(RunHook(context.Background(), os.Args[2], os.Stdin, os.Stdout, os.Getenv))
	}
	if dir := os.Getenv("SOURCE_TEST_SERVE"); dir != "" {
		serveChild(dir)
	}
	goleak.VerifyTestMain(m)
}

// receiver is a Receiver whose parts a test sets.
type receiver struct {
	check    func(ctx context.Context, p Push) error
	received func(ctx context.Context, p Push, progress io.Writer) error

	mu   sync.Mutex
	got  []Push
	seen chan Push
}

func (r *receiver) Check(ctx context.Context, p Push) error {
	if r.check == nil {
		return nil
	}
	return r.check(ctx, p)
}

func (r *receiver) Received(ctx context.Context, p Push, progress io.Writer) error {
	var err error
	if r.received != nil {
		err = r.received(ctx, p, progress)
	}
	r.mu.Lock()
	r.got = append(r.got, p)
	r.mu.Unlock()
	if r.seen != nil {
		r.seen <- p
	}
	return err
}

func (r *receiver) pushes() []Push {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Push(nil), r.got...)
}

type host struct {
	t     *testing.T
	repos *Repos
	repo  *Repo
	srv   *Server
	recv  *receiver
	url   string
}

const (
	testPerson = "anna"
	testToken  = "t0ken"
)

func authorize(r *http.Request, _ string, write bool) (string, error) {
	person, token, ok := r.BasicAuth()
	switch {
	case !ok || token != testToken:
		return "", bosman.Forbidden("no valid token was given").WithNext("use a token as password")
	case write && person == "guest":
		return person, bosman.Forbidden("guest may not push to this app")
	}
	return person, nil
}

func newHost(t *testing.T, change ...func(*Config)) *host {
	t.Helper()
	dir := t.TempDir()
	ctx := t.Context()
	repos, err := New(ctx, filepath.Join(dir, "git"))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repos.Create(ctx, "rms", "")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sockDir, err := os.MkdirTemp("", "s") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, repos: repos, repo: repo, recv: &receiver{seen: make(chan Push, 100)}}
	cfg := Config{
		Repos: repos, Authorize: authorize, Receiver: h.recv,
		HookBinary: self, HookSocket: filepath.Join(sockDir, "s"), ProtectedTags: []string{"live-*"},
	}
	for _, f := range change {
		f(&cfg)
	}
	if h.srv, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", cfg.HookSocket)
	if err != nil {
		t.Fatal(err)
	}
	hooks := httptest.NewUnstartedServer(h.srv.Hooks())
	if err := hooks.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	hooks.Listener = l
	hooks.Start()
	web := httptest.NewServer(h.srv)
	h.url = strings.Replace(web.URL, "http://", "http://"+testPerson+":"+testToken+"@", 1) + "/rms.git"
	t.Cleanup(func() {
		h.srv.Close()
		web.Close()
		hooks.Close()
		if err := os.RemoveAll(sockDir); err != nil {
			t.Error(err)
		}
	})
	return h
}

// clone is a work tree of a developer.
type clone struct {
	t   testing.TB
	dir string
}

func (h *host) clone() *clone {
	h.t.Helper()
	c := &clone{t: h.t, dir: h.t.TempDir()}
	c.git("init", "--quiet", "--initial-branch=main")
	c.git("remote", "add", "origin", h.url)
	return c
}

func (c *clone) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-C", c.dir}, args...)...)
	cmd.Env = []string{
		"PATH=" + programs, "HOME=" + c.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C.UTF-8",
		"GIT_AUTHOR_NAME=Anna", "GIT_AUTHOR_EMAIL=anna@example.org", "GIT_COMMITTER_NAME=Anna", "GIT_COMMITTER_EMAIL=anna@example.org",
		"GIT_ALLOW_PROTOCOL=http:file",
	}
	return cmd
}

func (c *clone) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

func (c *clone) try(args ...string) (string, error) {
	out, err := c.command(args...).CombinedOutput()
	return string(out), err
}

func (c *clone) write(name, content string) {
	c.t.Helper()
	full := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// commit writes one file and gives the commit's hash.
func (c *clone) commit(name, content string) string {
	c.t.Helper()
	c.write(name, content)
	c.git("add", "--all")
	c.git("commit", "--quiet", "-m", "write "+name)
	return c.git("rev-parse", "HEAD")
}

func mustEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func mustKind(t *testing.T, err error, kind bosman.ErrorKind) {
	t.Helper()
	if bosman.KindOf(err) != kind {
		t.Fatalf("got error %v, want one of kind %s", err, kind)
	}
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Fatalf("%q is missing in:\n%s", p, text)
		}
	}
}

func (h *host) received() Push {
	h.t.Helper()
	select {
	case p := <-h.recv.seen:
		return p
	case <-time.After(20 * time.Second):
		h.t.Fatal("the push never reached the receiver")
		return Push{}
	}
}

func TestPushAndClone(t *testing.T) {
	h := newHost(t)
	c := h.clone()
	first := c.commit("zażółć/it's \"quoted\".txt", "one\n")
	c.git("push", "--quiet", "origin", "main")
	p := h.received()
	if p.Person != testPerson || p.App != "rms" || len(p.Updates) != 1 {
		t.Fatalf("received %+v", p)
	}
	mustEqual(t, "update", p.Updates[0], RefUpdate{Ref: "refs/heads/main", Old: Zero, New: first})

	c.git("checkout", "--quiet", "-b", "gałąź/it's-\"fine\"")
	second := c.commit("b.txt", "two\n")
	c.git("tag", "-a", "v1", "-m", "one")
	c.git("push", "--quiet", "origin", "HEAD", "v1")
	if p := h.received(); len(p.Updates) != 2 {
		t.Fatalf("received %+v", p)
	}
	heads, err := h.repo.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "branches", fmt.Sprint(heads), fmt.Sprint(map[string]string{"main": first, "gałąź/it's-\"fine\"": second}))
	tags, err := h.repo.Tags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "tag", tags["v1"], second)

	other := &clone{t: t, dir: t.TempDir()}
	other.git("-c", "protocol.version=2", "clone", "--quiet", h.url, ".")
	got, err := os.ReadFile(filepath.Join(other.dir, "zażółć/it's \"quoted\".txt"))
	if err != nil || string(got) != "one\n" {
		t.Fatalf("cloned %q, %v", got, err)
	}
	data, err := h.repo.ReadFile(t.Context(), second, "zażółć/it's \"quoted\".txt")
	if err != nil || string(data) != "one\n" {
		t.Fatalf("read %q, %v", data, err)
	}
}

func TestCredentials(t *testing.T) {
	h := newHost(t)
	c := h.clone()
	c.commit("a", "1")
	resp, err := http.Get("http://" + h.url[strings.Index(h.url, "@")+1:] + "/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `Basic realm="Bosman"`) {
		t.Fatalf("got %s, %v", resp.Status, resp.Header)
	}
	c.git("remote", "set-url", "origin", strings.Replace(h.url, testPerson, "guest", 1))
	out, err := c.try("push", "origin", "main")
	if err == nil {
		t.Fatal("guest pushed")
	}
	mustContain(t, out, "guest may not push to this app")
	c.git("remote", "set-url", "origin", strings.Replace(h.url, "rms.git", "nothing.git", 1))
	if out, err := c.try("fetch", "origin"); err == nil || !strings.Contains(out, "not found") {
		t.Fatalf("fetching what is not there: %v %s", err, out)
	}
	for _, path := range []string{"/rms.git/HEAD", "/rms.git/objects/info/packs", "/../rms.git/info/refs", "/rms.git/info/refs", "/RMS.git/info/refs?service=git-upload-pack"} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://x/", nil)
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		r.SetBasicAuth(testPerson, testToken)
		h.srv.ServeHTTP(rec, r)
		if rec.Code != 404 {
			t.Errorf("%s gave %d", path, rec.Code)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHost(t)
	h.recv.check = func(ctx context.Context, p Push) error {
		for _, u := range p.Updates {
			if u.Deleted() {
				continue
			}
			// the objects in quarantine can be read
			commit, err := p.Repo.Commit(ctx, u.New)
			if err != nil {
				return err
			}
			if commit.Subject == "write secret.env" {
				return bosman.Invalid("secret.env must not be pushed").WithKept("nothing was changed").WithNext("take it out of the commit")
			}
		}
		return nil
	}
	c := h.clone()
	c.commit("a", "1")
	first := c.commit("a", "2")
	c.git("tag", "live-1")
	c.git("push", "--quiet", "origin", "main")
	h.received()
	c.commit("secret.env", "x")
	c.git("checkout", "--quiet", "-b", "rewritten", "HEAD~2")
	c.commit("a", "3")
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"main rewritten", []string{"--force", "origin", "rewritten:main"}, []string{"remote: Bosman: main cannot be rewritten", "nothing was changed", "git pull, then push again"}},
		{"main deleted", []string{"origin", ":main"}, []string{"main cannot be deleted"}},
		{"protected tag", []string{"origin", "live-1"}, []string{"the tag live-1 is Bosman's own"}},
		{"hidden ref", []string{"origin", "main:refs/bosman/merge/x"}, []string{"hidden ref"}},
		{"odd ref", []string{"origin", "main:refs/odd/x"}, []string{"neither a branch nor a tag"}},
		{"a name like an option", []string{"origin", "main:refs/heads/-x"}, []string{`the name "-x" cannot be used`}},
		{"a name like a hash", []string{"origin", "main:refs/heads/" + strings.Repeat("ab", 20)}, []string{"cannot be used here"}},
		{"the receiver's rule", []string{"origin", "main:feature"}, []string{"remote: Bosman: secret.env must not be pushed", "remote:   take it out of the commit"}},
	} {
		out, err := c.try(append([]string{"push"}, tt.args...)...)
		if err == nil {
			t.Fatalf("%s: was accepted", tt.name)
		}
		mustContain(t, out, tt.says...)
	}
	heads, err := h.repo.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "branches", fmt.Sprint(heads), fmt.Sprint(map[string]string{"main": first}))
	// a change may be rewritten, and that is said
	c.git("push", "--quiet", "origin", "rewritten")
	h.received()
	c.git("commit", "--quiet", "--amend", "-m", "other")
	c.git("push", "--quiet", "--force", "origin", "rewritten")
	if p := h.received(); !p.Updates[0].Forced || p.Updates[0].Branch() != "rewritten" {
		t.Fatalf("received %+v", p)
	}
	if n := len(h.recv.pushes()); n != 3 {
		t.Fatalf("%d pushes were received, want 3", n)
	}
}

func TestHookNeedsItsPush(t *testing.T) {
	h := newHost(t)
	line := Zero + " " + strings.Repeat("a", 40) + " refs/heads/main\n"
	env := map[string]string{envSocket: h.srv.cfg.HookSocket, envSecret: "guessed"}
	var out bytes.Buffer
	if code := RunHook(t.Context(), hookPreReceive, strings.NewReader(line), &out, func(k string) string { return env[k] }); code != 1 {
		t.Fatalf("exit %d, %s", code, &out)
	}
	mustContain(t, out.String(), "no such push is in progress")
	env[envSocket] = filepath.Join(t.TempDir(), "nobody")
	out.Reset()
	if code := RunHook(t.Context(), hookPreReceive, strings.NewReader(line), &out, func(k string) string { return env[k] }); code != 1 {
		t.Fatalf("exit %d", code)
	}
	mustContain(t, out.String(), "Bosman does not answer", "push again in a moment")
	out.Reset()
	if code := RunHook(t.Context(), hookPostReceive, strings.NewReader(line), &out, func(k string) string { return env[k] }); code != 0 {
		t.Fatalf("exit %d", code)
	}
	// a push around Bosman is refused
	c := h.clone()
	c.commit("a", "1")
	text, err := c.try("push", h.repo.Dir(), "main")
	if err == nil {
		t.Fatal("a push past Bosman was accepted")
	}
	mustContain(t, text, "over Bosman's address only")
}

// A request that names many commits is sent compressed.
func TestManyBranches(t *testing.T) {
	h := newHost(t)
	c := h.clone()
	for i := range 80 {
		c.git("commit", "--quiet", "--allow-empty", "-m", fmt.Sprint(i))
		c.git("branch", fmt.Sprintf("b%02d", i))
	}
	bring(t, h.repo, c)
	plain := httptest.NewUnstartedServer(nil)
	var compressed bool
	plain.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressed = compressed || r.Header.Get("Content-Encoding") == "gzip"
		h.srv.ServeHTTP(w, r)
	})
	plain.Start()
	defer plain.Close()
	other := &clone{t: t, dir: t.TempDir()}
	other.git("clone", "--quiet", strings.Replace(plain.URL, "http://", "http://"+testPerson+":"+testToken+"@", 1)+"/rms.git", ".")
	if n := len(strings.Fields(other.git("for-each-ref", "--format=%(refname)", "refs/remotes/origin/b*"))); n != 80 || !compressed {
		t.Fatalf("cloned %d branches, compressed %v", n, compressed)
	}
}
