package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say how a log is kept.
type Options struct {
	MaxSize int64       // bytes a segment may reach before the next begins; 0: one segment for ever
	Keep    int         // segments kept; 0: all
	Mode    fs.FileMode // of new files; 0 means 0640
}

// Writer appends to a log. It never blocks its caller on a full disk: what
// cannot be written is dropped and counted, and the next line that fits is
// preceded by one that says so. Safe for use by several goroutines.
type Writer struct {
	path string
	opt  Options

	mu      sync.Mutex
	lock    *os.File
	f       *os.File
	base    int64
	end     int64
	pending int64 // lines dropped and not yet told
	dropped int64
	cause   error
	closed  bool
}

// New makes a writer of the log at path. Files are opened when first needed,
// so that a full disk is met by Line and not here.
func New(path string, o Options) *Writer {
	if o.Mode == 0 {
		o.Mode = 0o640
	}
	return &Writer{path: path, opt: o}
}

// Line appends one line; newlines in text begin further lines of the same
// source. The error says the line was dropped; callers that only log may rely
// on Dropped instead.
func (w *Writer) Line(source, text string) error {
	var buf []byte
	n := 0
	for part := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		for {
			cut := min(len(part), MaxLine)
			buf = appendLine(buf, source, []byte(part[:cut]))
			n++
			if part = part[cut:]; part == "" {
				break
			}
		}
	}
	return w.append(buf, n)
}

func appendLine(buf []byte, source string, text []byte) []byte {
	buf = strconv.AppendInt(buf, time.Now().UnixMilli(), 10)
	buf = append(buf, ' ')
	buf = append(buf, cleanSource(source)...)
	buf = append(buf, ' ')
	buf = append(buf, bytes.TrimSuffix(text, []byte("\r"))...)
	return append(buf, '\n')
}

func cleanSource(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' {
			return '_'
		}
		return r
	}, s)
}

func (w *Writer) append(buf []byte, lines int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fs.ErrClosed
	}
	if w.pending > 0 {
		note := fmt.Sprintf("%d lines were dropped here: %v", w.pending, w.cause)
		buf = append(appendLine(nil, "bosman", []byte(note)), buf...)
	}
	if err := w.write(buf); err != nil {
		w.pending += int64(lines)
		w.dropped += int64(lines)
		w.cause = err
		return err
	}
	w.pending = 0
	return nil
}

func (w *Writer) write(buf []byte) error {
	if err := w.acquire(); err != nil {
		return err
	}
	err := w.place()
	if err == nil {
		err = w.put(buf)
	}
	return errors.Join(err, flock(w.lock, syscall.LOCK_UN))
}

// acquire takes the lock that all writers of this log share.
func (w *Writer) acquire() error {
	if w.lock == nil {
		if err := os.MkdirAll(filepath.Dir(w.path), 0o750); err != nil {
			return err
		}
		f, err := os.OpenFile(w.path+".lock", os.O_CREATE|os.O_RDWR, w.opt.Mode)
		if err != nil {
			return err
		}
		w.lock = f
	}
	return flock(w.lock, syscall.LOCK_EX)
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// removed says whether an open file has no name any more.
func removed(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// place makes w.f the segment to append to. Called with the lock held.
func (w *Writer) place() error {
	if w.f != nil {
		if st, err := w.f.Stat(); err != nil || removed(st) {
			w.drop() // somebody removed it
		}
	}
	if w.f == nil {
		all, err := segments(w.path)
		if err != nil {
			return err
		}
		var base int64
		if len(all) > 0 {
			base = all[len(all)-1].base
		}
		if err := w.open(base); err != nil {
			return err
		}
	}
	for {
		st, err := w.f.Stat()
		if err != nil {
			return err
		}
		w.end = w.base + st.Size()
		if w.opt.MaxSize <= 0 || st.Size() < w.opt.MaxSize {
			return nil
		}
		if err := w.open(w.end); err != nil {
			return err
		}
		if err := w.prune(); err != nil {
			return err
		}
	}
}

func (w *Writer) open(base int64) error {
	f, err := os.OpenFile(segmentPath(w.path, base), os.O_CREATE|os.O_APPEND|os.O_WRONLY, w.opt.Mode)
	if err != nil {
		return err
	}
	w.drop()
	w.f, w.base = f, base
	return nil
}

func (w *Writer) drop() {
	if w.f != nil {
		_ = w.f.Close() // appended data needs no flush
		w.f = nil
	}
}

func (w *Writer) prune() error {
	if w.opt.Keep <= 0 {
		return nil
	}
	all, err := segments(w.path)
	if err != nil {
		return err
	}
	for len(all) > w.opt.Keep {
		if err := os.Remove(all[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		all = all[1:]
	}
	return nil
}

func (w *Writer) put(buf []byte) error {
	n, err := w.f.Write(buf)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, w.f.Truncate(w.end-w.base)) // no half lines
		}
		return err
	}
	w.end += int64(n)
	return nil
}

// Offset is the end of the log as this writer last saw it: where its next
// line begins if it is the only one.
func (w *Writer) Offset() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.acquire(); err != nil {
		return 0, err
	}
	err := w.place()
	return w.end, errors.Join(err, flock(w.lock, syscall.LOCK_UN))
}

// Dropped counts the lines that could not be written.
func (w *Writer) Dropped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Reopen lets go of the files; the next line opens them again.
func (w *Writer) Reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
}

func (w *Writer) release() {
	w.drop()
	if w.lock != nil {
		_ = w.lock.Close() // it only carries the lock
		w.lock = nil
	}
}

// Sync flushes what was written to the disk.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return nil
	}
	return w.f.Sync()
}

// Close ends the writer; later lines are refused.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.release()
	return nil
}

// Stream cuts what is written to it into lines of one source. Each Write is
// one append. It never returns an error for a log that cannot be written, so
// that the program behind it is not disturbed. Not safe for concurrent use.
type Stream struct {
	w      *Writer
	source string
	part   []byte
}

// Stream makes a stream of the source.
func (w *Writer) Stream(source string) *Stream { return &Stream{w: w, source: source} }

// Write takes output as it comes; the last, unfinished line waits for more.
func (s *Stream) Write(p []byte) (int, error) {
	var buf []byte
	lines := 0
	for rest := p; len(rest) > 0; {
		text, after, whole := bytes.Cut(rest, []byte("\n"))
		room := MaxLine - len(s.part)
		if len(text) > room {
			s.part = append(s.part, text[:room]...)
			rest = rest[room:]
		} else {
			s.part = append(s.part, text...)
			rest = after
			if !whole {
				break
			}
		}
		buf = appendLine(buf, s.source, s.part)
		lines++
		s.part = s.part[:0]
	}
	if lines > 0 {
		_ = s.w.append(buf, lines) // counted by the writer
	}
	return len(p), nil
}

// Close writes an unfinished last line.
func (s *Stream) Close() error {
	if len(s.part) == 0 {
		return nil
	}
	buf := appendLine(nil, s.source, s.part)
	s.part = nil
	return s.w.append(buf, 1)
}
