package vault

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

var putNothing = minio.PutObjectOptions{}

// TestFullDisk fills a small file system.
func TestFullDisk(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := world{target: filepath.Join(dir, "target")}.open(t)
	s := w.store(t, newKeys(t))
	if _, err := s.Put(t.Context(), "k1", give(noise(100_000))); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), "k2", give(noise(2<<20)))
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "is full") {
		t.Fatalf("a full disk: %v", err)
	}
	if names := rawNames(t, w); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if _, err := s.Verify(t.Context(), "k1"); err != nil {
		t.Error(err)
	}
}

// TestHostileFolder: links in the target lead nowhere.
func TestHostileFolder(t *testing.T) {
	w := folderWorld(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "k1.zst.age")
	if err := os.WriteFile(secret, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"out": outside, "k1.zst.age": secret} {
		if err := os.Symlink(to, filepath.Join(w.target, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(w.target, "k3.zst.age"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.store(t, newKeys(t))
	for _, name := range []string{"k1", "k3", "out/k1"} {
		if _, err := read(t, s, name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := s.Put(t.Context(), "out/k2", give(nil)); err == nil {
		t.Error("written through a link")
	}
	if err := s.Delete(t.Context(), "out/k1"); err == nil {
		t.Error("removed through a link")
	}
	if got, err := os.ReadFile(secret); err != nil || string(got) != "untouched" {
		t.Errorf("outside: %q, %v", got, err)
	}
}

// TestS3OutOfReach: a server that is not there, one that refuses, one that
// lacks the bucket, one that breaks off.
func TestS3OutOfReach(t *testing.T) {
	need.Slow(t, "waits for repeated attempts")
	w := s3World(t)
	if _, err := w.store(t, newKeys(t)).Put(t.Context(), "k1", give(noise(200_000))); err != nil {
		t.Fatal(err)
	}
	var breaking atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			rw.Header().Set("Content-Length", "100000")
			rw.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			return
		}
		if breaking.Add(1); r.Method == http.MethodGet {
			rw.Header().Set("Content-Length", "100000")
			rw.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			_, _ = rw.Write([]byte("age-encryption.org/v1\n")) // and no more
			return
		}
		rw.WriteHeader(http.StatusForbidden)
	}))
	defer srv.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	keys := newKeys(t)
	for what, try := range map[string]func() error{
		"no server": func() error {
			return (world{target: "s3://bbb/p", s3: S3{Endpoint: gone.URL, AccessKey: "a", SecretKey: "b"}}).store(t, keys).Check(t.Context())
		},
		"no bucket": func() error { return (world{target: "s3://other/p", s3: w.s3}).store(t, keys).Check(t.Context()) },
		"broken off": func() error {
			_, err := (world{target: "s3://bbb/p", s3: S3{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b"}}).store(t, keys).Verify(t.Context(), "k1")
			return err
		},
		"refused": func() error {
			return (world{target: "s3://bbb/p", s3: S3{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b"}}).store(t, keys).Delete(t.Context(), "k1")
		},
	} {
		if err := try(); bosman.KindOf(err) != bosman.KindUnavailable {
			t.Errorf("%s: %v", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
}

// swallow is an S3 server that keeps nothing, so that memory seen is ours.
func swallow(rw http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body) // counts only
	switch q := r.URL.Query(); {
	case r.Method == http.MethodHead:
		rw.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost && q.Has("uploads"):
		fmt.Fprint(rw, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPost:
		fmt.Fprint(rw, `<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>e</ETag></CompleteMultipartUploadResult>`)
	default:
		rw.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
	}
}

// TestConstantMemory streams much more than may be in memory.
func TestConstantMemory(t *testing.T) {
	total := int64(1 << 30)
	if testing.Short() {
		total = 96 << 20
	}
	srv := httptest.NewServer(http.HandlerFunc(swallow))
	defer srv.Close()
	for what, w := range map[string]world{
		"folder": {target: filepath.Join(t.TempDir(), "target")},
		"s3":     {target: "s3://bbb/p", s3: S3{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b", PartSize: 8 << 20}},
	} {
		s, total := w.store(t, newKeys(t)), total
		if what == "s3" {
			total /= 4
		}
		runtime.GC()
		base, peak := heap(), uint64(0)
		block, from := make([]byte, 1<<20), rand.NewChaCha8([32]byte{2})
		info, err := s.Put(t.Context(), "k1", func(out io.Writer) error {
			for n := int64(0); n < total; n += int64(len(block)) {
				if n%(8<<20) == 0 {
					_, _ = from.Read(block) // never fails
					peak = max(peak, heap())
				}
				if _, err := out.Write(block); err != nil {
					return err
				}
				_, _ = from.Read(block[:len(block)/2]) // so that half of it compresses
			}
			return nil
		})
		if err != nil || info.Plain != total {
			t.Fatalf("%s: %+v, %v", what, info, err)
		}
		if grown := int64(peak) - int64(base); grown > 64<<20 { //nolint:gosec // sizes of a heap
			t.Errorf("%s: the heap grew by %d MB while %d MB passed", what, grown>>20, total>>20)
		} else {
			t.Logf("%s: the heap grew by %d MB while %d MB passed", what, grown>>20, total>>20)
		}
		if what == "folder" {
			if got, err := s.Verify(t.Context(), "k1"); err != nil || got.SHA256 != info.SHA256 {
				t.Errorf("%+v, %v", got, err)
			}
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestTargetTakenOff: a folder that is away for a while is used again, and
// nothing holds on to it meanwhile.
func TestTargetTakenOff(t *testing.T) {
	w := folderWorld(t)
	s := w.store(t, newKeys(t))
	if _, err := s.Put(t.Context(), "k1", give([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.target, w.target+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "k2", give(nil)); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("put: %v", err)
	}
	if _, err := read(t, s, "k1"); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Errorf("get: %v", err)
	}
	for _, err := range s.List(t.Context(), "") {
		if bosman.KindOf(err) != bosman.KindUnavailable {
			t.Errorf("list: %v", err)
		}
	}
	if err := os.Rename(w.target+".away", w.target); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s, "k1"); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}
