package helm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/source"
)

func TestFromPushToLive(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	anna := bosman.Actor{Person: "anna", From: "test"}
	r.ends(0, bosman.BuildGreen)
	if op := r.last(); op.Instance != "staging" || op.Release != 1 || !op.Auto {
		t.Fatalf("a green main should go to staging: %+v", op)
	}
	r.done(r.last())

	r.branch("feature", "new.py", "x\n")
	b := r.ends(1, bosman.BuildGreen)
	if b.Base == "" || b.Commit == b.Head {
		t.Errorf("a change must be built as merged with main: %+v", b)
	}
	op, err := r.Try(ctx, anna, "rms", "feature", "testing-anna")
	if err != nil || op.Release != b.Release || op.Plan != bosman.PlanTry {
		t.Fatalf("try: %+v, %v", op, err)
	}
	if err := r.Accept(ctx, anna, "rms", "c1", ""); err != nil {
		t.Fatal(err)
	}
	m, err := r.Merge(ctx, anna, "rms", "feature")
	if err != nil || m.Commit != b.Commit || m.Release != b.Release {
		t.Fatalf("main must move to the tested merge: %+v, %v", m, err)
	}
	r.settle()
	if op := r.last(); op.Instance != "staging" || op.Release != b.Release {
		t.Fatalf("staging must get the tested release, not a new build: %+v", op)
	}
	if builds, _ := r.Store.Builds(ctx, "rms", 0, 0); len(builds) != 1 {
		t.Errorf("main was built %d times; the merge's release should be reused", len(builds))
	}
	_, err = r.Deploy(ctx, anna, DeployRequest{App: "rms", Instance: "live", Release: b.Release})
	wantKind(t, "a release that never ran on staging", err, bosman.KindConflict, "never ran on staging", "live was left")
	r.done(r.last())
	op, err = r.Deploy(ctx, anna, DeployRequest{App: "rms", Instance: "live"})
	if err != nil || op.Release != b.Release || op.Waits != "" {
		t.Fatalf("deploy: %+v, %v", op, err)
	}
	r.done(op)
	v, err := r.ChangePage(ctx, anna, "rms", "c1")
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range v.Road {
		if st.State != bosman.StationGood && st.Name != "testing" {
			t.Errorf("station %s is %s", st.Name, st.State)
		}
	}
	if title, err := r.CommitTitle(ctx, anna, "rms", b.Head); err != nil || title != "work on feature" {
		t.Errorf("the commit says %q, %v", title, err)
	}
	jobs, err := r.Status(ctx, anna, "rms")
	if err != nil || jobs[0].Name != "live" || jobs[0].Release != b.Release || jobs[0].Title != "work on feature" {
		t.Errorf("status: %+v, %v", jobs, err)
	}
}

func TestRulesOfMain(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	for _, c := range []struct {
		who  string
		u    source.RefUpdate
		kind bosman.ErrorKind
	}{
		{"piotr", source.RefUpdate{Ref: "refs/heads/feature", Old: source.Zero, New: "1"}, ""},
		{"piotr", source.RefUpdate{Ref: "refs/heads/main", Old: "1", New: "2"}, bosman.KindForbidden},
		{"anna", source.RefUpdate{Ref: "refs/heads/main", Old: "1", New: "2"}, ""},
		{"ola", source.RefUpdate{Ref: "refs/heads/main", Old: "1", New: "2", Forced: true}, bosman.KindConflict},
		{"ola", source.RefUpdate{Ref: "refs/heads/main", Old: "1", New: source.Zero}, bosman.KindConflict},
		{"jan", source.RefUpdate{Ref: "refs/heads/feature", Old: source.Zero, New: "1"}, bosman.KindForbidden},
		{"mallory", source.RefUpdate{Ref: "refs/heads/feature", Old: source.Zero, New: "1"}, bosman.KindForbidden},
	} {
		err := r.Check(ctx, source.Push{App: "rms", Person: c.who, Updates: []source.RefUpdate{c.u}})
		if bosman.KindOf(err) != c.kind {
			t.Errorf("%s pushes %+v: %v", c.who, c.u, err)
		}
	}
}

