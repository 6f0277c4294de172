package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
)

func TestRedBuilds(t *testing.T) {
	w := newBench(t)
	const junit = `<testsuite><testcase classname="shop.tests.TestList" name="test_ok"/><testcase classname="shop.tests.TestList" name="test_counts"><failure message="506 != 507">trace</failure></testcase></testsuite>`
	for name, c := range map[string]struct {
		yaml   string
		state  bosman.BuildState
		reason []string
	}{
		"no manifest":  {"", bosman.BuildRed, []string{"no bosman.yaml", "bosman init"}},
		"wrong key":    {"bild: []\n", bosman.BuildRed, []string{"bosman.yaml", "bild"}},
		"build step":   {"build:\n  - {name: env, run: 'echo boom; exit 3'}\ntest:\n  - {name: unit, run: 'true'}\n", bosman.BuildRed, []string{"step env failed", "exit status 3", "boom"}},
		"no output":    {"build:\n  - {name: env, run: 'true', outputs: [dist]}\n", bosman.BuildRed, []string{"step env failed", "dist"}},
		"junit":        {"test:\n  - {name: unit, run: \"mkdir r; cp j.xml r/; exit 1\", reports: {junit: r/*.xml}}\n  - {name: lint, run: 'exit 1'}\n", bosman.BuildRed, []string{"1 of 2 tests failed, first shop.tests.TestList.test_counts: 506 != 507", "step lint failed"}},
		"lying exit":   {"test:\n  - {name: unit, run: \"mkdir r; cp j.xml r/\", reports: {junit: r/*.xml}}\n", bosman.BuildRed, []string{"1 of 2 tests failed"}},
		"allowed":      {"test:\n  - {name: lint, run: 'exit 1', allow_failure: true}\n", bosman.BuildGreen, nil},
		"hang":         {"test:\n  - {name: unit, run: 'sleep 100 & sleep 100', timeout: 1s}\n", bosman.BuildRed, []string{"step unit ran longer than 1s and was stopped"}},
		"no program":   {"test:\n  - {name: lint, run: flake9 --tee}\n", bosman.BuildRed, []string{"the program flake9 is missing", "apt-get install flake9"}},
		"killed":       {"test:\n  - {name: unit, run: 'kill -9 $$'}\n", bosman.BuildRed, []string{"killed by signal 9"}},
		"no secret":    {"build:\n  - {name: env, run: 'false', secrets: [PIP_INDEX_URL]}\n", bosman.BuildRed, []string{"not set: PIP_INDEX_URL", "bosman secrets set"}},
		"out of tree":  {"build:\n  - {name: env, run: 'ln -s /tmp out', outputs: [out/x]}\n", bosman.BuildRed, []string{"out/x"}},
		"old report":   {"test:\n  - {name: unit, run: 'true', reports: {junit: j.xml}}\n", bosman.BuildGreen, nil},
		"secret of it": {"test:\n  - {name: unit, run: 'ls -d /root/.ssh /var/lib/postgresql || exit 4'}\n", bosman.BuildRed, []string{"exit status"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			files := map[string]string{"j.xml": junit, "name": name}
			if c.yaml != "" {
				files["bosman.yaml"] = c.yaml
			}
			if c.yaml == "" {
				defer func() { w.t = t }()
				if exists(filepath.Join(w.repo.dir, "bosman.yaml")) {
					w.git("rm", "-q", "bosman.yaml")
				}
			}
			b := w.run(w.commit(files))
			w.want(b, c.state)
			for _, part := range c.reason {
				if !strings.Contains(b.Reason, part) {
					t.Errorf("reason %q does not say %q", b.Reason, part)
				}
			}
			if name == "old report" && len(b.Report.Tests) > 0 {
				t.Error("a report that lies in the repository was read")
			}
			for _, s := range b.Steps {
				if s.State == bosman.StepWaiting || s.State == bosman.StepRunning {
					t.Errorf("step %s is %s in a final build", s.Name, s.State)
				}
			}
			nothingLeft(t, w)
		})
	}
}

