package helm

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// A change that the data is ahead of is built merged with main as it is now:
// once, whoever asks how often.
func TestMergeResultOfAChangeThatIsBehind(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	r.ends(0, bosman.BuildGreen)
	r.branch("feature", "new.py", "x\n")
	first := r.ends(1, bosman.BuildGreen)
	op := bosman.Operation{App: "rms", Number: 7, Instance: "testing-anna", Plan: bosman.PlanTry, Change: 1, Release: first.Release, By: "anna"}

	got, err := r.MergeResult(ctx, op, 0)
	if err != nil || got.Release != first.Release || got.Build != first.Number || got.Main != first.Base || got.Wait != "" {
		t.Errorf("main did not move: %+v, %v", got, err)
	}
	r.branch("main", "app.py", "two\n")
	r.ends(0, bosman.BuildGreen)
	if got, err = r.MergeResult(ctx, op, 0); err != nil || got.Release != 0 || got.Build == first.Number || got.Main == first.Base || !strings.Contains(got.Wait, "builds it merged with main "+bosman.Short(got.Main)) {
		t.Fatalf("main moved: %+v, %v", got, err)
	}
	woken := r.woken
	again, err := r.MergeResult(ctx, op, 0) // killed before it was noted
	if err != nil || again.Build != got.Build || r.woken != woken {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	b := r.ends(1, bosman.BuildCancelled)
	if _, err := r.MergeResult(ctx, op, b.Number); bosman.KindOf(err) != bosman.KindConflict || bosman.AsError(err).Next == "" {
		t.Errorf("what it asked for was cancelled: %v", err)
	}
	if again, err = r.MergeResult(ctx, op, 0); err != nil || again.Build == b.Number {
		t.Errorf("another one's was cancelled: %+v, %v", again, err)
	}
	b = r.ends(1, bosman.BuildGreen)
	if got, err = r.MergeResult(ctx, op, b.Number); err != nil || got.Release != b.Release || got.Release == first.Release || got.Wait != "" {
		t.Errorf("built: %+v, %v", got, err)
	}

	r.branch("main", "new.py", "another\n")
	r.ends(0, bosman.BuildGreen)
	_, err = r.MergeResult(ctx, op, 0)
	wantKind(t, "it conflicts", err, bosman.KindConflict, "c1 (feature) conflicts with main", "nothing was built", "merge main into feature")
	if latest, err := r.Store.LatestBuild(ctx, "rms", 1); err != nil || latest.Number != b.Number {
		t.Errorf("built all the same: %+v, %v", latest, err)
	}
}
