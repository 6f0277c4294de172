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
	"testing/synctest"
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
	fail    int // so many ends cannot be saved
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
	h.mu.Lock()
	h.fail--
	failing := h.fail >= 0
	h.mu.Unlock()
	if failing {
		return b, bosman.Unavailable("the end of the build could not be saved")
	}
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

// runQueue runs q until the test ends or stop is called.
func runQueue(t testing.TB, q *Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func TestQueueCancelsOneBuildOnly(t *testing.T) {
	mem := openMemory(t, filepath.Join(t.TempDir(), "memory.json"))
	h := &holder{mem: mem, release: make(chan struct{})}
	q := NewQueue(mem, h, 2, nil)
	stop := runQueue(t, q)
	for n := 1; n <= 4; n++ { // two forks with the same branch name, and main
		if err := mem.add(bosman.Build{App: "shop", Number: n, Change: n % 3, Branch: "fix"}); err != nil {
			t.Fatal(err)
		}
		q.Wake()
	}
	eventually(t, "two run", func() bool { return h.count() == 2 })
	q.Cancel("shop", 1, "cancelled by bosman: a newer push of c1")
	q.Cancel("shop", 4, "it is queued: the caller's business")
	q.Cancel("another", 2, "another app's")
	eventually(t, "1 is cancelled and 3 runs", func() bool { return mem.build(1).State == bosman.BuildCancelled && h.count() == 3 })
	if r := mem.build(1).Reason; r != "cancelled by bosman: a newer push of c1" {
		t.Errorf("reason %q", r)
	}
	if s := mem.build(2).State; s != bosman.BuildRunning {
		t.Errorf("the other fork's build is %s", s)
	}
	close(h.release)
	eventually(t, "the rest is green", func() bool {
		return !slices.ContainsFunc([]int{2, 3, 4}, func(n int) bool { return mem.build(n).State != bosman.BuildGreen })
	})
	stop()
	if h.most != 2 {
		t.Errorf("%d builds at once", h.most)
	}
	if len(q.late) > 0 || q.taking != 0 {
		t.Errorf("kept: %v, %d", q.late, q.taking)
	}
}

// slowMemory takes long to give a build, so that a cancel comes in between.
type slowMemory struct {
	*memory
	given chan struct{}
	goOn  chan struct{}
}

func (s *slowMemory) NextQueued(ctx context.Context) (*bosman.Build, error) {
	b, err := s.memory.NextQueued(ctx)
	if b != nil {
		s.given <- struct{}{}
		<-s.goOn
	}
	return b, err
}

func TestQueueCancelBetweenTakingAndRunning(t *testing.T) {
	mem := openMemory(t, filepath.Join(t.TempDir(), "memory.json"))
	if err := mem.add(bosman.Build{App: "shop", Number: 1}); err != nil {
		t.Fatal(err)
	}
	slow := &slowMemory{mem, make(chan struct{}), make(chan struct{})}
	q := NewQueue(slow, &holder{mem: mem, release: make(chan struct{})}, 1, nil)
	runQueue(t, q)
	<-slow.given
	q.Cancel("shop", 1, "cancelled by anna")
	close(slow.goOn)
	eventually(t, "it is cancelled", func() bool { return mem.build(1).State == bosman.BuildCancelled })
}

// A build whose end cannot be saved is not forgotten.
func TestQueueTriesAgainWhenTheEndCannotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := openMemory(t, filepath.Join(t.TempDir(), "memory.json"))
		if err := mem.add(bosman.Build{App: "shop", Number: 1}); err != nil {
			t.Fatal(err)
		}
		h := &holder{mem: mem, release: make(chan struct{}), fail: 3}
		close(h.release)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		q := NewQueue(mem, h, 1, nil)
		go func() { done <- q.Run(ctx) }()
		time.Sleep(time.Minute)
		if s := mem.build(1).State; s != bosman.BuildGreen || h.count() != 4 {
			t.Errorf("%s after %d attempts", s, h.count())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
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
	stop := runQueue(t, q)
	begun := time.Now()
	for _, b := range builds {
		if err := w.mem.add(b); err != nil {
			t.Fatal(err)
		}
		q.Wake()
	}
	eventually(t, "all 20 are green", func() bool {
		return !slices.ContainsFunc(builds, func(b bosman.Build) bool { return w.mem.build(b.Number).State != bosman.BuildGreen })
	})
	t.Logf("20 pushes in %s", time.Since(begun))
	stop()
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
	stop := runQueue(b, q)
	var ours, bare []float64
	for i := 0; b.Loop(); i++ {
		next := w.commit(map[string]string{"in": fmt.Sprint(i)})
		begun := time.Now()
		if err := w.mem.add(next); err != nil {
			b.Fatal(err)
		}
		q.Wake()
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
	stop()
	b.ReportMetric(median(ours), "ms-to-final")
	b.ReportMetric(median(bare), "ms-bare")
	b.ReportMetric(median(ours)/median(bare), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
