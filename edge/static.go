package edge

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman/internal/nofollow"
)

const (
	forEver = "max-age=31536000, immutable"
	// epoch: files of a sealed release may have a made-up modification time;
	// an older one says nothing about the content.
	epoch = 1_000_000_000
)

// hashed finds names that change with the content: at least eight hexadecimal
// digits, of both sorts, before the extension (a date is not a hash).
var hashed = regexp.MustCompile(`[.-]([0-9a-f]{8,64})(\.[A-Za-z0-9]+){1,3}$`)

func looksHashed(name string) bool {
	m := hashed.FindStringSubmatch(name)
	return m != nil && strings.ContainsAny(m[1], "0123456789") && strings.ContainsAny(m[1], "abcdef")
}

// static serves a file of the current or the previous release; false means
// that the app is to be asked.
func (e *Edge) static(w http.ResponseWriter, r *http.Request, n *entry, s snapshot) bool {
	if len(s.static) == 0 || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, prefix := range s.static {
		name, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(name, "/") {
			if strings.HasPrefix(part, ".") && part != ".well-known" {
				e.unknownFile(w, r)
				return true
			}
		}
		if name == "" || strings.HasSuffix(name, "/") {
			name += "index.html"
		}
		for _, folder := range s.route.Static[prefix] {
			if e.staticFile(w, r, folder, name, s.route.Wall) {
				if s.current != nil {
					s.current.count.files.Add(1)
				}
				return true
			}
		}
		return false
	}
	return false
}

func (e *Edge) unknownFile(w http.ResponseWriter, r *http.Request) {
	e.page(w, r, http.StatusNotFound, "No such file", "There is nothing under this name.", "")
}

// staticFile serves name from folder, compressed if the client likes; false if
// there is no such file.
func (e *Edge) staticFile(w http.ResponseWriter, r *http.Request, folder, name string, walled bool) bool {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false
	}
	defer shut(root)
	file, info, err := openRegular(root, name)
	if err != nil {
		return false
	}
	defer shut(file)
	h := w.Header()
	scope := "public, "
	if walled {
		scope = "private, "
	}
	if looksHashed(name) {
		h.Set("Cache-Control", scope+forEver)
	} else {
		h.Set("Cache-Control", scope+"no-cache")
	}
	h.Set("Content-Type", contentType(name))
	tag := etag(folder, name, info)
	var content io.ReadSeeker = file
	if compressible(h.Get("Content-Type")) {
		h.Set("Vary", "Accept-Encoding")
		if enc := accepted(r); len(enc) > 0 && r.Header.Get("Range") == "" {
			c, name, size, err := e.compressed(root, name, file, info, enc, tag)
			if err != nil {
				e.log.Warn("a static file cannot be compressed", "file", path.Join(folder, name), "cause", err)
			} else if c != nil {
				defer shut(c)
				content, tag = c, tag+"-"+name
				h.Set("Content-Encoding", name)
				h.Set("Content-Length", fmt.Sprint(size))
			}
		}
	}
	h.Set("Etag", `"`+tag+`"`)
	http.ServeContent(w, r, "", modified(info), content)
	return true
}

func modified(info fs.FileInfo) time.Time {
	if info.ModTime().Unix() < epoch {
		return time.Time{} // ServeContent leaves Last-Modified out
	}
	return info.ModTime()
}

// etag tells releases apart even if their files have the same made-up time:
// the folder belongs to one release.
func etag(folder, name string, info fs.FileInfo) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, folder+"\x00"+name) // a hash never fails to write
	return fmt.Sprintf("%x-%x-%x", h.Sum64(), info.ModTime().UnixNano(), info.Size())
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a file below root. Symbolic links cannot lead out of it,
// and a pipe or device cannot block.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// shut closes what was only read.
func shut(c io.Closer) { _ = c.Close() } // nothing was written that could be lost

var moreTypes = map[string]string{
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".map": "application/json", ".json": "application/json", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml",
	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".ico": "image/x-icon", ".txt": "text/plain; charset=utf-8",
	".html": "text/html; charset=utf-8", ".wasm": "application/wasm", ".webp": "image/webp", ".avif": "image/avif",
}

func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := moreTypes[ext]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// handOver serves the file that an answer's X-Accel-Redirect names. Only
// folders of the route's Private are reachable.
func (e *Edge) handOver(w http.ResponseWriter, r *http.Request, f *flight, a *accel) {
	name, err := url.PathUnescape(a.path)
	if u, _, ok := strings.Cut(a.path, "?"); ok {
		name, err = url.PathUnescape(u)
	}
	for _, prefix := range f.private {
		rest, ok := strings.CutPrefix(name, prefix)
		if err != nil || !ok {
			continue
		}
		if err := e.privateFile(w, r, f, prefix, rest, a.header); err != nil {
			e.log.Warn("a file handed over by the application cannot be served", "app", f.route.App,
				"instance", f.route.Instance, "file", a.path, "cause", err)
			e.unknownFile(w, r)
		}
		return
	}
	e.log.Warn("the application handed over a file outside its folders", "app", f.route.App,
		"instance", f.route.Instance, "file", a.path)
	e.unknownFile(w, r)
}

// kept are the headers of the application's answer that go with the file.
var kept = []string{
	"Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires", "Set-Cookie", "Vary",
	"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "X-Bosman-Release", "X-Robots-Tag",
}

// openPrivate opens the folder of a prefix. What lies above it may be the
// instance's too ("/media/" and "/media/private/"): a link that it puts there
// is not followed.
func openPrivate(folder, prefix string) (*os.Root, error) {
	base, ok := strings.CutSuffix(folder, strings.TrimSuffix(prefix, "/"))
	rel := strings.Trim(prefix, "/")
	if !ok {
		base, rel = path.Split(path.Clean(folder))
	}
	return nofollow.OpenRoot(base, rel)
}

func (e *Edge) privateFile(w http.ResponseWriter, r *http.Request, f *flight, prefix, name string, from http.Header) error {
	folder := f.route.Private[prefix]
	root, err := openPrivate(folder, prefix)
	if err != nil {
		return err
	}
	defer shut(root)
	file, info, err := openRegular(root, name)
	if err != nil {
		return err
	}
	defer shut(file)
	h := w.Header()
	for _, k := range kept {
		if v := from.Values(k); len(v) > 0 {
			h[k] = v
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType(name))
	}
	h.Set("Etag", `"`+etag(folder, name, info)+`"`)
	f.target.count.bytes.Add(info.Size())
	http.ServeContent(w, r, "", modified(info), file)
	return nil
}
