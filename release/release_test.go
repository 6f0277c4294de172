package release

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/manifest"
)

func parse(data []byte) (*bosman.Manifest, error) {
	return manifest.Parse(data, bosman.ManifestFile)
}

// tree writes files below a new folder in dir.
func tree(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	root, err := os.MkdirTemp(dir, "tree-")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func rel(n int) bosman.Release {
	return bosman.Release{App: "shop", Number: n, Commit: "c0ffee", Tree: "7ree", Definition: "def", Trust: bosman.TrustTeam, Build: 41}
}

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	s := New(filepath.Join(dir, "releases"), parse)
	from := tree(t, dir, map[string]string{
		"bosman.yaml": "health: /healthz\n", "bin/run": "#!/bin/sh", "static/dist/a.js": "dev", "evil": "x",
	})
	if err := errors.Join(os.Chmod(from+"/bin/run", 0o4777), unix.Mkfifo(from+"/pipe", 0o600), os.Symlink("/etc/passwd", from+"/link")); err != nil {
		t.Fatal(err)
	}
	live := tree(t, dir, map[string]string{"a.js": "prod"})
	m := &bosman.Manifest{Root: ".", Data: []string{"media/"}, Static: map[string]string{"/static/": "staticfiles/"}, Templates: map[string]string{"a.tmpl": "conf/uwsgi.ini"}}
	got, err := s.Seal(rel(7), from, map[string]map[string]string{"live": {"static/dist": live}}, m)
	if err != nil {
		t.Fatal(err)
	}
	if got.Dir != s.Dir("shop", 7) || got.SealedAt.IsZero() || time.Since(got.SealedAt) > time.Minute || got.Bytes < 20 || len(got.Variants) != 1 {
		t.Errorf("sealed %+v", got)
	}
	for name, mode := range map[string]os.FileMode{
		"": os.ModeDir | 0o755, "bin/run": 0o755, "bosman.yaml": 0o644, "media": os.ModeDir | 0o755,
		"staticfiles": os.ModeDir | 0o755, "conf/uwsgi.ini": 0o644,
	} {
		info, err := os.Lstat(filepath.Join(s.Tree("shop", 7), name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	if _, err := os.Lstat(s.Tree("shop", 7) + "/pipe"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a pipe was sealed in")
	}
	mounts, err := s.Mounts(got, "live")
	data, rerr := os.ReadFile(mounts["static/dist"] + "/a.js")
	if err != nil || rerr != nil || string(data) != "prod" {
		t.Errorf("live variant %v: %q, %v, %v", mounts, data, err, rerr)
	}
	if mounts, err := s.Mounts(got, bosman.DefaultVariant); len(mounts) > 0 || err != nil {
		t.Errorf("the default variant mounts %v, %v", mounts, err)
	}
	if m, err := s.Manifest(got); err != nil || m.Health != "/healthz" {
		t.Errorf("manifest %+v, %v", m, err)
	}
	if err := s.Verify("shop", 7); err != nil {
		t.Error(err)
	}
	again, err := s.Seal(rel(7), "/nowhere", nil, nil)
	if err != nil || !again.SealedAt.Equal(got.SealedAt) {
		t.Errorf("sealing again: %+v, %v", again, err)
	}
	if err := os.WriteFile(s.Tree("shop", 7)+"/evil", []byte("yy"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify("shop", 7); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a changed release: %v", err)
	}
}

func TestSealRefusesWhatLeavesTheTree(t *testing.T) {
	dir := t.TempDir()
	s := New(filepath.Join(dir, "releases"), parse)
	outside := t.TempDir()
	for name, m := range map[string]*bosman.Manifest{
		"dots":      {Root: ".", Data: []string{"../media"}},
		"link":      {Root: ".", Data: []string{"link/media"}},
		"template":  {Root: ".", Templates: map[string]string{"x": "link/conf"}},
		"file":      {Root: ".", Data: []string{"file/media"}},
		"root dots": {Root: "..", Static: map[string]string{"/": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			from := tree(t, dir, map[string]string{"file": "x"})
			if err := os.Symlink(outside, from+"/link"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Seal(rel(8), from, nil, m); bosman.KindOf(err) != bosman.KindInvalid {
				t.Errorf("sealed: %v", err)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "releases", "shop")); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
	if made, err := os.ReadDir(outside); err != nil || len(made) > 0 {
		t.Errorf("made outside: %v, %v", made, err)
	}
}

func TestPruneSweepAndRemove(t *testing.T) {
	dir := t.TempDir()
	s := New(filepath.Join(dir, "releases"), parse)
	for n := 9; n <= 12; n++ {
		if _, err := s.Seal(rel(n), tree(t, dir, map[string]string{"n": "x"}), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, half := range []string{"r20.partial", "r3.removing"} {
		if err := os.MkdirAll(filepath.Join(dir, "releases/shop", half, "tree"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List("shop")
	if err != nil || len(list) != 4 || list[0].Number != 9 || list[3].Number != 12 {
		t.Fatalf("list %+v, %v", list, err)
	}
	gone, err := s.Prune("shop", func(r bosman.Release) bool { return r.Number >= 11 })
	if err != nil || len(gone) != 2 || gone[1].Number != 10 {
		t.Errorf("pruned %+v, %v", gone, err)
	}
	if err := s.Sweep(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "releases/shop"))
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := s.Load("shop", 9); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("loaded: %v", err)
	}
	if err := s.Remove("shop", 9); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if list, err := s.List("another"); err != nil || len(list) > 0 {
		t.Errorf("releases of an app that has none: %v, %v", list, err)
	}
}

func TestFullDiskLeavesNothingHalfMade(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := New(filepath.Join(dir, "releases"), parse)
	from := tree(t, dir, map[string]string{"a": "x"})
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Seal(rel(5), from, nil, nil)
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("error %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "releases/shop/*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
