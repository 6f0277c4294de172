package helm

import (
	"testing"

	"github.com/bosman-cd/bosman"
)

func TestStagingFollowsAnotherBranch(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	r.write("bosman.yaml", "instances: {staging: {follow: develop}}\n")
	r.commit("follow develop")
	r.push("main")
	r.ends(0, bosman.BuildGreen)
	begun := len(r.begun)
	if r.last().Release != 2 { // nobody confirmed that staging follows another branch
		t.Fatalf("%+v", r.last())
	}
	r.done(r.last())
	if err := r.ConfirmPolicy(ctx, admin, "rms"); err != nil {
		t.Fatal(err)
	}
	sent := func(what string, release int) {
		t.Helper()
		if release == 0 {
			if len(r.begun) != begun {
				t.Errorf("%s: %+v", what, r.last())
			}
			return
		}
		if op := r.last(); len(r.begun) != begun+1 || op.Instance != "staging" || op.Release != release || op.Why != "staging follows develop" {
			t.Fatalf("%s: %d operations, %+v", what, len(r.begun)-begun, op)
		}
		r.done(r.last())
		begun = len(r.begun)
	}
	r.write("app.py", "two\n")
	r.commit("on main")
	r.push("main")
	r.ends(0, bosman.BuildGreen) // r3
	sent("main does not go to staging any more", 0)

	// Ahead of main it is a change: staging gets what main would become.
	r.branch("develop", "new.py", "new\n")
	sent("nothing is green yet", 0)
	c, err := r.FindChange(ctx, admin, "rms", "develop")
	if err != nil {
		t.Fatal(err)
	}
	if b := r.ends(c.Number, bosman.BuildRed); b.Release != 4 {
		t.Fatalf("%+v", b)
	}
	sent("red", 0)
	r.branch("other", "other.py", "other\n")
	r.ends(2, bosman.BuildGreen) // r5
	sent("another branch", 0)
	r.branch("develop", "new.py", "newer\n")
	r.ends(c.Number, bosman.BuildGreen) // r6
	sent("develop", 6)
	if n, err := r.nextRelease(ctx, bosman.Instance{App: "rms", Name: "staging", Kind: bosman.KindStaging}); err != nil || n != 6 {
		t.Errorf("a deployment without a number means r%d, %v", n, err)
	}

	// Merged it is main, whose release is there.
	if _, err := r.Merge(ctx, admin, "rms", "develop"); err != nil {
		t.Fatal(err)
	}
	r.settle()
	sent("merged", 0)

	// Behind main it is the commit where it stands, built if it never was.
	r.git(r.work, "pull", "-q", "--no-rebase", r.repoDir(), "main")
	r.write("a.py", "a\n")
	r.commit("a")
	r.write("b.py", "b\n")
	r.commit("b")
	r.push("main")
	r.ends(0, bosman.BuildGreen) // r7
	sent("main went on", 0)
	r.git(r.work, "checkout", "-q", "-B", "develop", "main~1")
	r.push("develop")
	if err := r.settleFollowed(ctx, "rms"); err != nil {
		t.Fatal(err)
	}
	b, err := r.Store.LatestBuild(ctx, "rms", 0)
	if err != nil || b.Branch != "develop" || b.State != bosman.BuildQueued || b.Commit != r.git(r.work, "rev-parse", "develop") {
		t.Fatalf("%+v, %v", b, err)
	}
	if err := r.settleFollowed(ctx, "rms"); err != nil {
		t.Fatal(err)
	}
	if again, err := r.Store.LatestBuild(ctx, "rms", 0); err != nil || again.Number != b.Number {
		t.Errorf("it is queued twice: %+v, %v", again, err)
	}
	r.ends(0, bosman.BuildGreen) // r8
	sent("where it stands", 8)
	if b, err := r.Build(ctx, admin, "rms", "develop"); err != nil || b.Branch != "develop" || b.Change != 0 {
		t.Errorf("asked for: %+v, %v", b, err)
	}
}
