package deploy

import (
	"context"
	"fmt"
	"slices"

	"github.com/bosman-cd/bosman"
)

// MergeResult is a change merged with main as it is now, and what was built of
// it.
type MergeResult struct {
	Build   int
	Main    string // the commit of main
	Release int    // 0 while it is being built
	Wait    string // one sentence on how far that is; "" when it is done
}

// fit sees that the change can work on the data that copies hold. Where main
// has moved on, and with it the instance that is copied, its release may be
// older than all of them; then its merge result with main as it is now takes
// its place, and is built first if it was not yet.
func (j *job) fit(ctx context.Context) error { return j.until(ctx, j.fits) }

// source is the instance whose data is copied.
func (j *job) source(ctx context.Context) (bosman.Instance, error) {
	policy, err := j.Gate.Policy(ctx, j.op.App, j.i.Kind)
	if err != nil {
		return bosman.Instance{}, err
	}
	name := policy.Copy
	if name == "" {
		name = string(bosman.KindStaging)
	}
	from, err := j.Records.Instance(ctx, j.op.App, name)
	if err == nil && from.Release == 0 {
		err = bosman.Conflict("%s runs nothing yet, so there is nothing to copy", name).WithNext("push to main and wait until " + name + " runs it")
	}
	return from, err
}

func (j *job) fits(ctx context.Context) (Wait, error) {
	if _, err := j.judge(ctx); err != nil { // it was called off
		return Wait{}, err
	}
	if j.op.Change == 0 {
		return Wait{}, nil
	}
	from, err := j.source(ctx)
	if err != nil {
		return Wait{}, err
	}
	offered, err := j.Copies.Offered(ctx, j.i, from, j.op.Exact)
	if err != nil || len(offered) == 0 {
		return Wait{}, err
	}
	for { // at most twice: a merge result that was not taken yet is
		ok, err := j.anySuits(ctx, offered)
		if err != nil {
			return Wait{}, err
		}
		var merged MergeResult
		took, err := j.run.Get(ctx, keyMerged, &merged)
		if err != nil {
			return Wait{}, err
		}
		if ok {
			if took {
				j.run.Note(ctx, "%s", j.behind(from, merged))
			} else {
				j.run.Note(ctx, "%s knows the data of %s", ref(j.op.Release), from.Name)
			}
			return Wait{}, nil
		}
		next, err := j.mergeResult(ctx)
		if err != nil || next.Wait != "" {
			return Wait{For: next.Wait}, err
		}
		if took && merged.Main == next.Main && merged.Release == next.Release {
			return Wait{}, bosman.Conflict("the data of %s belongs to %s, which is part neither of %s nor of main %s", from.Name, refs(offered), j.changeRef(), bosman.Short(next.Main)).
				WithNext("deploy main to " + from.Name + ": bosman deploy " + from.Name)
		}
		if err := j.bring(ctx, next); err != nil {
			return Wait{}, err
		}
	}
}

// anySuits says whether the data of one of these releases can be used.
func (j *job) anySuits(ctx context.Context, offered []int) (bool, error) {
	target, err := j.Records.Release(ctx, j.op.App, j.op.Release)
	if bosman.KindOf(err) == bosman.KindNotFound { // pruned meanwhile: the merge result is built anew
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, n := range offered {
		if ok, err := j.suits(ctx, n, target); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// mergeResult asks for the merge result; the first time, or when main has
// moved, it is queued.
func (j *job) mergeResult(ctx context.Context) (MergeResult, error) {
	var asked int
	if _, err := j.run.Get(ctx, keyAsked, &asked); err != nil {
		return MergeResult{}, err
	}
	next, err := j.Gate.MergeResult(ctx, j.op, asked)
	if err != nil || next.Build == asked {
		return next, err
	}
	return next, j.run.Set(ctx, keyAsked, next.Build)
}

// bring makes a merge result what the operation brings.
func (j *job) bring(ctx context.Context, next MergeResult) error {
	if err := j.run.Set(ctx, keyMerged, next); err != nil {
		return err
	}
	err := j.change(ctx, func(o *bosman.Operation) bool {
		changed := o.Release != next.Release
		o.Release = next.Release
		return changed
	})
	j.op.Release = next.Release
	return err
}

func (j *job) changeRef() string { return bosman.Ref(bosman.LetterChange, j.op.Change) }

// behind says that a merge result was taken.
func (j *job) behind(from bosman.Instance, m MergeResult) string {
	return fmt.Sprintf("%s is behind %s: its merge result with main %s was taken (%s of %s)", j.changeRef(), from.Name, bosman.Short(m.Main), ref(m.Release), bosman.Ref(bosman.LetterBuild, m.Build))
}

func refs(releases []int) string {
	releases = slices.Clone(releases)
	slices.Sort(releases)
	out := ""
	for _, n := range slices.Compact(releases) {
		if out != "" {
			out += ", "
		}
		out += ref(n)
	}
	return out
}
