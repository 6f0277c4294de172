package helm

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// rig is a Helm over a real store and real git; builds and operations are
// only recorded, and the tests say how they end.
type rig struct {
	*Helm
	t     *testing.T
	work  string // a clone
	begun []bosman.Operation
	woken int
	now   time.Time
	hz    map[int]Hazards
}

func (r *rig) Begin(_ context.Context, op bosman.Operation) error {
	r.begun = append(r.begun, op)
	return nil
}
func (r *rig) TakenOver(context.Context, bosman.Operation, bosman.Operation) error { return nil }
func (r *rig) Cancel(context.Context, bosman.Operation, string) error              { return nil }

type fakeBuilder struct{ woken *int }

func (f fakeBuilder) Wake()                      { *f.woken++ }
func (f fakeBuilder) Cancel(string, int, string) {}

func (r *rig) Run(context.Context, bosman.Instance, string, io.Reader, io.Writer, io.Writer) (int, error) {
	return 3, nil
}
func (r *rig) Remove(context.Context, bosman.Instance) error { return nil }
func (r *rig) RemoveApp(context.Context, string) error       { return nil }
func (r *rig) Compare(context.Context, bosman.App, []bosman.Change) (map[int]Hazards, error) {
	return r.hz, nil
}

type addresses struct{}

func (addresses) Instance(app, instance string, _ int) string {
	return "http://" + instance + "." + app + ".localhost:8080"
}
func (addresses) Page(path string) string { return "http://localhost:8080" + path }

