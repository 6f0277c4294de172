package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

func TestPutAndGet(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		for _, keys := range []*Keys{newKeys(t), nil} {
			s := w.store(t, keys)
			for name, content := range map[string][]byte{
				"empty": {}, "apps/rms/live/k1/database": []byte(strings.Repeat("row\n", 5000)), "a.b-c_D": noise(100_000), "parts": noise(12 << 20),
			} {
				put, err := s.Put(t.Context(), name, give(content))
				if err != nil {
					t.Fatal(name, err)
				}
				got, err := read(t, s, name)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%s: %d bytes, %v", name, len(got), err)
				}
				checked, err := s.Verify(t.Context(), name)
				if err != nil || checked.SHA256 != put.SHA256 || checked.Size != put.Size || checked.Plain != int64(len(content)) || put.Plain != checked.Plain {
					t.Fatalf("%s: put %+v, verified %+v, %v", name, put, checked, err)
				}
				stat, err := s.Stat(t.Context(), name)
				if err != nil || stat.Size != put.Size || time.Since(stat.At) > time.Minute {
					t.Fatalf("%s: %+v, %v", name, stat, err)
				}
				if _, err := s.Put(t.Context(), name, give([]byte("other"))); bosman.KindOf(err) != bosman.KindConflict {
					t.Fatalf("%s was replaced: %v", name, err)
				}
				if got, err := read(t, s, name); err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%s after a refused put: %v", name, err)
				}
			}
			var names []string
			for i, err := range s.List(t.Context(), "a") {
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, i.Name)
			}
			if !slices.Equal(names, []string{"a.b-c_D", "apps/rms/live/k1/database"}) {
				t.Fatalf("listed %q", names)
			}
			for range 2 { // the second finds nothing
				for _, name := range []string{"empty", "parts", "a.b-c_D", "apps/rms/live/k1/database"} {
					if err := s.Delete(t.Context(), name); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := read(t, s, "empty"); bosman.KindOf(err) != bosman.KindNotFound {
				t.Fatalf("a deleted object: %v", err)
			}
			if _, err := s.Stat(t.Context(), "apps/rms"); bosman.KindOf(err) != bosman.KindNotFound {
				t.Fatalf("a folder: %v", err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := rawNames(t, w); len(left) > 0 {
				t.Fatalf("left behind: %q", left)
			}
		}
	})
}

// TestDamageIsSeen changes the object in the target, past the vault.
func TestDamageIsSeen(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		s := w.store(t, newKeys(t))
		content := noise(200_000)
		if _, err := s.Put(t.Context(), "k1", give(content)); err != nil {
			t.Fatal(err)
		}
		whole := raw(t, w, "k1.zst.age")
		try := func(what string, changed []byte, kinds ...bosman.ErrorKind) string {
			t.Helper()
			plant(t, w, "k1.zst.age", changed)
			got, err := read(t, s, "k1")
			if !slices.Contains(kinds, bosman.KindOf(err)) {
				t.Fatalf("%s: %d bytes, %v", what, len(got), err)
			}
			return err.Error()
		}
		for _, n := range []int{1, 100, len(whole) / 2, 65536 + 16, len(whole) - 17, len(whole) - 1} {
			if msg := try(fmt.Sprintf("cut at %d", n), whole[:n], bosman.KindFailed); !strings.Contains(msg, "cut off") {
				t.Errorf("cut at %d: %s", n, msg)
			}
		}
		offsets := []int{0, 20, 60, 100, 150, 200}
		for at := 250; at < len(whole); at += 7919 {
			offsets = append(offsets, at)
		}
		for _, at := range append(offsets, len(whole)-1) {
			changed := bytes.Clone(whole)
			changed[at] ^= 1
			if at > 250 { // behind the header
				try(fmt.Sprintf("byte %d", at), changed, bosman.KindFailed)
			} else {
				try(fmt.Sprintf("byte %d", at), changed, bosman.KindFailed, bosman.KindForbidden)
			}
		}
		try("one byte more", append(bytes.Clone(whole), 'x'), bosman.KindFailed)
		try("twice", append(bytes.Clone(whole), whole...), bosman.KindFailed)
		plant(t, w, "k1.zst.age", whole)

		// Another's object, one under another's name, one that is not sealed.
		if _, err := w.store(t, newKeys(t)).Put(t.Context(), "theirs", give(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, s, "theirs"); bosman.KindOf(err) != bosman.KindForbidden || !strings.Contains(err.Error(), "none of the keys") {
			t.Errorf("the wrong key: %v", err)
		}
		plant(t, w, "k2.zst.age", whole)
		if _, err := read(t, s, "k2"); bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(err.Error(), "another object, k1") {
			t.Errorf("a moved object: %v", err)
		}
		if _, err := w.store(t, nil).Put(t.Context(), "open", give(content)); err != nil {
			t.Fatal(err)
		}
		plant(t, w, "open.zst.age", raw(t, w, "open.zst"))
		if _, err := read(t, s, "open"); bosman.KindOf(err) != bosman.KindFailed {
			t.Errorf("an object that was not sealed: %v", err)
		}
		// Whoever stops early has what it wanted.
		if _, err := s.Get(t.Context(), "k1", func(r io.Reader) error { _, err := io.ReadFull(r, make([]byte, 10)); return err }); err != nil {
			t.Error(err)
		}
		// An error of the reader is its own.
		mine := errors.New("mine")
		if _, err := s.Get(t.Context(), "k1", func(io.Reader) error { return mine }); !errors.Is(err, mine) {
			t.Error(err)
		}
	})
}

