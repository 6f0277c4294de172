package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// The server is gone, with its data. A new one, which keeps its own log in the
// same target, brings what was written up to the last segment that was stored;
// both logs stay apart.
func TestLogOfALostServer(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	moment := w.do(w.live, "SELECT 1")
	w.until("two seconds have passed", func() bool { return time.Since(moment) > 2*time.Second })
	w.do(w.live, "INSERT INTO note VALUES ('the last')")
	w.stored()
	w.do(w.live, "INSERT INTO note VALUES ('never stored')")
	old := w.own()
	last, ok := old.End()
	if !ok || !strings.HasPrefix(last.Name, endPrefix) {
		t.Fatalf("%+v", old)
	}
	w.must(postgres.NewReplayed(filepath.Join(w.dir, "main"), "none", nil).Remove(ctx))

	// Nothing but the target and its key: the log can be looked into.
	blind := &Keeper{Vault: w.Vault, Dir: w.Dir}
	all, err := blind.Catalogue(ctx)
	w.must(err)
	if p, ok := all[0].End(); len(all) != 1 || !ok || p != last {
		t.Errorf("with the target alone: %+v", p)
	}

	w.Keeper = open(w.dir, 0)
	_, err = w.Cluster.Ensure(ctx)
	w.must(err)
	w.engine, err = postgres.NewEngine("rms", w.Cluster)
	w.must(err)
	w.live, err = w.engine.Create(ctx, "live")
	w.must(err)
	w.do(w.live, "CREATE TABLE note (words text)")
	own := w.based()
	if own.SystemID == old.ID {
		t.Fatal("both servers have one identifier")
	}
	_, err = w.Mark(ctx, "rms-d1") // the numbers of deployments begin again where the state was
	w.must(err)
	w.stored()
	for what, c := range map[string]struct {
		target Target
		want   int
	}{
		"the last that was stored": {Target{Point: last.Name}, 2},
		"a moment of the lost one": {Target{At: moment}, 1},
		"its point, of both":       {Target{Point: "rms-d1"}, 0},
	} {
		d := w.recovered(c.target)
		if n := w.count(d); n != c.want {
			t.Errorf("%s: %d rows instead of %d", what, n, c.want)
		}
		w.must(w.engine.Drop(ctx, d))
	}
	all, err = w.Catalogue(ctx)
	w.must(err)
	i := slices.IndexFunc(all, func(s System) bool { return s.ID == old.ID })
	if len(all) != 2 || i < 0 || len(all[i].Segments) != len(old.Segments) || len(all[i].Bases) != len(old.Bases) {
		t.Errorf("the log of the lost server changed: %+v", all)
	}
	if _, err := w.Find(ctx, Target{Point: endPrefix + "20260101t000000000"}); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("an end that is none: %v", err)
	}
}

// A copy of the machine has the same identifier: what it writes is not mixed
// with what the other wrote, and it says so.
func TestTwoServersWithOneLog(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	w.do(w.live, "INSERT INTO note VALUES ('two')")
	w.must(w.Advance(ctx))
	var waits []string
	w.until("a segment waits", func() bool {
		all, err := w.waiting()
		w.must(err)
		waits = nil
		for _, f := range all {
			waits = append(waits, f.Name())
		}
		return len(all) > 0
	})
	// The other one was there first.
	v, err := w.Vault(ctx)
	w.must(err)
	id, err := w.system(ctx)
	w.must(err)
	s := &shelf{t, w.Keeper, v}
	other := root + id + segmentPart + waits[0] + "-" + database.Stamp(time.Now().Add(time.Hour))
	s.put(other, strings.Repeat("other", 100))
	_, err = w.Ship(ctx)
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindConflict || e.Kept == "" || e.Next == "" {
		t.Fatalf("%v", err)
	}
	if _, err := w.TakeBase(ctx, true); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a base backup beside: %v", err)
	}
	if _, err := os.Stat(w.spool(waits[0])); err != nil {
		t.Errorf("what waits was let go: %v", err)
	}
	w.must(v.Delete(ctx, other))
	w.stored()
	// Both stored it in one moment: nobody is promised what lies behind it.
	s.put(other, strings.Repeat("other", 100))
	got := w.own()
	if _, whole := got.Newest(); whole.SystemID != "" || !slices.ContainsFunc(got.gaps(), func(g string) bool { return strings.Contains(g, "stored by two servers") }) {
		t.Errorf("gaps %v", got.gaps())
	}
}

