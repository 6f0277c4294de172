package edge

import (
	"bytes"
	"compress/gzip"
	"container/list"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const (
	smallest  = 512      // bytes below which compressing gains nothing
	largest   = 8 << 20  // bytes above which a file without a compressed sibling goes out as it is
	cacheSize = 32 << 20 // bytes of compressed files kept in memory
)

// encodings in the order of preference, with the extension of siblings.
var encodings = []struct{ name, ext string }{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

// accepted gives the encodings the client takes, best first.
func accepted(r *http.Request) []string {
	offer := map[string]bool{}
	for _, line := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(line, ",") {
			name, q, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			weight := 1.0
			if v, ok := strings.CutPrefix(strings.ReplaceAll(q, " ", ""), "q="); ok {
				var err error
				if weight, err = strconv.ParseFloat(v, 64); err != nil {
					weight = 0
				}
			}
			offer[name] = weight > 0
		}
	}
	var out []string
	for _, enc := range encodings {
		if yes, named := offer[enc.name]; yes || !named && offer["*"] {
			out = append(out, enc.name)
		}
	}
	return out
}

func compressible(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	switch t {
	case "application/json", "application/manifest+json", "application/xml", "image/svg+xml", "application/wasm", "font/ttf", "application/javascript":
		return true
	}
	return strings.HasPrefix(t, "text/")
}

// encoded is a compressed file.
type encoded struct {
	io.ReadSeeker
	close func() error
}

func (f *encoded) Close() error { return f.close() }

// compressed gives the best form of a file in an encoding the client takes: a
// sibling made by the build, else one made here and kept in memory; nil if
// the file is to go out as it is.
func (e *Edge) compressed(root *os.Root, name string, file *os.File, info fs.FileInfo, want []string, tag string) (c *encoded, encoding string, size int64, err error) {
	for _, enc := range encodings {
		for _, w := range want {
			if w != enc.name {
				continue
			}
			f, i, err := openRegular(root, name+enc.ext)
			if err == nil {
				return &encoded{f, f.Close}, enc.name, i.Size(), nil
			}
		}
	}
	if info.Size() < smallest || info.Size() > largest {
		return nil, "", 0, nil
	}
	data, err := e.cache.get(tag+"-"+want[0], func() ([]byte, error) { return compress(want[0], file, info.Size()) })
	if err != nil {
		return nil, "", 0, err
	}
	if int64(len(data)) >= info.Size() {
		return nil, "", 0, nil
	}
	return &encoded{bytes.NewReader(data), func() error { return nil }}, want[0], int64(len(data)), nil
}

func compress(encoding string, file *os.File, size int64) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch encoding {
	case "br":
		w = brotli.NewWriterLevel(&out, 5)
	case "zstd":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		w, err = gzip.NewWriterLevel(&out, 6)
	}
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(w, io.NewSectionReader(file, 0, size))
	err = errors.Join(err, w.Close()) // Close writes the end
	return out.Bytes(), err
}

// cache keeps compressed files, the least recently used goes first.
type cache struct {
	mu    sync.Mutex
	size  int
	order list.List // of *cached, most recent first
	items map[string]*list.Element
}

type cached struct {
	key  string
	once sync.Once
	data []byte
	err  error
	size int // counted in cache.size; 0 until made
}

// get makes an item once, even if many ask for it at the same time.
func (c *cache) get(key string, produce func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	if c.items == nil {
		c.items = map[string]*list.Element{}
	}
	el := c.items[key]
	if el == nil {
		el = c.order.PushFront(&cached{key: key})
		c.items[key] = el
	} else {
		c.order.MoveToFront(el)
	}
	it := el.Value.(*cached) //nolint:errcheck // the list holds nothing else
	c.mu.Unlock()
	it.once.Do(func() {
		it.data, it.err = produce()
		c.keep(it)
	})
	return it.data, it.err
}

func (c *cache) keep(it *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.items[it.key]
	if el == nil || el.Value != it {
		return // thrown out meanwhile
	}
	if it.err != nil {
		c.drop(el)
		return
	}
	it.size = len(it.data) + len(it.key)
	c.size += it.size
	for c.size > cacheSize && c.order.Back() != nil {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	it := c.order.Remove(el).(*cached) //nolint:errcheck // the list holds nothing else
	delete(c.items, it.key)
	c.size -= it.size
}
