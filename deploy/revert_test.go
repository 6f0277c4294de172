package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func reverts(d, backup int) func(*bosman.Operation) {
	return func(o *bosman.Operation) {
		o.Reverts, o.Backup, o.Why = d, backup, "candidates are gone"
		o.WayBack = &bosman.WayBack{Confirmed: backup != 0}
	}
}

// The watch takes a bad release back by itself; what was written meanwhile is
// still there, and the release is marked.
func TestWatchReverts(t *testing.T) {
	f := newFixture(t)
	f.on("Watch", func(context.Context) error {
		return errors.Join(errors.New("bad"), f.tx(func(s *state) error {
			d := s.Data["live"]
			d.Rows = append(d.Rows, "written under r2")
			s.Data["live"] = d
			return nil
		}))
	})
	begun := time.Now()
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.wait(d)
	var rev bosman.Operation
	f.eventually("a revert ends", func() bool {
		for _, o := range f.see().Ops {
			if o.Plan == bosman.PlanRevert {
				rev = o
			}
		}
		return rev.State.Final()
	})
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if rev.State != bosman.OpDone || rev.Error != nil || !rev.Auto {
		t.Errorf("revert %+v", rev)
	}
	if got := note(rev, "start"); got != "the processes of r1 still run" {
		t.Errorf("start: %s", got)
	}
	f.serves("live", 1)
	s := f.see()
	if op := s.Ops[d]; op.State != bosman.OpReverted || !strings.Contains(op.Error.Message, "31 of 52") || !strings.Contains(note(op, "watch"), "31 of 52") {
		t.Errorf("deployment %+v", op)
	}
	if !slices.Contains(s.Data["live"].Rows, "written under r2") {
		t.Errorf("rows %v", s.Data["live"].Rows)
	}
	if !strings.Contains(s.Releases[2].Bad, "31 of 52") || s.Releases[1].Bad != "" {
		t.Errorf("releases %+v", s.Releases)
	}
	if s.Reverts != 1 {
		t.Errorf("asked for %d reverts", s.Reverts)
	}
	if !slices.Contains(s.Log, "took live back to r1") {
		t.Errorf("activity %v", s.Log)
	}
}

// write adds a row to live's database.
func (f *fixture) write(row string) error {
	return f.tx(func(s *state) error {
		d := s.Data["live"]
		d.Rows = append(d.Rows, row)
		s.Data["live"] = d
		return nil
	})
}

// A migration that drops something is not reverted across without a person
// once somebody wrote.
func TestWatchDoesNotRevertAcrossADrop(t *testing.T) {
	f := newFixture(t)
	f.drops = true
	f.on("Watch", func(context.Context) error { return errors.Join(errors.New("bad"), f.write("written under r2")) })
	op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if op.State != bosman.OpDone || op.Error == nil || !strings.Contains(op.Error.Next, "--database restore for the data of k1") ||
		!strings.Contains(note(op, "watch"), "a person must decide") || !strings.Contains(note(op, "migrate"), "may not work on it") {
		t.Errorf("row %+v", op)
	}
	f.serves("live", 2)
	if f.see().Reverts != 0 {
		t.Error("it was reverted")
	}
}

// A revert at any moment of a deployment ends with the old release serving
// and nothing left over: before the switch the deployment is undone, after it
// the route goes back to processes that still run.
func TestRevertInTheMiddleOfADeployment(t *testing.T) {
	for _, at := range []string{"Judge", "Backup", "Guard", "Run.release", "Start.web", "Check", "Start.work", "Tag", "Watch"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			entered := make(chan struct{}, 10)
			f.on(at, func(ctx context.Context) error {
				entered <- struct{}{}
				f.on(at, nil) // the revert itself passes
				<-ctx.Done()
				return context.Cause(ctx)
			})
			if at == "Watch" {
				f.on(at, func(ctx context.Context) error { entered <- struct{}{}; return nil })
			}
			if at == "Judge" { // held when it owns the instance and is judged again
				f.on(at, nil)
				f.on("Backup", func(ctx context.Context) error {
					f.on("Backup", nil)
					entered <- struct{}{}
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}
			d := f.ask(bosman.PlanDeploy, "live", 2)
			f.arrive(entered, at)
			committed := slices.Contains([]string{"Start.work", "Tag", "Watch"}, at)
			r := f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0))
			rev, op := f.wait(r), f.wait(d)
			if rev.State != bosman.OpDone || rev.Error != nil {
				t.Errorf("revert %+v", rev)
			}
			if op.State != bosman.OpReverted || op.Committed != committed || op.Error == nil {
				t.Errorf("deployment %+v", op)
			}
			f.serves("live", 1)
			if bad := f.see().Releases[2].Bad; (bad != "") != committed {
				t.Errorf("marked %q, committed %v", bad, committed)
			}
		})
	}
}

