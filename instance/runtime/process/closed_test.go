package process_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/need"
)

const reaching = `
import os, socket, threading
def reach(*a):
    family = socket.AF_INET6 if ":" in a[0] else socket.AF_INET
    s = socket.socket(family); s.settimeout(20)
    try: s.connect(a); print("reached", a)
    except OSError as e: print("no", a[0], type(e).__name__)
    s.close()
reach("10.0.0.5", 5432); reach("10.0.0.5", 5432); reach("127.0.0.1", int(os.environ["HOST_PORT"])); reach("2001:db8::7", 3306)
try: socket.getaddrinfo("db.example.invalid", 5432)
except OSError as e: print("no name", type(e).__name__)
own = socket.socket(); own.bind(("127.0.0.1", 0)); own.listen(); reach(*own.getsockname())
s = socket.socket(socket.AF_UNIX); s.connect("/tmp/there.sock"); print(s.recv(9).decode())
`

// A closed command reaches nothing but Unix sockets; what it tries is told.
func TestClosed(t *testing.T) {
	need.Root(t)
	need.File(t, "/usr/bin/python3", "python3")
	dir, err := os.MkdirTemp("/tmp", "bt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the test is over
	for _, sub := range []string{"tree", "run/tmp", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil { //nolint:gosec // another user enters
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user enters
		t.Fatal(err)
	}
	listen := func(network, at string) net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), network, at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() }) // the test is over
		return l
	}
	host := listen("tcp", "127.0.0.1:0").Addr().String()
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	own := listen("unix", filepath.Join(dir, "run/tmp/there.sock"))
	if err := os.Chmod(filepath.Join(dir, "run/tmp/there.sock"), 0o666); err != nil { //nolint:gosec // another user connects
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { // waited for below
		c, err := own.Accept()
		if err == nil {
			_, err = c.Write([]byte("its own"))
			_ = c.Close() // written
		}
		answered <- err
	}()
	var out bytes.Buffer
	closed := &runtime.Closed{}
	spec := runtime.Spec{ID: "closed.test.d1", UID: testUID, Tree: filepath.Join(dir, "tree"), RunDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"), Env: []string{"HOST_PORT=" + port}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	exit, err := driver(t).Exec(ctx, spec, runtime.Command{Label: "reach", Argv: []string{"/usr/bin/python3", "-c", reaching}, Stdout: &out, Stderr: &out, Closed: closed})
	if err != nil || !exit.OK() {
		t.Fatalf("%v, %s:\n%s", err, exit, &out)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"no 10.0.0.5 ConnectionRefusedError", "no 127.0.0.1 ConnectionRefusedError", "no name gaierror", "reached ('127.0.0.1'", "its own"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	if !closed.Is || !closed.Watched {
		t.Fatalf("closed %+v", closed)
	}
	tried := slices.DeleteFunc(slices.Clone(closed.Outside), func(s string) bool { return s == "[2001:db8::7]:3306" }) // a host may have no IPv6
	if want := []string{"10.0.0.5:5432", host, "db.example.invalid"}; !slices.Equal(tried, want) {
		t.Errorf("it tried %q, want %q", closed.Outside, want)
	}
}
