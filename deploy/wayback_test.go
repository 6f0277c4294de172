package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// A destructive release that does badly before anybody wrote is taken back
// with its data, by itself; one row that comes in the meantime stops that.
func TestWatchTakesTheDataBackOnlyWhileNobodyWrote(t *testing.T) {
	t.Run("nobody wrote", func(t *testing.T) {
		f := newFixture(t)
		f.drops = true
		f.on("Watch", func(context.Context) error { return errors.New("bad") })
		d := f.ask(bosman.PlanDeploy, "live", 2)
		f.wait(d)
		rev := f.lastRevert()
		if rev.State != bosman.OpDone || rev.Backup != 1 || !strings.Contains(note(rev, "hold"), "nothing was written") {
			t.Errorf("revert %+v", rev)
		}
		f.serves("live", 1)
		s := f.see()
		if d := s.Data["live"]; !slices.Equal(d.Schema, []int{1}) || len(s.Kept) != 1 {
			t.Errorf("data %+v, kept %v", d, s.Kept)
		}
		if w := s.Ops[d].WayBack; w.RestoredAt.IsZero() || w.Kept != "" || w.NotAdditive() {
			t.Errorf("way back %+v", w)
		}
	})
	t.Run("somebody wrote before the hold", func(t *testing.T) {
		f := newFixture(t)
		f.drops = true
		f.on("Watch", func(context.Context) error { return errors.New("bad") })
		f.on("Hold", func(context.Context) error { f.on("Hold", nil); return f.write("just in time") })
		d := f.ask(bosman.PlanDeploy, "live", 2)
		f.wait(d)
		rev := f.lastRevert()
		if rev.State != bosman.OpFailed || rev.Error.Kind != bosman.KindConflict || !strings.Contains(rev.Error.Message, "1 row in 1 table") || len(rev.WayBack.Lost) != 1 {
			t.Errorf("revert %+v", rev)
		}
		f.serves("live", 2)
		s := f.see()
		if rows := s.Data["live"].Rows; !slices.Contains(rows, "just in time") || len(s.Kept) != 0 || s.Ops[d].WayBack.Kept == "" {
			t.Errorf("rows %v, kept %v, %+v", rows, s.Kept, s.Ops[d].WayBack)
		}
	})
}

