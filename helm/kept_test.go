package helm

import (
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// Data goes under the release it was migrated to, or somebody says that it may
// go under another. The steps tell which it is, not what ran.
func TestKeptCopyOfAnotherRelease(t *testing.T) {
	r, k := deployed(t, nil)
	ctx, begun := t.Context(), r.now
	at := func(minutes int) time.Time { return begun.Add(time.Duration(minutes) * time.Minute) }
	step := func(name string, state bosman.StepState, from, to int) bosman.OperationStep {
		return bosman.OperationStep{Name: name, State: state, StartedAt: at(from), EndedAt: at(to)}
	}
	op := func(plan bosman.Plan, way *bosman.WayBack, backup int, steps ...bosman.OperationStep) func(*bosman.Operation) {
		return func(o *bosman.Operation) {
			o.Plan, o.WayBack, o.Backup, o.Steps, o.StartedAt = plan, way, backup, steps, steps[0].StartedAt
		}
	}
	failed := func(o *bosman.Operation) { o.State, o.Committed = bosman.OpFailed, false }
	if err := r.Store.SaveBackup(ctx, bosman.Backup{App: "rms", Number: 3, Instance: "live", Release: 4, CreatedAt: at(1)}); err != nil {
		t.Fatal(err)
	}
	r.past(9, "live", 3, 4, nil, op(bosman.PlanDeploy, nil, 2, step("migrate", bosman.StepDone, 0, 1)))
	r.past(10, "live", 4, 5, nil, op(bosman.PlanDeploy, &bosman.WayBack{Schema: "column dropped", PointAt: at(12)}, 3, step("migrate", bosman.StepDone, 11, 14)))
	r.past(11, "live", 5, 4, nil, op(bosman.PlanRevert, nil, 0, step("swap", bosman.StepDone, 20, 21)))
	r.past(12, "live", 4, 4, nil, op(bosman.PlanRestore, nil, 3, step("swap", bosman.StepDone, 30, 31)))
	r.past(13, "live", 4, 4, nil, op(bosman.PlanRestore, &bosman.WayBack{Kept: "x", Data: 2}, 0, step("swap", bosman.StepDone, 40, 41)))
	r.past(14, "live", 4, 6, nil, op(bosman.PlanDeploy, &bosman.WayBack{Schema: "column added"}, 3, step("migrate", bosman.StepFailed, 50, 51)), failed)
	r.past(15, "live", 4, 5, nil, op(bosman.PlanDeploy, nil, 3, step("migrate", bosman.StepDone, 60, 61)))
	for name, c := range map[string]struct{ minute, release int }{
		"before all":                         {-1, 0},
		"after the first":                    {5, 4},
		"at the point before the migrations": {12, 4},
		"in the midst of them":               {13, 0},
		"right after them":                   {14, 5},
		"the code alone went back":           {25, 5},
		"when other data took the place":     {30, 5},
		"a backup took the place":            {35, 4},
		"a kept copy took the place":         {45, 2},
		"the release command failed":         {55, 0},
		"deployed to again":                  {65, 5},
	} {
		k.copies = []bosman.KeptCopy{{App: "rms", Instance: "live", ID: "x", At: at(99), AsOf: at(c.minute), Database: "x"}}
		p, err := r.PlanKept(ctx, admin, "rms", "live", "x")
		if err != nil || p.Runs != 5 || p.Copy.Release != c.release || (p.Copy.Against == "") != (c.release == 5) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}

	k.written = bosman.Written{Known: true, Tables: []bosman.TableRows{{Table: "public.candidate", Rows: 9}}}
	k.copies[0].AsOf = at(5)
	if p, err := r.PlanKept(ctx, admin, "rms", "live", "x"); err != nil || p.Since != 15 || p.Written.Total() != 9 {
		t.Errorf("written since: %+v, %v", p, err)
	}
	_, err := r.PlanKept(ctx, bosman.Actor{Person: "anna"}, "rms", "live", "x")
	wantKind(t, "a tester plans", err, bosman.KindForbidden, "")
	_, err = r.RestoreKept(ctx, admin, "rms", "live", "x", false)
	wantKind(t, "of another release", err, bosman.KindConflict, "it holds the data of r4, but live runs r5")
	k.copies[0].AsOf = at(-1)
	_, err = r.RestoreKept(ctx, admin, "rms", "live", "x", false)
	wantKind(t, "of nobody knows which", err, bosman.KindConflict, "not known")
	k.copies[0].AsOf = at(5)
	done, err := r.RestoreKept(ctx, admin, "rms", "live", "x", true)
	if err != nil || done.WayBack.Data != 4 || done.Why != "confirmed although it holds the data of r4, but live runs r5: between them lies d10 with column dropped" {
		t.Errorf("confirmed: %+v, %v", done, err)
	}
}
