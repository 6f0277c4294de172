package demo

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		make func(string) error
		ok   bool
	}{
		{"new", func(string) error { return nil }, true},
		{"empty", func(p string) error { return os.Mkdir(p, 0o700) }, true},
		{"demo", func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(filepath.Join(p, marker), nil, 0o600))
		}, true},
		{"other", func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(filepath.Join(p, "thesis.txt"), nil, 0o600))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := filepath.Join(dir, c.name)
			if err := c.make(p); err != nil {
				t.Fatal(err)
			}
			if err := fits(p); (err == nil) != c.ok {
				t.Errorf("fits: %v", err)
			}
		})
	}
	if err := fits("/" + strings.Repeat("long/", 15)); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a path too long for sockets: %v", err)
	}
}

func TestCleanTouchesOnlyDemos(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(kept, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Options{Data: dir, Clean: true, Stderr: io.Discard}, io.Discard)
	if bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("clean of a strange folder: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	var said bytes.Buffer
	if err := Run(t.Context(), Options{Data: filepath.Join(dir, "none"), Clean: true}, &said); err != nil || !strings.Contains(said.String(), "there is no demo") {
		t.Errorf("clean of nothing: %v %q", err, said.String())
	}
}

func TestShow(t *testing.T) {
	var out bytes.Buffer
	s := newShow(&out)
	s.part("One")
	if err := s.step("works", func() (string, error) { s.tell("half of it"); return "as it should", nil }); err != nil {
		t.Error(err)
	}
	if err := s.step("breaks", func() (string, error) { return "", errors.New("it broke\nwith details") }); err == nil {
		t.Error("the error of a step is lost")
	}
	if err := s.table(time.Second, false); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"✓ works", "as it should", "✕ breaks", "it broke", "1 of 2 steps not as they should be"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.ContainsAny(out.String(), "\r\x1b") {
		t.Error("a file gets the signs of a terminal")
	}
}

// TestProbe proves that the probe sees what fails.
func TestProbe(t *testing.T) {
	var n, bad atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Host, "live.rms.localhost:") {
			t.Errorf("asked for %s", r.Host)
		}
		switch n.Add(1) % 20 {
		case 7:
			bad.Add(1)
			http.Error(w, "broken", http.StatusInternalServerError)
		case 13:
			bad.Add(1)
			panic(http.ErrAbortHandler) // the connection breaks off
		}
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{opt: Options{Port: port}}
	p := w.probe(t.Context(), mixed...)
	for n.Load() < 60 {
		time.Sleep(10 * time.Millisecond)
	}
	met := p.stop()
	if met.failed == 0 || met.failed != bad.Load() || met.none() == nil {
		t.Errorf("%s, but %d answers were bad; the verdict is %v", met, bad.Load(), met.none())
	}
	if !strings.Contains(met.sample, "500 broken") && !strings.Contains(met.sample, "EOF") {
		t.Errorf("the first failure is told as %q", met.sample)
	}
	if err := (probed{asked: 10, rate: 3}).none(); err == nil {
		t.Error("too few requests pass for a proof")
	}
	if err := (probed{asked: 500, failed: 2, rate: probeRate}).atMost(1); err == nil {
		t.Error("more failures than allowed pass")
	}
}