// Where the database is not Bosman's its data does not go back by itself, so a
// person decides.
func TestWatchLeavesDataThatIsNotOursToPeople(t *testing.T) {
	f := newFixture(t)
	f.drops = true
	if err := f.tx(func(s *state) error {
		i := s.Instances["live"]
		i.Database = bosman.Database{Engine: "postgres", Cluster: bosman.AdoptedPrefix + "rms/live", Name: "live"}
		s.Instances["live"] = i
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.on("Watch", func(context.Context) error { return errors.New("bad") })
	op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if op.Error == nil || !strings.Contains(op.Error.Message, "goes back by hand: a person decides") || !strings.Contains(op.Error.Next, "bosman revert live --explain") {
		t.Errorf("row %+v, error %+v", op, op.Error)
	}
	for _, o := range f.see().Ops {
		if o.Plan == bosman.PlanRevert {
			t.Errorf("a revert by itself: %+v", o)
		}
	}
	f.serves("live", 2)
}

func (f *fixture) lastRevert() (rev bosman.Operation) {
	f.Helper()
	f.eventually("a revert ends", func() bool {
		for _, o := range f.see().Ops {
			if o.Plan == bosman.PlanRevert && o.Number > rev.Number {
				rev = o
			}
		}
		rev = f.see().Ops[rev.Number]
		return rev.State.Final()
	})
	return rev
}

// The release before is asked on the new schema; what it says decides how a
// revert goes, and fails no deployment.
func TestProof(t *testing.T) {
	proof := func(f *fixture, instance string, fails error) bosman.Operation {
		checks := 0
		f.on("Check", func(context.Context) error {
			if checks++; checks == 1 {
				return fails
			}
			return nil
		})
		return f.wait(f.ask(bosman.PlanDeploy, instance, 2))
	}
	f := newFixture(t)
	op := proof(f, "staging", nil)
	if w := op.WayBack; op.State != bosman.OpDone || w.Proof != bosman.ProofGood || !strings.Contains(note(op, "prove"), "r1 works on the new schema") {
		t.Errorf("%+v %+v", op.State, w)
	}
	f.serves("staging", 2)

	f = newFixture(t)
	op = proof(f, "staging", bosman.Failed("health answers 500"))
	if w := op.WayBack; op.State != bosman.OpDone || w.Proof != bosman.ProofFailed || !w.NotAdditive() || !strings.Contains(w.ProofNote, "500") {
		t.Errorf("%+v %+v", op.State, w)
	}
	f.serves("staging", 2)

	f = newFixture(t)
	op = proof(f, "live", bosman.Unavailable("no memory"))
	if w := op.WayBack; op.State != bosman.OpDone || w.Proof != bosman.ProofNone || w.NotAdditive() || !strings.Contains(w.ProofNote, "could not be tried") {
		t.Errorf("%+v %+v", op.State, w)
	}
	f.serves("live", 2)

	f = newFixture(t) // it is not asked where it cannot say anything
	f.drops = true
	op = f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if w := op.WayBack; w.Proof != bosman.ProofNone || !w.Destructive {
		t.Errorf("%+v", w)
	}
	if n := len(slices.DeleteFunc(f.see().Calls, func(c string) bool { return c != "Check" })); n != 1 {
		t.Errorf("%d checks", n)
	}
}

// The way back stays until the next deployment settles, and goes with a
// deployment that came to nothing.
func TestWaysBackStayUntilTheNextSettles(t *testing.T) {
	ways := func(f *fixture) string {
		var names []string
		for name := range f.see().Ways {
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	f := newFixture(t)
	f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if got := ways(f); got != "live__way_back_d3" {
		t.Errorf("ways back: %s", got)
	}
	checks := 0
	f.on("Check", func(context.Context) error {
		if checks++; checks == 1 { // the proof
			return nil
		}
		if got := ways(f); got != "live__way_back_d3 live__way_back_d4" {
			t.Errorf("ways back in between: %s", got)
		}
		return bosman.Failed("no")
	})
	f.wait(f.ask(bosman.PlanDeploy, "live", 3))
	if got := ways(f); got != "live__way_back_d3" {
		t.Errorf("ways back after a deployment that failed: %s", got)
	}
	f.on("Check", nil)
	f.wait(f.ask(bosman.PlanDeploy, "live", 3))
	if got := ways(f); got != "live__way_back_d5" {
		t.Errorf("ways back: %s", got)
	}

	// Without room there is none, which is said, and the backup is restored.
	f = newFixture(t)
	f.full = true
	op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	if op.State != bosman.OpDone || !strings.Contains(note(op, "backup"), "no copy is kept for a quick way back: the disk is full") || f.see().Backups[1].VerifiedAt.IsZero() {
		t.Errorf("row %+v", op)
	}
	rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(op.Number, op.Backup)))
	if rev.State != bosman.OpDone || !strings.Contains(note(rev, "restore"), "no kept copy, so k1") {
		t.Errorf("revert %+v", rev)
	}
	f.serves("live", 1)
}

// A destructive migration that staging knew of fails on live: while everybody
// was kept out the data goes back by itself, else a person decides.
func TestDestructiveMigrationThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		at     string // where somebody writes
		nth    int    // time it is called
		fail   string
		before bool // the release command fails, after it dropped something
		back   bool
	}{
		"the command fails":                         {fail: "Run.release", before: true, back: true},
		"the new release is not well":               {fail: "Check", back: true},
		"somebody wrote after the backup":           {at: "Keep", fail: "Check"},
		"a worker's last rows came with its end":    {at: "Stop", fail: "Check"},
		"the processes' last rows came at the stop": {at: "Stop", nth: 2, fail: "Run.release", before: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.drops, f.forecast = true, Forecast{NotAdditive: true, Text: "not additive"}
			if c.at != "" {
				calls := 0
				f.on(c.at, func(context.Context) error {
					if calls++; calls == max(c.nth, 1) {
						return f.write("written")
					}
					return nil
				})
			}
			f.on(c.fail, func(context.Context) error {
				f.on(c.fail, nil)
				if !c.before {
					return bosman.Failed("not well")
				}
				return errors.Join(f.tx(func(s *state) error {
					d := s.Data["live"]
					d.Schema = append(d.Schema, 2)
					s.Data["live"] = d
					return nil
				}), bosman.Failed("half-way"))
			})
			op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
			if op.State != bosman.OpFailed || !strings.Contains(note(op, "admit"), "not additive") {
				t.Errorf("row %+v", op)
			}
			f.serves("live", 1)
			s := f.see()
			if c.back {
				if d := s.Data["live"]; !slices.Equal(d.Schema, []int{1}) || !slices.Equal(d.Rows, []string{"a", "b"}) || len(s.Kept) != 1 {
					t.Errorf("data %+v, kept %v", d, s.Kept)
				}
				if !strings.Contains(op.Error.Kept, "its data is as it was before") || len(s.Ways) != 0 || op.WayBack.RestoredAt.IsZero() {
					t.Errorf("error %+v, ways %v, %+v", op.Error, s.Ways, op.WayBack)
				}
				return
			}
			if d := s.Data["live"]; !slices.Contains(d.Rows, "written") || len(s.Kept) != 0 || len(s.Ways) != 1 {
				t.Errorf("data %+v, kept %v, ways %v", d, s.Kept, s.Ways)
			}
			if !strings.Contains(op.Error.Next, "bosman revert live --database restore") || !strings.Contains(op.Failure.Schema, "r1 may not work on it") {
				t.Errorf("error %+v, failure %+v", op.Error, op.Failure)
			}
		})
	}
}

