package build

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/report"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/manifest"
	"github.com/bosman-cd/bosman/release"
)

// memory keeps records in one JSON file, so that a process that was killed
// leaves what it had saved.
type memory struct {
	mu       sync.Mutex
	file     string
	Builds   []bosman.Build
	Releases []bosman.Release
	Last     int                // release number
	saw      func(bosman.Build) // each save, while the lock is held
	sealed   func(bosman.Release)
}

func openMemory(t testing.TB, file string) *memory {
	m := &memory{file: file}
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *memory) store() error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	tmp := m.file + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, m.file)
}

func (m *memory) add(b bosman.Build) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b.State = bosman.BuildQueued
	m.Builds = append(m.Builds, b)
	return m.store()
}

func (m *memory) index(app string, n int) int {
	return slices.IndexFunc(m.Builds, func(b bosman.Build) bool { return b.App == app && b.Number == n })
}

func (m *memory) SaveBuild(_ context.Context, b bosman.Build) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saw != nil {
		m.saw(b)
	}
	b.Steps = slices.Clone(b.Steps)
	if i := m.index(b.App, b.Number); i >= 0 {
		m.Builds[i] = b
	} else {
		m.Builds = append(m.Builds, b)
	}
	return m.store()
}

func (m *memory) FindRelease(_ context.Context, app, tree, definition string, trust bosman.Trust) (bosman.Release, *bosman.Report, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Backward(m.Releases) {
		if r.App == app && r.Tree == tree && r.Definition == definition && r.Trust == trust && r.PrunedAt.IsZero() {
			var rep *bosman.Report
			if i := m.index(app, r.Build); i >= 0 {
				rep = m.Builds[i].Report
			}
			return r, rep, nil
		}
	}
	return bosman.Release{}, nil, bosman.NotFound("no such release")
}

func (m *memory) NextRelease(context.Context, string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Last++
	return m.Last, m.store()
}

func (m *memory) SaveRelease(_ context.Context, r bosman.Release) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sealed != nil {
		m.sealed(r)
	}
	m.Releases = slices.DeleteFunc(m.Releases, func(o bosman.Release) bool { return o.Number == r.Number })
	m.Releases = append(m.Releases, r)
	return m.store()
}

func (m *memory) NextQueued(context.Context) (*bosman.Build, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.Builds {
		if b := &m.Builds[i]; b.State == bosman.BuildQueued {
			b.State, b.StartedAt = bosman.BuildRunning, time.Now().UTC()
			out := *b
			return &out, m.store()
		}
	}
	return nil, nil
}

func (m *memory) Interrupted(context.Context) ([]bosman.Build, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []bosman.Build
	for _, b := range m.Builds {
		if b.State == bosman.BuildRunning {
			out = append(out, b)
		}
	}
	return out, nil
}

func (m *memory) build(n int) bosman.Build {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.index("shop", n); i >= 0 {
		return m.Builds[i]
	}
	return bosman.Build{}
}

// gitSource reads a real repository with git.
type gitSource struct{ dir string }

func (g gitSource) git(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", g.dir}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %v: %w", args, err)
	}
	return out, nil
}

func (g gitSource) ReadFile(ctx context.Context, _, commit, path string) ([]byte, error) {
	out, err := g.git(ctx, nil, "show", commit+":"+path)
	if err != nil {
		return nil, bosman.NotFound("no %s", path).Because(err)
	}
	return out, nil
}

func (g gitSource) Export(ctx context.Context, _, commit, dir string) error {
	index := filepath.Join(filepath.Dir(dir), "index")
	env := []string{"GIT_INDEX_FILE=" + index, "GIT_WORK_TREE=" + dir}
	if _, err := g.git(ctx, env, "read-tree", commit); err != nil {
		return err
	}
	_, err := g.git(ctx, env, "checkout-index", "--all", "--quiet")
	return err
}

func (g gitSource) ChangedLines(context.Context, string, string, string) (map[string][][2]int, error) {
	return map[string][][2]int{"app.sh": {{2, 3}}}, nil
}

type manifests struct{}

func (manifests) Parse(data []byte) (*bosman.Manifest, error) {
	return manifest.Parse(data, bosman.ManifestFile)
}