// TestSealedForBoth: the recovery key opens what the server sealed, and a key
// that was added opens what another sealed.
func TestSealedForBoth(t *testing.T) {
	w := folderWorld(t)
	dir := t.TempDir()
	server, err := OpenKeys(filepath.Join(dir, "backup.key"))
	if err != nil {
		t.Fatal(err)
	}
	secret, recipient, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetRecovery(recipient); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store(t, server).Put(t.Context(), "state", give([]byte("all"))); err != nil {
		t.Fatal(err)
	}
	written := strings.ToLower(secret[:30]) + "\n  " + secret[30:50] + " " + secret[50:]
	recovery, err := ParseKey("# kept in the safe\n" + written)
	if err != nil {
		t.Fatal(err)
	}
	for what, k := range map[string]*Keys{"server": server, "recovery": recovery} {
		if got, err := read(t, w.store(t, k), "state"); err != nil || string(got) != "all" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	other := newKeys(t)
	if _, err := read(t, w.store(t, other), "state"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a key that is neither: %v", err)
	}
	other.Add(recovery)
	if _, err := read(t, w.store(t, other), "state"); err != nil {
		t.Errorf("with the key added: %v", err)
	}
	again, err := OpenKeys(filepath.Join(dir, "backup.key"))
	if err != nil || again.Recipient() != server.Recipient() {
		t.Errorf("opened again: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "backup.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	wrong := "Q"
	if secret[40:41] == wrong {
		wrong = "P"
	}
	mistyped := secret[:40] + wrong + secret[41:]
	if _, err := ParseKey(mistyped); bosman.KindOf(err) != bosman.KindInvalid || strings.Contains(err.Error(), secret[10:30]) {
		t.Errorf("a mistyped key: %v", err)
	}
}

// TestOpenedByHand: the programs age and zstd open an object without Bosman.
func TestOpenedByHand(t *testing.T) {
	need.Program(t, "zstd", "zstd")
	w := folderWorld(t)
	s := w.store(t, nil)
	if _, err := s.Put(t.Context(), "k1", give([]byte("by hand"))); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "zstd", "-dc", filepath.Join(w.target, "k1.zst")).CombinedOutput()
	if err != nil || string(out) != "by hand" {
		t.Fatalf("%q, %v", out, err)
	}
}

// TestHalfwayLeavesNothing: a writer that fails, and one that is cancelled.
func TestHalfwayLeavesNothing(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		s := w.store(t, newKeys(t))
		mine := errors.New("mine")
		for _, n := range []int{0, 1000, 11 << 20} {
			_, err := s.Put(t.Context(), "k1", func(out io.Writer) error {
				if _, err := out.Write(noise(n)); err != nil {
					return err
				}
				return mine
			})
			if !errors.Is(err, mine) {
				t.Errorf("a writer that fails after %d bytes: %v", n, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err = s.Put(ctx, "k1", func(out io.Writer) error {
				if _, err := out.Write(noise(n)); err != nil {
					return err
				}
				cancel()
				for {
					if _, err := out.Write(noise(1 << 20)); err != nil {
						return err
					}
				}
			})
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled after %d bytes: %v", n, err)
			}
		}
		if left := rawNames(t, w); len(left) > 0 {
			t.Fatalf("left behind: %q", left)
		}
		if _, err := s.Put(t.Context(), "k1", give(noise(10))); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Get(ctx, "k1", func(r io.Reader) error { cancel(); _, err := io.ReadAll(r); return err })
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("a reader cancelled: %v", err)
		}
	})
}

