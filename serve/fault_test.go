package serve

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// upAndRunning is a world in which two releases are on staging, the first one
// is live, and a change waits to be tried.
func upAndRunning(t *testing.T, database string) *world {
	t.Helper()
	w := newWorld(t, database)
	m := strings.Replace(tinyManifest, "DATABASE", database, 1)
	m = strings.Replace(m, "server.py}", "server.py, worker: exec sleep 100000}", 1)
	m = strings.Replace(m, "instances:\n", "instances:\n  staging: {workers: true}\n", 1)
	w.write("bosman.yaml", strings.Replace(m, "for: 3s", "for: 1s", 1))
	w.commit("a worker")
	w.push("anna", "main")
	w.staging(1)
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("anna", "main")
	w.staging(2)
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello three\n")
	w.commit("three")
	w.push("piotr", "feature")
	w.must("deploy", "live", "1")
	w.must("deploy", "live", "2")
	w.must("try", "feature", "testing-anna")
	w.tidy()
	return w
}

// must carries out an operation that has to succeed.
func (w *world) must(words ...string) bosman.Operation {
	w.t.Helper()
	op := w.op(ask(w.t.Context(), w.s, words...))
	if op.State != bosman.OpDone {
		w.dump()
		w.t.Fatalf("%v: %s %v", words, op.State, op.Error)
	}
	return op
}

// points carries out an operation in a child and gives the points it passed.
func (w *world) points(words ...string) []string {
	w.t.Helper()
	w.stop()
	file := filepath.Join(w.t.TempDir(), "points")
	if w.child("record="+file, words...) {
		w.t.Fatal("killed without a reason")
	}
	w.start()
	w.tidy()
	return slices.DeleteFunc(lines(w.t, file), func(p string) bool {
		area, _, _ := strings.Cut(p, ".")
		return !slices.Contains([]string{"steps", "process", "database"}, area) || strings.HasSuffix(p, ".before") // nothing happens between it and the point in front of it
	})
}

// killAt kills serve at a point of an operation, starts it again and demands
// the end as it would have been, with nothing lost on the way.
func (w *world) killAt(p *probe, point string, words ...string) bosman.Operation {
	w.t.Helper()
	before := w.last().Number
	w.stop()
	p.take()
	begun := time.Now()
	if !w.child(point+"=kill", words...) {
		w.t.Errorf("not killed at %s", point)
	}
	w.start()
	op := w.last()
	if op.Number != before+1 {
		w.dump()
		w.t.Fatalf("killed at %s: the newest operation is %s", point, opRef(op.Number))
	}
	op = w.op(op, nil)
	if op.State != bosman.OpDone {
		w.t.Errorf("killed at %s: %s is %s: %v", point, opRef(op.Number), op.State, op.Error)
	}
	w.tidy()
	w.served(p, begun)
	i, err := w.s.store.Instance(w.t.Context(), "tiny", op.Instance)
	if err != nil || i.Release != op.Release || i.State != bosman.InstanceRunning {
		w.t.Errorf("killed at %s: %s is %s with r%d, want running with r%d (%v)", point, op.Instance, i.State, i.Release, op.Release, err)
	}
	if w.t.Failed() {
		w.dump()
		w.t.Fatalf("after a kill at %s", point)
	}
	return op
}

// serves demands that live answers with a release: one or two.
func (w *world) serves(release int) {
	w.t.Helper()
	want := map[int]string{1: "hello one\n on live", 2: "hello two\n on live"}[release]
	if code, body := w.get("live", "/"); code != 200 || body != want {
		w.dump()
		w.t.Fatalf("live: %d %q, want %q", code, body, want)
	}
}

// serve is killed with SIGKILL at the points of a deployment, a fresh copy and
// a revert; people on live notice nothing, and the next start finishes it.
func TestKillServeAtEveryPoint(t *testing.T) {
	need.Slow(t, "kills serve at every point of a deployment")
	t.Parallel()
	w := upAndRunning(t, "none")
	p := w.watch()
	t.Run("deploy", func(t *testing.T) {
		w.t = t
		release := 1
		all := w.points("deploy", "live", "1")
		if len(all) < 20 {
			t.Fatalf("points %v", all)
		}
		for _, point := range all {
			release = 3 - release
			w.killAt(p, point, "deploy", "live", map[int]string{1: "1", 2: "2"}[release])
			w.serves(release)
		}
		t.Logf("killed at %d points: %v", len(all), all)
	})
	t.Run("try", func(t *testing.T) {
		w.t = t
		for _, point := range []string{"started", "copy.after", "swap.after", "swap.journaled", "switch.after", "settle.journaled"} {
			w.killAt(p, "steps.try."+point, "try", "feature", "testing-anna")
		}
	})
	t.Run("revert", func(t *testing.T) {
		w.t = t
		for _, point := range []string{"take-over.after", "start.after", "switch.after", "switch.journaled", "settle.after"} {
			w.must("deploy", "live", "1")
			w.must("deploy", "live", "2")
			w.killAt(p, "steps.revert."+point, "revert", "live")
			w.serves(1)
		}
	})
}
