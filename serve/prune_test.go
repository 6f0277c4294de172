package serve

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/store"
)

// pruned is a server with rows and files of builds, and nothing that runs.
func pruned(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), filepath.Join(dir, "bosman.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	s := &server{opt: Options{Data: dir}, store: st, log: slog.New(slog.DiscardHandler)}
	if err := st.AddApp(t.Context(), bosman.App{Name: "rms", MainBranch: "main"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) aBuild(t *testing.T, b bosman.Build) {
	t.Helper()
	b.App = "rms"
	b.Report = &bosman.Report{Tests: []bosman.TestCase{{Name: "x", State: bosman.TestPassed}}}
	if err := s.store.SaveBuild(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	dir := build.ArtifactsDir(s.opt.Data, "rms", b.Number)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{build.LogPath(s.opt.Data, "rms", b.Number), filepath.Join(dir, "junit.xml")} {
		if err := os.WriteFile(f, []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// left says of each build whether its log, its reports and its row's report
// are there; half of it is an error.
func (s *server) left(t *testing.T, n int) bool {
	t.Helper()
	_, lerr := os.Stat(build.LogPath(s.opt.Data, "rms", n))
	_, rerr := os.Stat(build.ArtifactsDir(s.opt.Data, "rms", n))
	b, err := s.store.Build(t.Context(), "rms", n)
	if err != nil {
		t.Fatal(err)
	}
	there := lerr == nil
	if there != (rerr == nil) || there != b.PrunedAt.IsZero() || there != (b.Report != nil) {
		t.Errorf("half of b%d is there: log %v, reports %v, row %+v", n, lerr, rerr, b)
	}
	return there
}

func TestLogsOfOldBuildsGo(t *testing.T) {
	s, ctx := pruned(t), t.Context()
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	hour := func(n int) time.Time { return begun.Add(time.Duration(n) * time.Hour) }
	if err := s.store.SaveChange(ctx, bosman.Change{App: "rms", Number: 1, Branch: "open", State: bosman.ChangeOpen}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.SaveChange(ctx, bosman.Change{App: "rms", Number: 2, Branch: "merged", State: bosman.ChangeMerged}); err != nil {
		t.Fatal(err)
	}
	const n = 70
	for i := 1; i <= n; i++ {
		b := bosman.Build{Number: i, Change: 2, Branch: "merged", State: bosman.BuildGreen, EndedAt: hour(i)}
		switch i {
		case 3: // deployed on live
			b.Release = 7
		case 4: // and before
			b.Release = 6
		case 5:
			b.Change, b.Branch = 1, "open"
		case 6:
			b.Change, b.Branch = 0, "main"
		case 7:
			b.State, b.EndedAt = bosman.BuildRunning, time.Time{}
		case 8: // nobody needs its release any more
			b.Release = 1
		}
		s.aBuild(t, b)
	}
	needed := map[int]bool{7: true, 6: true}
	prune := func(now time.Time) {
		t.Helper()
		if err := s.pruneBuilds(ctx, "rms", needed, now); err != nil {
			t.Fatal(err)
		}
	}
	prune(hour(n))
	for i := 1; i <= n; i++ {
		if !s.left(t, i) {
			t.Errorf("b%d is young and went", i)
		}
	}
	spared := map[int]bool{3: true, 4: true, 5: true, 6: true, 7: true}
	later := hour(n).Add(keepLogsFor)
	for range 2 {
		prune(later)
		for i := 1; i <= n; i++ {
			if want := i > n-keepLogs || spared[i]; s.left(t, i) != want {
				t.Errorf("b%d: there %v, want %v", i, !want, want)
			}
		}
	}
	// A newer build of the open change, and the release before is needed no
	// longer: then theirs go.
	s.aBuild(t, bosman.Build{Number: n + 1, Change: 1, Branch: "open", State: bosman.BuildRed, EndedAt: later})
	delete(needed, 6)
	prune(later.Add(time.Hour))
	if s.left(t, 5) || s.left(t, 4) || !s.left(t, 3) || !s.left(t, 6) {
		t.Error("b4 and b5 should have gone, b3 and b6 stayed")
	}
}

func TestKilledWhileLogsGo(t *testing.T) {
	s, ctx := pruned(t), t.Context()
	for i := 1; i <= keepLogs+2; i++ {
		s.aBuild(t, bosman.Build{Number: i, Change: 2, Branch: "merged", State: bosman.BuildGreen, EndedAt: time.Unix(0, 0)})
	}
	now := time.Unix(0, 0).Add(2 * keepLogsFor)
	// Killed after the row of one said so, and while the files of another went.
	b, err := s.store.Build(ctx, "rms", 2)
	if err != nil {
		t.Fatal(err)
	}
	b.PrunedAt, b.Report = now, nil
	if err := s.store.SaveBuild(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Dir(build.LogPath(s.opt.Data, "rms", 1)), filepath.Join(s.path("builds", "rms"), ".gone-b1")); err != nil {
		t.Fatal(err)
	}
	if err := s.pruneBuilds(ctx, "rms", nil, now); err != nil {
		t.Fatal(err)
	}
	if s.left(t, 2) {
		t.Error("what was begun is to be ended")
	}
	if dirs, err := os.ReadDir(s.path("builds", "rms")); err != nil || len(dirs) != keepLogs {
		t.Errorf("%d folders are left, %v", len(dirs), err)
	}
}

func TestWorkspacesOfKilledBuildsGo(t *testing.T) {
	s, ctx := pruned(t), t.Context()
	s.aBuild(t, bosman.Build{Number: 1, State: bosman.BuildGreen})
	s.aBuild(t, bosman.Build{Number: 2, State: bosman.BuildRunning})
	for _, name := range []string{"rms/b1", "rms/b2", "gone/b9", "rms/else"} {
		if err := os.MkdirAll(s.path("work", name, "tree"), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	names := func() string {
		found, err := filepath.Glob(s.path("work", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for n := range found {
			found[n], _ = filepath.Rel(s.path("work"), found[n])
		}
		return strings.Join(found, " ")
	}
	if err := s.sweepWork(ctx, time.Now()); err != nil || names() != "gone/b9 rms/b1 rms/b2 rms/else" {
		t.Errorf("young ones: %s, %v", names(), err)
	}
	if err := s.sweepWork(ctx, time.Now().Add(2*keepWork)); err != nil || names() != "rms/b2 rms/else" {
		t.Errorf("%s, %v", names(), err)
	}
}

func TestDoctorSaysWhatTheDataFolderTakes(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "cache", "rms", "x")
	twin := filepath.Join(dir, "releases", "rms", "r1", "x")
	for _, f := range []string{big, twin} {
		if err := os.MkdirAll(filepath.Dir(f), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(twin, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(twin, big); err != nil {
		t.Fatal(err)
	}
	found := takenFinding(t.Context(), dir)
	if len(found) != 1 || !found[0].good || !strings.Contains(found[0].what, "releases 3 MB (1)") || strings.Count(found[0].what, "3 MB") != 1 {
		t.Errorf("%+v", found)
	}
	if found := takenFinding(t.Context(), filepath.Join(dir, "none")); found != nil {
		t.Errorf("%+v", found)
	}
}