// What came back damaged is not promised any more, a base backup is due, and
// where somebody mends the target all of it is there again.
func TestDamageIsNoted(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	plan, err := w.Find(ctx, Target{Point: "rms-d1"})
	w.must(err)
	needed := plan.Segments[len(plan.Segments)-1]
	path := w.object("segments/" + needed.Name + "-*")
	good, err := os.ReadFile(path)
	w.must(err)
	w.must(os.WriteFile(path, append(slices.Clone(good[:300]), good[301:]...), 0o600))
	if _, err = w.bring(ctx, plan); bosman.KindOf(err) != bosman.KindFailed {
		t.Fatal(err)
	}
	s := w.own()
	if _, whole := s.Newest(); whole.SystemID != "" || s.Reaches(s.Points[0]) {
		t.Errorf("it is promised still: %+v", s)
	}
	_, err = w.Find(ctx, Target{Point: "rms-d1"})
	wantError(t, "a damaged segment", err, bosman.KindNotFound, "segment "+needed.Name+" of the log is damaged")
	w.must(w.Reread(ctx))
	if s := w.own(); s.Reaches(s.Points[0]) {
		t.Error("read again it is damaged still, and promised")
	}
	w.must(os.WriteFile(path, good, 0o600))
	w.must(w.Reread(ctx))
	if n := w.count(w.recovered(Target{Point: "rms-d1"})); n != 1 {
		t.Errorf("mended: %d rows", n)
	}
}

// While the log is not kept nothing is promised, also not behind the gap, until
// there is a base backup; what was before it stays.
func TestKeepingPauses(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	begun := time.Now()
	w.until("the stretch is longer than what is taken off its end", func() bool { return time.Since(begun) > 2*margin })
	w.do(w.live, "INSERT INTO note VALUES ('kept')")
	w.stored()
	told := func(spool string) {
		w.Cluster.Spool = spool
		_, err := w.Cluster.Reload(ctx)
		w.must(err)
		w.until("the server does as it was told", func() bool {
			a, err := w.Cluster.Archiver(ctx)
			w.must(err)
			return a.On == (spool != "")
		})
	}
	spool, before := w.Cluster.Spool, w.Covered()
	told("")
	for range 3 {
		w.do(w.live, "INSERT INTO note VALUES ('unkept')")
		_, err := w.Cluster.FinishSegment(ctx)
		w.must(err)
	}
	unkept := time.Now()
	told(spool)
	w.do(w.live, "INSERT INTO note VALUES ('kept again')")
	_, err := w.Mark(ctx, "rms-d2")
	w.must(err)
	w.stored()
	s := w.own()
	if spans := s.Spans(w.Covered()); len(spans) != 1 || spans[0].To.After(unkept) || spans[0].To.Before(before.Add(-time.Minute)) {
		t.Errorf("without a base backup: %v", spans)
	}
	if _, whole := s.Newest(); whole.SystemID != "" || s.Reaches(s.Points[1]) || !s.Reaches(s.Points[0]) {
		t.Errorf("a point behind the gap is offered, or one before it is not: %+v", s.Points)
	}
	_, err = w.Find(ctx, Target{At: unkept})
	wantError(t, "a moment that nobody kept", err, bosman.KindNotFound, "is missing")
	w.based()
	if spans := w.own().Spans(w.Covered()); len(spans) != 2 {
		t.Errorf("with one: %v", spans)
	}
	if n := w.count(w.recovered(Target{At: w.Covered()})); n != 6 {
		t.Errorf("%d rows", n)
	}
}