// The switch itself is not interrupted; the revert waits for it.
func TestRevertDuringTheSwitch(t *testing.T) {
	f := newFixture(t)
	entered, finish := make(chan struct{}, 1), make(chan struct{})
	f.on("Switch", func(ctx context.Context) error {
		f.on("Switch", nil)
		entered <- struct{}{}
		select {
		case <-finish:
		case <-ctx.Done():
			t.Error("the switch was interrupted")
		}
		return nil
	})
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "switch")
	r := f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0))
	time.Sleep(50 * time.Millisecond)
	close(finish)
	if rev, op := f.wait(r), f.wait(d); rev.State != bosman.OpDone || op.State != bosman.OpReverted {
		t.Errorf("revert %+v\ndeployment %+v", rev, op)
	}
	f.serves("live", 1)
}

// A deployment that does not stop cannot hold up the revert for long, and
// cannot route any more afterwards.
func TestRevertOfAStuckDeployment(t *testing.T) {
	f := newFixture(t)
	f.shut()
	f.open(func(c *Config) { c.Patience = 100 * time.Millisecond })
	entered, let := make(chan struct{}, 1), make(chan struct{})
	f.on("Switch", func(context.Context) error {
		f.on("Switch", nil)
		entered <- struct{}{}
		<-let // deaf to its context
		return nil
	})
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "switch")
	r := f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0))
	if rev := f.wait(r); rev.State != bosman.OpDone || !strings.Contains(note(rev, "take-over"), "did not stop") {
		t.Errorf("revert %+v", rev)
	}
	close(let)
	f.wait(d)
	f.serves("live", 1)
}

// Days after the deployment settled, the release before is started anew.
func TestColdRevert(t *testing.T) {
	f := newFixture(t)
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.wait(d)
	r := f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0))
	if rev := f.wait(r); rev.State != bosman.OpDone || !strings.Contains(note(rev, "start"), "started in") ||
		!strings.Contains(note(rev, "restore"), "stays as it is") {
		t.Errorf("revert %+v", rev)
	}
	f.serves("live", 1)
	s := f.see()
	if op := s.Ops[d]; op.State != bosman.OpReverted || !strings.Contains(op.Error.Message, "candidates are gone") {
		t.Errorf("deployment %+v", op)
	}
	if s.Releases[2].Bad != fmt.Sprintf("reverted by d%d: candidates are gone", r) {
		t.Errorf("bad: %q", s.Releases[2].Bad)
	}
	if s.Instances["live"].Previous != 0 { // nothing ran before r1
		t.Errorf("previous r%d", s.Instances["live"].Previous)
	}
	if slices.Contains(s.Calls[slices.Index(s.Calls, "Tag"):], "Run.release") {
		t.Error("a revert runs no release command")
	}
}

func TestRevertThatFails(t *testing.T) {
	f := newFixture(t)
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.wait(d)
	f.fail("Check", bosman.Failed("r1 does not start either"))
	rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0)))
	if rev.State != bosman.OpFailed || rev.Error.Kept != "live still runs r2" {
		t.Errorf("revert %+v", rev)
	}
	f.serves("live", 2)
	if s := f.see(); s.Ops[d].State != bosman.OpDone || s.Releases[2].Bad != "" {
		t.Errorf("the deployment counts as reverted: %+v", s.Ops[d])
	}
}

// A revert that fails in the middle of a deployment undoes the deployment, but
// never stops the processes that serve.
func TestFailedRevertLeavesWhatServes(t *testing.T) {
	f := newFixture(t)
	entered := f.hold("Check")
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "check")
	f.fail("Check", bosman.Failed("no"))
	rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0)))
	if rev.State != bosman.OpFailed || f.wait(d).State != bosman.OpReverted {
		t.Errorf("revert %+v", rev)
	}
	f.serves("live", 1)

	// Nor those of the way back: after the switch they run on until a later
	// operation settles.
	f.on("Check", nil)
	held := make(chan struct{}, 1)
	f.on("Watch", func(context.Context) error { held <- struct{}{}; return nil })
	d = f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(held, "watch")
	f.fail("Check", bosman.Failed("no"))
	if rev = f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0))); rev.State != bosman.OpFailed {
		t.Errorf("revert %+v", rev)
	}
	s := f.see()
	if s.Routes["live"].Release != 2 || s.Ops[d].State != bosman.OpDone || s.Sets["rms.live.d1"] != 1 {
		t.Errorf("routes %v, d%d %s, sets %v", s.Routes, d, s.Ops[d].State, s.Sets)
	}
	f.on("Check", nil)
	f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0)))
	f.serves("live", 1)
}

