package cli

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/store"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// screen is an env that prints to a text, at noon.
func screen(t *testing.T) (*env, *strings.Builder) {
	t.Helper()
	var out strings.Builder
	return &env{ctx: t.Context(), stdout: &out, stderr: &out, getenv: func(string) string { return "" }, global: &globals{}, now: func() time.Time { return noon }}, &out
}

func TestTimesAsPeopleSayThem(t *testing.T) {
	e, _ := screen(t)
	for _, c := range []struct {
		before time.Duration
		want   string
	}{
		{0, "just now"},
		{44 * time.Second, "just now"},
		{50 * time.Second, "1 min ago"},
		{3 * time.Minute, "3 min ago"},
		{59 * time.Minute, "59 min ago"},
		{61 * time.Minute, "1 h ago"},
		{30 * time.Hour, "30 h ago"},
		{37 * time.Hour, "2 days ago"},
		{240 * time.Hour, "10 days ago"},
		{-2 * time.Hour, "in 2 h"},
	} {
		if got := e.ago(noon.Add(-c.before)); got != c.want {
			t.Errorf("%v ago is %q, want %q", c.before, got, c.want)
		}
	}
	if got := e.ago(time.Time{}); got != "-" {
		t.Errorf("never is %q", got)
	}
	for d, want := range map[time.Duration]string{0: "-", -time.Second: "-", 1240 * time.Millisecond: "1.2 s", 75 * time.Second: "1 min 15 s", 2*time.Hour + 3*time.Minute: "2 h 3 min"} {
		if got := took(d); got != want {
			t.Errorf("%v took %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 14_000_000: "14.0 MB", 1_500: "1.5 kB", 2_100_000_000: "2.1 GB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestTablesAreAligned(t *testing.T) {
	e, out := screen(t)
	if err := e.table([]string{"A", "WEATHER", "C"}, [][]string{{"zażółć", "🌧", "x"}, {"b", "☀", ""}}, "none"); err != nil {
		t.Fatal(err)
	}
	want := "A       WEATHER  C\nzażółć  🌧       x\nb       ☀\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	out.Reset()
	if err := e.table([]string{"A"}, nil, "there is none"); err != nil || out.String() != "there is none\n" {
		t.Errorf("an empty table: %q, %v", out, err)
	}
}

func TestStatusRows(t *testing.T) {
	e, _ := screen(t)
	j := wire.Job{
		App: "rms", Name: "live", Kind: bosman.KindLive, State: bosman.InstanceRunning, Weather: bosman.Weather{Good: 4, Of: 5},
		Release: 136, Title: "Sort candidates by date of the interview, newest", Since: noon.Add(-3 * time.Hour), By: "anna",
		LastSuccess: noon.Add(-3 * time.Hour), SuccessRef: "d37", LastFailure: noon.Add(-72 * time.Hour), FailureRef: "d31", LastDuration: 42 * time.Second,
	}
	got := strings.Join(e.jobRow(j), "|")
	want := "rms|live|running|⛅|r136 Sort candidates by date of the …|3 h ago by anna|3 h ago d37|3 days ago d31|42.0 s"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	j.Running, j.RunningRoad = "d38", bosman.Road{{Name: "backup", State: bosman.StationGood}, {Name: "migrate", State: bosman.StationRunning}}
	e.global.Plain = true
	if row := e.jobRow(j); row[2] != "d38 migrate" || row[3] != "fair" {
		t.Errorf("at work, in words: %q", row)
	}
}

func TestStatusSaysWhatDoesNotFollowMain(t *testing.T) {
	e, out := screen(t)
	jobs := []wire.Job{
		{App: "rms", Name: "live", Release: 3},
		{App: "rms", Name: "staging", Release: 3, Held: &bosman.Held{Release: 2, Why: "r2, which main holds, is marked bad: reverted by d9", Next: "push a commit that mends it"}},
	}
	if err := e.heldWarnings(jobs); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "! rms/staging stays on r3: r2, which main holds, is marked bad: reverted by d9\n  push a commit that mends it\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRoadOnOneLine(t *testing.T) {
	road := bosman.Road{
		{Name: "tests", State: bosman.StationGood, Note: "412 passed"},
		{Name: "testing", State: bosman.StationRunning, Note: "anna"},
		{Name: "accepted", State: bosman.StationWaiting},
		{Name: "merged", State: bosman.StationFailed, Note: "conflicts with main in a.py"},
	}
	if got, want := roadText(road, false), "✓ tests → ◐ testing anna → ◌ accepted → ✕ merged (conflicts with main in a.py)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := roadText(road, true), "tests good, testing running anna, accepted waiting, merged failed (conflicts with main in a.py)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestProgressPiped(t *testing.T) {
	var out strings.Builder
	p := &progress{w: &out, said: map[string]bool{}, now: func() time.Time { return noon }}
	steps := []line{{bosman.StepRunning, "backup", "", noon.Add(-time.Second), time.Time{}}, {bosman.StepWaiting, "check", "", time.Time{}, time.Time{}}}
	for range 2 {
		if err := p.draw("d37: deploy r1 to live", steps); err != nil {
			t.Fatal(err)
		}
	}
	steps[0] = line{bosman.StepDone, "backup", "14 MB", noon.Add(-1200 * time.Millisecond), noon}
	steps[1] = line{bosman.StepFailed, "check", "/healthz answered 500", noon, noon}
	if err := p.draw("d37: deploy r1 to live", steps); err != nil {
		t.Fatal(err)
	}
	want := "d37: deploy r1 to live\n  ✓ backup 1.2 s: 14 MB\n  ✕ check: /healthz answered 500\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestProgressOnATerminalIsRedrawn(t *testing.T) {
	var out strings.Builder
	p := &progress{w: &out, live: true, said: map[string]bool{}, now: func() time.Time { return noon }}
	for _, state := range []bosman.StepState{bosman.StepRunning, bosman.StepDone} {
		if err := p.draw("b1", []line{{state, "unit", "", time.Time{}, time.Time{}}}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "b1\n  ◐ unit …\n\x1b[2A\x1b[Jb1\n  ✓ unit\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
}

// step moves an operation on as the deployer would.
func step(t *testing.T, st *store.Store, op bosman.Operation) {
	t.Helper()
	err := st.InTx(t.Context(), func(s *store.Store) error {
		return errors.Join(s.SaveOperation(t.Context(), op), s.AppendEvent(t.Context(), bosman.Event{App: op.App, Kind: bosman.EventOperationStep, Subject: opRef(op.Number)}))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asked gives the operation that a command asked for.
func asked(ctx context.Context, t *testing.T, st *store.Store) bosman.Operation {
	t.Helper()
	for {
		wake := st.Wake()
		ops, err := st.UnfinishedOperations(ctx)
		if err != nil {
			t.Error(err)
			return bosman.Operation{}
		}
		if len(ops) > 0 {
			return ops[0]
		}
		select {
		case <-wake:
		case <-ctx.Done():
			t.Error("nothing was asked for")
			return bosman.Operation{}
		}
	}
}

func TestWaitShowsTheRoadAndHowItEnded(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(*bosman.Operation)
		code  int
		words []string
	}{
		{"good", func(o *bosman.Operation) { o.State = bosman.OpDone }, ExitOK, []string{"✓ backup", "d1 is done in 2.0 s"}},
		{"failed", func(o *bosman.Operation) {
			o.State = bosman.OpFailed
			o.Error = bosman.Failed("the health check failed").WithKept("staging still runs r1").WithNext("push a fix")
			o.Failure = &bosman.Failure{Health: "500 Internal Server Error", LogTail: "ImportError: no module named x"}
		}, ExitFailed, []string{"the health check failed", "500 Internal", "ImportError", "kept: staging still runs r1", "next: push a fix"}},
		{"watched", func(o *bosman.Operation) { o.State = bosman.OpWatching }, ExitOK, []string{"watches it", "bosman revert staging"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t)
			st := s.rig.Helm.Store
			done := make(chan struct{})
			go func() {
				defer close(done)
				op := asked(t.Context(), t, st)
				op.State, op.StartedAt = bosman.OpRunning, noon
				op.Steps = []bosman.OperationStep{{Name: "backup", State: bosman.StepRunning, StartedAt: noon}}
				step(t, st, op)
				op.Steps[0].State, op.Steps[0].EndedAt = bosman.StepDone, noon.Add(time.Second)
				step(t, st, op)
				op.EndedAt = noon.Add(2 * time.Second)
				c.end(&op)
				step(t, st, op)
			}()
			s.run("", "deploy", "staging", "--release", "r1", "--wait").want(t, "deploy --wait", c.code, append(c.words, "d1: deploy r1 to staging")...)
			<-done
			s.run("", "log", "d1").want(t, "log d1", ExitOK, "backup", "asked by ola")
		})
	}
}

func TestLogOfABuild(t *testing.T) {
	s := newScript(t)
	b := bosman.Build{App: "rms", Number: 1, Branch: "main", State: bosman.BuildRed, Reason: "2 tests failed", StartedAt: noon, EndedAt: noon.Add(90 * time.Second)}
	if err := s.rig.Helm.Store.SaveBuild(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.rig.Log(s.rig.Build("rms", 1), "collected 412 tests", "2 failed")
	s.run("", "log", "b1").want(t, "log b1", ExitOK, "web.1 | collected 412 tests", "b1 is red after 1 min 30 s: 2 tests failed")
	s.run("", "log", "b1", "-f").want(t, "log b1 -f", ExitFailed, "2 failed")
	s.run("", "log", "b1", "-n", "1", "--json").want(t, "log --json", ExitOK, `"text":"2 failed"`)
	s.run("", "log", "staging").want(t, "an empty log", ExitOK)
	s.run("", "log", "nowhere").want(t, "no such instance", ExitNotFound, "nowhere")
}

func TestCompletion(t *testing.T) {
	bashed := run(t, nil, "", "completion", "bash")
	bashed.want(t, "bash", ExitOK, "complete -F _bosman bosman", "send-back")
	need.Program(t, "bash", "bash")
	complete := func(words string) string {
		script := bashed.out + "\nCOMP_WORDS=(" + words + ")\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_bosman\necho \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("bash: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for words, want := range map[string]string{
		`bosman sen`: "send-back", `bosman backup res`: "restore", `bosman deploy live --rel`: "--release", `bosman people token n`: "new", `bosman backup restore k1 --inst`: "--instance",
	} {
		if got := complete(words); got != want {
			t.Errorf("%s completes to %q, want %q", words, got, want)
		}
	}
	run(t, nil, "", "completion", "fish").want(t, "fish", ExitOK, "-a deploy")
	run(t, nil, "", "completion", "zsh").want(t, "zsh", ExitOK, "#compdef bosman")
	run(t, nil, "", "completion", "tcsh").want(t, "tcsh", ExitUsage)
}
