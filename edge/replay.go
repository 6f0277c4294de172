package edge

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// replaySize is how much of a body is kept for a second attempt.
const replaySize = 32 << 10

// replay lets the beginning of a request body be sent again: the transport
// asks for it (GetBody) when a kept connection turned out to be closed and
// nothing was written to it, and we when it could not connect.
type replay struct {
	src io.ReadCloser // closed by whoever made the request

	mu     sync.Mutex
	buf    []byte
	over   bool // more was read than buf keeps
	err    error
	latest *replayReader
}

var errPassed = errors.New("too much of the body has been sent to begin again")

// replayable gives req with a body that can begin again; nil without a body.
func replayable(req *http.Request) (*http.Request, *replay) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	p := &replay{src: req.Body}
	out := req.WithContext(req.Context())
	out.GetBody = p.again
	out.Body, _ = p.again() // nothing was sent yet, so it can
	return out, p
}

// again gives the body from its beginning; readers given before end.
func (p *replay) again() (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil, errPassed
	}
	p.latest = &replayReader{p: p}
	return p.latest, nil
}

type replayReader struct {
	p      *replay
	off    int
	closed bool
}

func (r *replayReader) Read(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	if r.closed || p.latest != r {
		p.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if !p.over {
		defer p.mu.Unlock()
		return r.first(b)
	}
	p.mu.Unlock() // from here on there is but one reader
	return p.src.Read(b)
}

// first reads while everything read so far is kept. The lock is held also
// while the source blocks: what it gives then belongs to the next reader too.
func (r *replayReader) first(b []byte) (int, error) {
	p := r.p
	if r.off < len(p.buf) {
		n := copy(b, p.buf[r.off:])
		r.off += n
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	if room := replaySize - len(p.buf); room > 0 {
		n, err := p.src.Read(b[:min(len(b), room)])
		p.buf = append(p.buf, b[:n]...)
		r.off += n
		p.err = err
		return n, err
	}
	p.over, p.buf = true, nil
	return p.src.Read(b)
}

// Close ends this reader only.
func (r *replayReader) Close() error {
	// Without the lock, which a blocked Read holds: the mark is for the next
	// Read, and the source's own Close ends that one.
	if r.p.mu.TryLock() {
		r.closed = true
		r.p.mu.Unlock()
	}
	return nil
}
