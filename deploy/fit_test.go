package deploy

import (
	"context"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// aheadOf is an installation whose staging runs r3, of which the changes know
// nothing; the merge result is r4, after the build was asked for some times.
func aheadOf(t *testing.T, builds int) *fixture {
	t.Helper()
	f := newFixture(t)
	f.wait(f.ask(bosman.PlanDeploy, "staging", 3))
	if err := f.tx(func(s *state) error {
		s.Releases[4] = bosman.Release{App: "rms", Number: 4, Commit: "c4", Tests: bosman.TestsGreen, Trust: bosman.TrustTeam}
		s.Builds = builds
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// A change that knows nothing of the data is merged with main first, which is
// waited for, and told.
func TestTryOfAChangeThatStagingIsAheadOf(t *testing.T) {
	f := aheadOf(t, 3)
	op := f.wait(f.ask(bosman.PlanTry, "testing-anna", 2, change(12)))
	if op.State != bosman.OpDone || op.Release != 4 || note(op, "fit") != "c12 is behind staging: its merge result with main 1a2b3c4d was taken (r4 of b413)" {
		t.Errorf("row %+v: %q", op, note(op, "fit"))
	}
	f.serves("testing-anna", 4)
	if i := f.see().Instances["testing-anna"]; i.Copy.Merged != "1a2b3c4d5e6f" || i.Copy.Release != 3 || i.Change != 12 {
		t.Errorf("instance %+v", i)
	}
	// One that knows it goes as it is, and nothing is said of a merge.
	op = f.wait(f.ask(bosman.PlanTry, "testing-anna", 4, change(13)))
	if i := f.see().Instances["testing-anna"]; op.State != bosman.OpDone || note(op, "fit") != "r4 knows the data of staging" || i.Copy.Merged != "" {
		t.Errorf("%q, %+v", note(op, "fit"), i)
	}
	f.serves("staging", 3)
}

func TestTryWhoseMergeResultCannotBeHad(t *testing.T) {
	for what, c := range map[string]struct {
		before func(f *fixture)
		says   string
	}{
		"conflicts": {func(f *fixture) {
			f.fail("MergeResult", bosman.Conflict("c12 conflicts with main").WithKept("testing-anna was left as it is"))
		}, "conflicts with main"},
		"main does not know the data either": {func(f *fixture) {
			f.tx(func(s *state) error { //nolint:errcheck // what is missing shows
				delete(s.Releases, 4)
				delete(s.Releases, 3)
				return nil
			})
		}, "which is part neither of c12 nor of main 1a2b3c4d"},
	} {
		t.Run(what, func(t *testing.T) {
			f := aheadOf(t, 0)
			f.wait(f.ask(bosman.PlanTry, "testing-anna", 3, change(11)))
			c.before(f)
			op := f.wait(f.ask(bosman.PlanTry, "testing-anna", 2, change(12)))
			if op.State != bosman.OpFailed || op.Error.Kind != bosman.KindConflict || !strings.Contains(op.Error.Message, c.says) || op.Error.Next+op.Error.Kept == "" {
				t.Errorf("row %+v", op)
			}
			f.serves("testing-anna", 3)
		})
	}
}

// Whoever waits for a merge result does not own the instance, and may be
// called off.
func TestTryCalledOffWhileItsMergeResultIsBuilt(t *testing.T) {
	f := aheadOf(t, 1<<30)
	n := f.ask(bosman.PlanTry, "testing-anna", 2, change(12))
	f.eventually("it waits", func() bool { return strings.Contains(f.see().Ops[n].Waits, "b413 builds c12, which b413 asked for") })
	if op := f.wait(f.ask(bosman.PlanTry, "testing-anna", 3, change(11))); op.State != bosman.OpDone {
		t.Errorf("another one: %+v", op)
	}
	if err := f.s.Cancel(context.Background(), f.see().Ops[n], "not wanted"); err != nil {
		t.Fatal(err)
	}
	if op := f.wait(n); op.State != bosman.OpCancelled {
		t.Errorf("row %+v", op)
	}
	f.serves("testing-anna", 3)
}
