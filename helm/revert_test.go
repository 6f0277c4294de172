package helm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// kept is the data of instances, as the tests say.
type kept struct {
	written bosman.Written
	copies  []bosman.KeptCopy
	dropped []string
}

func (k *kept) Kept(context.Context, bosman.Instance) ([]bosman.KeptCopy, error) {
	return k.copies, nil
}

func (k *kept) DropKept(_ context.Context, _ bosman.Instance, c bosman.KeptCopy) error {
	k.dropped = append(k.dropped, c.ID)
	return nil
}

func (k *kept) Written(context.Context, bosman.Instance, int) (bosman.Written, error) {
	return k.written, nil
}

// deployed is a rig whose live went from r4 to r5 with d9, and what that left.
func deployed(t *testing.T, way *bosman.WayBack) (*rig, *kept) {
	t.Helper()
	r, ctx, k := newRig(t), t.Context(), &kept{}
	r.KeptData = k
	i, err := r.Store.Instance(ctx, "rms", "live")
	if err != nil {
		t.Fatal(err)
	}
	i.Release, i.Previous = 5, 4
	if err := r.Store.SaveInstance(ctx, i); err != nil {
		t.Fatal(err)
	}
	r.past(9, "live", 4, 5, way)
	if err := r.Store.SaveBackup(ctx, bosman.Backup{App: "rms", Number: 3, Instance: "live", CreatedAt: r.now, VerifiedAt: r.now, VerifyTook: 29 * time.Second}); err != nil {
		t.Fatal(err)
	}
	return r, k
}

// past notes a deployment of the past.
func (r *rig) past(n int, instance string, from, to int, way *bosman.WayBack, edit ...func(*bosman.Operation)) {
	r.t.Helper()
	op := bosman.Operation{App: "rms", Number: n, Instance: instance, Plan: bosman.PlanDeploy, From: from, Release: to, Backup: 3, State: bosman.OpDone, Committed: true, WayBack: way}
	for _, e := range edit {
		e(&op)
	}
	if err := r.Store.SaveOperation(r.t.Context(), op); err != nil {
		r.t.Fatal(err)
	}
}

var dropped = &bosman.WayBack{Schema: "column public.x.y dropped", Destructive: true, Kept: "rms__live__way_back_d9", KeptBytes: 14 << 20}

// Below the last destructive migration the code alone does not go back.
func TestRollbackFloor(t *testing.T) {
	r, k := deployed(t, dropped)
	ctx := t.Context()
	_, err := r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live"})
	wantKind(t, "below the floor", err, bosman.KindConflict, "r4 is below the rollback floor, which is r5")
	if next := bosman.AsError(err).Next; !strings.Contains(next, "--database restore") || !strings.Contains(next, "--override") {
		t.Errorf("next: %s", next)
	}
	_, err = r.Revert(ctx, bosman.Actor{Person: "anna"}, RevertRequest{App: "rms", Instance: "live", Override: "I know"})
	wantKind(t, "a tester's override", err, bosman.KindForbidden, "")
	op, err := r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Override: "I know"})
	if err != nil || op.Override != "I know" || op.WayBack.Policy != bosman.RevertAsk || op.Backup != 0 {
		t.Errorf("%+v, %v", op, err)
	}

	// With the data it is confirmed, unless nothing was written.
	k.written = bosman.Written{Known: true, Certain: true, Tables: []bosman.TableRows{{Table: "public.candidate", Rows: 9}}}
	_, err = r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Restore: true})
	wantKind(t, "the loss is not confirmed", err, bosman.KindConflict, "9 rows in 1 table were written since the backup: public.candidate 9")
	if op, err = r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Restore: true, ConfirmLoss: true}); err != nil || op.Backup != 3 || !op.WayBack.Confirmed {
		t.Errorf("%+v, %v", op, err)
	}
	k.written = bosman.Written{Known: true, Certain: true}
	if op, err = r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Restore: true}); err != nil || op.WayBack.Confirmed || op.WayBack.Policy != bosman.RevertRestore {
		t.Errorf("%+v, %v", op, err)
	}
}

