// Package logfile writes and reads the logs of builds and instances: lines of
// `unix_ms source text\n`, at most 64 KB each, in files that rotate by size.
// It must not know what is logged; masking secrets is the writer's caller's.
//
// A log is a series of segments: `PATH` begins at offset 0, each later one is
// `PATH.<offset, 20 digits>`. An offset counts bytes since the log began, over
// all segments, so it stays good across rotation (and can be the id of a
// server-sent event). A segment that has reached the size limit is never
// written again; its successor's name follows from its length. So several
// processes may write one log: each append happens under a lock on
// `PATH.lock`.
package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxLine is the longest text of one line in bytes; longer ones go on in the
// next line.
const MaxLine = 64 << 10

// Line is one line of a log.
type Line struct {
	Offset int64     // where it begins
	Next   int64     // where the following line begins
	At     time.Time // to the millisecond
	Source string    // "web.1", "cron.digest", a build step
	Text   string
}

type segment struct {
	base int64
	path string
}

// segments lists what exists of a log, oldest first.
func segments(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	var all []segment
	for _, e := range entries {
		if e.Name() == name {
			all = append(all, segment{0, path})
			continue
		}
		digits, ok := strings.CutPrefix(e.Name(), name+".")
		if !ok || len(digits) != 20 {
			continue
		}
		base, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || base <= 0 {
			continue
		}
		all = append(all, segment{base, path + "." + digits})
	}
	slices.SortFunc(all, func(a, b segment) int { return int(min(max(a.base-b.base, -1), 1)) })
	return all, nil
}

func segmentPath(path string, base int64) string {
	if base == 0 {
		return path
	}
	return fmt.Sprintf("%s.%020d", path, base)
}

// parse reads one line without its newline.
func parse(raw []byte, offset int64) Line {
	l := Line{Offset: offset, Next: offset + int64(len(raw)) + 1}
	s := string(raw)
	if stamp, rest, ok := strings.Cut(s, " "); ok {
		if ms, err := strconv.ParseInt(stamp, 10, 64); err == nil {
			l.At = time.UnixMilli(ms).UTC()
			l.Source, l.Text, _ = strings.Cut(rest, " ")
			l.Text = strings.ToValidUTF8(l.Text, "\uFFFD")
			return l
		}
	}
	l.Text = strings.ToValidUTF8(s, "\uFFFD")
	return l
}
