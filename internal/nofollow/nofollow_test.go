package nofollow_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman/internal/nofollow"
)

func TestLinksAreNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := errors.Join(os.MkdirAll(dir+"/a/b", 0o755), os.WriteFile(dir+"/a/b/c", []byte("mine"), 0o600),
		os.WriteFile(outside+"/secret", []byte("x"), 0o600), os.Symlink(outside, dir+"/a/out"), os.Symlink("b", dir+"/a/near"),
		os.Symlink(outside+"/secret", dir+"/a/b/link")); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
		for _, rel := range []string{"a/out/secret", "a/near/c", "a/b/link", "a/out", "../x", "/etc/passwd"} {
			if f, err := nofollow.Open(dir, rel, flags); err == nil {
				t.Errorf("%s was reached: %v", rel, f.Close())
			}
		}
	}
	f, err := nofollow.Open(dir, "a/b/c", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := nofollow.Open(dir, "a/no/c", unix.O_RDONLY); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, rel := range []string{"a/out/new", "a/near/new", "a/b/c/new", "a/out"} {
		if f, err := nofollow.MkdirAll(dir, rel, 0o750); err == nil {
			t.Errorf("%s was made: %v", rel, f.Close())
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	for range 2 {
		f, err := nofollow.MkdirAll(dir, "a/new/deep", 0o750)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if st, err := os.Lstat(dir + "/a/new/deep"); err != nil || !st.IsDir() {
		t.Error(st, err)
	}
}

func TestDial(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "nf") //nolint:usetesting // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "own.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("own.sock", filepath.Join(dir, "link.sock")); err != nil {
		t.Fatal(err)
	}
	conn, err := nofollow.Dial(t.Context(), &net.Dialer{}, filepath.Join(dir, "own.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := nofollow.Dial(t.Context(), &net.Dialer{}, filepath.Join(dir, "link.sock")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link: %v", err)
	}
	if _, err := nofollow.Dial(t.Context(), &net.Dialer{}, filepath.Join(dir, "no.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "own.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := nofollow.Dial(t.Context(), &net.Dialer{}, filepath.Join(dir, "own.sock")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}
