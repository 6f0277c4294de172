package logfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// Reader reads a log from an offset on, across segments, also while it grows.
type Reader struct {
	path  string
	off   int64 // of the next line
	f     *os.File
	base  int64
	buf   []byte // read, not yet given; begins at off
	align bool   // off may lie inside a line
}

// NewReader reads from offset from. An offset inside a line moves to the next
// line; one before the oldest kept segment moves to that segment (see
// Line.Offset for the gap). A log that does not exist yet is empty.
func NewReader(path string, from int64) *Reader {
	from = max(from, 0)
	r := &Reader{path: path, off: from}
	if from > 0 {
		r.off--
		r.align = true
	}
	return r
}

// Offset is where the next line begins.
func (r *Reader) Offset() int64 {
	if r.align {
		return r.off + 1
	}
	return r.off
}

// Close lets go of the file.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}

// Next gives the next whole line, or io.EOF when there is none yet; calling
// it again later goes on.
func (r *Reader) Next() (Line, error) {
	for {
		if raw, rest, ok := bytes.Cut(r.buf, []byte("\n")); ok {
			l := parse(raw, r.off)
			r.off, r.buf = l.Next, rest
			if r.align {
				r.align = false
				continue
			}
			return l, nil
		}
		if r.f == nil {
			if err := r.open(); err != nil {
				return Line{}, err
			}
		}
		n, err := r.fill()
		if err != nil {
			return Line{}, err
		}
		if n > 0 {
			continue
		}
		moved, err := r.follow()
		if err != nil {
			return Line{}, err
		}
		if !moved {
			return Line{}, io.EOF
		}
	}
}

func (r *Reader) fill() (int, error) {
	if cap(r.buf)-len(r.buf) < 4096 {
		grown := make([]byte, len(r.buf), len(r.buf)+MaxLine)
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := r.f.ReadAt(r.buf[len(r.buf):cap(r.buf)], r.off+int64(len(r.buf))-r.base)
	r.buf = r.buf[:len(r.buf)+n]
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// open finds the segment that holds r.off.
func (r *Reader) open() error {
	all, err := segments(r.path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(all) == 0) {
		return io.EOF
	}
	if err != nil {
		return err
	}
	pick := all[0]
	for _, s := range all {
		if s.base <= r.off {
			pick = s
		}
	}
	if pick.base > r.off {
		r.off, r.buf, r.align = pick.base, nil, false
	}
	f, err := os.Open(pick.path)
	if errors.Is(err, fs.ErrNotExist) {
		return io.EOF // pruned meanwhile; the next call looks again
	}
	if err != nil {
		return err
	}
	r.f, r.base = f, pick.base
	return nil
}

// follow moves to the segment after the one read to its end.
func (r *Reader) follow() (bool, error) {
	all, err := segments(r.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	at := r.off + int64(len(r.buf))
	for _, s := range all {
		if s.base <= r.base {
			continue
		}
		if s.base > at {
			st, err := r.f.Stat()
			if err != nil {
				return false, err
			}
			if r.base+st.Size() > at {
				return true, nil // it grew before it was sealed: read on
			}
		}
		if err := r.Close(); err != nil {
			return false, err
		}
		r.off, r.buf, r.align = s.base, nil, false
		return true, nil
	}
	return false, nil
}

// Read gives up to limit lines from offset from and the offset to go on at.
func Read(path string, from int64, limit int) (lines []Line, next int64, err error) {
	r := NewReader(path, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	for len(lines) < limit {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return lines, r.Offset(), err
		}
		lines = append(lines, l)
	}
	return lines, r.Offset(), nil
}

// End is the offset after the last byte of the log; 0 when there is none.
func End(path string) (int64, error) {
	_, end, err := bounds(path)
	return end, err
}

func bounds(path string) (first, end int64, err error) {
	all, err := segments(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(all) == 0) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	last := all[len(all)-1]
	st, err := os.Stat(last.path)
	if err != nil {
		return 0, 0, err
	}
	return all[0].base, last.base + st.Size(), nil
}

// Tail gives the last n lines, oldest first.
func Tail(path string, n int) ([]Line, error) {
	first, end, err := bounds(path)
	if err != nil || end == first || n <= 0 {
		return nil, err
	}
	for window := int64(max(n, 64)) * 256; ; window *= 4 {
		from := max(first, end-window)
		lines, err := last(path, from, n)
		if err != nil || len(lines) == n || from == first {
			return lines, err
		}
	}
}

func last(path string, from int64, n int) (lines []Line, err error) {
	r := NewReader(path, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		if len(lines) == n {
			lines = append(lines[:0], lines[1:]...)
		}
		lines = append(lines, l)
	}
}

// pollEvery is how often a follower looks for more.
const pollEvery = 150 * time.Millisecond

// Follow gives every line from offset from on to each, then waits for more
// until ctx ends (its error is returned) or each returns an error (returned).
func Follow(ctx context.Context, path string, from int64, each func(Line) error) (err error) {
	r := NewReader(path, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		l, err := r.Next()
		if err == nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := each(l); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