var admin = bosman.Actor{Person: "ola", From: "test"}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	st, err := store.Open(ctx, filepath.Join(dir, "bosman.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	repos, err := source.New(ctx, filepath.Join(dir, "git"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	// A Monday, 10:00 in Warsaw.
	r := &rig{t: t, work: filepath.Join(dir, "work"), now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	r.Helm = New(Config{Store: st, Repos: repos, Box: box, Operator: r, Builder: fakeBuilder{&r.woken}, Runtime: r, Addresses: addresses{}, Migrations: r, Now: func() time.Time { return r.now }})
	for name, role := range map[string]bosman.Role{"ola": bosman.RoleAdmin, "anna": bosman.RoleTester, "piotr": bosman.RoleDeveloper, "jan": bosman.RoleViewer} {
		if err := st.SavePerson(ctx, bosman.Person{Name: name, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.AddApp(ctx, admin, "rms"); err != nil {
		t.Fatal(err)
	}
	r.git("", "init", "-q", "-b", "main", r.work)
	r.write("bosman.yaml", "timezone: Europe/Warsaw\nhealth: /healthz\ninstances:\n  live:\n    deploy: {after: staging, window: \"Mon-Thu 09:00-15:00\"}\n")
	r.write("app.py", "one\n")
	r.commit("start")
	r.push("main")
	return r
}

func (r *rig) git(in string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Piotr", "GIT_AUTHOR_EMAIL=p@example.org", "GIT_COMMITTER_NAME=Piotr", "GIT_COMMITTER_EMAIL=p@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.work, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) commit(subject string) {
	r.t.Helper()
	r.git(r.work, "add", "-A")
	r.git(r.work, "commit", "-qm", subject)
}

// push puts a branch of the clone into Bosman's repository as a push would.
func (r *rig) push(branch string) {
	r.t.Helper()
	ctx := r.t.Context()
	repo, err := r.Repos.Open("rms")
	if err != nil {
		r.t.Fatal(err)
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	was := heads[branch]
	r.git(r.work, "push", "-q", "--no-verify", "-f", "--receive-pack", "git -c core.hooksPath=/dev/null receive-pack", repo.Dir(), branch)
	is, err := repo.Resolve(ctx, "refs/heads/"+branch)
	if err != nil {
		r.t.Fatal(err)
	}
	if was == "" {
		was = source.Zero
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel() // do not follow the build
	_ = r.Received(context.WithoutCancel(ctx), source.Push{App: "rms", Person: "piotr", Updates: []source.RefUpdate{{Ref: "refs/tags/none", New: is}}}, io.Discard)
	app, err := r.Store.App(r.t.Context(), "rms")
	if err != nil {
		r.t.Fatal(err)
	}
	actor := bosman.Actor{Person: "piotr", From: "git"}
	u := source.RefUpdate{Ref: "refs/heads/" + branch, Old: was, New: is}
	if branch == "main" {
		if err := r.mainMoved(r.t.Context(), actor, app, old(u), is, 0); err != nil {
			r.t.Fatal(err)
		}
	} else if _, _, err := r.branchMoved(r.t.Context(), actor, app, u); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

// settle lets all reactions happen.
func (r *rig) settle() {
	r.t.Helper()
	ctx := r.t.Context()
	at, err := r.Store.Cursor(ctx, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		events, err := r.Store.EventsAfter(ctx, at, 100)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if err := r.reaction(ctx, e); err != nil {
				r.t.Fatalf("reaction to %s %s: %v", e.Kind, e.Subject, err)
			}
			at = e.ID
		}
	}
	if err := r.Store.SetCursor(ctx, "test", at); err != nil {
		r.t.Fatal(err)
	}
}

// ends ends the newest build of a change (0: main) and seals its release.
func (r *rig) ends(change int, state bosman.BuildState) bosman.Build {
	r.t.Helper()
	ctx := r.t.Context()
	b, err := r.Store.LatestBuild(ctx, "rms", change)
	if err != nil {
		r.t.Fatal(err)
	}
	tests := map[bosman.BuildState]bosman.TestsState{bosman.BuildGreen: bosman.TestsGreen, bosman.BuildRed: bosman.TestsRed}[state]
	b.State = state
	err = r.Store.InTx(ctx, func(s *store.Store) error {
		if b.Release, err = s.Next(ctx, "rms", bosman.LetterRelease); err != nil {
			return err
		}
		if err := s.SaveRelease(ctx, bosman.Release{App: "rms", Number: b.Release, Commit: b.Commit, Tree: b.Tree, Trust: b.Trust, Build: b.Number, Tests: tests}); err != nil {
			return err
		}
		if err := s.SaveBuild(ctx, b); err != nil {
			return err
		}
		return s.AppendEvent(ctx, bosman.Event{App: "rms", Kind: bosman.EventBuildEnded, Subject: buildRef(b.Number)})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.settle()
	return b
}

// done ends an operation as the deployer would.
func (r *rig) done(op bosman.Operation) {
	r.t.Helper()
	ctx := r.t.Context()
	op.State, op.Committed, op.EndedAt = bosman.OpDone, true, r.now
	i, err := r.Store.Instance(ctx, op.App, op.Instance)
	if err != nil {
		r.t.Fatal(err)
	}
	i.Previous, i.Release, i.UpdatedBy = i.Release, op.Release, op.By
	if err := r.Store.SaveOperation(ctx, op); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Store.SaveInstance(ctx, i); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Store.AppendEvent(ctx, bosman.Event{App: "rms", Kind: bosman.EventOperationEnded, Subject: opRef(op.Number)}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

func (r *rig) last() bosman.Operation {
	r.t.Helper()
	if len(r.begun) == 0 {
		r.t.Fatal("no operation was begun")
	}
	return r.begun[len(r.begun)-1]
}

func (r *rig) branch(name, file, text string) {
	r.t.Helper()
	r.git(r.work, "checkout", "-q", "-B", name, "main")
	r.write(file, text)
	r.commit("work on " + name)
	r.push(name)
	r.git(r.work, "checkout", "-q", "main")
}

func wantKind(t *testing.T, what string, err error, kind bosman.ErrorKind, words ...string) {
	t.Helper()
	if bosman.KindOf(err) != kind {
		t.Errorf("%s: %v, want an error of kind %s", what, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

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

func (r *rig) mkdir(name string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.work, name), 0o700); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) repoDir() string {
	r.t.Helper()
	repo, err := r.Repos.Open("rms")
	if err != nil {
		r.t.Fatal(err)
	}
	return repo.Dir()
}
