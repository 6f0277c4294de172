package build

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/release"
)

const lifeEnv = "BOSMAN_TEST_LIFE" // folder with repo/ and data/

// TestMain lets the test run itself as a Bosman that can be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(lifeEnv); dir != "" {
		if err := life(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// life runs a queue over dir until all builds are final or SIGTERM comes.
func life(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	data := filepath.Join(dir, "data")
	mem := openMemory(failer{}, filepath.Join(data, "memory.json"))
	store := release.New(filepath.Join(data, "releases"), manifests{}.Parse)
	if err := store.Sweep(); err != nil {
		return err
	}
	r := &Runner{
		Data: data, Source: gitSource{filepath.Join(dir, "repo")}, Manifests: manifests{}, Reports: reports{}, Records: mem,
		Secrets: secrets{}, Releases: store, Sandbox: sandbox.New(sandbox.Options{Bwrap: os.Getenv("BOSMAN_TEST_BWRAP")}),
	}
	q := NewQueue(mem, r, 2, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mem.saw = func(bosman.Build) {}
	go func() {
		for ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			all := true
			mem.mu.Lock()
			for _, b := range mem.Builds {
				all = all && b.State.Final()
			}
			mem.mu.Unlock()
			if all {
				cancel()
			}
		}
	}()
	return q.Run(ctx)
}

type failer struct{ testing.TB }

func (failer) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (w *bench) life(env ...string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(env, lifeEnv+"="+filepath.Dir(w.data))...)
	cmd.Stderr = testWriter{w.t}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// wait fails the test if ok does not hold within ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

const slowApp = `
build: [{name: env, run: "echo building; sleep 0.3; echo done > out", inputs: [in], outputs: [out]}]
test: [{name: unit, run: "echo testing; sleep 0.3; grep done out"}]
`

func TestKilledInMidStepEveryBuildStillEnds(t *testing.T) {
	for name, c := range map[string]struct{ bwrap, yaml string }{
		"sandbox": {"", "test: [{name: unit, run: 'setsid -f sleep 1000; echo in the middle; sleep $(cat in)'}]\n"},
		"plain":   {"-", "test: [{name: unit, run: 'setsid -f sleep 1000; echo in the middle; sleep $(cat in)'}]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newBench(t)
			for _, dir := range []string{filepath.Dir(w.data), w.data} {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			b := w.commit(map[string]string{"bosman.yaml": c.yaml, "in": "2"})
			if err := w.mem.add(b); err != nil {
				t.Fatal(err)
			}
			first := w.life("BOSMAN_TEST_BWRAP=" + c.bwrap)
			eventually(t, "the step runs", func() bool { return strings.Contains(w.log(b.Number), "unit in the middle") })
			if err := first.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = first.Wait() // it was killed
			if w.open(); w.mem.build(b.Number).State != bosman.BuildRunning {
				t.Fatalf("after the kill it is %s", w.mem.build(b.Number).State)
			}
			if err := w.life("BOSMAN_TEST_BWRAP=" + c.bwrap).Wait(); err != nil {
				t.Fatal(err)
			}
			w.open()
			w.want(w.mem.build(b.Number), bosman.BuildGreen)
			w.wantLog(b.Number, "begins again")
			eventually(t, "no process is left", func() bool { return sandbox.KillMarked((&run{Runner: w.runner, b: b}).mark()) == 0 })
			nothingLeft(t, w)
		})
	}
}

func TestKilledAtEveryPointEveryBuildStillEnds(t *testing.T) {
	for _, point := range []string{"build.saved", "build.numbered", "release.before-rename", "build.sealed", "build.before-test"} {
		t.Run(point, func(t *testing.T) {
			w := newBench(t)
			b := w.commit(map[string]string{"bosman.yaml": slowApp, "in": "1"})
			if err := w.mem.add(b); err != nil {
				t.Fatal(err)
			}
			once := filepath.Join(filepath.Dir(w.data), "once")
			env := []string{faults.Env + "=" + point + "=kill", faults.Env + "_ONCE=" + once}
			if err := w.life(env...).Wait(); err == nil {
				t.Fatal("it was not killed")
			}
			if err := w.life(env...).Wait(); err != nil {
				t.Fatal(err)
			}
			w.open()
			done := w.mem.build(b.Number)
			w.want(done, bosman.BuildGreen)
			list, err := w.store.List("shop")
			if err != nil || len(list) != 1 || done.Release != list[0].Number || len(w.mem.Releases) != 1 {
				t.Errorf("releases on disk %v, known %v, %v", list, w.mem.Releases, err)
			}
			if done.Release != 1 {
				t.Errorf("release %d: a second number was taken", done.Release)
			}
			if done.Reused && list[0].Build == done.Number {
				t.Error("a build cannot reuse what it made itself")
			}
			if err := w.store.Verify("shop", done.Release); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(w.data + "/releases/shop/*partial"); err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
			nothingLeft(t, w)
		})
	}
}

func TestStopInterruptsAndTheNextLifeGoesOn(t *testing.T) {
	w := newBench(t)
	var builds []bosman.Build
	for i := range 3 {
		b := w.commit(map[string]string{"bosman.yaml": slowApp, "in": fmt.Sprint(i)})
		builds = append(builds, b)
		if err := w.mem.add(b); err != nil {
			t.Fatal(err)
		}
	}
	first := w.life()
	eventually(t, "a step runs", func() bool { return strings.Contains(w.log(1), "env building") })
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Fatalf("a stop is no failure: %v", err)
	}
	if err := w.life().Wait(); err != nil {
		t.Fatal(err)
	}
	w.open()
	for _, b := range builds {
		w.want(w.mem.build(b.Number), bosman.BuildGreen)
	}
}

// TestWithoutRoot: a Bosman that is not root still builds in a sandbox, by a
// user namespace, and tests on a copy.
func TestWithoutRoot(t *testing.T) {
	w := newBench(t)
	b := w.commit(map[string]string{"bosman.yaml": `
build: [{name: env, run: "id -u > who; ls /home /root /var/lib; true", inputs: [in], outputs: [who]}]
test: [{name: unit, run: "grep 65534 who && echo x >> who"}]
`, "in": "1"})
	if err := w.mem.add(b); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(w.data)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "life")
	if err := copyTree(self, program, false); err != nil {
		t.Fatal(err)
	}
	if err := give(dir, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, lifeEnv + "=" + dir}
	cmd.Dir, cmd.Stderr = dir, testWriter{t}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.want(w.mem.build(b.Number), bosman.BuildGreen)
	if got := read(t, w.store.Tree("shop", 1)+"/who"); got != "65534\n" {
		t.Errorf("the release holds %q", got)
	}
	if strings.Contains(w.log(b.Number), "without a sandbox") || strings.Contains(w.log(b.Number), "postgresql") {
		t.Errorf("log: %s", w.log(b.Number))
	}
}
