package helm

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/store"
)

const onlyBackend = "timezone: Europe/Warsaw\npaths: [backend, '!backend/docs']\n"

// withPaths is a rig whose app lies in backend, with release r2 on staging.
func withPaths(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	r.write("bosman.yaml", onlyBackend)
	r.mkdir("backend/docs")
	r.write("backend/app.py", "one\n")
	r.commit("only backend")
	r.push("main")
	if b := r.ends(0, bosman.BuildGreen); b.Release != 2 {
		t.Fatalf("a new bosman.yaml is built: %+v", b)
	}
	r.done(r.last())
	return r
}

func TestWhatChangesNothingOfTheAppIsNotBuilt(t *testing.T) {
	r, ctx := withPaths(t), t.Context()
	if _, err := r.Connect(ctx, admin, "rms", Origin{Kind: "github", Repo: "team/rms"}); err != nil {
		t.Fatal(err)
	}
	woken := r.woken
	r.branch("words", "README.md", "words\n")
	c, err := r.FindChange(ctx, admin, "rms", "words")
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Store.LatestBuild(ctx, "rms", c.Number)
	if err != nil || !b.Unconcerned() || b.Release != 2 || b.Reason != "nothing of this app changed; r2 stays" || b.EndedAt.IsZero() {
		t.Fatalf("%+v, %v", b, err)
	}
	if all, err := r.Store.UnfinishedBuilds(ctx); err != nil || len(all) != 0 || r.woken == woken {
		t.Errorf("%d builds wait, %v", len(all), err)
	}
	owed, err := r.Store.Due(ctx, StatusKind("rms"), r.now, 10)
	if err != nil || len(owed) != 1 || !strings.Contains(string(owed[0].Data), string(forge.Success)) || !strings.Contains(string(owed[0].Data), "nothing of this app changed") {
		t.Errorf("the forge is told %v, %v", owed, err)
	}
	if err := r.Store.SetSetting(ctx, originOf("rms"), ""); err != nil {
		t.Fatal(err)
	}
	begun := len(r.begun)
	out, err := r.Merge(ctx, admin, "rms", "words")
	if err != nil || out.Commit == "" || out.Release != 2 || !strings.Contains(out.Note, "r2 stays") {
		t.Fatalf("%+v, %v", out, err)
	}
	r.settle()
	if len(r.begun) != begun {
		t.Errorf("staging was deployed to for nothing: %+v", r.last())
	}
	if all, err := r.Store.Builds(ctx, "rms", 0, 0); err != nil || len(all) != 2 {
		t.Errorf("main was built again: %+v, %v", all, err)
	}
	v, err := r.ChangePage(ctx, admin, "rms", "words")
	if err != nil || v.Road[4].State != bosman.StationSkipped || v.Road[0].Note != b.Reason {
		t.Errorf("road %+v, %v", v.Road, err)
	}

	// The same of a push to main itself; and asked for it is built.
	r.git(r.work, "merge", "-q", "words")
	r.git(r.work, "commit", "-q", "--allow-empty", "-m", "empty")
	r.git(r.work, "pull", "-q", "--no-edit", "--no-rebase", r.repoDir(), "main")
	r.write("README.md", "more words\n")
	r.write("backend/docs/a.txt", "more\n")
	r.commit("docs")
	r.push("main")
	if b, err := r.Store.LatestBuild(ctx, "rms", 0); err != nil || !b.Unconcerned() || b.Release != 2 || len(r.begun) != begun {
		t.Errorf("a push of docs: %+v, %v", b, err)
	}
	if b, err := r.Build(ctx, admin, "rms", "main"); err != nil || b.State != bosman.BuildQueued {
		t.Errorf("asked for it is built: %+v, %v", b, err)
	}
}

func TestWhatMattersIsBuilt(t *testing.T) {
	r, ctx := withPaths(t), t.Context()
	queued := func(what string, change int) {
		t.Helper()
		if b, err := r.Store.LatestBuild(ctx, "rms", change); err != nil || b.State != bosman.BuildQueued {
			t.Errorf("%s: %+v, %v", what, b, err)
		}
	}
	r.branch("app", "backend/app.py", "two\n")
	queued("a file of the app", 1)
	r.branch("policy", "bosman.yaml", onlyBackend+"health: /healthz\n")
	queued("bosman.yaml", 2)

	// Main is red: words upon it change nothing of the app, but there is no
	// green release of what it is now.
	r.write("backend/app.py", "broken\n")
	r.commit("broken")
	r.push("main")
	r.ends(0, bosman.BuildRed)
	r.branch("words", "README.md", "words\n")
	queued("words on a red main", 3)

	// A release that went bad does for nothing.
	r.git(r.work, "revert", "--no-edit", "HEAD")
	r.push("main")
	if b, err := r.Store.LatestBuild(ctx, "rms", 0); err != nil || !b.Unconcerned() || b.Release != 2 {
		t.Errorf("back to what r2 was made of: %+v, %v", b, err)
	}
	if err := r.Store.InTx(ctx, func(s *store.Store) error {
		rel, err := s.Release(ctx, "rms", 2)
		rel.Bad = "it was reverted"
		if err != nil {
			return err
		}
		return s.SaveRelease(ctx, rel)
	}); err != nil {
		t.Fatal(err)
	}
	r.branch("more-words", "README.md", "more words\n")
	queued("words on a bad release", 4)
}
