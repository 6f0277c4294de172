package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/sqlite"
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

// TestKeptCopiesStayAWeek: what a fresh copy replaced is there until the week
// is over, database and files, and nothing else goes.
func TestKeptCopiesStayAWeek(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	e, err := sqlite.NewEngine(filepath.Join(dir, "databases"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "testing-anna"
	k := &database.Keeper{Engine: e, Scratch: e, State: filepath.Join(dir, "state")}
	staging, err1 := e.Create(ctx, "staging")
	anna, err2 := e.Create(ctx, name)
	files := filepath.Join(dir, "anna", "data")
	err3 := os.MkdirAll(files, 0o755)
	err4 := os.WriteFile(filepath.Join(files, "cv"), []byte("anna's"), 0o600)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	from := database.Snapshot{Database: staging, Files: filepath.Join(dir, "staging")}
	if _, _, _, err := k.Replace(ctx, from, name, database.Snapshot{Database: anna, Files: files}, database.CopyOptions{From: "staging"}); err != nil {
		t.Fatal(err)
	}
	kept := func() []database.KeptData {
		t.Helper()
		all, err := k.Kept(ctx, name, files)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	was := kept()
	if len(was) != 1 || was[0].Snapshot.Database.Name == "" || was[0].Snapshot.Files == "" {
		t.Fatalf("kept %+v", was)
	}
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{0, 1}, {keptFor - time.Millisecond, 1}, {keptFor, 0}, {2 * keptFor, 0}} {
		if err := expireKept(ctx, k, name, files, was[0].At.Add(c.after)); err != nil || len(kept()) != c.left {
			t.Errorf("after %s: %+v, %v", c.after, kept(), err)
		}
	}
	if _, err := os.Stat(was[0].Snapshot.Files); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files that were replaced: %v", err)
	}
	for _, own := range []string{name, "staging"} {
		if _, err := e.Find(ctx, own); err != nil {
			t.Error(err)
		}
	}
}
