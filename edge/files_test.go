package edge_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// statics is an instance with a current and a previous release's folder.
func statics(t *testing.T) (r *rig, now, before string) {
	r = start(t, nil)
	now, before = filepath.Join(r.dir, "r2/static"), filepath.Join(r.dir, "r1/static")
	write(t, now+"/app.css", strings.Repeat("body { color: black }\n", 200))
	write(t, now+"/main.0123abcd.js", "new")
	write(t, before+"/main.89abcdef.js", "old")
	write(t, before+"/app.css", "old css")
	write(t, now+"/report-20261123.pdf", "a date is no hash")
	write(t, now+"/sub/index.html", "index")
	write(t, now+"/.env", "secret")
	write(t, now+"/pre.js", "plain")
	write(t, now+"/pre.js.br", "as brotli")
	write(t, filepath.Join(r.dir, "outside"), "secret")
	if err := os.Symlink("../../outside", now+"/leak"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", now+"/host"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(now+"/pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, "app ", req.URL.Path) })
	rt := route(up, 2, 1)
	rt.Static = map[string][]string{"/static/": {now, before}}
	r.put(rt)
	return r, now, before
}

func TestStaticFiles(t *testing.T) {
	r, _, _ := statics(t)
	const immutable, check = "public, max-age=31536000, immutable", "public, no-cache"
	for _, c := range []struct {
		path   string
		status int
		body   string
		cache  string
	}{
		{"/static/main.0123abcd.js", 200, "new", immutable},
		{"/static/main.89abcdef.js", 200, "old", immutable}, // of the release before
		{"/static/report-20261123.pdf", 200, "a date is no hash", check},
		{"/static/sub/", 200, "index", check},
		{"/static/sub", 200, "app /static/sub", ""}, // no listing of folders
		{"/static/", 200, "app /static/", ""},
		{"/static/none.js", 200, "app /static/none.js", ""},
		{"/static/.env", 404, "", ""},
		{"/static/%2e%2e/%2e%2e/outside", 404, "", ""},
		{"/static/sub/..%2f..%2f..%2foutside", 404, "", ""},
		{"/static/leak", 200, "app /static/leak", ""}, // a link that leads out is not there
		{"/static/host", 200, "app /static/host", ""},
		{"/static/pipe", 200, "app /static/pipe", ""}, // and does not block
		{"/elsewhere", 200, "app /elsewhere", ""},
	} {
		status, body, h := r.get(c.path)
		if status != c.status || c.body != "" && body != c.body || h.Get("Cache-Control") != c.cache && c.status == 200 {
			t.Errorf("%s: %d %q, Cache-Control %q", c.path, status, body, h.Get("Cache-Control"))
		}
		if strings.Contains(body, "secret") {
			t.Errorf("%s leaks", c.path)
		}
	}
	if status, body, _ := r.do(r.request("POST", "live.rms.localhost", "/static/main.0123abcd.js", nil)); status != 200 || !strings.HasPrefix(body, "app") {
		t.Errorf("a POST should reach the app: %d %q", status, body)
	}
}

func TestStaticFilesAreCompressed(t *testing.T) {
	r, now, _ := statics(t)
	plain, err := os.ReadFile(now + "/app.css")
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for _, c := range []struct {
		accept, encoding string
	}{{"gzip", "gzip"}, {"gzip, br;q=0", "gzip"}, {"gzip, deflate, br, zstd", "br"}, {"zstd", "zstd"}, {"", ""}, {"gzip;q=0", ""}} {
		for range 2 { // the second comes from memory
			req := r.request("GET", "live.rms.localhost", "/static/app.css", nil)
			req.Header.Set("Accept-Encoding", c.accept)
			status, body, h := r.do(req)
			var in io.Reader = strings.NewReader(body)
			switch c.encoding {
			case "gzip":
				in, err = gzip.NewReader(in)
			case "br":
				in = brotli.NewReader(in)
			case "zstd":
				var d *zstd.Decoder
				d, err = zstd.NewReader(in)
				defer d.Close()
				in = d
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(in)
			if status != 200 || err != nil || !bytes.Equal(got, plain) || h.Get("Content-Encoding") != c.encoding || h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%q: %d %v %v", c.accept, status, h, err)
			}
			if c.encoding != "" && h.Get("Content-Length") != fmt.Sprint(len(body)) {
				t.Errorf("%q: length %s", c.accept, h.Get("Content-Length"))
			}
			tags[h.Get("Etag")] = true
		}
	}
	if len(tags) != 4 {
		t.Errorf("the encodings share an ETag: %v", tags)
	}
	req := r.request("GET", "live.rms.localhost", "/static/pre.js", nil)
	req.Header.Set("Accept-Encoding", "br")
	if _, body, h := r.do(req); body != "as brotli" || h.Get("Content-Encoding") != "br" || h.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("the sibling is not used: %q %v", body, h)
	}
}

