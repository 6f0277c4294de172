package sandbox

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// place is a tree and a home for commands, owned by the slot's user.
func place(t *testing.T) Command {
	t.Helper()
	dir, err := os.MkdirTemp("", "bosman-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := Command{
		Tree: filepath.Join(dir, "tree"), Home: filepath.Join(dir, "home"), Tools: filepath.Join(dir, "tools"),
		Trust: bosman.TrustTeam, UID: UID(0, bosman.TrustTeam), Mark: "test" + filepath.Base(dir), Timeout: time.Minute,
	}
	for _, d := range []string{c.Tree, c.Home, c.Home + "/.cache", c.Home + "/.npm", c.Tools + "/cache", c.Tools + "/npm"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(d, c.UID, c.UID); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func isolated(t *testing.T) *Sandbox {
	t.Helper()
	need.Root(t)
	need.Program(t, "bwrap", "bubblewrap")
	s := New(Options{HostEnv: os.Environ()})
	if !s.Isolated() {
		t.Fatal(s.Degraded())
	}
	return s
}

func sh(t *testing.T, s *Sandbox, c Command, run string) (string, Exit) {
	t.Helper()
	var out bytes.Buffer
	c.Run, c.Out = run, &out
	exit, err := s.Run(context.Background(), c)
	if err != nil {
		t.Fatalf("%s: %v\n%s", run, err, out.String())
	}
	return out.String(), exit
}

func TestCommandSeesItsTreeAndLittleElse(t *testing.T) {
	s := isolated(t)
	c := place(t)
	c.Env = []string{"GREETING=hello"}
	out, exit := sh(t, s, c, `echo $GREETING; pwd; id -u; id -un; echo made > file; echo $HOME; touch $HOME/x $HOME/.cache/y /dev/shm/z /tmp/w; echo $$; exit 7`)
	want := "hello\n/app\n60700\nbuild\n/tmp/home\n"
	if !strings.HasPrefix(out, want) || exit.Code != 7 {
		t.Errorf("exit %d, output %q, want %q", exit.Code, out, want)
	}
	if data, err := os.ReadFile(filepath.Join(c.Tree, "file")); err != nil || string(data) != "made\n" {
		t.Errorf("written: %q, %v", data, err)
	}
	if _, err := os.Stat(c.Tools + "/cache/y"); err != nil {
		t.Errorf("the tool cache is not shared: %v", err)
	}
	for _, hidden := range []string{"/root", "/home", "/var/lib", "/run/postgresql", "/var/run/postgresql", "/srv", "/mnt", "/etc/shadow", "/etc/postgresql", "/sys", filepath.Dir(c.Tree)} {
		if out, exit := sh(t, s, c, "ls -A "+hidden); exit.Code == 0 && strings.TrimSpace(out) != "" {
			t.Errorf("%s is seen: %s", hidden, out)
		}
	}
	for _, denied := range []string{"touch /usr/x", "touch /etc/x", "touch /x", "mkdir /run/x", "mount -t tmpfs x /tmp", "chown 0 file", "kill -9 1", "cat /proc/1/environ"} {
		if out, exit := sh(t, s, c, denied); exit.Code == 0 {
			t.Errorf("%s was possible: %s", denied, out)
		}
	}
	if out, _ := sh(t, s, c, "ls -d /proc/[0-9]* | wc -l"); len(strings.TrimSpace(out)) > 1 {
		t.Errorf("it sees %s processes", out)
	}
}

func TestCommandFindsNoSocketOfTheHost(t *testing.T) {
	s := isolated(t)
	c := place(t)
	dir := filepath.Dir(c.Tree)
	socket := filepath.Join(dir, "bosman.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	const look = `find /app /etc /tmp /run /var /dev -exec test -S {} ';' -print 2>/dev/null; ls -d ~/.pgpass /root/.pgpass 2>/dev/null; true`
	if out, _ := sh(t, s, c, look); out != "" {
		t.Errorf("sockets and passwords found: %s", out)
	}
	c.Binds = []string{socket}
	if out, _ := sh(t, s, c, look); !strings.Contains(out, socket) {
		t.Errorf("a socket that was given is not seen: %q", out)
	}
}

func TestStrangersHaveNoNetworkAndNoHostSettings(t *testing.T) {
	s := isolated(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s.hostEnv = append(s.hostEnv, "PIP_INDEX_URL=https://user:word@index.example.org/")
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	connect := `/usr/bin/python3 -c 'import socket; socket.create_connection(("127.0.0.1", ` + port + `), 2)' 2>/dev/null && echo connected; echo $PIP_INDEX_URL; cat /proc/net/dev | grep -c :`
	c := place(t)
	if out, _ := sh(t, s, c, connect); !strings.HasPrefix(out, "connected\nhttps://user:word@") {
		t.Errorf("the team's step has no network or settings: %q", out)
	}
	c.Trust = bosman.TrustStranger
	if out, _ := sh(t, s, c, connect); out != "\n1\n" {
		t.Errorf("the stranger's step: %q", out)
	}
}

func TestTimeoutAndCancelKillEverything(t *testing.T) {
	s := isolated(t)
	c := place(t)
	c.Timeout = 300 * time.Millisecond
	begun := time.Now()
	_, exit := sh(t, s, c, "setsid sleep 100 & setsid -f sleep 100; sleep 100")
	if !exit.TimedOut || time.Since(begun) > 5*time.Second {
		t.Errorf("exit %+v after %s", exit, time.Since(begun))
	}
	c.Timeout = time.Minute
	if _, exit := sh(t, s, c, "setsid -f sleep 100; exit 0"); exit.Code != 0 || exit.Took > 5*time.Second {
		t.Errorf("a background process held the step: %+v", exit)
	}
	cause := errors.New("anna said so")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		time.Sleep(200 * time.Millisecond)
		cancel(cause)
	}()
	c.Run, c.Out = "sleep 100", &bytes.Buffer{}
	if _, err := s.Run(ctx, c); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	if n := KillMarked(c.Mark); n > 0 {
		t.Errorf("%d processes were left", n)
	}
}

func TestOverlayLeavesItsLowerFolder(t *testing.T) {
	s := isolated(t)
	c := place(t)
	if err := os.WriteFile(c.Tree+"/old", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(c.Tree+"/old", 0, 0); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(c.Tree)
	o := Overlay{Lower: c.Tree, Upper: dir + "/upper", Work: dir + "/work", Mount: dir + "/app"}
	if !s.CanOverlay(o) {
		t.Fatal("no overlay here")
	}
	if err := s.Prepare(context.Background(), o, c.UID); err != nil {
		t.Fatal(err)
	}
	if !o.Untouched(o.Upper + "/old") {
		t.Error("preparing copied the content")
	}
	c.Overlay = &o
	sh(t, s, c, "echo more >> old; echo new > new")
	if out, exit := sh(t, s, c, "cat old new"); out != "oldmore\nnew\n" || exit.Code != 0 {
		t.Errorf("the second step sees %q", out)
	}
	if o.Untouched(o.Upper+"/old") || o.Untouched(o.Upper+"/new") {
		t.Error("what was written counts as untouched")
	}
	data, err := os.ReadFile(c.Tree + "/old")
	if names, _ := filepath.Glob(c.Tree + "/*"); err != nil || string(data) != "old" || len(names) != 1 {
		t.Errorf("below: %q, %v, %v", data, names, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts left: %v", err)
	}
}

func TestSandboxThatCannotStartIsNoFailedStep(t *testing.T) {
	s := isolated(t)
	c := place(t)
	c.Binds = []string{"/nowhere/at/all"}
	c.Run, c.Out = "true", &bytes.Buffer{}
	if _, err := s.Run(context.Background(), c); bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("error %v", err)
	}
}

func TestWithoutBubblewrap(t *testing.T) {
	need.Root(t)
	s := New(Options{Bwrap: "-", HostEnv: os.Environ()})
	c := place(t)
	if err := os.Chmod(filepath.Dir(c.Tree), 0o755); err != nil {
		t.Fatal(err)
	}
	if s.Isolated() || s.Degraded() == "" {
		t.Fatal("it says it is isolated")
	}
	out, exit := sh(t, s, c, "pwd; sleep 100 & exit 3")
	if strings.TrimSpace(out) != c.Tree || exit.Code != 3 {
		t.Errorf("exit %d, %q", exit.Code, out)
	}
	if n := KillMarked(c.Mark); n > 0 {
		t.Errorf("%d processes were left", n)
	}
	c.Timeout = 200 * time.Millisecond
	if _, exit := sh(t, s, c, "setsid sleep 100; true"); !exit.TimedOut {
		t.Errorf("%+v", exit)
	}
	if n := KillMarked(c.Mark); n > 0 {
		t.Errorf("%d processes were left after the time limit", n)
	}
	c.Trust = bosman.TrustStranger
	if _, err := s.Run(context.Background(), c); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a stranger's command: %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	for text, want := range map[string]string{
		"sh: 1: flake9: not found":                   "flake9",
		"bash: line 1: flake9: command not found":    "flake9",
		"sh: 1: .venv/bin/python: not found":         ".venv/bin/python",
		"everything is fine":                         "",
		"/bin/sh: 3: exec: coverage: not found":      "coverage",
		"sh: cannot open x: No such file":            "",
		"setpriv: failed to execute x: not a number": "",
	} {
		if got := MissingProgram(strings.Split(text, "\n")); got != want {
			t.Errorf("MissingProgram(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPassedEnv(t *testing.T) {
	for name, want := range map[string]bool{"HTTPS_PROXY": true, "npm_config_registry": true, "PIP_INDEX_URL": true, "AWS_SECRET_ACCESS_KEY": false, "HOME": false, "PIPX": false} {
		if passed(name) != want {
			t.Errorf("passed(%s) = %v", name, !want)
		}
	}
	if !slices.IsSorted([]int{UID(0, bosman.TrustTeam), UID(1, bosman.TrustTeam), UID(0, bosman.TrustStranger)}) {
		t.Error("slots share a user")
	}
}

// TestNpm installs one small package from the registry that the host uses.
func TestNpm(t *testing.T) {
	s := isolated(t)
	need.Program(t, "npm", "npm")
	c := place(t)
	for name, text := range map[string]string{
		"package.json": `{"name":"shop","version":"1.0.0","dependencies":{"isarray":"2.0.5"}}`,
		"package-lock.json": `{"name":"shop","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
			"":{"name":"shop","version":"1.0.0","dependencies":{"isarray":"2.0.5"}},
			"node_modules/isarray":{"version":"2.0.5","license":"MIT"}}}`,
	} {
		if err := os.WriteFile(filepath.Join(c.Tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, exit := sh(t, s, c, `npm ci && node -e 'console.log(require("isarray")([]))'`)
	if exit.Code != 0 || !strings.Contains(out, "true") {
		t.Errorf("exit %d: %s", exit.Code, out)
	}
}
