package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/logfile"
)

const twoSteps = `
build:
  - name: environment
    run: mkdir -p env && cp requirements.txt env/installed && date +%N > env/stamp
    inputs: [requirements.txt]
    outputs: [env]
  - name: assets
    run: mkdir -p static/dist && echo "$MODE $(cat assets/a.js)" > static/dist/a.js
    inputs: [assets/**]
    outputs: [static/dist]
    variants: {default: {MODE: dev}, live: {MODE: prod}}
test:
  - name: unit
    run: grep -q dev static/dist/a.js && echo all is well
data: [media/]
static: {/static/: static/}
`

func TestBuildThenCacheThenReuse(t *testing.T) {
	w := newBench(t)
	var sealedBefore bool
	w.mem.sealed = func(r bosman.Release) {
		if r.Tests == bosman.TestsPending {
			sealedBefore = true
		}
	}
	first := w.run(w.commit(map[string]string{"bosman.yaml": twoSteps, "requirements.txt": "django", "assets/a.js": "one"}))
	w.want(first, bosman.BuildGreen)
	if !sealedBefore || first.Release != 1 {
		t.Fatalf("release %d, told before its tests: %v", first.Release, sealedBefore)
	}
	w.wantLog(1, "unit all is well", "sealed release r1", "bosman green")
	tree := w.store.Tree("shop", 1)
	if got := read(t, filepath.Join(tree, "static/dist/a.js")); got != "dev one\n" {
		t.Errorf("default variant: %q", got)
	}
	rel, err := w.store.Load("shop", 1)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := w.store.Mounts(rel, "live")
	if err != nil || read(t, mounts["static/dist"]+"/a.js") != "prod one\n" {
		t.Errorf("live variant: %v, %v", mounts, err)
	}
	if info, err := os.Stat(filepath.Join(tree, "media")); err != nil || !info.IsDir() {
		t.Errorf("no mount point for data: %v", err)
	}
	m, err := w.store.Manifest(rel)
	if err != nil || len(m.Build) != 2 {
		t.Errorf("manifest of the release: %v, %v", m, err)
	}

	second := w.run(w.commit(map[string]string{"readme": "hello", "assets/a.js": "two"}))
	w.want(second, bosman.BuildGreen)
	if !second.Steps[0].Cached || second.Steps[1].Cached || second.Steps[2].Cached {
		t.Errorf("cached: %+v", second.Steps)
	}
	if a, b := read(t, tree+"/env/stamp"), read(t, w.store.Tree("shop", 2)+"/env/stamp"); a != b {
		t.Errorf("the environment was made anew: %q, %q", a, b)
	}
	a, err1 := os.Stat(filepath.Join(w.data, "cache/shop/steps"))
	if err1 != nil || !a.IsDir() {
		t.Fatal(err1)
	}
	sameFile(t, tree+"/env/installed", w.store.Tree("shop", 2)+"/env/installed")

	third := w.run(w.next())
	w.want(third, bosman.BuildGreen)
	if !third.Reused || third.Release != 2 {
		t.Errorf("reused %v, release %d", third.Reused, third.Release)
	}
	for _, s := range third.Steps {
		if !s.Cached || s.State != bosman.StepDone {
			t.Errorf("step %+v", s)
		}
	}
	for n := 1; n <= 2; n++ {
		if err := w.store.Verify("shop", n); err != nil {
			t.Error(err)
		}
	}
	nothingLeft(t, w)
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	ia, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	ib, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(ia, ib) {
		t.Errorf("%s and %s are held twice", a, b)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// nothingLeft fails if a workspace, a mount or a process of w's builds remains.
func nothingLeft(t *testing.T, w *bench) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(w.data, "work", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("workspaces left: %v, %v", left, err)
	}
	if mounts := read(t, "/proc/self/mounts"); strings.Contains(mounts, w.data) {
		t.Errorf("mounts left:\n%s", mounts)
	}
	left := 0
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	mark := (&run{Runner: w.runner, b: bosman.Build{App: "shop"}}).mark()
	mark = mark[:strings.IndexByte(mark, '/')+1]
	for _, e := range entries {
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && strings.Contains(string(env), "BOSMAN_SANDBOX="+mark) {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d processes left", left)
	}
}

func TestPruneCache(t *testing.T) {
	w := newBench(t)
	const yaml = "build: [{name: env, run: 'date +%N > out; touch $HOME/.cache/x', inputs: [in], outputs: [out]}]\n"
	b := w.run(w.commit(map[string]string{"bosman.yaml": yaml, "in": "1"}))
	w.want(b, bosman.BuildGreen)
	middle := time.Now()
	again := w.run(w.commit(map[string]string{"in": "2"}))
	w.want(again, bosman.BuildGreen)
	if n, err := PruneCache(filepath.Join(w.data, "cache"), "shop", middle); n != 1 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	w.want(w.run(w.commit(map[string]string{"readme": "x"})), bosman.BuildGreen)
	last := w.run(w.commit(map[string]string{"in": "1"}))
	w.want(last, bosman.BuildGreen)
	if last.Steps[0].Cached {
		t.Error("a pruned result was used")
	}
	if err := w.store.Verify("shop", b.Release); err != nil {
		t.Errorf("pruning the cache touched a release: %v", err)
	}
	if n, err := PruneCache(filepath.Join(w.data, "cache"), "shop", time.Now().Add(time.Hour)); n != 3 || err != nil {
		t.Errorf("pruned %d, %v; want two results and a tool cache", n, err)
	}
}

// The log is one that internal/logfile reads, with the same offsets.
func TestLogIsReadAsAnyOther(t *testing.T) {
	w := newBench(t)
	b := w.run(w.commit(map[string]string{"bosman.yaml": "test: [{name: unit, run: 'echo one; echo two'}]\n"}))
	w.want(b, bosman.BuildGreen)
	lines, _, err := logfile.Read(LogPath(w.data, "shop", b.Number), b.Steps[0].LogFrom, 1)
	if err != nil || len(lines) != 1 || lines[0].Source != "bosman" || lines[0].Text != "unit: echo one; echo two" {
		t.Errorf("at the step's offset: %+v, %v", lines, err)
	}
	lines, _, err = logfile.Read(LogPath(w.data, "shop", b.Number), lines[0].Next, 1)
	if err != nil || len(lines) != 1 || lines[0].Source != "unit" || lines[0].Text != "one" || time.Since(lines[0].At) > time.Minute {
		t.Errorf("after it: %+v, %v", lines, err)
	}
}