func TestConflictsAndSendBack(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	anna := bosman.Actor{Person: "anna"}
	r.ends(0, bosman.BuildGreen)
	r.branch("one", "app.py", "two\n")
	r.branch("two", "app.py", "three\n")
	r.ends(1, bosman.BuildGreen)
	r.ends(2, bosman.BuildGreen)
	wantKind(t, "no reason", r.SendBack(ctx, anna, "rms", "two", " "), bosman.KindInvalid)
	if err := r.SendBack(ctx, anna, "rms", "one", "typo"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Merge(ctx, anna, "rms", "one")
	wantKind(t, "merging what was sent back", err, bosman.KindConflict, "typo", "main was not moved")
	if err := r.Accept(ctx, anna, "rms", "one", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Merge(ctx, bosman.Actor{Person: "piotr"}, "rms", "one"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a developer merged: %v", err)
	}
	if _, err := r.Merge(ctx, anna, "rms", "one"); err != nil {
		t.Fatal(err)
	}
	r.settle()
	_, err = r.Merge(ctx, anna, "rms", "two")
	wantKind(t, "merging a conflict", err, bosman.KindConflict, "app.py")
	builds, _ := r.Store.Builds(ctx, "rms", 2, 0)
	if len(builds) != 1 {
		t.Errorf("a conflicting change was built %d times", len(builds))
	}
	v, err := r.ChangePage(ctx, anna, "rms", "two")
	if err != nil || v.Road[0].State != bosman.StationFailed || !slices.Equal(v.Conflicts, []string{"app.py"}) {
		t.Errorf("road %+v, %v", v.Road, err)
	}
}

func TestMergeWaitsForTheNewMergeResult(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	anna := bosman.Actor{Person: "anna"}
	r.ends(0, bosman.BuildGreen)
	r.branch("one", "one.py", "1\n")
	r.branch("two", "two.py", "2\n")
	r.ends(1, bosman.BuildGreen)
	r.ends(2, bosman.BuildGreen)
	if _, err := r.Merge(ctx, anna, "rms", "one"); err != nil {
		t.Fatal(err)
	}
	r.settle()
	m, err := r.Merge(ctx, anna, "rms", "two")
	if err != nil || m.Build == 0 || m.Commit != "" {
		t.Fatalf("main moved, so the merge must wait for a new build: %+v, %v", m, err)
	}
	b := r.ends(2, bosman.BuildGreen)
	c, err := r.Store.Change(ctx, "rms", 2)
	if err != nil || c.State != bosman.ChangeMerged || c.Merged != b.Commit || c.MergedBy != "anna" {
		t.Errorf("it should have merged by itself: %+v, %v", c, err)
	}
}

func TestRedIsNotMergedAndNotDeployed(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	r.ends(0, bosman.BuildRed)
	if len(r.begun) != 0 {
		t.Errorf("a red main was deployed: %+v", r.begun)
	}
	r.branch("bad", "x.py", "x\n")
	b := r.ends(1, bosman.BuildRed)
	_, err := r.Merge(ctx, admin, "rms", "bad")
	wantKind(t, "merging red", err, bosman.KindConflict, "red")
	_, err = r.Deploy(ctx, admin, DeployRequest{App: "rms", Instance: "live", Release: b.Release})
	wantKind(t, "deploying red", err, bosman.KindConflict, "red")
	if _, err = r.Deploy(ctx, bosman.Actor{Person: "anna"}, DeployRequest{App: "rms", Instance: "live", Release: b.Release, Override: "x"}); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester passed a rule: %v", err)
	}
	op, err := r.Deploy(ctx, admin, DeployRequest{App: "rms", Instance: "live", Release: b.Release, Override: "the site is down"})
	if err != nil || op.Override == "" {
		t.Errorf("an administrator may override: %+v, %v", op, err)
	}
	lines, _ := r.Activity(ctx, admin, "rms", 0, 1)
	if !strings.Contains(lines[0].Why, "the site is down") {
		t.Errorf("the reason is not on record: %+v", lines[0])
	}
	// Whose database it is, no override passes.
	r.waits = "r1 is rehearsed"
	if w, err := r.Judge(ctx, op); err != nil || w.For != r.waits {
		t.Errorf("it does not wait: %+v, %v", w, err)
	}
	r.waits, r.stray = "", bosman.Conflict("it may use another one")
	_, err = r.Judge(ctx, op)
	wantKind(t, "deploying what went astray", err, bosman.KindConflict, "it may use another one")
	if bosman.AsError(err).Kept != "live was left as it is" {
		t.Errorf("what was left untouched: %q", bosman.AsError(err).Kept)
	}
}

func TestWindowAndRevert(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	anna := bosman.Actor{Person: "anna"}
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	r.now = time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC) // Tuesday, 03:00 in Warsaw
	op, err := r.Deploy(ctx, anna, DeployRequest{App: "rms", Instance: "live"})
	if err != nil || !strings.Contains(op.Waits, "Tue 24 Nov 09:00 CET") {
		t.Fatalf("outside the window a deployment waits and says until when: %+v, %v", op, err)
	}
	_, err = r.Revert(ctx, anna, RevertRequest{App: "rms", Instance: "live"})
	wantKind(t, "nothing to go back to", err, bosman.KindConflict, "no release to go back to")
	r.done(op)
	i, _ := r.Store.Instance(ctx, "rms", "live")
	i.Previous, i.Release = 1, 2
	if err := r.Store.SaveInstance(ctx, i); err != nil {
		t.Fatal(err)
	}
	back, err := r.Revert(ctx, anna, RevertRequest{App: "rms", Instance: "live", Why: "500s"})
	if err != nil || back.Plan != bosman.PlanRevert || back.Release != 1 || back.Waits != "" {
		t.Errorf("a revert needs no window: %+v, %v", back, err)
	}
	if _, err := r.Revert(ctx, bosman.Actor{Person: "piotr"}, RevertRequest{App: "rms", Instance: "live"}); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a developer reverted live: %v", err)
	}
	if _, err := r.Revert(ctx, anna, RevertRequest{App: "rms", Instance: "live", Restore: true, ConfirmLoss: true}); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester restored live's database: %v", err)
	}
}

