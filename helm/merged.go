package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
)

// MergeResult is a change merged with main as it is now.
type MergeResult struct {
	Build   int
	Main    string // the commit of main
	Release int    // what was built of it; 0 while Wait says that it is being built
	Wait    string
}

// MergeResult gives the merge result of the change that op is about with main
// as it is now, which op needs because its own release is older than the data.
// One that was not built yet, or whose build was broken off, is queued; asked
// is the build that op asked for before, which must not fail for ever.
// KindConflict if the two conflict, or if there is nothing to run in what was
// built.
func (h *Helm) MergeResult(ctx context.Context, op bosman.Operation, asked int) (MergeResult, error) {
	c, err := h.Store.Change(ctx, op.App, op.Change)
	if err != nil {
		return MergeResult{}, err
	}
	if c.Trust == bosman.TrustStranger {
		return MergeResult{}, bosman.Forbidden("%s comes from the fork of %s; code of strangers gets no instance", changeRef(c.Number), c.Fork)
	}
	app, err := h.Store.App(ctx, op.App)
	if err != nil {
		return MergeResult{}, err
	}
	repo, err := h.Repos.Open(op.App)
	if err != nil {
		return MergeResult{}, err
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		return MergeResult{}, err
	}
	out := MergeResult{Main: heads[app.MainBranch]}
	b, err := h.Store.LatestBuild(ctx, op.App, op.Change)
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return out, err
	}
	stale := err != nil || b.Head != c.Head || b.Base != out.Main
	broken := b.State == bosman.BuildCancelled || b.State == bosman.BuildError
	pruned := false
	if !stale && b.Release != 0 {
		r, err := h.Store.Release(ctx, op.App, b.Release)
		if err != nil {
			return out, err
		}
		pruned = !r.PrunedAt.IsZero()
	}
	if stale || b.Number != asked && (broken || pruned) {
		if b, err = h.queueBuild(ctx, bosman.Actor{Person: op.By, From: "bosman"}, c, "for "+opRef(op.Number)+": the data is of a newer main", false); err != nil {
			return out, err
		}
		broken = false
	}
	out.Build = b.Number
	switch {
	case !b.State.Final():
		out.Wait = fmt.Sprintf("%s is behind the data: %s builds it merged with main %s%s", changeRef(c.Number), buildRef(b.Number), bosman.Short(out.Main), far(b))
	case b.Release == 0 || broken && b.Number == asked:
		return out, bosman.Conflict("%s made no release of %s merged with main %s: %s", buildRef(b.Number), changeRef(c.Number), bosman.Short(out.Main), b.Reason).
			WithNext("push a fix, or bosman retry " + buildRef(b.Number) + "; then try it again")
	default:
		out.Release = b.Release
	}
	return out, nil
}

// far says how far a build is: " (unit, 3 of 5)".
func far(b bosman.Build) string {
	done, now := 0, ""
	for _, s := range b.Steps {
		switch s.State {
		case bosman.StepRunning:
			now = s.Name
		case bosman.StepWaiting:
		default:
			done++
		}
	}
	if now == "" {
		return ""
	}
	return fmt.Sprintf(" (%s, %d of %d)", now, done+1, len(b.Steps))
}
