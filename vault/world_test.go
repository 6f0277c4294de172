package vault

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// world is one target under test, with a way past the vault.
type world struct {
	target string
	s3     S3
	raw    objects
}

// folderWorld and s3World make the targets that the suite judges.
func folderWorld(t *testing.T) world {
	w := world{target: filepath.Join(t.TempDir(), "target")}
	return w.open(t)
}

func s3World(t *testing.T) world {
	backend := s3mem.New()
	if err := backend.CreateBucket("bosman"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(srv.Close)
	w := world{target: "s3://bosman/backups/site", s3: S3{Endpoint: srv.URL, AccessKey: "key", SecretKey: "secret", PartSize: 5 << 20}}
	return w.open(t)
}

func (w world) open(t *testing.T) world {
	t.Helper()
	raw, _, err := openTarget(t.Context(), w.target, w.s3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.close() }) // a handle
	w.raw = raw
	return w
}

func (w world) store(t *testing.T, k *Keys) *Store {
	t.Helper()
	s, err := Open(t.Context(), w.target, Options{Keys: k, Plain: k == nil, S3: w.s3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newKeys(t *testing.T) *Keys {
	t.Helper()
	secret, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func eachWorld(t *testing.T, f func(*testing.T, world)) {
	t.Run("folder", func(t *testing.T) { f(t, folderWorld(t)) })
	t.Run("s3", func(t *testing.T) { f(t, s3World(t)) })
}

func give(p []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(p); return err }
}

func read(t *testing.T, s *Store, name string) ([]byte, error) {
	t.Helper()
	var got []byte
	_, err := s.Get(t.Context(), name, func(r io.Reader) (err error) { got, err = io.ReadAll(r); return err })
	return got, err
}

// noise does not compress.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p) // never fails
	return p
}

func rawNames(t *testing.T, w world) (names []string) {
	t.Helper()
	for o, err := range w.raw.list(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.name)
	}
	if f, ok := w.raw.(*folder); ok { // unfinished files too
		err := filepath.Walk(f.dir, func(p string, info os.FileInfo, err error) error {
			if err == nil && strings.HasPrefix(info.Name(), making) {
				names = append(names, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if b, ok := w.raw.(*bucket); ok {
		for up := range b.core.ListIncompleteUploads(t.Context(), b.name, b.prefix, true) {
			names = append(names, "unfinished "+up.Key)
		}
	}
	return names
}

func raw(t *testing.T, w world, name string) []byte {
	t.Helper()
	in, err := w.raw.get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func plant(t *testing.T, w world, name string, p []byte) {
	t.Helper()
	if err := w.raw.remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := w.raw.put(t.Context(), name, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
}