func TestRevertInTheMiddleKeepsWhatServes(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	i, _ := r.Store.Instance(ctx, "rms", "live")
	i.Release, i.Previous, i.Operation = 5, 4, 9
	if err := r.Store.SaveInstance(ctx, i); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.SaveOperation(ctx, bosman.Operation{App: "rms", Number: 9, Instance: "live", Plan: bosman.PlanDeploy, Release: 6, From: 5, State: bosman.OpRunning}); err != nil {
		t.Fatal(err)
	}
	op, err := r.Revert(ctx, admin, RevertRequest{App: "rms", Instance: "live"})
	if err != nil || op.Release != 5 || op.Reverts != 9 {
		t.Errorf("before the switch the running release must go on: %+v, %v", op, err)
	}
}

func TestNamesOfApps(t *testing.T) {
	r := newRig(t)
	for name, kind := range map[string]bosman.ErrorKind{"people": bosman.KindInvalid, "../x": bosman.KindInvalid, "RMS": bosman.KindInvalid, "rms": bosman.KindConflict, "shop": ""} {
		if _, err := r.AddApp(t.Context(), admin, name); bosman.KindOf(err) != kind {
			t.Errorf("an app called %q: %v", name, err)
		}
	}
}

func TestLastAdministratorStays(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	wantKind(t, "demote", r.Allow(ctx, admin, "ola", bosman.RoleViewer, ""), bosman.KindConflict)
	wantKind(t, "disable", r.DisablePerson(ctx, admin, "ola", true), bosman.KindConflict)
	wantKind(t, "a tester adds people", r.AddPerson(ctx, bosman.Actor{Person: "anna"}, bosman.Person{Name: "eva", Role: bosman.RoleAdmin}, ""), bosman.KindForbidden)
	wantKind(t, "Bosman's own name", r.AddPerson(ctx, admin, bosman.Person{Name: "bosman", Role: bosman.RoleAdmin}, ""), bosman.KindInvalid)
}

func TestSecretsStaySealed(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	if err := r.SetSecrets(ctx, admin, "rms", "kind:live", map[string]string{"KEY": "hunter2"}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "scope", r.SetSecrets(ctx, admin, "rms", "everywhere", map[string]string{"KEY": "x"}), bosman.KindInvalid)
	rows, _ := r.Store.Secrets(ctx, "rms")
	for _, s := range rows {
		if strings.Contains(string(s.Sealed), "hunter2") {
			t.Error("a secret is kept in the clear")
		}
	}
	live, err := r.SecretsFor(ctx, bosman.Instance{App: "rms", Name: "live", Kind: bosman.KindLive})
	if err != nil || live["KEY"] != "hunter2" || live["SECRET_KEY"] == "" {
		t.Errorf("%v, %v", live, err)
	}
	staging, err := r.SecretsFor(ctx, bosman.Instance{App: "rms", Name: "staging", Kind: bosman.KindStaging})
	if err != nil || staging["KEY"] != "" {
		t.Errorf("staging sees live's secret: %v, %v", staging, err)
	}
}
