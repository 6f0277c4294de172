package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

func TestDeployLive(t *testing.T) {
	f := newFixture(t)
	d := f.ask(bosman.PlanDeploy, "live", 2)
	op := f.wait(d)
	if op.State != bosman.OpDone || op.Error != nil || !op.Committed || op.From != 1 || op.Backup == 0 || op.StartedAt.IsZero() || op.EndedAt.IsZero() {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
	s := f.see()
	if s.Instances["live"].Previous != 1 || s.Instances["live"].UpdatedBy != "anna" {
		t.Errorf("instance %+v", s.Instances["live"])
	}
	if s.Tags[fmt.Sprintf("live-%d", d)] != "c2" {
		t.Errorf("tags %v", s.Tags)
	}
	if b := s.Backups[op.Backup]; b.VerifiedAt.IsZero() || b.Release != 1 || b.Why != fmt.Sprintf("before d%d", d) {
		t.Errorf("backup %+v", b)
	}
	if !slices.Contains(s.Log, "deployed r2 to live") {
		t.Errorf("activity %v", s.Log)
	}
	if op.Failure != nil {
		t.Errorf("nothing failed, and yet: %+v", op.Failure)
	}
	var names []string
	for _, st := range op.Steps {
		names = append(names, st.Name)
		if st.State != bosman.StepDone {
			t.Errorf("step %+v", st)
		}
	}
	if got := strings.Join(names, " "); got != "wait admit backup migrate prove start check switch workers tag watch settle" {
		t.Errorf("steps %s", got)
	}
	for step, want := range map[string]string{
		"backup":  "k1: 14 MB in 1.2 s, restored and compared: 1 tables, 2 rows; the restored copy is kept for a quick way back (14 MB)",
		"migrate": "the release command ran in 1.0 s; the schema changed: [1] became [1 2]",
		"check":   `health answers 200 {"release": "r2"} after 1.0 s; 1 smoke requests answer as they should`,
		"switch":  "live serves r2", "tag": "c2 is tagged live-3", "settle": "the processes of before are stopped (1)",
	} {
		if got := note(op, step); got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	order := func(a, b string) {
		if slices.Index(s.Calls, a) > slices.Index(s.Calls, b) {
			t.Errorf("%s after %s: %v", a, b, s.Calls)
		}
	}
	order("Backup", "Run.release")
	order("Guard", "Run.release")
	order("Run.release", "Start.web")
	order("Check", "Switch")
	order("Switch", "Drain")
}

// Whatever fails before the switch, the old release goes on serving, and the
// row says what failed, what was left untouched and what to do.
func TestFailureBeforeTheSwitch(t *testing.T) {
	full := bosman.Unavailable("the disk of /var/lib/bosman is full: 3 MB free").WithNext("make room, then deploy again")
	for call, c := range map[string]struct {
		err  error
		step string
	}{
		"Judge":       {bosman.Forbidden("r2 was never on staging"), "wait"},
		"Backup":      {full, "backup"},
		"Guard":       {bosman.Conflict("the settings point at database rms_prod, not at live's own"), "migrate"},
		"Run.release": {bosman.Failed("ended"), "migrate"},
		"Start.web":   {bosman.Unavailable("the shim cannot be started"), "start"},
		"Check":       {bosman.Failed("the port was never opened in 30 s"), "check"},
		"Switch":      {bosman.Conflict("a later operation has routed it"), "switch"},
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.fail(call, c.err)
			op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
			if op.State != bosman.OpFailed || op.Committed || op.Error == nil {
				t.Fatalf("row %+v", op)
			}
			if op.Error.Message == "" || !strings.Contains(op.Error.Kept, "live still runs r1") {
				t.Errorf("error %+v", op.Error)
			}
			if stepState(op, c.step) != bosman.StepFailed {
				t.Errorf("steps %+v", op.Steps)
			}
			f.serves("live", 1)
			s := f.see()
			if !slices.Equal(s.Data["live"].Rows, []string{"a", "b"}) {
				t.Errorf("rows %v", s.Data["live"].Rows)
			}
			switch call {
			case "Guard":
				if slices.Contains(s.Calls, "Run.release") || len(s.Data["live"].Schema) != 1 {
					t.Error("it migrated a database that is not its own")
				}
			case "Check":
				want := bosman.Failure{Health: "503 no", Exit: "exit status 3", LogTail: "boom", Serving: "live still runs r1"}
				got := *op.Failure
				got.TestedAt = time.Time{}
				want.Schema = got.Schema
				if got != want || !strings.Contains(got.Schema, "became [1 2]") {
					t.Errorf("failure %+v", got)
				}
			case "Run.release":
				if op.Failure.LogTail != "Traceback" || op.Failure.Schema != "the schema is as it was" || !strings.Contains(op.Error.Message, "exit status 1") {
					t.Errorf("failure %+v, error %+v", op.Failure, op.Error)
				}
			case "Start.web", "Switch":
				if op.Failure == nil || !strings.Contains(op.Failure.Schema, "became [1 2]") {
					t.Errorf("nobody says what the schema holds: %+v", op.Failure)
				}
			case "Backup":
				if s.Backups[1].Error == "" || !s.Backups[1].VerifiedAt.IsZero() {
					t.Errorf("backup %+v", s.Backups[1])
				}
			}
		})
	}
}

