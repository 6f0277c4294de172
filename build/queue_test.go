package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// holder is a Runs whose builds end when the test says.
type holder struct {
	mem     *memory
	mu      sync.Mutex
	started []int
	most    int
	now     int
	release chan struct{}
}

func (h *holder) Run(ctx context.Context, b bosman.Build, _ int) (bosman.Build, error) {
	h.mu.Lock()
	h.started = append(h.started, b.Number)
	h.now++
	h.most = max(h.most, h.now)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.now--
		h.mu.Unlock()
	}()
	var cancelled *Cancelled
	select {
	case <-h.release:
		b.State = bosman.BuildGreen
	case <-ctx.Done():
		if !errors.As(context.Cause(ctx), &cancelled) {
			return b, ErrInterrupted
		}
		b.State, b.Reason = bosman.BuildCancelled, cancelled.Error()
	}
	return b, h.mem.SaveBuild(ctx, b)
}

func (h *holder) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.started)
}

func TestQueueCancelsOlderBuildsOfTheSameChangeOnly(t *testing.T) {
	mem := openMemory(t, filepath.Join(t.TempDir(), "memory.json"))
	h := &holder{mem: mem, release: make(chan struct{})}
	q := NewQueue(mem, h, 2, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	add := func(n, change int, branch string) {
		t.Helper()
		b := bosman.Build{App: "shop", Number: n, Change: change, Branch: branch}
		if err := mem.add(b); err != nil {
			t.Fatal(err)
		}
		if err := q.Added(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	add(1, 7, "fix")
	add(2, 8, "fix") // another fork, the same branch name
	eventually(t, "both run", func() bool { return h.count() == 2 })
	add(3, 7, "fix")
	eventually(t, "1 is cancelled and 3 runs", func() bool { return mem.build(1).State == bosman.BuildCancelled && h.count() == 3 })
	if r := mem.build(1).Reason; r != "cancelled by bosman: a newer push of c7 (b3)" {
		t.Errorf("reason %q", r)
	}
	if s := mem.build(2).State; s != bosman.BuildRunning {
		t.Errorf("the other fork's build is %s", s)
	}
	add(4, 0, "main")
	add(5, 0, "main")
	add(6, 9, "x")
	add(7, 9, "x")
	if s := mem.build(6).State; s != bosman.BuildCancelled {
		t.Errorf("the queued older build is %s", s)
	}
	if a, b := mem.build(4).State, mem.build(5).State; a == bosman.BuildCancelled || b == bosman.BuildCancelled {
		t.Errorf("builds of main are %s and %s", a, b)
	}
	if err := q.Cancel(ctx, "shop", 2, &Cancelled{By: "anna", Why: "not needed"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "2 is cancelled", func() bool { return mem.build(2).State == bosman.BuildCancelled })
	if err := q.Cancel(ctx, "shop", 2, &Cancelled{By: "anna", Why: "again"}); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("cancelled twice: %v", err)
	}
	close(h.release)
	eventually(t, "the rest is green", func() bool {
		return !slices.ContainsFunc([]int{3, 4, 5, 7}, func(n int) bool { return mem.build(n).State != bosman.BuildGreen })
	})
	cancel()
	done.Wait()
	if h.most != 2 {
		t.Errorf("%d builds at once", h.most)
	}
}

func TestQueueBurst(t *testing.T) {
	w := newBench(t)
	b := w.commit(map[string]string{"bosman.yaml": "test: [{name: unit, run: 'true'}]\n"})
	var builds []bosman.Build
	for i := range 20 {
		b := w.commit(map[string]string{"in": fmt.Sprint(i)})
		b.Change, b.Base = i+1, ""
		builds = append(builds, b)
	}
	_ = b
	q := NewQueue(w.mem, w.runner, 2, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	begun := time.Now()
	for _, b := range builds {
		if err := w.mem.add(b); err != nil {
			t.Fatal(err)
		}
		if err := q.Added(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all 20 are green", func() bool {
		return !slices.ContainsFunc(builds, func(b bosman.Build) bool { return w.mem.build(b.Number).State != bosman.BuildGreen })
	})
	t.Logf("20 pushes in %s", time.Since(begun))
	cancel()
	done.Wait()
	nothingLeft(t, w)
}

// BenchmarkDelivery measures queued → final for one step `true`, and beside it
// the bare work: git clone and the command. It reports medians in ms and their
// ratio.
func BenchmarkDelivery(b *testing.B) {
	w := newBench(b)
	w.commit(map[string]string{"bosman.yaml": "test: [{name: unit, run: 'true'}]\n", "readme": "x"})
	ended := make(chan struct{}, 1)
	w.mem.saw = func(x bosman.Build) {
		if x.State.Final() {
			ended <- struct{}{}
		}
	}
	q := NewQueue(w.mem, w.runner, 2, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := q.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	var ours, bare []float64
	for i := 0; b.Loop(); i++ {
		next := w.commit(map[string]string{"in": fmt.Sprint(i)})
		begun := time.Now()
		if err := w.mem.add(next); err != nil {
			b.Fatal(err)
		}
		if err := q.Added(ctx, next); err != nil {
			b.Fatal(err)
		}
		<-ended
		ours = append(ours, float64(time.Since(begun).Microseconds())/1000)

		dir := filepath.Join(w.data, "clone")
		begun = time.Now()
		script := "git clone -q " + w.repo.dir + " " + dir + " && cd " + dir + " && sh -c true"
		if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
			b.Fatal(err, strings.TrimSpace(string(out)))
		}
		bare = append(bare, float64(time.Since(begun).Microseconds())/1000)
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	done.Wait()
	b.ReportMetric(median(ours), "ms-to-final")
	b.ReportMetric(median(bare), "ms-bare")
	b.ReportMetric(median(ours)/median(bare), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
