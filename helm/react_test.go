package helm

import (
	"slices"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// A change that could be merged conflicts once main has moved, and no more
// once main has moved back.
func TestMainMovesUnderAChange(t *testing.T) {
	r := newRig(t)
	r.git(r.work, "checkout", "-q", "-b", "feature")
	r.write("app.py", "two\n")
	r.commit("two")
	r.push("feature")
	for _, c := range []struct {
		text string
		want []string
	}{{"three\n", []string{"app.py"}}, {"one\n", nil}} {
		r.git(r.work, "checkout", "-q", "main")
		r.write("app.py", c.text)
		r.commit("main is " + strings.TrimSpace(c.text))
		r.push("main")
		change, err := r.Store.Change(t.Context(), "rms", 1)
		if err != nil || !slices.Equal(change.Conflicts, c.want) {
			t.Errorf("with %q on main the change conflicts in %v, want %v (%v)", c.text, change.Conflicts, c.want, err)
		}
	}
}

func TestNewestAutomaticDeploymentWins(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	for n := range 3 {
		if _, err := r.ask(ctx, bosman.System(), bosman.Operation{App: "rms", Instance: "staging", Plan: bosman.PlanDeploy, Release: n + 1, Auto: true}); err != nil {
			t.Fatal(err)
		}
	}
	ops, _ := r.Store.Operations(ctx, "rms", "staging", 0)
	if ops[0].State != bosman.OpQueued || ops[1].State != bosman.OpSuperseded || ops[2].State != bosman.OpSuperseded {
		t.Errorf("%v %v %v", ops[0].State, ops[1].State, ops[2].State)
	}
}

// A deployment that waits for its window would else go back, in the morning,
// behind the newer one that somebody let through meanwhile.
func TestNewestDeploymentOfAPersonWins(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	asked := []bosman.Operation{
		{Plan: bosman.PlanDeploy, Release: 1},
		{Plan: bosman.PlanDeploy, Release: 2, Auto: true}, // nothing automatic takes a person's place
		{Plan: bosman.PlanBackup},                         // this brings no release
		{Plan: bosman.PlanDeploy, Release: 3},
	}
	for _, op := range asked {
		op.App, op.Instance = "rms", "staging"
		if _, err := r.ask(ctx, admin, op); err != nil {
			t.Fatal(err)
		}
	}
	ops, err := r.Store.Operations(ctx, "rms", "staging", 0) // the newest first
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []bosman.OperationState{bosman.OpQueued, bosman.OpQueued, bosman.OpQueued, bosman.OpSuperseded} {
		if ops[n].State != want {
			t.Errorf("%s is %s, not %s", opRef(ops[n].Number), ops[n].State, want)
		}
	}
	if log, err := r.Store.Activity(ctx, "rms", 0, 1); err != nil || len(log) != 1 || log[0].Why != "in place of "+opRef(ops[3].Number) {
		t.Errorf("the log does not say what it replaced: %+v, %v", log, err)
	}
}

func TestReconcileTakesUpWhatWasMissed(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	repo, err := r.Repos.Open("rms")
	if err != nil {
		t.Fatal(err)
	}
	r.git(r.work, "checkout", "-q", "-b", "missed")
	r.write("m.py", "m\n")
	r.commit("missed")
	r.git(r.work, "push", "-q", "--receive-pack", "git -c core.hooksPath=/dev/null receive-pack", repo.Dir(), "missed", "missed:main")
	if err := r.Store.SaveOperation(ctx, bosman.Operation{App: "rms", Number: 77, Instance: "live", Plan: bosman.PlanDeploy, State: bosman.OpRunning}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Reconcile(ctx); err != nil {
			t.Fatal(err)
		}
		r.settle()
	}
	if b, err := r.Store.LatestBuild(ctx, "rms", 0); err != nil || b.Number != 2 {
		t.Errorf("main's new head should have one build: %+v, %v", b, err)
	}
	if r.begun[0].Number != 77 {
		t.Errorf("the unfinished operation was not resumed: %+v", r.begun)
	}
}

func TestStagingIsLeftAsPeopleWantIt(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	begun := len(r.begun)
	op, err := r.Stop(ctx, admin, "rms", "staging")
	if err != nil {
		t.Fatal(err)
	}
	op.State = bosman.OpDone
	if err := r.Store.SaveOperation(ctx, op); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.AppendEvent(ctx, bosman.Event{App: "rms", Kind: bosman.EventOperationEnded, Subject: opRef(op.Number)}); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if len(r.begun) != begun+1 {
		t.Errorf("after a stop staging was deployed to again: %+v", r.last())
	}
}

// TestMainReturnsToABadRelease: staging does not follow, and everybody hears
// why and what to do.
func TestMainReturnsToABadRelease(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	said := func() (lines []bosman.Activity) {
		t.Helper()
		all, err := r.Activity(ctx, admin, "rms", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			if strings.HasPrefix(l.What, "left staging on") {
				lines = append(lines, l)
			}
		}
		return lines
	}
	held := func() *bosman.Held {
		t.Helper()
		h, err := r.Held(ctx, admin, "rms", "staging")
		if err != nil {
			t.Fatal(err)
		}
		jobs, err := r.Status(ctx, admin, "rms")
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if (j.Held != nil) != (h != nil && j.Name == "staging") {
				t.Errorf("the row of %s says %+v, its page %+v", j.Name, j.Held, h)
			}
		}
		return h
	}
	main := func(text string) {
		t.Helper()
		r.write("app.py", text)
		r.commit("main is " + strings.TrimSpace(text))
		r.push("main")
		r.ends(0, bosman.BuildGreen)
	}
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	main("two\n")
	r.done(r.last())
	bad, err := r.Store.Release(ctx, "rms", 2)
	if err != nil {
		t.Fatal(err)
	}
	bad.Bad = "reverted by d9: the list is empty"
	if err := r.Store.SaveRelease(ctx, bad); err != nil {
		t.Fatal(err)
	}
	if h := held(); h != nil || len(said()) != 0 {
		t.Fatalf("staging runs what main holds, and yet: %+v, %v", h, said())
	}
	main("three\n")
	r.done(r.last())
	begun := len(r.begun)
	r.write("app.py", "two\n")
	r.commit("two again")
	r.push("main")
	b, err := r.Store.LatestBuild(ctx, "rms", 0)
	if err != nil {
		t.Fatal(err)
	}
	b.State, b.Release = bosman.BuildGreen, 2 // the same tree: its release is reused
	if err := r.Store.SaveBuild(ctx, b); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a reaction may be repeated
		if err := r.Store.AppendEvent(ctx, bosman.Event{App: "rms", Kind: bosman.EventBuildEnded, Subject: buildRef(b.Number)}); err != nil {
			t.Fatal(err)
		}
		r.settle()
	}
	if len(r.begun) != begun {
		t.Errorf("a bad release was sent: %+v", r.last())
	}
	if lines := said(); len(lines) != 1 || lines[0].What != "left staging on r3: r2, which main holds, is marked bad" || lines[0].Why != bad.Bad || lines[0].Instance != "staging" {
		t.Errorf("the activity log says %+v", lines)
	}
	h := held()
	if h == nil || h.Release != 2 || !strings.Contains(h.Why, "r2, which main holds, is marked bad: reverted by d9") || !strings.Contains(h.Next, "bosman deploy staging --release r2 --override") {
		t.Fatalf("held: %+v", h)
	}
	op, err := r.Deploy(ctx, admin, DeployRequest{App: "rms", Instance: "staging", Release: 2, Override: "it was not the code"})
	if err != nil {
		t.Fatal(err)
	}
	r.done(op)
	if h := held(); h != nil {
		t.Errorf("staging was sent there by hand, and yet: %+v", h)
	}
	main("four\n")
	if op := r.last(); op.Release != 4 || !op.Auto {
		t.Errorf("staging does not follow any more: %+v", op)
	}
}
