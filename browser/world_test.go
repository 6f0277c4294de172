package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/serve"
)

// program builds the real binary, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bosman-bin")
	if err != nil {
		return "", err
	}
	built = dir
	file := filepath.Join(dir, "bosman")
	out, err := exec.Command("go", "build", "-o", file, "../cmd/bosman").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return file, os.Chmod(dir, 0o755)
})

// built is the folder of the binary.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		if err := os.RemoveAll(built); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// world is a running bosman serve with one app, and a clone of it.
type world struct {
	t       *testing.T
	program string
	data    string
	work    string
	url     string // of the pages
	port    string
}

// tinyApp keeps notes in its database, so that copies of data can be told
// from each other.
const tinyApp = `import html, http.server, os, socketserver, sqlite3, sys, urllib.parse

def notes(add=None):
    with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as db:
        db.execute("create table if not exists notes (text text)")
        if add:
            db.execute("insert into notes values (?)", [add])
        return [row[0] for row in db.execute("select text from notes")]

class Page(http.server.BaseHTTPRequestHandler):
    def answer(self, code, kind, text, **more):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "application/json", '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"])
        words = open("/app/page.txt").read()
        kept = "".join("<li>%s</li>" % html.escape(n) for n in notes())
        self.answer(200, "text/html; charset=utf-8", f"""<!DOCTYPE html><html lang="en"><meta name="viewport" content="width=device-width">
            <title>tiny</title><h1>{words}</h1><p>This is {os.environ["BOSMAN_INSTANCE"]}.</p><ul>{kept}</ul>
            <form method="post"><label for="note">Note</label> <input id="note" name="note"> <button>Keep it</button></form></html>""")
    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        notes(urllib.parse.parse_qs(sent)["note"][0])
        self.answer(303, "text/plain", "", Location="/")
    def address_string(self): return "edge"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

if sys.argv[1:] == ["migrate"]:
    notes()
else:
    Server(os.environ["BOSMAN_SOCKET"], Page).serve_forever()
`

const tinyManifest = `build:
  - {name: page, run: "cat words.txt > page.txt", inputs: [words.txt], outputs: [page.txt]}
test:
  - {name: unit, run: "grep -q hello page.txt"}
processes: {web: /usr/bin/python3 -u server.py}
health: /healthz
checks: [{get: /, contains: hello}]
database: sqlite
release: /usr/bin/python3 server.py migrate
instances:
  live: {watch: {for: 6s, revert: true}}
`

// newWorld starts Bosman with the app "tiny", whose r1 runs on staging and
// live and for which two changes wait.
func newWorld(t *testing.T) *world {
	t.Helper()
	need.Root(t)
	need.Program(t, "bwrap", "bubblewrap")
	need.File(t, "/usr/bin/python3", "python3")
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bosman")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, program: file, data: filepath.Join(dir, "data"), work: filepath.Join(dir, "work"), port: freePort(t)}
	w.url = "http://localhost:" + w.port
	w.serve(dir)
	w.bosman(nil, "app", "add", "tiny")
	for name, role := range map[string]bosman.Role{"anna": bosman.RoleTester, "piotr": bosman.RoleDeveloper} {
		w.say(name+"-password", "people", "add", name, "--role", string(role), "--password-stdin")
	}
	w.git("init", "-q", "-b", "main", ".")
	w.write("server.py", tinyApp)
	w.write("bosman.yaml", tinyManifest)
	w.change("main", "Say hello", "hello one\n", "anna")
	w.runs("staging", 1)
	w.bosman(nil, "deploy", "live", "--release", "r1", "--wait")
	w.git("checkout", "-q", "-b", "louder")
	w.change("louder", "Say hello twice", "hello two\n", "piotr")
	w.git("checkout", "-q", "-b", "longer", "main")
	w.change("longer", "Say hello at length", "hello to everybody who came\n", "piotr")
	return w
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// serve starts bosman serve and sees to its end.
func (w *world) serve(dir string) {
	w.t.Helper()
	if err := os.Mkdir(w.work, 0o755); err != nil {
		w.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(w.program, "serve", "--data", w.data, "--listen", "127.0.0.1:"+w.port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			w.t.Error(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				w.t.Error("bosman serve ended with", err)
			}
		case <-time.After(30 * time.Second):
			w.t.Error("bosman serve does not end", cmd.Process.Kill())
			<-ended
		}
		if w.t.Failed() {
			text, err := os.ReadFile(log.Name())
			w.t.Logf("bosman serve said:\n%s %v", text, err)
		}
		if err := serve.StopAll(context.Background(), w.data, w.program); err != nil {
			w.t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			w.t.Error(err)
		}
	})
	w.until("Bosman says who may log in and serves its pages", 2*time.Minute, func() bool {
		if text, err := os.ReadFile(log.Name()); err != nil || !bytes.Contains(text, []byte("Log in as")) {
			return false
		}
		resp, err := http.Get(w.url + "/login")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// bosman runs the command line as the administrator; what it prints as JSON
// goes to out unless that is nil.
func (w *world) bosman(out any, args ...string) {
	w.t.Helper()
	text := w.say("", append([]string{"--json"}, args...)...)
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		w.t.Fatalf("bosman %v does not print JSON: %v: %s", args, err, text)
	}
}

// say runs the command line with something on its standard input.
func (w *world) say(stdin string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.program, args...)
	cmd.Env = append(os.Environ(), "BOSMAN_DATA="+w.data, "BOSMAN_APP=tiny", "BOSMAN_AS=", "BOSMAN_URL=")
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("bosman %v: %v\n%s%s", args, err, out.String(), complaint.String())
	}
	return out.String()
}

func (w *world) git(args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = w.work
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Piotr", "GIT_AUTHOR_EMAIL=p@example.org", "GIT_COMMITTER_NAME=Piotr", "GIT_COMMITTER_EMAIL=p@example.org", "GIT_TERMINAL_PROMPT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.work, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// change commits other words to a branch and pushes it; the push ends when
// the build does.
func (w *world) change(branch, title, words, person string) {
	w.t.Helper()
	w.write("words.txt", words)
	w.git("add", "-A")
	w.git("commit", "-qm", title)
	w.git("push", "-q", fmt.Sprintf("http://%s:%s-password@127.0.0.1:%s/tiny.git", person, person, w.port), branch)
}

// runs waits until an instance runs a release and nothing is at work on it.
func (w *world) runs(name string, release int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s runs r%d", name, release), 2*time.Minute, func() bool {
		i := w.instance(name)
		return i.Release == release && i.Operation == 0
	})
}

func (w *world) instance(name string) bosman.Instance {
	w.t.Helper()
	var all []bosman.Instance
	w.bosman(&all, "instances", "list")
	for _, i := range all {
		if i.Name == name {
			return i
		}
	}
	return bosman.Instance{}
}

// until waits for something to become true.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	end := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(end) {
			w.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