func TestTestsLeaveTheReleaseAsItWasSealed(t *testing.T) {
	for name, box := range map[string]sandbox.Options{"overlay": {}, "copy": {Bwrap: "-"}} {
		t.Run(name, func(t *testing.T) {
			w := newBench(t)
			if err := os.Chmod(filepath.Dir(w.data), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(w.data, 0o755); err != nil {
				t.Fatal(err)
			}
			w.runner.Sandbox = sandbox.New(box)
			b := w.run(w.commit(map[string]string{"bosman.yaml": `
test:
  - {name: write, run: "echo changed > app.sh && rm lib/old && mkdir lib/new && echo x >> app.sh"}
  - {name: see, run: "grep -q changed app.sh && test ! -e lib/old && test -d lib/new"}
`, "app.sh": "echo hello", "lib/old": "old"}))
			w.want(b, bosman.BuildGreen)
			if err := w.store.Verify("shop", b.Release); err != nil {
				t.Error(err)
			}
			if got := read(t, w.store.Tree("shop", b.Release)+"/app.sh"); got != "echo hello" {
				t.Errorf("the release holds %q", got)
			}
			nothingLeft(t, w)
		})
	}
}

func TestFloodedLogIsCutAndLaterStepsAreHeard(t *testing.T) {
	w := newBench(t)
	w.runner.LogCap = 400_000
	b := w.run(w.commit(map[string]string{"bosman.yaml": `
test:
  - {name: flood, run: "yes abcdefghij | head -c 3000000; echo; echo the last words; exit 1"}
  - {name: line, run: "head -c 300000 /dev/zero | tr '\\0' x; exit 1"}
  - {name: calm, run: "echo still heard"}
`}))
	w.want(b, bosman.BuildRed)
	w.wantLog(b.Number, "flood the last words", "calm still heard", "bytes were dropped", "bytes cut")
	if n := len(w.log(b.Number)); n > 500_000 {
		t.Errorf("the log has %d bytes", n)
	}
	for _, line := range strings.Split(w.log(b.Number), "\n") {
		if len(line) > maxLine+100 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if !strings.Contains(b.Steps[0].Note, "log was cut") {
		t.Errorf("note: %q", b.Steps[0].Note)
	}
	at := b.Steps[2]
	if part := w.log(b.Number)[at.LogFrom:at.LogTo]; !strings.Contains(part, "still heard") || strings.Contains(part, "flood abc") {
		t.Errorf("offsets %d to %d: %q", at.LogFrom, at.LogTo, part)
	}
}

func TestSecretsAreMaskedAndWithheldFromStrangers(t *testing.T) {
	w := newBench(t)
	w.runner.Secrets = secrets{"TOKEN": "s3cr3t-w0rd/42", "SHORT": "on", "OTHER": "not-asked-for"}
	yaml := `
build:
  - name: env
    run: "echo $TOKEN; printf s3cr; sleep 0.1; printf '3t-w0rd/42\n'; printf 'user:%s' $TOKEN | base64; echo $SHORT; echo other=$OTHER; test -n \"$TOKEN\""
    secrets: [TOKEN, SHORT]
test:
  - {name: unit, run: 'echo unit sees "$TOKEN" end'}
`
	b := w.run(w.commit(map[string]string{"bosman.yaml": yaml}))
	w.want(b, bosman.BuildGreen)
	if log := w.log(b.Number); strings.Contains(log, "s3cr3t") || strings.Contains(log, "czNjcjN0") || strings.Contains(log, "M2NyM3") {
		t.Errorf("the secret is in the log:\n%s", log)
	}
	w.wantLog(b.Number, "env ***", "env on", "other=\n", "unit sees  end", "SHORT is too short")

	stranger := w.commit(map[string]string{"x": "y"})
	stranger.Trust = bosman.TrustStranger
	b = w.run(stranger)
	w.want(b, bosman.BuildRed)
	w.wantLog(b.Number, "gets no secrets")
}

func TestStrangersResultsStayApart(t *testing.T) {
	w := newBench(t)
	files := map[string]string{"bosman.yaml": "build:\n  - {name: env, run: 'date +%N > out', inputs: [in], outputs: [out]}\n", "in": "1"}
	b := w.commit(files)
	b.Trust = bosman.TrustStranger
	b = w.run(b)
	w.want(b, bosman.BuildGreen)
	team := w.run(w.next())
	w.want(team, bosman.BuildGreen)
	if team.Steps[0].Cached || team.Reused || team.Release == b.Release {
		t.Errorf("the team's build took what a stranger's made: %+v", team)
	}
}

func TestAfterSteps(t *testing.T) {
	w := newBench(t)
	b := w.run(w.commit(map[string]string{"bosman.yaml": `
test: [{name: unit, run: "exit $(cat code)"}]
after:
  - {when: failure, run: "echo told the team: $BOSMAN_STATUS; exit 9"}
  - {when: success, run: "echo a feast"}
  - {when: always, run: "echo closing"}
`, "code": "1"}))
	w.want(b, bosman.BuildRed)
	w.wantLog(b.Number, "after told the team: failure", "after closing", "exit status 9")
	if strings.Contains(w.log(b.Number), "a feast") {
		t.Error("a step for success ran")
	}
	b = w.run(w.commit(map[string]string{"code": "0"}))
	w.want(b, bosman.BuildGreen)
	w.wantLog(b.Number, "after a feast")
}

func TestCancelSaysWhoAndWhy(t *testing.T) {
	w := newBench(t)
	b := w.commit(map[string]string{"bosman.yaml": "test: [{name: unit, run: sleep 100}]\n"})
	ctx, cancel := context.WithCancelCause(context.Background())
	w.mem.saw = func(b bosman.Build) {
		if len(b.Steps) == 1 && b.Steps[0].State == bosman.StepRunning {
			time.AfterFunc(200*time.Millisecond, func() { cancel(&Cancelled{"cancelled by anna: wrong branch"}) })
		}
	}
	done, err := w.runner.Run(ctx, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.want(done, bosman.BuildCancelled)
	if done.Reason != "cancelled by anna: wrong branch" || w.mem.build(b.Number).State != bosman.BuildCancelled {
		t.Errorf("reason %q", done.Reason)
	}
	nothingLeft(t, w)
}

func TestShutdownIsNotFailure(t *testing.T) {
	w := newBench(t)
	b := w.commit(map[string]string{"bosman.yaml": "test: [{name: unit, run: 'sleep 1'}]\n"})
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	done, err := w.runner.Run(ctx, b, 0)
	if !errors.Is(err, ErrInterrupted) || done.State != bosman.BuildRunning {
		t.Fatalf("%s, %v", done.State, err)
	}
	nothingLeft(t, w)
	done = w.run(done)
	w.want(done, bosman.BuildGreen)
	w.wantLog(b.Number, "begins again")
}

func TestFullDisk(t *testing.T) {
	w := newBench(t)
	if err := unix.Mount("tmpfs", w.data, "tmpfs", 0, "size=12m,mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(w.data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := w.commit(map[string]string{"bosman.yaml": "build: [{name: big, run: 'head -c 30000000 /dev/zero > big'}]\n"})
	w.mem.file = filepath.Join(filepath.Dir(w.data), "memory.json")
	b = w.run(b)
	w.want(b, bosman.BuildError)
	if !strings.Contains(b.Reason, "the disk is full") || !strings.Contains(b.Reason, "prune") {
		t.Errorf("reason %q", b.Reason)
	}
	if left, err := filepath.Glob(w.data + "/releases/shop/*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	b = w.run(w.commit(map[string]string{"bosman.yaml": "build: [{name: small, run: 'echo x > small'}]\n"}))
	w.want(b, bosman.BuildGreen)
}

func TestPythonIsCompiledForItsPlace(t *testing.T) {
	w := newBench(t)
	b := w.run(w.commit(map[string]string{"bosman.yaml": "{}\n", "pkg/mod.py": "x = 1\n"}))
	w.want(b, bosman.BuildGreen)
	found, err := filepath.Glob(w.store.Tree("shop", b.Release) + "/pkg/__pycache__/mod.*.pyc")
	if err != nil || len(found) != 1 {
		t.Fatalf("bytecode: %v, %v", found, err)
	}
	if !strings.Contains(read(t, found[0]), "/app/pkg/mod.py") {
		t.Error("the bytecode names another place")
	}
}

func TestMonorepoAndChangedLines(t *testing.T) {
	w := newBench(t)
	b := w.commit(map[string]string{"bosman.yaml": `
root: shop
build: [{name: env, run: "pwd > where", inputs: [in], outputs: [where]}]
test: [{name: lint, run: "echo './app.sh:2:1: E1 bad' > lint.txt", reports: {lint: lint.txt}}]
data: [media]
`, "shop/in": "1", "shop/app.sh": "a\nb\n"})
	b.Base = b.Commit
	b = w.run(b)
	w.want(b, bosman.BuildGreen)
	tree := w.store.Tree("shop", b.Release)
	if got := read(t, tree+"/shop/where"); got != "/app/shop\n" {
		t.Errorf("ran in %q", got)
	}
	if !exists(tree + "/shop/media") {
		t.Error("no mount point below the root")
	}
	if len(b.Report.Findings) != 1 || b.Report.Findings[0].Path != "shop/app.sh" {
		t.Errorf("findings %+v", b.Report)
	}
}

// TestReleaseConflict: a number never names two trees.
func TestReleaseConflict(t *testing.T) {
	w := newBench(t)
	b := w.run(w.commit(map[string]string{"bosman.yaml": "{}\n"}))
	w.want(b, bosman.BuildGreen)
	rel, err := w.store.Load("shop", 1)
	if err != nil {
		t.Fatal(err)
	}
	rel.Tree = "another"
	if _, err := w.store.Seal(rel, t.TempDir(), nil, nil); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("sealed twice: %v", err)
	}
}

// A tree is the same whether a step ran or came from the cache.
func TestStepLeavesOnlyItsOutputs(t *testing.T) {
	w := newBench(t)
	const yaml = `
build:
  - name: assets
    run: "test ! -e node_modules/x || echo second; mkdir -p node_modules static/dist static/tmp lib/__pycache__; echo $M > static/dist/a; touch node_modules/x static/tmp/y lib/new"
    inputs: [in]
    outputs: [static/dist]
    variants: {default: {M: dev}, live: {M: prod}}
  - {name: free, run: "touch static/free; test ! -e node_modules"}
`
	list := func(n int) string {
		var names []string
		all, err := listTree(w.store.Tree("shop", n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	b := w.run(w.commit(map[string]string{"bosman.yaml": yaml, "in": "1", "lib/old": "x"}))
	w.want(b, bosman.BuildGreen)
	w.wantLog(b.Number, "assets:live second", "removed what outputs: does not name", "node_modules", "static/tmp")
	const want = "bosman.yaml in lib lib/old static static/dist static/dist/a static/free"
	if got := list(b.Release); got != want {
		t.Errorf("ran: %s", got)
	}
	b = w.run(w.commit(map[string]string{"lib/old": "y"}))
	w.want(b, bosman.BuildGreen)
	if !b.Steps[0].Cached || !b.Steps[1].Cached {
		t.Errorf("steps %+v", b.Steps)
	}
	if got := list(b.Release); got != want {
		t.Errorf("from the cache: %s", got)
	}
}
