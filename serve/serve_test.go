package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/source"
)

// TestMain lets the test program be Bosman's other roles.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case shim.Subcommand:
			os.Exit(shim.Main())
		case confine.Subcommand:
			os.Exit(confine.Main())
		case "hook":
			os.Exit(source.RunHook(context.Background(), os.Args[2], os.Stdin, os.Stdout, os.Getenv))
		case "edge":
			os.Exit(runEdge(os.Args[2]))
		case "serve":
			os.Exit(runServe(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

func runEdge(file string) int {
	data, err := os.ReadFile(file)
	if err != nil {
		return 1
	}
	var cfg edge.Config
	if err := json.Unmarshal(data, &cfg); err != nil {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := edge.Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// world is a running Bosman and a clone of an app.
type world struct {
	t    *testing.T
	data string
	work string
	port int
	s    *server
	stop func()

	tune        func(*Options) // of the next start; nil for the usual
	pointInTime int            // days

	ended chan error // how serve ended
	log   io.Writer  // that serve tells everything to; nil for warnings on stderr
}

const tinyApp = `import http.server, os, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            body = '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"]
        else:
            body = open("/app/page.txt").read() + " on " + os.environ["BOSMAN_INSTANCE"]
        self.send_response(200); self.end_headers(); self.wfile.write(body.encode())
    def address_string(self): return "edge"
class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
S(os.environ["BOSMAN_SOCKET"], H).serve_forever()
`

const tinyManifest = `build:
  - {name: page, run: "cat words.txt > page.txt", inputs: [words.txt], outputs: [page.txt]}
test:
  - {name: unit, run: "grep -q hello page.txt"}
processes: {web: /usr/bin/python3 -u server.py}
health: /healthz
checks: [{get: /, contains: hello}]
database: DATABASE
data: [media/]
release: "echo migrated"
instances:
  live: {watch: {for: 3s, revert: true}}
`

func newWorld(t *testing.T, database string) *world {
	t.Helper()
	return newWorldWith(t, database, nil)
}

func newWorldWith(t *testing.T, database string, tune func(*Options)) *world {
	t.Helper()
	need.Root(t)
	need.Program(t, "bwrap", "bubblewrap")
	need.File(t, "/usr/bin/python3", "python3")
	dir, err := os.MkdirTemp("", "bosman")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	port, err := instance.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, data: filepath.Join(dir, "data"), work: filepath.Join(dir, "work"), port: port, tune: tune}
	w.start()
	t.Cleanup(func() {
		w.stop()
		if err := StopAll(context.Background(), w.data, ""); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	for name, role := range map[string]bosman.Role{"anna": bosman.RoleTester, "piotr": bosman.RoleDeveloper} {
		if err := w.s.helm.AddPerson(ctx, bosman.System(), bosman.Person{Name: name, Role: role}, name+"-password"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.s.helm.AddApp(ctx, bosman.System(), "tiny"); err != nil {
		t.Fatal(err)
	}
	w.git("", "init", "-q", "-b", "main", w.work)
	w.write("server.py", tinyApp)
	w.write("words.txt", "hello one\n")
	w.write("bosman.yaml", strings.Replace(tinyManifest, "DATABASE", database, 1))
	w.commit("start")
	return w
}

func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan *server, 1), make(chan error, 1)
	w.ended = ended
	opt := Options{Data: w.data, Listen: fmt.Sprintf("127.0.0.1:%d", w.port), PointInTime: w.pointInTime, Stdout: io.Discard, Stderr: os.Stderr, LogLevel: "warn", started: func(s *server) { ready <- s }}
	if w.tune != nil {
		w.tune(&opt)
	}
	if w.log != nil {
		opt.Stderr, opt.LogLevel = w.log, "debug"
	}
	go func() { ended <- Run(ctx, opt) }()
	select {
	case w.s = <-ready:
	case err := <-ended:
		cancel()
		w.t.Fatal(err)
	case <-time.After(60 * time.Second):
		cancel()
		w.t.Fatal("Bosman did not start in time")
	}
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *world) git(in string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Piotr", "GIT_AUTHOR_EMAIL=p@example.org", "GIT_COMMITTER_NAME=Piotr", "GIT_COMMITTER_EMAIL=p@example.org", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.work, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) commit(subject string) {
	w.t.Helper()
	w.git(w.work, "add", "-A")
	w.git(w.work, "commit", "-qm", subject)
}

func (w *world) push(person, ref string) string {
	w.t.Helper()
	return w.git(w.work, "push", fmt.Sprintf("http://%s:%s-password@127.0.0.1:%d/tiny.git", person, person, w.port), ref)
}

// get asks an instance through the edge.
func (w *world) get(name, path string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = name + ".tiny.localhost"
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// until waits for something to become true.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	end := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(end) {
			w.dump()
			w.t.Fatalf("not in %s: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// dump shows where things stand when a test fails.
func (w *world) dump() {
	ctx := context.Background()
	ops, _ := w.s.store.Operations(ctx, "tiny", "", 5)
	for _, o := range ops {
		w.t.Logf("%s %s %s %s: %v %+v", opRef(o.Number), o.Plan, o.Instance, o.State, o.Error, o.Failure)
		for _, st := range o.Steps {
			w.t.Logf("    %s %s %s", st.Name, st.State, st.Note)
		}
	}
	builds, _ := w.s.store.Builds(ctx, "tiny", -1, 3)
	for _, b := range builds {
		w.t.Logf("b%d %s %s %+v", b.Number, b.State, b.Reason, b.Steps)
	}
}

func opRef(n int) string { return bosman.Ref(bosman.LetterOperation, n) }

func (w *world) op(op bosman.Operation, err error) bosman.Operation {
	w.t.Helper()
	if err != nil {
		w.dump()
		w.t.Fatal(err)
	}
	w.until(fmt.Sprintf("%s ends", opRef(op.Number)), 2*time.Minute, func() bool {
		now, err := w.s.store.Operation(w.t.Context(), op.App, op.Number)
		if err != nil {
			w.t.Fatal(err)
		}
		op = now
		return op.State.Final()
	})
	return op
}

func (w *world) staging(release int) {
	w.t.Helper()
	w.until(fmt.Sprintf("staging runs r%d", release), 90*time.Second, func() bool {
		i, err := w.s.store.Instance(w.t.Context(), "tiny", "staging")
		return err == nil && i.Release == release && i.Operation == 0
	})
}

func TestRoad(t *testing.T) {
	t.Parallel()
	for _, database := range []string{"none", "sqlite", "postgres", "mariadb"} {
		t.Run(database, func(t *testing.T) {
			if database == "postgres" {
				need.File(t, "/usr/lib/postgresql", "postgresql")
			}
			if database == "mariadb" {
				need.File(t, "/usr/sbin/mariadbd", "mariadb-server")
				need.File(t, "/usr/lib/python3/dist-packages/MySQLdb", "python3-mysqldb")
			}
			road(t, database)
		})
	}
}

func road(t *testing.T, database string) {
	w := newWorld(t, database)
	ctx := t.Context()
	anna := bosman.Actor{Person: "anna", From: "test"}
	out := w.push("anna", "main")
	for _, want := range []string{"✓ page", "✓ unit", "is green", "release r1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the push does not say %q:\n%s", want, out)
		}
	}
	w.staging(1)
	if code, body := w.get("staging", "/"); code != http.StatusFound {
		t.Errorf("staging should ask to log in: %d %s", code, body)
	}

	if database == "mariadb" {
		w.run("staging", `python3 -c 'import os, MySQLdb
c = MySQLdb.connect(host="localhost", user=os.environ["DB_USER"], password=os.environ["DB_PASSWORD"], database=os.environ["DB_NAME"])
c.query("CREATE TABLE word (id INT PRIMARY KEY, w VARCHAR(20)) ENGINE=InnoDB")
c.query("INSERT INTO word VALUES (1, \"staging\")")
c.commit()'`)
		if err := w.s.databases.renew(ctx, "tiny", true, 0); err != nil { // as after a deployment
			t.Fatal(err)
		}
	}
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello two\n")
	if migrates[database] != "" {
		w.write("migrate.py", migrates[database])
		w.write("bosman.yaml", strings.NewReplacer("DATABASE", database, `"echo migrated"`, "/usr/bin/python3 migrate.py").Replace(tinyManifest))
	}
	w.commit("two")
	out = w.push("piotr", "feature")
	if !strings.Contains(out, "c1 (feature)") || !strings.Contains(out, "is green") {
		t.Errorf("push of a branch:\n%s", out)
	}
	try := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna"))
	if try.State != bosman.OpDone {
		w.dump()
		t.Fatalf("try: %s %v", try.State, try.Error)
	}
	if try = w.op(w.s.helm.Reset(ctx, anna, "tiny", "testing-anna")); try.State != bosman.OpDone {
		w.dump()
		t.Fatalf("a fresh copy again: %s %v", try.State, try.Error)
	}
	if database == "mariadb" {
		if said := w.run("testing-anna", `mariadb --no-defaults -N -S "$DB_SOCKET" -u "$DB_USER" "$DB_NAME" -e "SELECT w FROM word"`); said != "staging\n" {
			t.Errorf("the copy holds %q", said)
		}
	}
	if database == "postgres" {
		w.copiesOfRoad()
	}
	if migrates[database] != "" {
		w.rehearsalOfRoad(database)
	}
	if _, err := w.s.helm.Merge(ctx, anna, "tiny", "feature"); err != nil {
		t.Fatal(err)
	}
	w.staging(2)
	first := w.op(w.s.helm.Deploy(ctx, anna, helm.DeployRequest{App: "tiny", Instance: "live", Release: 1}))
	if code, body := w.get("live", "/"); first.State != bosman.OpDone || code != 200 || body != "hello one\n on live" {
		w.dump()
		t.Fatalf("live after the first deployment (%s %v): %d %q", first.State, first.Error, code, body)
	}
	second := w.op(w.s.helm.Deploy(ctx, anna, helm.DeployRequest{App: "tiny", Instance: "live"}))
	if code, body := w.get("live", "/"); second.State != bosman.OpDone || code != 200 || body != "hello two\n on live" {
		w.dump()
		t.Fatalf("live after the second deployment (%s %v): %d %q", second.State, second.Error, code, body)
	}
	// Bosman may be away; live serves and the next start finds everything.
	w.stop()
	if code, body := w.get("live", "/"); code != 200 || body != "hello two\n on live" {
		t.Errorf("live without serve: %d %q", code, body)
	}
	w.start()
	back := w.op(w.s.helm.Revert(ctx, anna, helm.RevertRequest{App: "tiny", Instance: "live", Why: "for the test"}))
	if code, body := w.get("live", "/"); back.State != bosman.OpDone || code != 200 || body != "hello one\n on live" {
		w.dump()
		t.Fatalf("live after the revert (%s %v): %d %q", back.State, back.Error, code, body)
	}
	if tags := w.git(w.work, "ls-remote", "--tags", filepath.Join(w.data, "git", "tiny.git")); !strings.Contains(tags, "live-") {
		t.Errorf("no live tags: %q", tags)
	}
}

// run runs a command in an instance and gives what it printed.
func (w *world) run(instance, command string) string {
	w.t.Helper()
	var out, stderr strings.Builder
	exit, err := w.s.helm.RunCommand(w.t.Context(), bosman.System(), "tiny", instance, command, nil, &out, &stderr)
	if err != nil || exit != 0 {
		w.t.Fatalf("%s on %s: exit %d, %v: %s", command, instance, exit, err, stderr.String())
	}
	return out.String()
}

// TestErrorsAreTiedToTheirRelease reports an error as an instance would, with
// what its environment says, and finds the release it came with.
func TestErrorsAreTiedToTheirRelease(t *testing.T) {
	w := newWorld(t, "none")
	ctx := t.Context()
	w.push("anna", "main")
	w.staging(1)
	var out, stderr strings.Builder
	exit, err := w.s.helm.RunCommand(ctx, bosman.System(), "tiny", "staging", `echo "$SENTRY_DSN $SENTRY_RELEASE"`, nil, &out, &stderr)
	if err != nil || exit != 0 {
		t.Fatalf("exit %d, %v: %s", exit, err, stderr.String())
	}
	dsn, release, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		t.Fatalf("SENTRY_DSN %q, %v", dsn, err)
	}
	body := fmt.Sprintf(`{"event_id":"%032x","level":"error","release":%q,"exception":{"values":[{"type":"NoSlot","value":"all 30 slots are taken"}]}}`, 7, release)
	at := fmt.Sprintf("%s://%s/api%s/store/?sentry_key=%s", u.Scheme, u.Host, u.Path, u.User.Username())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the report was answered %s, %v", resp.Status, err)
	}
	p, err := w.s.store.Problem(ctx, "tiny", 1)
	if err != nil || p.FirstRelease != 1 || p.LastRelease != 1 || len(p.Instances) != 1 || p.Instances[0] != "staging" {
		t.Errorf("the problem is not tied to r1 on staging: %+v, %v", p, err)
	}
}