// TestSweep removes what a killed process left, and only what is old.
func TestSweep(t *testing.T) {
	w := folderWorld(t)
	s := w.store(t, nil)
	if _, err := s.Put(t.Context(), "a/k1", give(nil)); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(w.target, "a", making+"x")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Errorf("a put under way was swept: %v", err)
	}
	if err := s.Sweep(t.Context(), -time.Minute); err != nil {
		t.Fatal(err)
	}
	if names := rawNames(t, w); !slices.Equal(names, []string{"a/k1.zst"}) {
		t.Errorf("after sweeping: %q", names)
	}
	b := s3World(t)
	bucket := b.raw.(*bucket)
	if _, err := bucket.core.NewMultipartUpload(t.Context(), bucket.name, bucket.prefix+"k1.zst", putNothing); err != nil {
		t.Fatal(err)
	}
	if err := b.store(t, nil).Sweep(t.Context(), time.Hour); err != nil || len(rawNames(t, b)) != 1 {
		t.Errorf("an upload under way: %q, %v", rawNames(t, b), err)
	}
	if err := b.store(t, nil).Sweep(t.Context(), -time.Minute); err != nil || len(rawNames(t, b)) != 0 {
		t.Errorf("an upload left behind: %q, %v", rawNames(t, b), err)
	}
}

// TestConcurrentPuts: many at a time, and of those of one name one wins.
func TestConcurrentPuts(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		keys := newKeys(t)
		stores := []*Store{w.store(t, keys), w.store(t, keys)} // as two processes would
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := map[string][]byte{}
		for i := range 12 {
			wg.Go(func() {
				name, content := fmt.Sprintf("k%d", i%4), []byte(fmt.Sprint("content ", i))
				_, err := stores[i%2].Put(t.Context(), name, give(content))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && won[name] != nil:
					t.Errorf("%s was put twice", name)
				case err == nil:
					won[name] = content
				case bosman.KindOf(err) != bosman.KindConflict:
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		for i := range 4 {
			name := fmt.Sprint("k", i)
			if got, err := read(t, stores[0], name); err != nil || !bytes.Equal(got, won[name]) {
				t.Errorf("%s: %q, want %q, %v", name, got, won[name], err)
			}
		}
	})
}

func TestNamesAndTargets(t *testing.T) {
	for _, bad := range []string{"", "/", "/a", "a/", "..", "a/../b", "a//b", ".a", "a/.b", "a b", "a\x00", "ą", `a\b`, strings.Repeat("a", 201)} {
		if err := CheckName(bad); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("the name %q: %v", bad, err)
		}
	}
	dir := t.TempDir()
	cred := S3{AccessKey: "a", SecretKey: "b"}
	for target, want := range map[string]string{
		dir: dir, "file://" + dir: dir, "file://localhost" + dir + "/x": dir + "/x",
		"s3://b/p/q?endpoint=http://127.0.0.1:9000&region=eu": "s3://b/p/q", "s3://b": "s3://b/",
	} {
		s, err := Open(t.Context(), target, Options{Plain: true, S3: cred})
		if err != nil || s.Target() != want {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, target := range []string{"", "backups", "./b", "file:backups", "file://other/a", "ftp://x/y", "s3://", "s3:///p", "s3://b/../c/.d", "s3://u:hunter2@b/p", "s3://b/p?secret_key=hunter2"} {
		if _, err := Open(t.Context(), target, Options{Plain: true, S3: cred}); bosman.KindOf(err) != bosman.KindInvalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", target, err)
		}
	}
	if _, err := Open(t.Context(), "s3://b/p", Options{Plain: true}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "no", "such"), Options{Plain: true}); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("a folder whose parent is not there: %v", err)
	}
	for _, o := range []Options{{}, {Plain: true, Keys: newKeys(t)}} {
		if _, err := Open(t.Context(), dir, o); err == nil {
			t.Errorf("opened with %+v", o)
		}
	}
}