// With the database: the backup made before the deployment takes the place,
// what was written since is kept aside.
func TestRevertWithTheDatabase(t *testing.T) {
	deploy := func(t *testing.T) (*fixture, int, int) {
		f := newFixture(t)
		d := f.ask(bosman.PlanDeploy, "live", 2)
		backup := f.wait(d).Backup
		if err := f.tx(func(s *state) error {
			s.Data["live"] = data{Rows: []string{"a", "b", "new"}, Schema: []int{1, 2}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return f, d, backup
	}
	t.Run("succeeds", func(t *testing.T) {
		f, d, backup := deploy(t)
		rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, backup)))
		if rev.State != bosman.OpDone || !strings.Contains(note(rev, "swap"), "kept as live__kept") || !strings.Contains(note(rev, "restore"), "the kept copy takes the place") {
			t.Errorf("revert %+v", rev)
		}
		f.serves("live", 1)
		s := f.see()
		if last := s.Log[len(s.Log)-1]; last != "took live back to r1 with the data of k1 (1 row in 1 table was written since the backup: public.candidate 1)" {
			t.Errorf("activity: %s", last)
		}
		if d := s.Data["live"]; !slices.Equal(d.Rows, []string{"a", "b"}) || !slices.Equal(d.Schema, []int{1}) {
			t.Errorf("data %+v", d)
		}
		for _, k := range s.Kept {
			if !slices.Contains(k.Rows, "new") {
				t.Errorf("kept %+v", k)
			}
		}
		if len(s.Kept) != 1 {
			t.Errorf("kept %v", s.Kept)
		}
	})
	t.Run("fails", func(t *testing.T) {
		f, d, backup := deploy(t)
		f.fail("Check", bosman.Failed("no"))
		if rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, backup))); rev.State != bosman.OpFailed {
			t.Errorf("revert %+v", rev)
		}
		f.serves("live", 2)
		if d := f.see().Data["live"]; !slices.Contains(d.Rows, "new") {
			t.Errorf("data %+v", d)
		}
	})
}

func change(n int) func(*bosman.Operation) { return func(o *bosman.Operation) { o.Change = n } }

