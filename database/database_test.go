package database

import (
	"archive/tar"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	bosman "github.com/bosman-cd/bosman"
)

func TestSame(t *testing.T) {
	d := bosman.Database{Engine: "postgres", Name: "rms__live", User: "rms__live", Password: "p/w@:x", Host: "/run/bosman/pg", Port: 5433}
	file := bosman.Database{Engine: "sqlite", Name: "/data/db/live/db.sqlite3"}
	maria := bosman.Database{Engine: "mariadb", Name: "rms__live", User: "rms__live", Password: "p/w@:x", Host: "/run/b/m", Port: 3306}
	tcp := bosman.Database{Engine: "mariadb", Name: "rms__live", User: "rms__live", Password: "x", Host: "db.example.org", Port: 3306}
	for _, c := range []struct {
		d    bosman.Database
		text string
		same bool
	}{
		{d, URL(d), true},
		{d, "noise before\n" + URL(d) + "\n", true},
		{d, "postgresql+psycopg2://rms__live:x@/rms__live?host=/run/bosman/pg/&port=5433", true},
		{d, "postgres://rms__live:x@%2Frun%2Fbosman%2Fpg:5433/rms__live", true},
		{d, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__live", "HOST": "/run/bosman/pg", "PORT": 5433}`, true},
		{d, `{"engine": "django.db.backends.postgresql", "name": "rms__live", "host": "", "options": {"host": "/run/bosman/pg", "port": "5433"}}`, true},
		{d, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__staging", "HOST": "/run/bosman/pg", "PORT": "5433"}`, false},
		{d, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__live", "HOST": "", "PORT": "5433"}`, false},
		{d, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__live", "HOST": "localhost", "PORT": "5433"}`, false},
		{d, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__live", "HOST": "/run/bosman/pg"}`, false},
		{d, `{"ENGINE": "django.db.backends.sqlite3", "NAME": "rms__live"}`, false},
		{d, "postgres://other:x@/rms__live?host=/run/bosman/pg&port=5433", false},
		{file, URL(file), true},
		{file, `{"ENGINE": "django.db.backends.sqlite3", "NAME": "/data/db/live/../live/db.sqlite3"}`, true},
		{file, `{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}`, false},
		{file, "sqlite:////data/db/staging/db.sqlite3", false},
		{bosman.Database{}, URL(d), false},
		{maria, URL(maria), true},
		{maria, "mysql2://rms__live:x@localhost/rms__live?socket=/run/b/m/mysqld.sock", true},
		{maria, "mysql+pymysql://rms__live:x@/rms__live?unix_socket=/run/b/m/mysqld.sock", true},
		{maria, "mysql://rms__live:x@127.0.0.1/rms__live?unix_socket=/run/b/m/mysqld.sock", false},
		{maria, "mysql://rms__live:x@localhost/rms__live", false},
		{maria, "mysql://rms__live:x@localhost/rms__live?unix_socket=/run/mysqld/mysqld.sock", false},
		{maria, `{"ENGINE": "django.db.backends.mysql", "NAME": "rms__live", "HOST": "/run/b/m/mysqld.sock", "PORT": ""}`, true},
		{maria, `{"ENGINE": "django.db.backends.mysql", "NAME": "rms__live", "HOST": "localhost", "OPTIONS": {"unix_socket": "/run/b/m/mysqld.sock"}}`, true},
		{maria, `{"ENGINE": "django.db.backends.mysql", "NAME": "rms__live", "HOST": "db1", "OPTIONS": {"unix_socket": "/run/b/m/mysqld.sock"}}`, false},
		{maria, `{"ENGINE": "django.db.backends.postgresql", "NAME": "rms__live", "HOST": "/run/b/m/mysqld.sock"}`, false},
		{tcp, "mysql://rms__live:x@db.example.org/rms__live", true},
		{tcp, "mysql://rms__live:x@db.example.org:3307/rms__live", false},
	} {
		r, err := ParseReported(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if got := Same(c.d, r); got != c.same {
			t.Errorf("Same(%s, %+v) = %t", c.d.Name, r, got)
		}
	}
	for _, text := range []string{"", "no idea", "{", `{"a": 1}`, "[1]", "postgres://%zz/"} {
		if _, err := ParseReported(text); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("ParseReported(%q): %v", text, err)
		}
	}
}

func TestNames(t *testing.T) {
	at := time.Date(2026, 11, 23, 3, 24, 5, 7e6, time.UTC)
	kept := KeptName("live__next", at)
	if kept != "live__kept_20261123t032405007" || CheckName(kept) != nil || !HasTag(kept, TagKept) || HasTag(kept, TagNext) || Base(kept) != "live" {
		t.Errorf("kept name %q", kept)
	}
	if back, ok := ParseStamp(strings.TrimPrefix(kept, "live__kept_")); !ok || !back.Equal(at) {
		t.Errorf("read back %s", back)
	}
	if HasTag("live", "live") || HasTag("kept", TagKept) {
		t.Error("an instance's own name has no tag")
	}
}

// tree makes a folder with everything that may lie in one.
func tree(t *testing.T) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(src, "media", "locked"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"media/ż ó'\".pdf": "cv", "media/locked/x": "", "big": strings.Repeat("0123456789", 100_000)} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "/etc/passwd", "loop": ".", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(src, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(filepath.Join(src, "media", "locked"), 0o555); err != nil {
		t.Fatal(err)
	}
	return src
}

func checkTree(t *testing.T, dst string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dst, "media/ż ó'\".pdf")); err != nil || string(b) != "cv" {
		t.Errorf("file %q, %v", b, err)
	}
	if link, err := os.Readlink(filepath.Join(dst, "out")); err != nil || link != "/etc/passwd" {
		t.Errorf("link %q, %v", link, err)
	}
	if info, err := os.Lstat(filepath.Join(dst, "media/locked")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("folder %v, %v", info, err)
	}
	if info, err := os.Lstat(filepath.Join(dst, "big")); err != nil || info.Size() != 1_000_000 || info.Mode().Perm() != 0o640 {
		t.Errorf("big file %v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(dst, "s")); err == nil {
		t.Error("the socket was copied")
	}
}

func TestCopyTree(t *testing.T) {
	src, dst := tree(t), filepath.Join(t.TempDir(), "copy")
	got, err := CopyTree(t.Context(), src, dst, 0)
	if err != nil || got.Files != 6 || got.Skipped != 1 || got.Bytes != 1_000_002 {
		t.Fatalf("%+v, %v", got, err)
	}
	checkTree(t, dst)
	a, err1 := os.Stat(filepath.Join(src, "big"))
	b, err2 := os.Stat(filepath.Join(dst, "big"))
	if err1 != nil || err2 != nil || os.SameFile(a, b) {
		t.Error("the copy is the same file")
	}
	if _, err := CopyTree(t.Context(), src, dst, 0); err == nil {
		t.Error("a copy over another should fail")
	}
	if got, err := CopyTree(t.Context(), "/nonexistent", filepath.Join(t.TempDir(), "new"), 0); err != nil || got.Files != 0 {
		t.Errorf("nothing to copy: %+v, %v", got, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CopyTree(cancelled, src, filepath.Join(t.TempDir(), "c"), 0); err == nil {
		t.Error("cancelled, yet copied")
	}
}

func TestArchive(t *testing.T) {
	src, file, dst := tree(t), filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "copy")
	files, bytes, err := writeArchive(t.Context(), src, file)
	if err != nil || files != 6 || bytes != 1_000_002 {
		t.Fatalf("wrote %d files, %d bytes, %v", files, bytes, err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 100_000 {
		t.Errorf("not compressed: %v, %v", info, err)
	}
	if files, bytes, err = readArchive(t.Context(), file, dst, 0); err != nil || files != 6 || bytes != 1_000_002 {
		t.Fatalf("read %d files, %d bytes, %v", files, bytes, err)
	}
	checkTree(t, dst)
}

func TestArchiveCannotWriteOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, entries := range map[string][]tar.Header{
		"dots":     {{Name: "../outside/x", Typeflag: tar.TypeReg}},
		"absolute": {{Name: filepath.Join(outside, "x"), Typeflag: tar.TypeReg}},
		"link":     {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"hardlink": {{Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"device":   {{Name: "x", Typeflag: tar.TypeChar}},
	} {
		file := filepath.Join(t.TempDir(), "a")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewWriter(f)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		for _, h := range entries {
			h.Mode = 0o644
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{w.Close(), z.Close(), f.Close()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := readArchive(t.Context(), file, filepath.Join(filepath.Dir(outside), "in-"+name), 0); err == nil {
			t.Errorf("%s: unpacked", name)
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
			t.Fatalf("%s: wrote outside: %v, %v", name, left, err)
		}
	}
}