func TestStaticFilesAreConditional(t *testing.T) {
	r, now, before := statics(t)
	_, _, h := r.get("/static/pre.js")
	tag, date := h.Get("Etag"), h.Get("Last-Modified")
	if tag == "" || date == "" {
		t.Fatal(h)
	}
	req := r.request("GET", "live.rms.localhost", "/static/pre.js", nil)
	req.Header.Set("If-None-Match", tag)
	if status, body, _ := r.do(req); status != 304 || body != "" {
		t.Errorf("%d %q", status, body)
	}
	req = r.request("GET", "live.rms.localhost", "/static/app.css", nil)
	req.Header.Set("Range", "bytes=5-9")
	req.Header.Set("Accept-Encoding", "gzip")
	if status, body, h := r.do(req); status != 206 || body != "{ col" || h.Get("Content-Encoding") != "" {
		t.Errorf("%d %q %v", status, body, h)
	}
	// A sealed release may carry made-up times: a new release with the same
	// time and size must not look unchanged.
	for _, dir := range []string{now, before} {
		write(t, dir+"/same.js", "v"+filepath.Base(filepath.Dir(dir)))
		if err := os.Chtimes(dir+"/same.js", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, h1 := r.get("/static/same.js")
	if err := os.Remove(now + "/same.js"); err != nil {
		t.Fatal(err)
	}
	_, _, h2 := r.get("/static/same.js")
	if h1.Get("Etag") == h2.Get("Etag") || h1.Get("Last-Modified") != "" {
		t.Errorf("%v %v", h1, h2)
	}
}

func TestHandedOverFiles(t *testing.T) {
	r := start(t, nil)
	data := filepath.Join(r.dir, "data/media")
	write(t, data+"/cv ą.pdf", "curriculum")
	write(t, filepath.Join(r.dir, "data/other"), "secret")
	write(t, filepath.Join(r.dir, "data/media-of-others/x"), "secret")
	for name, to := range map[string]string{"out": "../other", "abs": filepath.Join(r.dir, "data/other"), "root": "/", "dir": ".."} {
		if err := os.Symlink(to, filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("cv ą.pdf", data+"/inside"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(data+"/pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	up, _ := r.backend("a", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Accel-Redirect", req.URL.Query().Get("to"))
		w.Header().Set("Content-Type", "application/pdf")
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Set-Cookie", "seen=1")
		fmt.Fprint(w, "not this")
	})
	rt := route(up, 2, 1)
	rt.Private = map[string]string{"/protected/": data}
	r.put(rt)
	get := func(to, rang string) (int, string, http.Header) {
		req := r.request("GET", "live.rms.localhost", "/get", nil)
		req.URL.RawQuery = "to=" + strings.ReplaceAll(strings.ReplaceAll(to, "%", "%25"), " ", "%20")
		if rang != "" {
			req.Header.Set("Range", rang)
		}
		return r.do(req)
	}
	status, body, h := get("/protected/cv%20%C4%85.pdf", "")
	if status != 200 || body != "curriculum" || h.Get("Content-Type") != "application/pdf" || h.Get("Content-Disposition") != "attachment" ||
		h.Get("Set-Cookie") != "seen=1" || h.Get("X-Accel-Redirect") != "" || h.Get("Content-Length") != "10" || h.Get("X-Bosman-Release") != "r2" {
		t.Errorf("%d %q %v", status, body, h)
	}
	if status, body, _ := get("/protected/inside", "bytes=0-3"); status != 206 || body != "curr" {
		t.Errorf("%d %q", status, body)
	}
	for _, to := range []string{
		"/protected/../other", "/protected/%2e%2e/other", "/protected/..%2fother", "/protected/out", "/protected/abs", "/protected/root/etc/hostname",
		"/protected/dir/other", "/protected//etc/hostname", "/protected/", "/protected/.", "/protected/pipe", "/protected/none", "/etc/hostname",
		"/protected", "/protected-/x", "/protected/../media-of-others/x", "//protected/inside", "http://localhost/protected/inside", "/protected/%00", "/protected/%zz",
	} {
		status, body, h := get(to, "")
		if status != 404 || strings.Contains(body, "secret") || strings.Contains(body, "not this") || h.Get("X-Accel-Redirect") != "" {
			t.Errorf("%s: %d %q %v", to, status, body, h)
		}
	}
}

func TestNoIndex(t *testing.T) {
	r := start(t, nil)
	up, _ := r.backend("a", says("page"))
	rt := route(up, 2, 1)
	rt.NoIndex = true
	r.put(rt)
	if _, body, h := r.get("/"); body != "page" || len(h.Values("X-Robots-Tag")) != 1 || h.Get("X-Robots-Tag") != "noindex, nofollow" {
		t.Errorf("%q %v", body, h)
	}
	if _, body, _ := r.get("/robots.txt"); body != "User-agent: *\nDisallow: /\n" {
		t.Errorf("%q", body)
	}
}
