// Package runtimetest judges drivers: one suite that every runtime.Runtime
// must pass. It must not know a driver.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/logfile"
)

// Harness is what the suite needs of a driver under test.
type Harness struct {
	Runtime runtime.Runtime
	UID     int  // for the processes; 0: our own
	Confine bool // whether processes see their tree at /app
}

// Server is a web application of one file, for /usr/bin/python3: it answers
// on BOSMAN_SOCKET, ends on TERM, and obeys some paths.
const Server = `
import http.server, os, socketserver, sys, signal, subprocess
class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return "client"
    def log_message(self, *a): pass
    def do_GET(self):
        path, _, arg = self.path.partition("?")
        out, code = "ok", 200
        if path == "/pid": out = str(os.getpid())
        elif path == "/cwd": out = os.getcwd()
        elif path == "/uid": out = str(os.getuid())
        elif path == "/env": out = os.environ.get(arg, "-")
        elif path == "/ls": out = " ".join(sorted(os.listdir(arg)))
        elif path == "/say": print(arg, flush=True)
        elif path == "/flood":
            for i in range(int(arg) // 1000): sys.stdout.write("f" * 999 + "\n")
            sys.stdout.flush()
        elif path == "/write":
            try: open(arg, "w").write("written")
            except OSError as e: out, code = str(e), 500
        elif path == "/daemon":
            out = subprocess.run(["/bin/sh", "-c", "setsid sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'"], capture_output=True, text=True).stdout
        elif path == "/exit": os._exit(int(arg))
        elif path == "/missing": code = 404
        elif path == "/secure" and self.headers.get("X-Forwarded-Proto") != "https":
            self.send_response(301); self.send_header("Location", "https://x/"); self.end_headers(); return
        elif path == "/host": out = self.headers.get("Host", "-")
        self.send_response(code); self.end_headers(); self.wfile.write(out.encode())
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
path = os.environ["BOSMAN_SOCKET"]
if os.path.exists(path): os.unlink(path)
print("listening", flush=True)
Unix(path, Handler).serve_forever()
`

// Tree makes a release tree that holds the server as server.py and an empty
// folder media.
func Tree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "media"), 0o755),
		os.WriteFile(filepath.Join(dir, "server.py"), []byte(Server), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Spec is a process set of one web process over a fresh tree. Its RunDir is
// short, as sockets need it, and all is gone after the test.
func Spec(t testing.TB, h Harness, id string) runtime.Spec {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "bt") //nolint:usetesting // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	tree := Tree(t)
	for dir := filepath.Dir(tree); len(dir) > len("/tmp"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the instance's user must reach its tree
			break
		}
	}
	s := runtime.Spec{
		ID: id, App: "rms", Instance: "live", UID: h.UID, Tree: tree, RunDir: run, LogDir: t.TempDir(),
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "GREETING=good day"},
		Processes: []runtime.Process{{
			Name: "web", Run: "exec /usr/bin/python3 server.py", StopTimeout: 5 * time.Second,
			Socket: filepath.Join(run, "app", "web.sock"),
		}},
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := h.Runtime.Stop(ctx, s.Handle(), time.Second); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Get asks the server of a spec; it tries for at most 5 s while nobody
// listens.
func Get(t testing.TB, s runtime.Spec, path string) (int, string) {
	t.Helper()
	code, body, err := TryGet(s.Processes[0].Socket, path, 5*time.Second)
	if err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, Log(s))
	}
	return code, body
}

// TryGet is Get without a test: it dials until patience ends.
func TryGet(socket, path string, patience time.Duration) (int, string, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	client := &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for end := time.Now().Add(patience); ; {
		res, err := client.Get("http://app" + path)
		if err == nil {
			var b strings.Builder
			_, err = fmt.Fprint(&b, readAll(res))
			return res.StatusCode, b.String(), err
		}
		if time.Now().After(end) {
			return 0, "", err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func readAll(res *http.Response) string {
	defer func() { _ = res.Body.Close() }() // read to its end
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// Log is the end of the log of a spec.
func Log(s runtime.Spec) string {
	lines, err := logfile.Tail(s.LogFile(), 30)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s %s\n", l.Source, l.Text)
	}
	return b.String()
}

// Eventually waits until ok, at most for a while.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
