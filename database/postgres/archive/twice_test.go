package archive

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// again stores a segment of the shelf once more, with another time.
func (s *shelf) again(segment, until time.Time, content string) string {
	s.t.Helper()
	name := root + "7" + segmentPart + s.at(segment) + "-" + database.Stamp(until)
	s.put(name, content)
	return name
}

// spoil changes a byte of an object in a folder.
func spoil(t *testing.T, dir, object string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, object+"*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %v, %v", object, all, err)
	}
	b, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(all[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A segment that was stored twice is that of two servers only if its contents
// differ, whatever its times.
func TestStoredTwice(t *testing.T) {
	twice := day(1).Add(5 * time.Hour)
	for _, c := range []struct {
		what    string
		later   time.Duration // of the second, than the first
		content string
		spoiled bool // the second one
		gap     bool
	}{
		{what: "the same, with an older time", later: -20 * time.Minute, content: "segment"},
		{what: "the same, with a newer time", later: time.Minute, content: "segment"},
		{what: "the same a day later", later: 24 * time.Hour, content: "segment"},
		{what: "another", later: time.Minute, content: "another", gap: true},
		{what: "one that cannot be read", later: -time.Minute, content: "another", spoiled: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newShelf(t)
			s.base(day(1), true)
			s.log(day(1), day(2))
			until := twice.Add(time.Hour)
			name := s.again(twice, until.Add(c.later), c.content)
			if c.spoiled {
				spoil(t, s.v.(interface{ Target() string }).Target(), name)
			}
			got := s.system()
			want, upTo := []Span{{day(1), day(2).Add(-margin)}}, day(2).Add(-time.Minute)
			if c.gap {
				want[0].To, upTo = twice.Add(-margin), twice.Add(-time.Minute)
			}
			if spans := got.Spans(time.Time{}); !slices.Equal(spans, want) {
				t.Errorf("spans %v instead of %v", spans, want)
			}
			if two := strings.Contains(strings.Join(got.gaps(), "; "), "two servers"); two != c.gap {
				t.Errorf("gaps %v", got.gaps())
			}
			if _, whole := got.Newest(); whole.At.Equal(day(1)) == c.gap {
				t.Errorf("a base backup is due: %v", !c.gap)
			}
			p, err := s.Find(t.Context(), Target{At: upTo})
			if err != nil || len(p.Segments) < 5 {
				t.Errorf("%d segments, %v", len(p.Segments), err)
			}
			if c.gap || c.spoiled {
				return
			}
			// What is taken for the time of its last change is not too late: a
			// recovery would end before it.
			moment := until.Add(min(c.later, 0))
			if p, err = s.Find(t.Context(), Target{At: moment}); err != nil || p.Segments[len(p.Segments)-1].Name != s.at(twice.Add(time.Hour)) {
				t.Errorf("to %s: %d segments, %v", moment, len(p.Segments), err)
			}
			if c.later > 0 {
				return
			}
			// It is removed with all its copies.
			for d := 2; d <= 12; d++ {
				s.base(day(d), true)
			}
			s.log(day(2), day(13))
			if _, err := s.Prune(t.Context(), day(12).Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			all, err := database.Listed(t.Context(), s.v, root+"7"+segmentPart+s.at(twice))
			if err != nil || len(all) > 0 {
				t.Errorf("after it was pruned: %v, %v", all, err)
			}
		})
	}
}

// counting is a vault that counts what is read.
type counting struct {
	database.Vault
	read int
}

// Get implements database.Vault.
func (c *counting) Get(ctx context.Context, name string, read func(io.Reader) error) (bosman.SealedObject, error) {
	if strings.Contains(name, segmentPart) {
		c.read++
	}
	return c.Vault.Get(ctx, name, read)
}

// Contents are compared once, not each time somebody looks; segments that were
// stored once are not read at all.
func TestStoredTwiceIsComparedOnce(t *testing.T) {
	s := newShelf(t)
	s.base(day(1), true)
	s.log(day(1), day(2))
	s.again(day(1), day(1).Add(2*time.Hour), "segment")
	v := &counting{Vault: s.v}
	s.Keeper.Vault = func(context.Context) (database.Vault, error) { return v, nil }
	for range 3 {
		s.system()
	}
	if v.read != 2 {
		t.Errorf("%d reads", v.read)
	}
}

// A power loss undoes that the server noted a segment as kept, and that its
// last write changed its time: it hands it over again, and nothing is missing.
func TestPowerLossAfterASegmentWasStored(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	w.do(w.live, "INSERT INTO note VALUES ('two')")
	_, err := w.Mark(ctx, "rms-d2")
	w.must(err)
	w.stored()
	before := w.own()
	last := before.Segments[len(before.Segments)-1]

	b, err := os.ReadFile(filepath.Join(w.Cluster.Dir, "data", "postmaster.pid"))
	w.must(err)
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(line)
	w.must(err)
	w.must(syscall.Kill(pid, syscall.SIGQUIT))
	w.until("the server is gone", func() bool { return syscall.Kill(pid, 0) != nil })
	segment := filepath.Join(w.Cluster.Dir, "data", "pg_wal", last.Name)
	old := last.Until.Add(-10 * time.Minute)
	w.must(os.Chtimes(segment, old, old))
	status := filepath.Join(w.Cluster.Dir, "data", "pg_wal", "archive_status", last.Name)
	w.must(os.Rename(status+".done", status+".ready"))

	w.Keeper = open(w.dir, 0)
	_, err = w.Cluster.Ensure(ctx)
	w.must(err)
	w.until("it is handed over again", func() bool {
		_, err := os.Stat(status + ".ready")
		return os.IsNotExist(err)
	})
	w.do(w.live, "INSERT INTO note VALUES ('three')")
	w.stored()
	after := w.own()
	if gaps := after.gaps(); len(gaps) > 0 || after.Segments[len(after.Segments)-1].Name <= last.Name {
		t.Errorf("gaps %v", gaps)
	}
	if _, whole := after.Newest(); whole.SystemID == "" {
		t.Error("a base backup is due")
	}
	v, err := w.Vault(ctx)
	w.must(err)
	if all, err := database.Listed(ctx, v, root+after.ID+segmentPart+last.Name); err != nil || len(all) != 1 {
		t.Errorf("stored %v, %v", all, err)
	}
	if n := w.count(w.recovered(Target{Point: "rms-d2"})); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// What another server stored in the same moment under the same name is not
// taken for damage of the own one, and is not removed.
func TestTwoServersInOneMoment(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	w.do(w.live, "INSERT INTO note VALUES ('two')")
	w.must(w.Advance(ctx))
	var waits string
	w.until("a segment waits", func() bool {
		all, err := w.waiting()
		w.must(err)
		for _, f := range all {
			if isSegment(f.Name()) {
				waits = objectOf(f)
			}
		}
		return waits != ""
	})
	v, err := w.Vault(ctx)
	w.must(err)
	id, err := w.system(ctx)
	w.must(err)
	s := &shelf{t, w.Keeper, v}
	s.put(root+id+waits, strings.Repeat("other", 100))
	for range 2 {
		_, err = w.Ship(ctx)
		if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindConflict || e.Kept == "" || e.Next == "" {
			t.Fatalf("%v", err)
		}
	}
	if _, err := w.TakeBase(ctx, true); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a base backup beside: %v", err)
	}
	if all, err := database.Listed(ctx, v, root+id+waits); err != nil || len(all) != 1 {
		t.Errorf("what the other one stored: %v, %v", all, err)
	}
}