func TestTry(t *testing.T) {
	f := newFixture(t)
	const anna = "testing-anna"
	op := f.wait(f.ask(bosman.PlanTry, anna, 2, change(12)))
	if op.State != bosman.OpDone || !strings.HasPrefix(note(op, "copy"), "staging as of ") {
		t.Errorf("row %+v", op)
	}
	f.serves(anna, 2)
	s := f.see()
	if i := s.Instances[anna]; i.Change != 12 || i.Copy.From != "staging" || i.Copy.Release != 1 || i.Database.Name != anna {
		t.Errorf("instance %+v", i)
	}
	if d := s.Data[anna]; !slices.Equal(d.Rows, []string{"a", "b"}) || !slices.Equal(d.Schema, []int{1, 2}) {
		t.Errorf("data %+v", d)
	}

	// The tester works, then asks for a fresh copy again: hers is kept.
	if err := f.tx(func(s *state) error {
		s.Data[anna] = data{Rows: []string{"hers"}, Schema: []int{1, 2}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if op = f.wait(f.ask(bosman.PlanTry, anna, 3, change(13))); op.State != bosman.OpDone {
		t.Errorf("row %+v", op)
	}
	f.serves(anna, 3)
	s = f.see()
	if d := s.Data[anna]; !slices.Equal(d.Rows, []string{"a", "b"}) || !slices.Equal(d.Schema, []int{1, 3}) {
		t.Errorf("data %+v", d)
	}
	if !slices.ContainsFunc(slices.Collect(func(yield func(data) bool) {
		for _, k := range s.Kept {
			if !yield(k) {
				return
			}
		}
	}), func(d data) bool { return slices.Contains(d.Rows, "hers") }) {
		t.Errorf("kept %v", s.Kept)
	}
	f.serves("staging", 1) // it was copied, not disturbed

	// A change that does not start leaves the tester what she had.
	f.fail("Check", bosman.Failed("no"))
	op = f.wait(f.ask(bosman.PlanTry, anna, 2, change(12)))
	if op.State != bosman.OpFailed || op.Error.Kept != anna+" still runs r3" {
		t.Errorf("row %+v", op)
	}
	f.serves(anna, 3)
	if s = f.see(); !slices.Equal(s.Data[anna].Schema, []int{1, 3}) || s.Instances[anna].Change != 13 {
		t.Errorf("data %+v", s.Data[anna])
	}
}

// The first try of a tester fails: nothing is left of it.
func TestFirstTryFails(t *testing.T) {
	for _, call := range []string{"Copy", "Swap", "Run.release", "Start.web", "Check"} {
		t.Run(call, func(t *testing.T) {
			f := newFixture(t)
			f.fail(call, bosman.Failed("no"))
			op := f.wait(f.ask(bosman.PlanTry, "testing-anna", 2, change(12)))
			if op.State != bosman.OpFailed || op.Error.Kept == "" {
				t.Errorf("row %+v", op)
			}
			s := f.see()
			if _, there := s.Data["testing-anna"]; there || s.Instances["testing-anna"].Database.Name != "" {
				t.Errorf("data is left: %v", s.Data)
			}
			f.serves("live", 1)
		})
	}
}

func TestRestore(t *testing.T) {
	f := newFixture(t)
	k := f.wait(f.ask(bosman.PlanBackup, "live", 1))
	if k.State != bosman.OpDone || f.see().Backups[k.Backup].Why != "by hand" {
		t.Errorf("backup %+v", k)
	}
	damage := func() {
		if err := f.tx(func(s *state) error { s.Data["live"] = data{Rows: []string{"damaged"}, Schema: []int{1}}; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	with := func(o *bosman.Operation) { o.Backup = k.Backup }
	f.fail("Check", bosman.Failed("no"))
	if op := f.wait(f.ask(bosman.PlanRestore, "live", 1, with)); op.State != bosman.OpFailed {
		t.Errorf("restore %+v", op)
	}
	f.serves("live", 1)
	if d := f.see().Data["live"]; !slices.Equal(d.Rows, []string{"damaged"}) {
		t.Errorf("data %+v", d)
	}
	f.on("Check", nil)
	if op := f.wait(f.ask(bosman.PlanRestore, "live", 1, with)); op.State != bosman.OpDone {
		t.Errorf("restore %+v", op)
	}
	f.serves("live", 1)
	s := f.see()
	if d := s.Data["live"]; !slices.Equal(d.Rows, []string{"a", "b"}) || len(s.Kept) != 1 {
		t.Errorf("data %+v, kept %v", d, s.Kept)
	}
}

func TestRestartStopStart(t *testing.T) {
	f := newFixture(t)
	op := f.wait(f.ask(bosman.PlanRestart, "live", 1))
	f.serves("live", 1)
	s := f.see()
	if op.State != bosman.OpDone || s.Instances["live"].ProcessID != SetID("rms", "live", op.Number) || s.Instances["live"].Previous != 0 {
		t.Errorf("%+v", s.Instances["live"])
	}
	f.fail("Check", bosman.Failed("no"))
	if op := f.wait(f.ask(bosman.PlanRestart, "live", 1)); op.State != bosman.OpFailed {
		t.Errorf("restart %+v", op)
	}
	f.serves("live", 1)
	f.on("Check", nil)

	if op := f.wait(f.ask(bosman.PlanStop, "live", 1)); op.State != bosman.OpDone {
		t.Errorf("stop %+v", op)
	}
	s = f.see()
	if i := s.Instances["live"]; !i.Stopped || i.State != bosman.InstanceStopped || s.Closed["live"] != "stopped by anna" || len(s.Sets) != 2 {
		t.Errorf("stopped: %+v, closed %v, runs %v", i, s.Closed, s.Sets)
	}
	if op := f.wait(f.ask(bosman.PlanStart, "live", 1)); op.State != bosman.OpDone {
		t.Errorf("start %+v", op)
	}
	f.serves("live", 1)
	if f.see().Instances["live"].Stopped {
		t.Error("still marked as stopped")
	}
}

// Two operations never own one instance; the second waits for the first.
func TestOneAtATime(t *testing.T) {
	f := newFixture(t)
	var ns []int
	for _, plan := range []bosman.Plan{bosman.PlanRestart, bosman.PlanDeploy, bosman.PlanBackup, bosman.PlanRestart} {
		release := 1
		if plan == bosman.PlanDeploy {
			release = 2
		}
		ns = append(ns, f.ask(plan, "staging", release))
	}
	for _, n := range ns {
		f.wait(n)
	}
	if v := f.see().Violations; len(v) > 0 {
		t.Error(v)
	}
}