type reports struct{}

func (reports) Read(dir string, want bosman.Reports) *bosman.Report { return report.Read(dir, want) }

func (reports) MarkChanged(r *bosman.Report, lines map[string][][2]int) {
	ranges := map[string][]report.Range{}
	for name, runs := range lines {
		for _, x := range runs {
			ranges[name] = append(ranges[name], report.Range{From: x[0], To: x[1]})
		}
	}
	report.MarkChanged(r, ranges)
}

type secrets map[string]string

func (s secrets) ForBuild(_ context.Context, _ string, names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, n := range names {
		if v, ok := s[n]; ok {
			out[n] = v
		}
	}
	return out, nil
}

// bench is a repository and everything a Runner needs.
type bench struct {
	t      testing.TB
	data   string
	repo   gitSource
	mem    *memory
	store  *release.Store
	runner *Runner
	last   int
}

func newBench(t testing.TB) *bench {
	t.Helper()
	need.Root(t)
	need.Program(t, "bwrap", "bubblewrap")
	need.Program(t, "git", "git")
	dir, err := os.MkdirTemp("", "bosman-build-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &bench{t: t, data: filepath.Join(dir, "data"), repo: gitSource{filepath.Join(dir, "repo")}}
	for _, d := range []string{w.data, w.repo.dir} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	w.git("init", "-q", "-b", "main")
	w.open()
	return w
}

// open makes a new life of Bosman over what lies on the disk.
func (w *bench) open() {
	w.t.Helper()
	w.mem = openMemory(w.t, filepath.Join(w.data, "memory.json"))
	w.store = release.New(filepath.Join(w.data, "releases"), manifests{}.Parse)
	if err := w.store.Sweep(); err != nil {
		w.t.Fatal(err)
	}
	w.runner = &Runner{
		Data: w.data, Source: w.repo, Manifests: manifests{}, Reports: reports{}, Records: w.mem, Secrets: secrets{},
		Releases: w.store, Sandbox: sandbox.New(sandbox.Options{HostEnv: os.Environ()}),
		Log: slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (w *bench) git(args ...string) string {
	w.t.Helper()
	out, err := w.repo.git(context.Background(), []string{
		"GIT_AUTHOR_NAME=Jan", "GIT_AUTHOR_EMAIL=jan@example.org", "GIT_COMMITTER_NAME=Jan", "GIT_COMMITTER_EMAIL=jan@example.org",
	}, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files (bosman.yaml among them), commits them and gives a
// queued build of the result.
func (w *bench) commit(files map[string]string) bosman.Build {
	w.t.Helper()
	for name, text := range files {
		p := filepath.Join(w.repo.dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", "change")
	return w.next()
}

func (w *bench) next() bosman.Build {
	w.t.Helper()
	w.last++
	return bosman.Build{
		App: "shop", Number: w.last, Branch: "main", Commit: w.git("rev-parse", "HEAD"), Tree: w.git("rev-parse", "HEAD^{tree}"),
		Trust: bosman.TrustTeam, State: bosman.BuildQueued, By: "jan",
	}
}

func (w *bench) run(b bosman.Build) bosman.Build {
	w.t.Helper()
	done, err := w.runner.Run(context.Background(), b, 0)
	if err != nil {
		w.t.Fatalf("build %d: %v\n%s", b.Number, err, w.log(b.Number))
	}
	return done
}

func (w *bench) log(n int) string {
	data, err := os.ReadFile(LogPath(w.data, "shop", n))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// end is the end of a log, for messages.
func (w *bench) end(n int) string {
	text := w.log(n)
	return text[max(0, len(text)-3000):]
}

// want fails unless b ended in state; the log helps to see why.
func (w *bench) want(b bosman.Build, state bosman.BuildState) {
	w.t.Helper()
	if b.State != state {
		w.t.Fatalf("build %d is %s (%s), want %s\n%s", b.Number, b.State, b.Reason, state, w.end(b.Number))
	}
}

func (w *bench) wantLog(n int, parts ...string) {
	w.t.Helper()
	text := w.log(n)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			w.t.Errorf("the log does not say %q:\n%s", p, text[max(0, len(text)-2000):])
		}
	}
}
