package archive

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/postgres"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ lsn, want string }{
		{"0/3000000", "000000010000000000000002"}, // where the third ends the fourth begins
		{"0/3000028", "000000010000000000000002"}, // only its head is there
		{"0/3000060", "000000010000000000000003"},
		{"1/0", "0000000100000000000000FF"},
		{"A/FF000100", "000000010000000A000000FF"},
	} {
		if got, err := lastBefore(c.lsn, segmentBytes); err != nil || got != c.want {
			t.Errorf("before %s: %s, %v, want %s", c.lsn, got, err, c.want)
		}
	}
	if got, err := next("0000000100000000000000FF", segmentBytes); err != nil || got != "000000010000000100000000" {
		t.Errorf("after the last of 4 GB: %s, %v", got, err)
	}
	for _, bad := range []string{"", "0", "/", "x/1", "1/x", "1/100000000"} {
		if _, err := lastBefore(bad, segmentBytes); bosman.KindOf(err) != bosman.KindInternal {
			t.Errorf("%q: %v", bad, err)
		}
	}
	p := Point{Name: "rms-d37", At: time.Date(2026, 11, 23, 9, 0, 0, 120e6, time.UTC), LSN: "0/16B3D80"}
	if got, ok := parsePoint(p.object()); !ok || got != p {
		t.Errorf("%s became %+v", p.object(), got)
	}
	for _, bad := range []string{"", "_", "__", "20261123t090000120_rms-d37", "20261123t090000120__0-1", "x_rms_0-1", "20261123t090000120_rms_0"} {
		if got, ok := parsePoint(bad); ok {
			t.Errorf("%q became %+v", bad, got)
		}
	}
	for _, bad := range []string{"", "a_b", "Ż", "a/b", strings.Repeat("a", 64)} {
		if err := checkPoint(bad); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// day is a moment of November.
func day(d int) time.Time { return time.Date(2026, 11, d, 3, 0, 0, 0, time.UTC) }

// shelf is a vault with a made-up catalogue: a segment for each hour.
type shelf struct {
	t *testing.T
	*Keeper
	v database.Vault
}

func newShelf(t *testing.T) *shelf { return shelfIn(t, databasetest.Vault(t, t.TempDir())) }

func shelfIn(t *testing.T, v database.Vault) *shelf {
	return &shelf{t, &Keeper{id: "7", Window: 7 * 24 * time.Hour, Vault: func(context.Context) (database.Vault, error) { return v, nil }}, v}
}

func (s *shelf) put(name, content string) {
	s.t.Helper()
	_, err := s.v.Put(s.t.Context(), name, func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// at names the segment of a moment.
func (s *shelf) at(m time.Time) string {
	return segmentName(1, uint64(m.Sub(day(1))/time.Hour)+1, segmentBytes)
}

func (s *shelf) base(at time.Time, proven bool) {
	s.t.Helper()
	s.baseOf("7", at, proven)
}

// own is a base backup of the server that took the place of a lost one.
func (s *shelf) own(at time.Time) {
	s.t.Helper()
	s.baseOf("8", at, true)
}

func (s *shelf) baseOf(id string, at time.Time, proven bool) {
	s.t.Helper()
	lsn := strconv.FormatUint(uint64(at.Sub(day(1))/time.Hour+1)*segmentBytes+0x100, 16) //nolint:gosec // positive
	b, err := json.Marshal(Base{Base: postgres.Base{Start: s.at(at), At: at, LSN: "0/" + lsn, Segment: segmentBytes, SystemID: id}})
	if err != nil {
		s.t.Fatal(err)
	}
	name := root + id + basePart + database.Stamp(at)
	s.put(name+"/files", "tar")
	s.put(name+"/base.json", string(b))
	if proven {
		s.put(name+"/proof", "yes")
	}
}

func (s *shelf) log(from, to time.Time) {
	s.t.Helper()
	for m := from; m.Before(to); m = m.Add(time.Hour) {
		s.put(root+"7"+segmentPart+s.at(m)+"-"+database.Stamp(m.Add(time.Hour)), "segment")
	}
}

func (s *shelf) system() System {
	s.t.Helper()
	all, err := s.Catalogue(s.t.Context())
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

func TestSpansAndTheWayToAMoment(t *testing.T) {
	s := newShelf(t)
	s.base(day(1), true)
	s.log(day(1), day(3))
	s.base(day(2), true)
	// A gap of an hour, and a base backup after it.
	s.log(day(3).Add(time.Hour), day(5))
	s.base(day(4), false)
	s.put(root+"7"+pointPart+Point{Name: "rms-d1", At: day(2).Add(time.Hour), LSN: "0/1A000100"}.object(), "")
	s.put(root+"7"+pointPart+"nonsense", "")
	s.put(root+"7"+segmentPart+"nonsense", "")
	s.put(root+"7"+basePart+"20261105t030000000/files", "half")
	got := s.system()
	want := []Span{{day(1), day(3).Add(-margin)}, {day(4), day(5).Add(-margin)}}
	if spans := got.Spans(time.Time{}); !slices.Equal(spans, want) {
		t.Errorf("spans %v", spans)
	}
	if spans := got.Spans(day(6)); !spans[1].To.Equal(day(6)) || !spans[0].To.Equal(want[0].To) {
		t.Errorf("with what the running server knows: %v", spans)
	}
	if proven, whole := got.Newest(); !proven.At.Equal(day(2)) || !whole.At.Equal(day(4)) {
		t.Errorf("newest %s and %s", proven.At, whole.At)
	}
	for _, c := range []struct {
		at       time.Time
		base     time.Time
		segments int
	}{
		{day(1), day(1), 1},
		{day(2).Add(-time.Minute), day(1), 24},
		{day(2).Add(90 * time.Minute), day(2), 2},
		{day(4).Add(time.Minute), day(4), 1},
		{day(3).Add(time.Hour), time.Time{}, 0}, // in the gap
		{day(1).Add(-time.Second), time.Time{}, 0},
		{day(5).Add(time.Second), time.Time{}, 0},
	} {
		p, err := s.Find(t.Context(), Target{At: c.at})
		if c.segments == 0 {
			wantError(t, c.at.String(), err, bosman.KindNotFound, "segment "+s.at(day(3))+" of the log is missing")
			continue
		}
		if err != nil || !p.Base.At.Equal(c.base) || len(p.Segments) != c.segments {
			t.Errorf("%s: from %s with %d segments, %v", c.at, p.Base.At, len(p.Segments), err)
		}
	}
	if p, err := s.Find(t.Context(), Target{Point: "rms-d1"}); err != nil || !p.Base.At.Equal(day(2)) {
		t.Errorf("the point: %+v, %v", p, err)
	}
}

// The same of a day in S3, which lists and removes otherwise than a folder.
func TestPruneInS3(t *testing.T) {
	s := shelfIn(t, databasetest.VaultInS3(t))
	s.Window = 24 * time.Hour
	for _, at := range []time.Time{day(1), day(1).Add(6 * time.Hour), day(2)} {
		s.base(at, true)
	}
	s.log(day(1), day(2).Add(12*time.Hour))
	now := day(2).Add(8 * time.Hour) // the window begins two hours after the second
	n, err := s.Prune(t.Context(), now)
	got := s.system()
	if first := day(1).Add(6 * time.Hour); err != nil || n == 0 || len(got.Bases) != 2 || !got.Bases[0].At.Equal(first) || got.Segments[0].Name != s.at(first) {
		t.Fatalf("%d removed, %v: %d base backups from %s, segments from %s", n, err, len(got.Bases), got.Bases[0].At, got.Segments[0].Name)
	}
	if _, err := s.Find(t.Context(), Target{At: now.Add(-s.Window)}); err != nil {
		t.Errorf("the beginning of the window: %v", err)
	}
}

func TestPruneKeepsTheWindow(t *testing.T) {
	s := newShelf(t)
	for d := 1; d <= 12; d++ {
		s.base(day(d), d != 4)
	}
	s.log(day(1), day(13))
	for _, d := range []int{2, 11} {
		s.put(root+"7"+pointPart+Point{Name: "rms-d1", At: day(d), LSN: "0/1A000100"}.object(), "")
	}
	now := day(12).Add(time.Hour) // the window begins on the 5th, an hour after its base backup
	n, err := s.Prune(t.Context(), now)
	got := s.system()
	if err != nil || n == 0 || len(got.Bases) != 8 || !got.Bases[0].At.Equal(day(5)) || got.Segments[0].Name != s.at(day(5)) || len(got.Points) != 1 {
		t.Fatalf("%d removed, %v: %d base backups from %s, segments from %s, %d points", n, err, len(got.Bases), got.Bases[0].At, got.Segments[0].Name, len(got.Points))
	}
	if _, err := s.Find(t.Context(), Target{At: now.Add(-s.Window)}); err != nil {
		t.Errorf("the beginning of the window: %v", err)
	}
	if n, err := s.Prune(t.Context(), now); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	// Where none was proven, all of it stays.
	s = newShelf(t)
	s.base(day(1), false)
	s.base(day(2), false)
	s.log(day(1), day(3))
	if n, err := s.Prune(t.Context(), day(28)); err != nil || n != 0 {
		t.Errorf("nothing counts, and %d were removed, %v", n, err)
	}
}
