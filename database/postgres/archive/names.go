package archive

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Where things lie in the vault.
const (
	root         = "log/"
	basePart     = "/base/"
	segmentPart  = "/segments/"
	pointPart    = "/points/"
	damagePart   = "/damaged/"
	filesObject  = "files"
	baseObject   = "base.json"
	proofObject  = "proof"
	pointPrefix  = "point." // of a restore point in the spool
	segmentBytes = 16 << 20 // of the segments of a durable cluster
)

// isSegment says whether a file of the server's is a segment: 24 hex digits.
func isSegment(name string) bool {
	return len(name) == 24 && strings.Trim(name, "0123456789ABCDEF") == ""
}

// parseLSN reads a place in the log: "16/B374D848".
func parseLSN(text string) (uint64, error) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, bosman.Internal("%q is no place in a log", text)
	}
	return h<<32 | l, nil
}

// segmentName names the segment with a number on a timeline.
func segmentName(timeline uint32, number, size uint64) string {
	each := (1 << 32) / size
	return fmt.Sprintf("%08X%08X%08X", timeline, number/each, number%each)
}

// segmentNumber reads the timeline and the number in a segment's name.
func segmentNumber(name string, size uint64) (timeline uint32, number uint64, err error) {
	if !isSegment(name) {
		return 0, 0, bosman.Internal("%q is no segment of a log", name)
	}
	t, err1 := strconv.ParseUint(name[:8], 16, 32)
	high, err2 := strconv.ParseUint(name[8:16], 16, 32)
	low, err3 := strconv.ParseUint(name[16:], 16, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		return 0, 0, bosman.Internal("%q is no segment of a log", name)
	}
	return uint32(t), high*((1<<32)/size) + low, nil
}

// next names the segment that follows.
func next(name string, size uint64) (string, error) {
	t, n, err := segmentNumber(name, size)
	return segmentName(t, n+1, size), err
}

// headBytes is what a segment begins with: a place there holds nothing yet.
const headBytes = 40

// lastBefore names the last segment that holds anything before a place, on the
// first timeline: a durable cluster is never promoted.
func lastBefore(lsn string, size uint64) (string, error) {
	at, err := parseLSN(lsn)
	if err != nil {
		return "", err
	}
	n := at / size
	if at%size <= headBytes && n > 0 {
		n--
	}
	return segmentName(1, n, size), nil
}

// Point is a restore point.
type Point struct {
	Name   string // "rms-d37"
	At     time.Time
	LSN    string // "0/16B3D80"
	System string
}

// object names a point in the vault: all of it is in the name.
func (p Point) object() string {
	return database.Stamp(p.At) + "_" + p.Name + "_" + strings.Replace(p.LSN, "/", "-", 1)
}

func parsePoint(object string) (p Point, ok bool) {
	part := strings.Split(object, "_")
	if len(part) != 3 {
		return p, false
	}
	p.Name, p.LSN = part[1], strings.Replace(part[2], "-", "/", 1)
	p.At, ok = database.ParseStamp(part[0])
	_, err := parseLSN(p.LSN)
	return p, ok && err == nil && p.Name != ""
}

// checkPoint says whether a restore point can have this name.
func checkPoint(name string) error {
	if name == "" || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return bosman.Invalid("%q cannot name a restore point", name).WithNext("use at most 63 lower-case letters, digits, dots and dashes")
	}
	return nil
}

// Segment is a segment of the log in the vault.
type Segment struct {
	Name   string
	Until  time.Time // of its last write
	Bytes  int64     // as stored
	object string
	bad    string // why it cannot be used; "" if nothing is known against it
}

func parseSegment(object string) (s Segment, ok bool) {
	name, stamp, found := strings.Cut(object, "-")
	s.Name = name
	s.Until, ok = database.ParseStamp(stamp)
	return s, ok && found && isSegment(name)
}