// The clock was an hour ahead and was set right: nothing is promised that is
// not stored, and points are found by their places in the log.
func TestClockSetBack(t *testing.T) {
	s := newShelf(t)
	s.base(day(1), true)
	s.log(day(1), day(2))
	p := Point{Name: "rms-d1", At: day(1).Add(time.Hour), LSN: "0/1000200"} // just after the base backup
	s.put(root+"7"+pointPart+p.object(), "")
	got := s.system()
	plan, err := s.Find(t.Context(), Target{Point: "rms-d1"})
	if err != nil || !plan.Base.At.Equal(day(1)) {
		t.Fatalf("%+v, %v", plan, err)
	}
	got.Points[0].At = day(1).Add(-time.Hour) // by the clock it was before the base backup, by the log after it
	if !got.Reaches(got.Points[0]) {
		t.Error("a point after the base backup is not offered")
	}
	got.Points[0].LSN = "0/1000050"
	if got.Reaches(got.Points[0]) {
		t.Error("a point before the base backup is offered")
	}
	k := &Keeper{stored: "000000010000000000000005"}
	k.asked = mark{"000000010000000000000004", day(3)}
	if k.settle(); !k.Covered().Equal(day(3)) {
		t.Errorf("covered %s", k.Covered())
	}
	k.asked = mark{"000000010000000000000005", day(2)}
	if k.settle(); !k.Covered().Equal(day(2)) {
		t.Errorf("after the clock was set back what is not stored is promised: %s", k.Covered())
	}
}

// The log of a lost server stays as long as any moment of the window may be in
// it, and until the new one reaches back that far by itself.
func TestPruneLost(t *testing.T) {
	for _, c := range []struct {
		what  string
		first int // day of the first own base backup
		now   time.Time
		stays bool
	}{
		{"the new one is a day old", 12, day(13), true},
		{"the clock was set a year ahead", 12, day(13).AddDate(1, 0, 0), true},
		{"the new one reaches back", 4, day(20), false},
	} {
		s := newShelf(t)
		s.base(day(1), true)
		s.log(day(1), day(3))
		s.Keeper.id = "8"
		for d := c.first; d <= 12; d++ {
			s.own(day(d))
		}
		_, err := s.Prune(t.Context(), c.now)
		all, err2 := s.Catalogue(t.Context())
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if stays := slices.ContainsFunc(all, func(s System) bool { return s.ID == "7" }); stays != c.stays {
			t.Errorf("%s: the log of the lost server stays: %v", c.what, stays)
		}
	}
}

// broken is a vault that fails after some removals.
type broken struct {
	database.Vault
	left int
}

// Delete implements database.Vault.
func (b *broken) Delete(ctx context.Context, name string) error {
	if b.left--; b.left < 0 {
		return errors.New("the target is away")
	}
	return b.Vault.Delete(ctx, name)
}

// Broken off while the log of a lost server is removed, nothing is promised of
// what is left, and the next run ends it.
func TestPruneLostInterrupted(t *testing.T) {
	s := newShelf(t)
	s.base(day(1), true)
	s.log(day(1), day(2))
	s.Keeper.id = "8"
	for d := 3; d <= 12; d++ {
		s.own(day(d))
	}
	whole := s.Keeper.Vault
	s.Keeper.Vault = func(context.Context) (database.Vault, error) { return &broken{s.v, 1}, nil }
	if _, err := s.Prune(t.Context(), day(20)); err == nil {
		t.Fatal("it was not interrupted")
	}
	all, err := s.Catalogue(t.Context())
	if err != nil || len(all) != 2 || len(all[0].Spans(time.Time{})) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	s.Keeper.Vault = whole
	if _, err := s.Prune(t.Context(), day(20)); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Catalogue(t.Context()); err != nil || len(all) != 1 || all[0].ID != "8" {
		t.Errorf("%+v, %v", all, err)
	}
}
