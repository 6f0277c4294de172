package serve

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// oneGolden is an engine with at most one golden copy.
type oneGolden struct {
	all       []database.Golden
	stale     bool
	refreshed int
	low       bool
}

func (g *oneGolden) Refresh(ctx context.Context, _ bosman.Database, _ int) (database.Golden, error) {
	g.refreshed++
	g.low = database.IsLow(ctx)
	return database.Golden{}, nil
}
func (g *oneGolden) Stale(context.Context, bosman.Database) (bool, error) { return g.stale, nil }
func (g *oneGolden) Goldens(context.Context, bosman.Database) ([]database.Golden, error) {
	return g.all, nil
}

func (g *oneGolden) Offered(context.Context, bosman.Database, int) ([]database.Golden, error) {
	return g.all, nil
}

func TestWhenGoldenCopiesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			what      string
			age, took time.Duration
			release   int
			stale     bool
			now       bool
			want      int
		}{
			{"a small one, written a while ago", 2 * time.Minute, time.Second, 3, true, false, 1},
			{"a small one, just made", 30 * time.Second, time.Second, 3, true, false, 0},
			{"nothing was written", time.Hour, time.Second, 3, false, false, 0},
			{"a big one is not made every minute", 10 * time.Minute, time.Minute, 3, true, false, 0},
			{"but every quarter of an hour", 16 * time.Minute, time.Minute, 3, true, false, 1},
			{"staging runs another release", time.Second, time.Minute, 2, false, false, 1},
			{"staging was deployed to", time.Second, time.Minute, 3, false, true, 1},
		} {
			g := &oneGolden{stale: c.stale, all: []database.Golden{{Copy: bosman.CopyInfo{TakenAt: time.Now().Add(-c.age), Took: c.took, Release: c.release}}}}
			if err := refreshIfDue(t.Context(), g, bosman.Instance{Release: 3}, c.now); err != nil || g.refreshed != c.want {
				t.Errorf("%s: refreshed %d times, %v", c.what, g.refreshed, err)
			}
			if g.refreshed > 0 && !g.low {
				t.Errorf("%s: it does not yield to others", c.what)
			}
		}
		first := &oneGolden{}
		if err := refreshIfDue(t.Context(), first, bosman.Instance{Release: 3}, false); err != nil || first.refreshed != 1 || first.low {
			t.Errorf("the first one, which testers wait for: %+v, %v", first, err)
		}
	})
}

func TestRenewalsAreAskedForOnce(t *testing.T) {
	r := newRenewals()
	for range 3 {
		r.want("rms", false)
	}
	r.want("rms", true)
	r.want("rms", false)
	r.want("shop", false)
	<-r.wake
	if due := r.take(); len(due) != 2 || !due["rms"] || due["shop"] {
		t.Errorf("%v", due)
	}
	select {
	case <-r.wake:
		t.Error("woken twice for the same")
	default:
	}
}

func TestAmountsOfBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "7": 7, "50GB": 50 << 30, " 1.5 tb ": 3 << 39, "800 MB": 800 << 20} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"many", "-1GB", "GB", "1e30"} {
		if _, err := parseBytes(text); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestStoredDatabasesSayWhatTheyAreFor(t *testing.T) {
	kept := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	instances := map[string]bosman.Instance{
		"staging": {Name: "staging", Kind: bosman.KindStaging}, "testing-anna": {Name: "testing-anna", Kind: bosman.KindTesting, Owner: "anna"},
	}
	for _, c := range []struct {
		e     database.Entry
		role  bosman.StoredRole
		until bool
	}{
		{database.Entry{Name: "staging"}, bosman.StoredOwn, false},
		{database.Entry{Name: "staging__golden_20261123t090000000", Golden: true}, bosman.StoredGolden, false},
		{database.Entry{Name: "staging__pool_20261123t090000000", Pool: true}, bosman.StoredPool, false},
		{database.Entry{Name: "staging__kept_20261123t090000000", KeptAt: kept}, bosman.StoredKept, false},
		{database.Entry{Name: "testing-anna__kept_20261123t090000000", KeptAt: kept}, bosman.StoredKept, true},
		{database.Entry{Name: "testing-anna__next"}, bosman.StoredBeside, false},
	} {
		got := stored("rms", c.e, instances)
		if got.Role != c.role || got.Until.IsZero() == c.until || got.Instance != database.Base(c.e.Name) {
			t.Errorf("%s: %+v", c.e.Name, got)
		}
	}
}

// copiesOfRoad looks at what the road's databases take and has one copied as of
// this moment.
func (w *world) copiesOfRoad() {
	w.t.Helper()
	anna := bosman.Actor{Person: "anna", From: "test"}
	var last bosman.Storage
	w.until("a copy is made in advance", 60*time.Second, func() bool {
		s, err := w.s.helm.DatabasesOf(w.t.Context(), anna, "tiny")
		if err != nil {
			w.t.Fatal(err)
		}
		last = s
		roles := map[bosman.StoredRole]int{}
		for _, d := range s.Databases {
			roles[d.Role]++
		}
		return roles[bosman.StoredOwn] >= 2 && roles[bosman.StoredGolden] >= 1 && roles[bosman.StoredKept] >= 1 && roles[bosman.StoredPool] == 1
	})
	if len(last.Servers) != 2 || last.Servers[0].Strategy != "dump" || last.Servers[1].Strategy == "" || last.Servers[1].Free == 0 {
		w.t.Errorf("servers %+v", last.Servers)
	}
	if op := w.op(w.s.helm.ResetExact(w.t.Context(), anna, "tiny", "testing-anna")); op.State != bosman.OpDone || !op.Exact {
		w.t.Errorf("an exact copy: %s %v", op.State, op.Error)
	}
	i, err := w.s.store.Instance(w.t.Context(), "tiny", "testing-anna")
	if err != nil || strings.Contains(i.Copy.Strategy, "in advance") || time.Since(i.Copy.TakenAt) > time.Minute {
		w.t.Errorf("it is %+v, %v", i.Copy, err)
	}
}
