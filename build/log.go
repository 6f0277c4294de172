package build

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLine       = 64 << 10 // bytes of a line in a log
	defaultLogCap = 64 << 20 // bytes of a build's log
	keptTail      = 16 << 10 // bytes of the end of an output that was cut
	ownSource     = "bosman" // source of Bosman's own lines
	tailLines     = 12
)

// Log is the log of one build: lines "unix_ms source text\n", written as they
// come. Its byte offsets are stable. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	f    *os.File
	size int64
	max  int64
	err  error // the first failure to write
}

// openLog opens or continues the log at path; output beyond max bytes is
// dropped, and said so.
func openLog(path string, max int64) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if max <= 0 {
		max = defaultLogCap
	}
	return &Log{f: f, size: info.Size(), max: info.Size() + max}, nil
}

// Close gives the first failure to write, if there was one.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.f.Close())
}

// Err is the first failure to write.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Size is the offset of the next line.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Say writes a line of Bosman's own.
func (l *Log) Say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	l.append(formatLine(nil, ownSource, text))
}

func (l *Log) append(lines []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || len(lines) == 0 {
		return
	}
	n, err := l.f.Write(lines)
	l.size += int64(n)
	l.err = err
}

func formatLine(to []byte, source, text string) []byte {
	to = strconv.AppendInt(to, time.Now().UnixMilli(), 10)
	to = append(to, ' ')
	to = append(to, source...)
	to = append(to, ' ')
	to = append(to, text...)
	return append(to, '\n')
}

// output gives the writer for the output of one step. It may use half of what
// is left of the log, so that later steps can be heard too.
func (l *Log) output(source string, m *masker) *output {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &output{log: l, source: strings.Join(strings.Fields(source), "-"), mask: m, from: l.size, left: (l.max - l.size) / 2}
}

// output cuts a stream into masked lines of a log. It is used by one goroutine.
type output struct {
	log     *Log
	source  string
	mask    *masker
	from    int64
	left    int64 // bytes it may still write
	line    []byte
	back    bool     // a carriage return came: text that follows replaces the line
	cut     int64    // bytes of the current line beyond its cap
	dropped int64    // bytes of lines beyond the log's cap
	end     []string // the last lines, also of what was dropped
	kept    []string // the end of what was dropped
	keptLen int
	batch   []byte
}

// Write never fails: a full disk is remembered by the log.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		o.add(part)
		if i < 0 {
			break
		}
		o.endLine()
		p = p[i+1:]
	}
	o.log.append(o.batch)
	o.batch = o.batch[:0]
	return n, nil
}

// add continues the line as a terminal shows it: what follows a carriage
// return replaces what stood there (a progress bar).
func (o *output) add(part []byte) {
	text := bytes.TrimRight(part, "\r")
	if len(text) > 0 {
		i := bytes.LastIndexByte(text, '\r')
		if o.back || i >= 0 {
			o.line, o.cut = o.line[:0], 0
		}
		text = text[i+1:]
		// Beyond the cap enough is kept to recognise a secret that crosses it.
		room := max(0, maxLine+o.longest()-len(o.line))
		o.cut += int64(max(0, len(text)-room))
		o.line = append(o.line, text[:min(len(text), room)]...)
	}
	o.back = len(text) < len(part) && part[len(part)-1] == '\r' || o.back && len(text) == 0
}

func (o *output) longest() int {
	if o.mask == nil {
		return 0
	}
	return o.mask.longest
}

func (o *output) endLine() {
	text := o.mask.mask(string(o.line))
	keep := len(text)
	if o.cut > 0 {
		keep -= min(keep, o.longest()) // the beginning of a secret may stand there
	}
	if keep > maxLine {
		keep = maxLine - 64
	}
	if over := int64(len(text)-keep) + o.cut; over > 0 {
		text = text[:keep] + fmt.Sprintf(" … (%d bytes cut)", over)
	}
	o.line, o.cut, o.back = o.line[:0], 0, false
	o.end = append(o.end, text)
	if len(o.end) > tailLines {
		o.end = o.end[1:]
	}
	before := len(o.batch)
	if o.dropped == 0 {
		o.batch = formatLine(o.batch, o.source, text)
		size := int64(len(o.batch) - before)
		if size <= o.left {
			o.left -= size
			return
		}
		o.batch = formatLine(o.batch[:before], ownSource, "the log is full; of what follows only the end is kept")
	}
	o.dropped += int64(len(text)) + 1
	o.kept = append(o.kept, text)
	o.keptLen += len(text)
	for o.keptLen > keptTail && len(o.kept) > 1 {
		o.keptLen -= len(o.kept[0])
		o.kept = o.kept[1:]
	}
}

// finish writes what is left: a last line without an end, and the end of what
// was dropped. It gives the offsets of the step in the log.
func (o *output) finish() (from, to int64) {
	if len(o.line) > 0 || o.cut > 0 {
		o.endLine()
	}
	if o.dropped > 0 {
		o.batch = formatLine(o.batch, ownSource, fmt.Sprintf("%d bytes were dropped; the last lines were:", o.dropped))
		for _, text := range o.kept {
			o.batch = formatLine(o.batch, o.source, text[:min(len(text), keptTail)])
		}
		o.kept = nil
	}
	o.log.append(o.batch)
	o.batch = nil
	return o.from, o.log.Size()
}