func TestFloorAmongDeployments(t *testing.T) {
	i := bosman.Instance{Release: 5, Previous: 4}
	op := func(n, from, to int, way *bosman.WayBack) bosman.Operation {
		return bosman.Operation{Number: n, Plan: bosman.PlanDeploy, From: from, Release: to, Committed: true, State: bosman.OpDone, WayBack: way}
	}
	back := *dropped
	back.RestoredAt = time.Now()
	unwell := &bosman.WayBack{Schema: "column added", Proof: bosman.ProofFailed, ProofNote: "500"}
	failed := op(10, 4, 5, dropped)
	failed.Committed, failed.State = false, bosman.OpFailed
	for name, c := range map[string]struct {
		ops   []bosman.Operation
		below int
	}{
		"no migration":                       {[]bosman.Operation{op(9, 4, 5, nil), op(8, 3, 4, dropped)}, 0},
		"the last one":                       {[]bosman.Operation{op(9, 4, 5, dropped)}, 4},
		"its data went back":                 {[]bosman.Operation{op(9, 4, 5, &back)}, 0},
		"the proof failed":                   {[]bosman.Operation{op(9, 4, 5, unwell)}, 4},
		"one in between that failed":         {[]bosman.Operation{op(11, 4, 5, nil), failed}, 0},
		"one that failed since":              {[]bosman.Operation{failed, op(9, 4, 5, nil)}, 4},
		"the same release again, after that": {[]bosman.Operation{op(12, 5, 5, nil), op(9, 4, 5, dropped)}, 4},
		"a restart and a backup in between":  {[]bosman.Operation{{Plan: bosman.PlanRestart, WayBack: dropped}, op(9, 4, 5, nil)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if f := floorOf(c.ops, i, 4); f.Below != c.below || (f.Below != 0) != (f.Because != "") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// A deployment that failed and left the database changed is taken back with
// its data, under the release that serves.
func TestRevertOfADeploymentThatLeftTheDatabaseChanged(t *testing.T) {
	r, k := deployed(t, nil)
	r.past(12, "live", 5, 6, dropped, func(o *bosman.Operation) { o.State, o.Committed = bosman.OpFailed, false })
	k.written = bosman.Written{Known: true, Certain: true}
	op, err := r.Revert(t.Context(), admin, RevertRequest{App: "rms", Instance: "live", Restore: true})
	if err != nil || op.Release != 5 || op.Reverts != 12 || op.Backup != 3 {
		t.Errorf("%+v, %v", op, err)
	}
	_, err = r.Revert(t.Context(), admin, RevertRequest{App: "rms", Instance: "live"})
	wantKind(t, "with the code alone", err, bosman.KindConflict, "d12 failed, but left the database changed")
}

func TestPlanRevert(t *testing.T) {
	r, k := deployed(t, dropped)
	k.written = bosman.Written{Known: true, Certain: true, Tables: []bosman.TableRows{{Table: "public.candidate", Rows: 9}}}
	p, err := r.PlanRevert(t.Context(), admin, "rms", "live")
	if err != nil || p.Policy != bosman.RevertAsk || p.Release != 4 || p.From != 5 || p.Reverts != 9 || !p.Kept || p.Expected != swapTakes || p.Written.Total() != 9 || p.Floor.Below != 4 || p.Refused == "" {
		t.Errorf("%+v, %v", p, err)
	}
	r, _ = deployed(t, &bosman.WayBack{Schema: "column public.x.z added"})
	r.past(4, "staging", 4, 5, &bosman.WayBack{Schema: "column public.x.z added", Proof: bosman.ProofGood, ProofNote: "health answers 200"})
	p, err = r.PlanRevert(t.Context(), admin, "rms", "live")
	if err != nil || p.Policy != bosman.RevertAhead || p.ProvenBy != 4 || p.ProvenOn != "staging" || p.Kept || p.Expected != 29*time.Second || p.Refused != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := r.PlanRevert(t.Context(), bosman.Actor{Person: "jan"}, "rms", "live"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a viewer: %v", err)
	}
}

// What staging met is said before live meets it.
func TestForecast(t *testing.T) {
	good := &bosman.WayBack{Schema: "column added", Proof: bosman.ProofGood}
	for name, c := range map[string]struct {
		ways        []*bosman.WayBack // of staging's deployments of r6, r7
		notAdditive bool
		text        string
	}{
		"nothing known":        {nil, false, ""},
		"no migration":         {[]*bosman.WayBack{nil, {}}, false, ""},
		"proven":               {[]*bosman.WayBack{nil, good}, false, "proven on staging by d21"},
		"an earlier one drops": {[]*bosman.WayBack{dropped, good}, true, "d20 with r6: column public.x.y dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := deployed(t, nil)
			r.past(19, "staging", 4, 5, dropped) // live has it already
			for n, w := range c.ways {
				r.past(20+n, "staging", 5+n, 6+n, w)
			}
			f, err := r.Forecast(t.Context(), bosman.Operation{App: "rms", Instance: "live", Release: 7})
			if err != nil || f.NotAdditive != c.notAdditive || !strings.Contains(f.Text, c.text) || (c.text == "") != (f.Text == "") {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

func TestKeptCopies(t *testing.T) {
	r, k := deployed(t, nil)
	ctx := t.Context()
	k.copies = []bosman.KeptCopy{{App: "rms", Instance: "live", ID: "20261123t090000000", Database: "rms__live__kept_20261123t090000000", Files: "/x"}, {Operation: 9}}
	all, err := r.KeptCopies(ctx, bosman.Actor{Person: "jan"}, "rms", "")
	if err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = r.RestoreKept(ctx, bosman.Actor{Person: "anna"}, "rms", "live", k.copies[0].ID, false)
	wantKind(t, "a tester restores", err, bosman.KindForbidden, "")
	_, err = r.RestoreKept(ctx, admin, "rms", "live", "", false)
	wantKind(t, "no id", err, bosman.KindNotFound, "")
	op, err := r.RestoreKept(ctx, admin, "rms", "live", k.copies[0].ID, false)
	if err != nil || op.Plan != bosman.PlanRestore || op.Backup != 0 || op.WayBack.Kept != k.copies[0].Database || op.WayBack.KeptFiles != "/x" {
		t.Errorf("%+v, %v", op, err)
	}
	wantKind(t, "a tester removes", r.RemoveKept(ctx, bosman.Actor{Person: "anna"}, "rms", "live", k.copies[0].ID), bosman.KindForbidden, "")
	if err := r.RemoveKept(ctx, admin, "rms", "live", k.copies[0].ID); err != nil || len(k.dropped) != 1 {
		t.Errorf("%v, %v", k.dropped, err)
	}
}

// A release that does badly and is left to people is told as loudly as one
// that failed.
func TestWhatIsLeftToPeopleIsLoud(t *testing.T) {
	r, _ := deployed(t, nil)
	r.past(14, "live", 5, 6, dropped, func(o *bosman.Operation) {
		o.Error = bosman.Failed("r6 does badly; a person must decide").WithKept("live still serves r6").WithNext("bosman revert live --database restore")
	})
	m, ok, err := r.MessageOf(t.Context(), bosman.Event{App: "rms", Kind: bosman.EventOperationEnded, Subject: "d14"})
	if err != nil || !ok || m.Kind != "deployment.failed" || !strings.Contains(m.Title, "a person must look") || !strings.Contains(m.Text, "bosman revert live --database restore") {
		t.Errorf("%+v, %v, %v", m, ok, err)
	}
}

// What is not Bosman's is not replaced, and that is said beforehand.
func TestRevertOfADatabaseThatIsNotOurs(t *testing.T) {
	r, k := deployed(t, dropped)
	ctx := t.Context()
	k.written = bosman.Written{Known: true, Certain: true}
	r.Config.Storage = &storedAt{}
	i, err := r.Store.Instance(ctx, "rms", "live")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := r.AdoptedOf(ctx, admin, "rms", "live"); a != nil || err != nil {
		t.Errorf("of Bosman's own: %+v, %v", a, err)
	}
	i.Database = bosman.Database{Engine: "postgres", Cluster: bosman.AdoptedPrefix + "rms/live", Name: "shop"}
	if err := r.Store.SaveInstance(ctx, i); err != nil {
		t.Fatal(err)
	}
	p, err := r.PlanRevert(ctx, admin, "rms", "live")
	if err != nil || !p.Adopted || p.Kept || p.Policy != bosman.RevertAsk || !strings.Contains(p.Why, "nothing was written since the backup; the database is not Bosman's") || len(p.Lost) != 1 || p.Lost[0] != "restore: it is not ours" || p.ByHand == "" {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Restore: true, ConfirmLoss: true})
	wantKind(t, "with the data", err, bosman.KindInvalid, "live is not Bosman's own database")
	_, err = r.RestoreBackup(ctx, admin, "rms", 3, "")
	wantKind(t, "a restore", err, bosman.KindInvalid, "live is not Bosman's own database")
	if next := bosman.AsError(err).Next; next != "restore by hand" {
		t.Errorf("next: %s", next)
	}
	_, err = r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live"})
	wantKind(t, "below the floor", err, bosman.KindConflict, "rollback floor")
	if next := bosman.AsError(err).Next; !strings.Contains(next, "by hand") || strings.Contains(next, "--database restore") {
		t.Errorf("next: %s", next)
	}
	if op, err := r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live", Override: "I put it back by hand"}); err != nil || op.Backup != 0 {
		t.Errorf("%+v, %v", op, err)
	}
	// Staging's migrations are told in these words too.
	r.past(20, "staging", 5, 6, dropped)
	if f, err := r.Forecast(ctx, bosman.Operation{App: "rms", Instance: "live", Release: 6}); err != nil || !f.NotAdditive || !strings.Contains(f.Text, "by hand") {
		t.Errorf("%+v, %v", f, err)
	}
}
