package helm

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	waits string // before live
	stray error
}

func (r *rig) BeforeLive(context.Context, bosman.Operation, bosman.Instance) (string, error) {
	return r.waits, r.stray
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