func TestUnverifiedBackupDoesNotCount(t *testing.T) {
	f := newFixture(t)
	f.shut()
	f.open(func(c *Config) { c.Databases = liar{databases{f.world}} })
	f.full = true // so that it is tried out and dropped
	op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if op.State != bosman.OpFailed || !strings.Contains(op.Error.Message, "could not be restored") {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 1)
	f.full = false
	f.fail("Keep", bosman.Failed("3 rows differ"))
	if op := f.wait(f.ask(bosman.PlanDeploy, "live", 2)); op.State != bosman.OpFailed || !strings.Contains(op.Error.Message, "3 rows differ") {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 1)
}

// liar says that a backup is made, but could not verify it.
type liar struct{ databases }

func (l liar) Backup(_ context.Context, _ bosman.Instance, b bosman.Backup, _ bool) (bosman.Backup, error) {
	b.Error = "3 rows differ"
	return b, nil
}

// After the switch nothing takes the release away: a tag that cannot be
// written is said, and the instance is given back all the same.
func TestFailureAfterTheSwitch(t *testing.T) {
	need.Slow(t, "waits for repeated attempts")
	t.Parallel()
	f := newFixture(t)
	f.fail("Tag", bosman.Unavailable("the repository is read-only"))
	op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if op.State != bosman.OpDone || !op.Committed || op.Error == nil || op.Error.Message != "the repository is read-only" {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
}

// Nobody knows whether the edge did what it was asked: the deployment neither
// goes on nor undoes until the edge answers.
func TestSwitchOfUnknownOutcome(t *testing.T) {
	for _, did := range []bool{true, false} {
		t.Run(fmt.Sprintf("it did: %v", did), func(t *testing.T) {
			f := newFixture(t)
			calls := 0
			f.on("Switch", func(context.Context) error {
				if calls++; calls > 1 {
					return nil
				}
				if did {
					if err := f.tx(func(s *state) error {
						s.Routes["live"] = Routed{Fence: s.Fence, Release: 2, ID: "rms.live.d3"}
						return nil
					}); err != nil {
						return err
					}
				}
				return bosman.Unavailable("the edge does not answer")
			})
			asked := 0
			f.on("Current", func(context.Context) error {
				if asked++; asked == 1 {
					return bosman.Unavailable("the edge does not answer")
				}
				return nil
			})
			if op := f.wait(f.ask(bosman.PlanDeploy, "live", 2)); op.State != bosman.OpDone {
				t.Errorf("row %+v", op)
			}
			f.serves("live", 2)
		})
	}
}

// A switch that stands but cannot be written into the row is neither undone
// nor forgotten.
func TestSwitchedButRowsFail(t *testing.T) {
	f := newFixture(t)
	n := 0
	f.on("UpdateInstance", func(context.Context) error {
		if n++; n <= 3 {
			return bosman.Unavailable("the disk is full")
		}
		return nil
	})
	if op := f.wait(f.ask(bosman.PlanDeploy, "live", 2)); op.State != bosman.OpDone {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
}

func TestFirstStaging(t *testing.T) {
	first := func(t *testing.T) *fixture {
		f := newFixture(t)
		err := f.tx(func(s *state) error {
			s.Instances["staging"] = bosman.Instance{App: "rms", Name: "staging", Kind: bosman.KindStaging, State: bosman.InstanceEmpty}
			delete(s.Data, "staging")
			delete(s.Routes, "staging")
			delete(s.Sets, "rms.staging.d2")
			delete(s.Sets, "rms.staging.d2.work")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	t.Run("succeeds", func(t *testing.T) {
		f := first(t)
		op := f.wait(f.ask(bosman.PlanDeploy, "staging", 1))
		if op.State != bosman.OpDone || !strings.Contains(note(op, "migrate"), "seeded") || note(op, "backup") != "there is nothing to back up yet" {
			t.Errorf("row %+v", op)
		}
		f.serves("staging", 1)
		s := f.see()
		if d := s.Data["staging"]; !slices.Equal(d.Rows, []string{"seed"}) || s.Instances["staging"].Database.Name != "staging" {
			t.Errorf("data %+v", d)
		}
		if op = f.wait(f.ask(bosman.PlanDeploy, "staging", 2)); op.State != bosman.OpDone || note(op, "watch") != "staging is not watched" {
			t.Errorf("row %+v", op)
		}
		if d := f.see().Data["staging"]; !slices.Equal(d.Rows, []string{"seed"}) {
			t.Errorf("seeded again: %+v", d)
		}
	})
	t.Run("fails and leaves nothing", func(t *testing.T) {
		f := first(t)
		f.fail("Check", bosman.Failed("no"))
		op := f.wait(f.ask(bosman.PlanDeploy, "staging", 1))
		if op.State != bosman.OpFailed || op.Error.Kept != "staging runs nothing yet, as before" {
			t.Errorf("row %+v", op)
		}
		s := f.see()
		if _, there := s.Data["staging"]; there || s.Instances["staging"].Database.Name != "" {
			t.Error("the half-made database is left")
		}
		f.on("Check", nil)
		f.wait(f.ask(bosman.PlanDeploy, "staging", 1))
		f.serves("staging", 1)
		if d := f.see().Data["staging"]; !slices.Equal(d.Rows, []string{"seed"}) {
			t.Errorf("data %+v", d)
		}
	})
}

func TestWaitsForTheWindow(t *testing.T) {
	f := newFixture(t)
	f.fail("Judge", bosman.Busy("the window opens 09:00"))
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.eventually("it waits", func() bool { return f.see().Ops[d].Waits == "the window opens 09:00" })
	if s := f.see(); s.Ops[d].State != bosman.OpQueued || len(s.Owners) != 0 {
		t.Errorf("row %+v, owners %v", s.Ops[d], s.Owners)
	}
	// Meanwhile others may use the instance.
	if op := f.wait(f.ask(bosman.PlanRestart, "live", 1)); op.State != bosman.OpDone {
		t.Errorf("restart %+v", op)
	}
	f.on("Judge", nil)
	f.s.Wake()
	if op := f.wait(d); op.State != bosman.OpDone || op.Waits != "" {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
}

// The window closes while the deployment waits for the instance: it is judged
// again when its turn comes.
func TestJudgedAgainAtItsTurn(t *testing.T) {
	f := newFixture(t)
	entered := f.hold("Start.web")
	first := f.ask(bosman.PlanRestart, "live", 1)
	f.arrive(entered, "start")
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.eventually("it waits for the instance", func() bool { return strings.Contains(f.see().Ops[d].Waits, "held by") })
	f.fail("Judge", bosman.Busy("the window is closed"))
	f.on("Start.web", nil)
	if err := f.s.Cancel(f.Context(), f.see().Ops[first], "enough"); err != nil {
		t.Fatal(err)
	}
	if op := f.wait(first); op.State != bosman.OpCancelled {
		t.Errorf("row %+v", op)
	}
	f.eventually("it waits again", func() bool { return f.see().Ops[d].Waits == "the window is closed" })
	if s := f.see(); len(s.Owners) != 0 || s.Ops[d].State != bosman.OpQueued {
		t.Errorf("it holds the instance while it waits: %v %v", s.Owners, s.Ops[d].State)
	}
	f.on("Judge", nil)
	f.wait(d)
	f.serves("live", 2)
}

func TestSupersededWhileItWaits(t *testing.T) {
	f := newFixture(t)
	f.fail("Judge", bosman.Busy("not yet"))
	d := f.ask(bosman.PlanDeploy, "staging", 2)
	f.eventually("it waits", func() bool { return f.see().Ops[d].Waits != "" })
	if err := f.tx(func(s *state) error {
		o := s.Ops[d]
		o.State = bosman.OpSuperseded
		s.Ops[d] = o
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.s.Wake()
	if op := f.wait(d); op.State != bosman.OpSuperseded {
		t.Errorf("row %+v", op)
	}
	f.serves("staging", 1)
}

// What waits does not keep an app or an instance from being removed, and does
// not ask for its row ever after.
func TestRemovedWhileItWaits(t *testing.T) {
	f := newFixture(t)
	f.fail("Judge", bosman.Busy("not yet"))
	d, e := f.ask(bosman.PlanDeploy, "staging", 2), f.ask(bosman.PlanDeploy, "live", 2)
	f.eventually("both wait", func() bool { return f.see().Ops[d].Waits != "" && f.see().Ops[e].Waits != "" })
	if err := f.tx(func(s *state) error {
		delete(s.Ops, d)
		delete(s.Instances, "live")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.fail("Judge", bosman.NotFound("no instance live"))
	f.s.Wake()
	for _, n := range []int{d, e} {
		if _, err := f.s.Engine.Wait(f.Context(), RunID("rms", n)); err != nil {
			t.Error(err)
		}
	}
	if op, again := f.see().Ops[e], f.see().Ops[d]; op.State != bosman.OpCancelled || again.Number != 0 {
		t.Errorf("rows %+v, %+v", op, again)
	}
}

func TestCancelBeforeTheSwitch(t *testing.T) {
	f := newFixture(t)
	entered := f.hold("Check")
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "check")
	if err := f.s.Cancel(f.Context(), f.see().Ops[d], "cancelled by anna"); err != nil {
		t.Fatal(err)
	}
	if op := f.wait(d); op.State != bosman.OpCancelled {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 1)
}

// A shutdown in mid-step is resumed; a row without a run is begun at start.
func TestResume(t *testing.T) {
	f := newFixture(t)
	entered := f.hold("Check")
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "prove")
	f.shut()
	if op := f.see().Ops[d]; stepState(op, "prove") != bosman.StepRunning || op.WayBack.Proof != bosman.ProofNone {
		t.Errorf("a shutdown disproves nothing: %+v", op)
	}
	checks := 0
	f.on("Check", func(ctx context.Context) error {
		if checks++; checks == 1 { // the proof, done anew
			return nil
		}
		entered <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	f.open(nil)
	f.arrive(entered, "check")
	f.shut()
	if op := f.see().Ops[d]; op.State != bosman.OpRunning || stepState(op, "check") != bosman.StepRunning || op.Failure != nil && op.Failure.Health != "" {
		t.Errorf("a shutdown is no failure: %+v", op)
	}
	gap := f.row(bosman.PlanDeploy, "staging", 2)
	f.on("Check", nil)
	f.open(nil)
	if op := f.wait(d); op.State != bosman.OpDone {
		t.Errorf("row %+v", op)
	}
	if op := f.wait(gap.Number); op.State != bosman.OpDone {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
	f.serves("staging", 2)
}

func TestStrangersReleaseIsRefused(t *testing.T) {
	f := newFixture(t)
	if err := f.tx(func(s *state) error {
		r := s.Releases[2]
		r.Trust = bosman.TrustStranger
		s.Releases[2] = r
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if op := f.wait(f.ask(bosman.PlanDeploy, "live", 2)); op.State != bosman.OpFailed || op.Error.Kind != bosman.KindForbidden {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 1)
}