// A person's deployment does not wait for the end of a watch that is well so
// far; an automatic one does, and a bad verdict is not passed over.
func TestDeploymentFollowsAWatch(t *testing.T) {
	f := newFixture(t)
	f.watchFor = time.Minute
	watching := make(chan struct{}, 2)
	f.on("Watch", func(ctx context.Context) error {
		watching <- struct{}{}
		<-ctx.Done()
		return nil
	})
	first := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(watching, "watch")
	auto := f.ask(bosman.PlanDeploy, "live", 3, func(o *bosman.Operation) { o.Auto = true })
	time.Sleep(150 * time.Millisecond)
	if s := f.see().Ops[first].State; s != bosman.OpWatching {
		t.Errorf("an automatic deployment ended the watch: %s", s)
	}
	if err := f.s.Cancel(t.Context(), f.see().Ops[auto], "not wanted"); err != nil {
		t.Fatal(err)
	}
	f.wait(auto)
	second := f.ask(bosman.PlanDeploy, "live", 3)
	op := f.wait(first)
	if op.State != bosman.OpDone || op.Error != nil || !strings.Contains(note(op, "watch"), "the watch ended early") || !strings.Contains(note(op, "watch"), "d5 followed") {
		t.Errorf("first: %s %s", op.State, note(op, "watch"))
	}
	f.arrive(watching, "the second watch")
	f.on("Watch", nil)
	rev := f.wait(f.ask(bosman.PlanRevert, "live", 2, reverts(second, 0)))
	f.wait(second)
	if rev.State != bosman.OpDone {
		t.Errorf("revert %+v", rev)
	}
	f.serves("live", 2)
}

// What was replaced earlier is put back as data that was kept.
func TestKeptDataComesBack(t *testing.T) {
	f := newFixture(t)
	d := f.ask(bosman.PlanDeploy, "live", 2)
	backup := f.wait(d).Backup
	if err := f.write("salvage me"); err != nil {
		t.Fatal(err)
	}
	f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, backup)))
	var name string
	if err := f.tx(func(s *state) error { // the world names ways back and kept data apart
		for n, d := range s.Kept {
			name, s.Ways[n] = n, d
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	op := f.wait(f.ask(bosman.PlanRestore, "live", 1, func(o *bosman.Operation) { o.WayBack = &bosman.WayBack{Kept: name} }))
	if op.State != bosman.OpDone || !slices.Contains(f.see().Data["live"].Rows, "salvage me") {
		t.Errorf("%+v, data %v", op, f.see().Data["live"])
	}
	f.serves("live", 1)
	op = f.wait(f.ask(bosman.PlanRestore, "live", 1, func(o *bosman.Operation) { o.WayBack = &bosman.WayBack{Kept: "gone"} }))
	if op.State != bosman.OpFailed || op.Error.Kind != bosman.KindNotFound {
		t.Errorf("%+v", op)
	}
	f.serves("live", 1)
}

// A revert in the middle of a held migration decides itself, and leaves
// nothing held.
func TestRevertInTheMiddleOfAHeldMigration(t *testing.T) {
	f := newFixture(t)
	f.drops, f.forecast = true, Forecast{NotAdditive: true, Text: "not additive"}
	entered := f.hold("Run.release")
	d := f.ask(bosman.PlanDeploy, "live", 2)
	f.arrive(entered, "the release command")
	if len(f.see().Held) != 1 {
		t.Errorf("held: %v", f.see().Held)
	}
	rev := f.wait(f.ask(bosman.PlanRevert, "live", 1, reverts(d, 0)))
	if op := f.wait(d); rev.State != bosman.OpDone || op.State != bosman.OpReverted || len(op.Error.Next) > 0 && strings.Contains(op.Error.Next, "not cleaned up") {
		t.Errorf("revert %+v, deployment %+v", rev, op)
	}
	f.serves("live", 1)
}
