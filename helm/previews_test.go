package helm

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// withPreviews is a rig with staging on r1 and at most two previews awake.
func withPreviews(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.write("bosman.yaml", "instances: {preview: {max: 2, idle: 2h}}\n")
	r.commit("previews")
	r.push("main")
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	return r
}

// look settles the previews and gives what was begun for it.
func (r *rig) look(ctx context.Context) []bosman.Operation {
	r.t.Helper()
	begun := len(r.begun)
	if err := r.TidyPreviews(ctx); err != nil {
		r.t.Fatal(err)
	}
	return r.begun[begun:]
}

// over ends operations on previews as the deployer would.
func (r *rig) over(ctx context.Context, ops ...bosman.Operation) {
	r.t.Helper()
	for _, op := range ops {
		r.done(op)
		i, err := r.Store.Instance(ctx, "rms", op.Instance)
		if err != nil {
			r.t.Fatal(err)
		}
		i.UpdatedAt, i.Stopped = r.now, op.Plan == bosman.PlanStop
		i.Asleep = i.Stopped && op.Auto
		if op.Plan == bosman.PlanTry {
			i.Change = op.Change
		}
		if err := r.Store.SaveInstance(ctx, i); err != nil {
			r.t.Fatal(err)
		}
	}
}

func previewsAwake(t *testing.T, r *rig) []string {
	t.Helper()
	all, err := r.previewsOf(t.Context(), "rms")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		if p.awake() {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

func TestPreviewOfAChange(t *testing.T) {
	r, ctx := withPreviews(t), t.Context()
	r.branch("feature", "new.py", "new\n")
	if ops := r.look(ctx); len(ops) != 0 {
		t.Errorf("before its build is green: %+v", ops)
	}
	r.ends(1, bosman.BuildRed)
	if ops := r.look(ctx); len(ops) != 0 {
		t.Errorf("red: %+v", ops)
	}
	r.branch("feature", "new.py", "newer\n")
	b := r.ends(1, bosman.BuildGreen)
	ops := r.look(ctx)
	if len(ops) != 1 || ops[0].Plan != bosman.PlanTry || ops[0].Instance != "preview-c1" || ops[0].Release != b.Release || ops[0].Change != 1 || !ops[0].Auto {
		t.Fatalf("green: %+v", ops)
	}
	if again := r.look(ctx); len(again) != 0 {
		t.Errorf("asked twice: %+v", again)
	}
	r.over(ctx, ops...)
	v, err := r.ChangePage(ctx, admin, "rms", "feature")
	if err != nil || len(v.On) != 1 || v.On[0].Name != "preview-c1" || v.Road[1].State != bosman.StationWaiting {
		t.Errorf("it is shown on %+v, and nobody tests it yet: %+v, %v", v.On, v.Road[1], err)
	}

	// What failed is not tried again by itself; the next push is.
	r.branch("feature", "new.py", "newest\n")
	r.ends(1, bosman.BuildGreen)
	ops = r.look(ctx)
	if len(ops) != 1 {
		t.Fatalf("the next push: %+v", ops)
	}
	failed := ops[0]
	failed.State = bosman.OpFailed
	if err := r.Store.SaveOperation(ctx, failed); err != nil {
		t.Fatal(err)
	}
	if again := r.look(ctx); len(again) != 0 {
		t.Errorf("after a failure: %+v", again)
	}

	// It goes with its change, but not while somebody is at work on it.
	work := bosman.Operation{App: "rms", Number: 900, Instance: "preview-c1", Plan: bosman.PlanRestart, State: bosman.OpRunning}
	if err := r.Store.SaveOperation(ctx, work); err != nil {
		t.Fatal(err)
	}
	if err := r.CloseChange(ctx, admin, "rms", "feature"); err != nil {
		t.Fatal(err)
	}
	r.look(ctx)
	if _, err := r.Store.Instance(ctx, "rms", "preview-c1"); err != nil {
		t.Errorf("it was taken away under an operation: %v", err)
	}
	work.State = bosman.OpDone
	if err := r.Store.SaveOperation(ctx, work); err != nil {
		t.Fatal(err)
	}
	r.look(ctx)
	if _, err := r.Store.Instance(ctx, "rms", "preview-c1"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("its change is closed: %v", err)
	}
}

func TestPreviewsSleepAndWake(t *testing.T) {
	r, ctx := withPreviews(t), t.Context()
	for n, name := range []string{"one", "two", "three"} {
		r.branch(name, name+".py", "x\n")
		r.ends(n+1, bosman.BuildGreen)
		r.now = r.now.Add(time.Minute)
		r.over(ctx, r.look(ctx)...)
	}
	if got := previewsAwake(t, r); !slices.Equal(got, []string{"preview-c2", "preview-c3"}) {
		t.Errorf("at most two are awake: %v", got)
	}
	one, err := r.Store.Instance(ctx, "rms", "preview-c1")
	if err != nil || !one.Asleep {
		t.Fatalf("the least recently used sleeps: %+v, %v", one, err)
	}

	// The first is asked for; of the others the one used longer ago goes.
	r.now = r.now.Add(time.Minute)
	if err := r.Store.MarkUsed(ctx, "rms", "preview-c2", r.now); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(time.Minute)
	begun := len(r.begun)
	for range 2 {
		if err := r.Wake(ctx, "rms", "preview-c1"); err != nil {
			t.Fatal(err)
		}
	}
	ops := r.begun[begun:]
	if len(ops) != 2 || ops[0].Plan != bosman.PlanStop || ops[0].Instance != "preview-c3" || ops[1].Plan != bosman.PlanStart || ops[1].Instance != "preview-c1" {
		t.Fatalf("waking: %+v", ops)
	}
	r.over(ctx, ops...)
	if got := previewsAwake(t, r); !slices.Equal(got, []string{"preview-c1", "preview-c2"}) {
		t.Errorf("after waking: %v", got)
	}

	// Fewer may be awake.
	r.write("bosman.yaml", "instances: {preview: {max: 1, idle: 2h}}\n")
	r.commit("one preview")
	r.push("main")
	ops = r.look(ctx)
	if len(ops) != 1 || ops[0].Plan != bosman.PlanStop || ops[0].Instance != "preview-c2" {
		t.Fatalf("one of two: %+v", ops)
	}
	r.over(ctx, ops...)
	r.write("bosman.yaml", "instances: {preview: {max: 2, idle: 2h}}\n")
	r.commit("two previews")
	r.push("main")
	if err := r.Wake(ctx, "rms", "preview-c2"); err != nil {
		t.Fatal(err)
	}
	r.over(ctx, r.last())

	// Somebody's own stop is nobody's to undo.
	stopped, err := r.Stop(ctx, admin, "rms", "preview-c1")
	if err != nil {
		t.Fatal(err)
	}
	r.over(ctx, stopped)
	begun = len(r.begun)
	if err := r.Wake(ctx, "rms", "preview-c1"); err != nil || len(r.begun) != begun {
		t.Errorf("a preview that a person stopped was started: %v", err)
	}

	r.now = r.now.Add(2 * time.Hour)
	ops = r.look(ctx)
	if len(ops) != 1 || ops[0].Plan != bosman.PlanStop || ops[0].Instance != "preview-c2" || ops[0].Why != "nobody used it for 2h" {
		t.Errorf("idle: %+v", ops)
	}
	r.over(ctx, ops...)
	if ops := r.look(ctx); len(ops) != 0 {
		t.Errorf("all sleep: %+v", ops)
	}

	// Without the key there are none.
	r.write("bosman.yaml", "timezone: UTC\n")
	r.commit("no previews")
	r.push("main")
	r.look(ctx)
	all, err := r.previewsOf(ctx, "rms")
	if err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestNoPreviewOfStrangersOrOfNothing(t *testing.T) {
	r, ctx := withPreviews(t), t.Context()
	r.branch("feature", "new.py", "new\n")
	r.ends(1, bosman.BuildGreen)
	c, err := r.Store.Change(ctx, "rms", 1)
	if err != nil {
		t.Fatal(err)
	}
	c.Trust = bosman.TrustStranger
	if err := r.Store.SaveChange(ctx, c); err != nil {
		t.Fatal(err)
	}
	if ops := r.look(ctx); len(ops) != 0 {
		t.Errorf("a stranger's: %+v", ops)
	}
	// A preview that a person made stays, whatever it shows.
	c.Trust = bosman.TrustTeam
	if err := r.Store.SaveChange(ctx, c); err != nil {
		t.Fatal(err)
	}
	op, err := r.Try(ctx, admin, "rms", "c1", "preview-mine")
	if err != nil {
		t.Fatal(err)
	}
	r.over(ctx, op)
	if err := r.CloseChange(ctx, admin, "rms", "c1"); err != nil {
		t.Fatal(err)
	}
	r.look(ctx)
	if _, err := r.Store.Instance(ctx, "rms", "preview-mine"); err != nil {
		t.Error(err)
	}
}
