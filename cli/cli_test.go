package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is what a command left.
type result struct {
	code        int
	out, errout string
}

// terminalless runs a command line as a script would.
type script struct {
	t    *testing.T
	rig  *apitest.Rig
	vars map[string]string
}

func newScript(t *testing.T) *script {
	t.Helper()
	rig := apitest.New(t)
	return &script{t, rig, map[string]string{"BOSMAN_URL": rig.Server.URL, "BOSMAN_TOKEN": "ola", "HOME": t.TempDir()}}
}

func (s *script) run(stdin string, args ...string) result {
	s.t.Helper()
	return run(s.t, s.vars, stdin, args...)
}

func run(t *testing.T, vars map[string]string, stdin string, args ...string) result {
	t.Helper()
	var out, errout bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := Main(ctx, args, strings.NewReader(stdin), &out, &errout, func(name string) string { return vars[name] }, Roles{Version: "1.2.3"})
	return result{code, out.String(), errout.String()}
}

func (r result) want(t *testing.T, what string, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: exit code %d, want %d\n%s%s", what, r.code, code, r.out, r.errout)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.errout, w) {
			t.Errorf("%s does not say %q:\n%s%s", what, w, r.out, r.errout)
		}
	}
}

// leaves are all commands that run something.
func leaves(t *testing.T) []*kong.Node {
	t.Helper()
	k, err := newParser(&commands{}, &env{getenv: func(string) string { return "" }, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	return append([]*kong.Node(nil), k.Model.Leaves(false)...)
}

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, n := range leaves(t) {
		path := strings.Fields(strings.TrimPrefix(n.FullPath(), "bosman "))
		got := run(t, nil, "", append(path, "--help")...)
		if got.code != ExitOK || !strings.Contains(got.out, "Examples:") || !strings.Contains(got.out, "    bosman ") && n.Name != "git-credential" {
			t.Errorf("%s --help (%d) has no example:\n%s", n.FullPath(), got.code, got.out)
		}
		if n.Help == "" || !strings.HasSuffix(n.Help, ".") {
			t.Errorf("%s: help %q is no sentence", n.FullPath(), n.Help)
		}
		for _, f := range n.Flags {
			if f.Help == "" {
				t.Errorf("%s --%s says nothing", n.FullPath(), f.Name)
			}
		}
		for _, p := range n.Positional {
			if p.Help == "" {
				t.Errorf("%s %s says nothing", n.FullPath(), p.Name)
			}
		}
	}
}

// Examples must be understood by the parser that prints them.
func TestExamplesParse(t *testing.T) {
	for _, n := range leaves(t) {
		for line := range strings.Lines(n.Detail) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "bosman ") {
				continue
			}
			for _, mark := range []string{" | ", " < ", " > "} {
				line, _, _ = strings.Cut(line, mark)
			}
			var words []string
			for n, part := range strings.Split(line, `"`) { // quotes are simple here
				for _, word := range strings.Split(part, `'`) {
					if n%2 == 1 {
						words = append(words, part)
						break
					}
					words = append(words, strings.Fields(word)...)
				}
			}
			k, err := newParser(&commands{}, &env{getenv: func(string) string { return "" }, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Parse(words[1:]); err != nil {
				t.Errorf("%s: example %q: %v", n.FullPath(), line, err)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	s := newScript(t)
	s.run("", "app", "list").want(t, "a listing", ExitOK, "rms")
	s.run("", "nonsense").want(t, "an unknown command", ExitUsage, "bosman --help")
	s.run("", "deploy").want(t, "a missing argument", ExitUsage, "bosman deploy")
	s.run("", "app", "add", "Not A Name").want(t, "a wrong name", ExitUsage, "lower-case")
	s.run("", "app", "add", "rms").want(t, "a second rms", ExitRefused, "already", "kept:", "next:")
	s.run("", "log", "b99").want(t, "a build that is not", ExitNotFound, "b99")
	s.run("", "instances", "--app", "none").want(t, "an app that is not", ExitNotFound, "none")
	s.vars["BOSMAN_TOKEN"] = "jan"
	s.run("", "restart", "staging").want(t, "a viewer's restart", ExitRefused, "jan is a viewer", "kept: nothing was changed", "next: ask")
	s.vars["BOSMAN_TOKEN"] = "ola"
	s.run("", "run", "staging", "--", "false").want(t, "a command that fails", 3, "ran false")
	s.run("", "run", "staging", "--", "out of reach").want(t, "a host out of reach", ExitFailed, "does not answer")
	s.vars["BOSMAN_URL"] = "http://127.0.0.1:1"
	s.run("", "status").want(t, "no server", ExitUnreachable, "no Bosman answers", "next:")
	delete(s.vars, "BOSMAN_URL")
	s.vars["BOSMAN_DATA"] = filepath.Join(t.TempDir(), "none")
	s.run("", "status").want(t, "no socket", ExitUnreachable, "bosman serve")
	s.run("", "--version").want(t, "the version", ExitOK, "bosman 1.2.3")
	s.run("").want(t, "no command", ExitOK, "Usage: bosman")
	s.run("", "doctor").want(t, "a role that is not built in", ExitFailed, "without doctor")
}

func TestTheErrorOfAnotherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	run(t, map[string]string{"BOSMAN_URL": other.URL}, "", "status").want(t, "another server", ExitUnreachable, "404")
}

func TestOverTheSocket(t *testing.T) {
	rig := apitest.New(t)
	dir := t.TempDir()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "bosman.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+r.Header.Get("Bosman-As"))
		rig.Handler.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	vars := map[string]string{"BOSMAN_DATA": dir, "BOSMAN_TOKEN": "not for the socket"}
	run(t, vars, "", "--as", "anna", "people", "token", "list").want(t, "as anna", ExitOK, "anna has no token")
	vars["BOSMAN_AS"] = "jan"
	run(t, vars, "", "people", "token", "list").want(t, "as jan", ExitOK, "jan has no token")
	run(t, vars, "protocol=http\nhost=localhost:8080\n\n", "git-credential", "get").want(t, "git asks", ExitOK, "username=jan\npassword=bos_for_jan\n")
	run(t, vars, "protocol=ssh\nhost=localhost\n\n", "git-credential", "get").want(t, "git asks for ssh", ExitOK)
	if got := run(t, vars, "protocol=http\nhost=x\npassword=y\n\n", "git-credential", "store"); got.out != "" || got.code != 0 {
		t.Errorf("store: %+v", got)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestJSONIsJSON(t *testing.T) {
	s := newScript(t)
	for _, line := range []string{
		"status", "changes", "builds", "releases", "instances", "deployments", "backup list", "secrets list", "problems",
		"mails", "people", "people token", "people at-hand", "activity", "app list", "tasks", "restart staging", "stop staging",
		"deploy staging --release 1", "people token new x", "people at-hand 1h", "allow jan viewer",
	} {
		got := s.run("", append(strings.Fields(line), "--json")...)
		var v any
		if err := json.Unmarshal([]byte(got.out), &v); err != nil || got.code != ExitOK {
			t.Errorf("%s --json: %v (%d)\n%s%s", line, err, got.code, got.out, got.errout)
		}
	}
}

func TestWhichApp(t *testing.T) {
	s := newScript(t)
	s.run("", "instances").want(t, "the only app", ExitOK, "staging")
	s.run("", "app", "add", "other").want(t, "another app", ExitOK, "git remote add bosman "+s.rig.Server.URL+"/other.git")
	s.run("", "instances").want(t, "two apps", ExitUsage, "other, rms", "--app")
	s.run("", "instances", "--app", "rms").want(t, "named", ExitOK, "running")
	s.vars["BOSMAN_APP"] = "rms"
	s.run("", "instances").want(t, "by variable", ExitOK, "running")
	s.run("", "instances", "-a", "other").want(t, "the flag wins", ExitOK, "empty")
}

func TestTheAppOfThisFolder(t *testing.T) {
	s := newScript(t)
	s.run("", "app", "add", "other").want(t, "another app", ExitOK)
	dir := t.TempDir()
	t.Chdir(dir)
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	s.run("", "instances").want(t, "no remote", ExitUsage, "--app")
	git("remote", "add", "origin", "https://forge.example/team/rms.git")
	s.run("", "instances").want(t, "a remote elsewhere", ExitUsage, "--app")
	git("remote", "add", "mine", "http://localhost:8080/rms.git")
	s.run("", "instances").want(t, "a remote that is Bosman's", ExitOK, "running")
	git("remote", "add", "theirs", "http://localhost:8080/other.git")
	s.run("", "instances").want(t, "two of them", ExitUsage, "--app")
	git("remote", "add", "bosman", "http://localhost:8080/other.git")
	s.run("", "instances").want(t, "the one called bosman", ExitOK, "empty")
}

func TestLossIsConfirmed(t *testing.T) {
	s := newScript(t)
	s.run("", "app", "remove", "rms").want(t, "removal without a word", ExitUsage, "live", "staging", "nothing was changed", "--confirm rms")
	s.run("", "app", "remove", "rms", "--confirm", "other").want(t, "the wrong word", ExitUsage)
	if err := s.rig.Helm.Store.SaveBackup(t.Context(), bosman.Backup{App: "rms", Number: 4, Instance: "staging", Tables: 12, Rows: 507, Bytes: 14_000_000, CreatedAt: time.Now().Add(-3 * time.Hour), VerifiedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.run("", "backup", "restore", "k4").want(t, "a restore without a word", ExitUsage, "507 rows", "14.0 MB", "3 h ago", "--yes")
	s.run("", "backup", "restore", "k4", "--yes").want(t, "a restore", ExitOK, "restore k4 on staging")
	s.run("", "revert", "staging", "--database", "restore").want(t, "a revert that restores", ExitUsage, "--yes")
	s.run("", "app", "remove", "rms", "--confirm", "rms").want(t, "removal", ExitOK, "removed rms")
	s.run("", "app", "list").want(t, "afterwards", ExitOK, "there is no app yet")
}

func TestSecretsAndPasswords(t *testing.T) {
	s := newScript(t)
	s.run("hunter22\n", "secrets", "set", "SMTP", "--scope", "kind:live").want(t, "set", ExitOK, "set 1")
	s.run("A=1\n# no\nexport B='two'\n", "secrets", "import", "--scope", "build").want(t, "import", ExitOK, "set 2 for build")
	s.run("", "secrets", "import", "--scope", "build").want(t, "nothing to import", ExitUsage, "no NAME=VALUE")
	got := s.run("", "secrets", "list")
	got.want(t, "list", ExitOK, "SMTP", "kind:live")
	if strings.Contains(got.out, "hunter22") {
		t.Error("a value was shown")
	}
	s.run("", "secrets", "set", "SMTP").want(t, "no scope", ExitUsage, "--scope")
	s.run("", "secrets", "remove", "SMTP", "--scope", "kind:live").want(t, "remove", ExitOK, "removed SMTP")
	s.run("correct horse battery\n", "people", "add", "nina", "--role", "tester", "--password-stdin").want(t, "add", ExitOK, "added nina as tester")
	p, err := s.rig.Helm.Store.Person(t.Context(), "nina")
	if err != nil || p.PasswordHash == "" {
		t.Errorf("nina: %+v, %v", p, err)
	}
}

func TestOutside(t *testing.T) {
	s := newScript(t)
	s.run("https://board.example/x\n", "notify", "add", "board", "--app", "rms").want(t, "add", ExitOK, "board is told")
	s.run("", "notify").want(t, "list", ExitOK, "https://board.example", "rms")
	s.run("", "notify", "remove", "board").want(t, "remove", ExitOK, "nothing any more")
	s.run("nonsense\n", "notify", "add", "board").want(t, "no address", ExitUsage)
	s.run("token\n", "app", "connect", "rms", "--github", "team/rms").want(t, "connect", ExitOK, "secret:", "http://localhost:8080/hooks/")
	s.run("", "app", "connect", "rms", "--github", "team").want(t, "no repository", ExitUsage, "owner/name")
}

func TestRunPassesWordsAndInput(t *testing.T) {
	s := newScript(t)
	s.run("", "run", "staging", "--", "sh", "-c", "echo it's", "x y").want(t, "words", 3, `ran sh -c 'echo it'\''s' 'x y'`)
	s.run("", "run", "staging", "--", "ls -la | head").want(t, "a line", 3, "ran ls -la | head")
	s.run("in and out", "run", "-i", "staging", "cat").want(t, "input", ExitOK, "in and out")
	if got := s.run("unasked", "run", "staging", "cat"); got.code != ExitOK || strings.Contains(got.out, "unasked") {
		t.Errorf("input is given only when asked: %+v", got)
	}
}

func TestInit(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "", "init", dir).want(t, "init", ExitOK, "wrote ", "bosman app add")
	file := filepath.Join(dir, bosman.ManifestFile)
	was, err := os.ReadFile(file)
	if err != nil || len(was) == 0 {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "", "init", dir).want(t, "again", ExitRefused, "left as it is", "--force")
	if now, err := os.ReadFile(file); err != nil || string(now) != "# mine\n" {
		t.Errorf("written over: %q, %v", now, err)
	}
	run(t, nil, "", "init", dir, "--print").want(t, "print", ExitOK, "build")
	run(t, nil, "", "init", dir, "--force").want(t, "force", ExitOK, "wrote")
}
