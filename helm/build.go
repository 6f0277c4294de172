package helm

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// Build queues a build of a branch's merge result with main (or of main
// itself), also when it was built before.
func (h *Helm) Build(ctx context.Context, a bosman.Actor, app, branch string) (bosman.Build, error) {
	if err := h.may(ctx, a, bosman.MayPush, app, ""); err != nil {
		return bosman.Build{}, err
	}
	noun, err := h.Store.App(ctx, app)
	if err != nil {
		return bosman.Build{}, err
	}
	if branch == noun.MainBranch {
		return h.queueCommit(ctx, a, noun, noun.MainBranch, "asked for", true)
	}
	c, err := h.FindChange(ctx, a, app, branch)
	if b, own, ferr := h.buildFollowed(ctx, a, noun, branch, err); own || ferr != nil {
		return b, ferr
	}
	if err != nil {
		return bosman.Build{}, err
	}
	return h.queueBuild(ctx, a, c, "asked for", true)
}

// Retry queues the same build again: of main or of the change's present merge
// result.
func (h *Helm) Retry(ctx context.Context, a bosman.Actor, app string, number int) (bosman.Build, error) {
	b, err := h.Store.Build(ctx, app, number)
	if err != nil {
		return b, err
	}
	if !b.State.Final() {
		return b, bosman.Conflict("%s is %s", buildRef(number), b.State).WithKept("it goes on").WithNext("cancel it first: bosman cancel " + buildRef(number))
	}
	if b.Change == 0 {
		return h.Build(ctx, a, app, b.Branch)
	}
	return h.Build(ctx, a, app, changeRef(b.Change))
}

// CancelBuild ends a build that is queued or running.
func (h *Helm) CancelBuild(ctx context.Context, a bosman.Actor, app string, number int, why string) error {
	if err := h.may(ctx, a, bosman.MayPush, app, ""); err != nil {
		return err
	}
	b, err := h.Store.Build(ctx, app, number)
	if err != nil {
		return err
	}
	if b.State.Final() {
		return bosman.Conflict("%s is %s already", buildRef(number), b.State)
	}
	reason := "cancelled by " + a.Person
	if why != "" {
		reason += ": " + why
	}
	return h.cancelBuild(ctx, a, b, reason)
}

func (h *Helm) cancelBuild(ctx context.Context, a bosman.Actor, b bosman.Build, reason string) error {
	err := h.Store.InTx(ctx, func(s *store.Store) error {
		now, err := s.Build(ctx, b.App, b.Number)
		if err != nil || now.State.Final() {
			return err
		}
		if now.State == bosman.BuildQueued {
			now.State, now.Reason, now.EndedAt = bosman.BuildCancelled, reason, h.now()
			if err := s.SaveBuild(ctx, now); err != nil {
				return err
			}
			if err := h.tell(ctx, s, b.App, event(bosman.EventBuildEnded, buildRef(b.Number))); err != nil {
				return err
			}
		}
		return h.note(ctx, s, a, bosman.Activity{App: b.App, What: "cancelled " + buildRef(b.Number), Subject: buildRef(b.Number), Why: reason})
	})
	if err == nil {
		h.Builder.Cancel(b.App, b.Number, reason)
	}
	return err
}

// cancelBuilds ends the unfinished builds of a change, but not the one named.
func (h *Helm) cancelBuilds(ctx context.Context, app string, change, except int, reason string) error {
	all, err := h.Store.UnfinishedBuilds(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.App == app && b.Change == change && b.Number != except {
			if err := h.cancelBuild(ctx, bosman.System(), b, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeMessage is the message of a change's merge with main. It is part of
// what makes two merges of the same commits one and the same.
func mergeMessage(c bosman.Change) string {
	return fmt.Sprintf("Merge %s (%s)\n\n%s", c.Branch, changeRef(c.Number), c.Title)
}

// queueBuild queues a build of the change's merge result with main. With
// conflicts nothing is built: they are kept on the change, KindConflict. Where
// nothing of the app changed it is green at once, unless always.
func (h *Helm) queueBuild(ctx context.Context, a bosman.Actor, c bosman.Change, why string, always bool) (bosman.Build, error) {
	app, err := h.Store.App(ctx, c.App)
	if err != nil {
		return bosman.Build{}, err
	}
	repo, err := h.Repos.Open(c.App)
	if err != nil {
		return bosman.Build{}, err
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		return bosman.Build{}, err
	}
	base := heads[app.MainBranch]
	m, err := repo.MergeResult(ctx, base, c.Head, mergeMessage(c))
	if err != nil {
		return bosman.Build{}, err
	}
	c.Conflicts = m.Conflicts
	if len(m.Conflicts) > 0 {
		if err := h.saveChange(ctx, c); err != nil {
			return bosman.Build{}, err
		}
		return bosman.Build{}, bosman.Conflict("%s (%s) conflicts with main in %d files, first %s", changeRef(c.Number), c.Branch, len(m.Conflicts), m.Conflicts[0]).
			WithKept("nothing was built").WithNext("merge main into " + c.Branch + ", solve the conflicts there and push")
	}
	b := bosman.Build{App: c.App, Change: c.Number, Branch: c.Branch, Head: c.Head, Base: base, Commit: m.Commit, Tree: m.Tree, Trust: c.Trust}
	if !always {
		if err := h.spare(ctx, &b, base); err != nil {
			return bosman.Build{}, err
		}
	}
	return h.enqueue(ctx, a, b, why, func(s *store.Store) error { return s.SaveChange(ctx, c) })
}

func (h *Helm) enqueue(ctx context.Context, a bosman.Actor, b bosman.Build, why string, also func(*store.Store) error) (bosman.Build, error) {
	err := h.Store.InTx(ctx, func(s *store.Store) error {
		n, err := s.Next(ctx, b.App, bosman.LetterBuild)
		if err != nil {
			return err
		}
		b.Number, b.By, b.CreatedAt = n, a.Person, h.now()
		what, kind := "queued %s of %s", bosman.EventBuildQueued
		if b.State == bosman.BuildGreen {
			b.StartedAt, b.EndedAt = b.CreatedAt, b.CreatedAt
			what, kind, why = "did not build %s of %s", bosman.EventBuildEnded, b.Reason
		} else {
			b.State = bosman.BuildQueued
		}
		if err := also(s); err != nil {
			return err
		}
		if err := s.SaveBuild(ctx, b); err != nil {
			return err
		}
		if err := h.oweStatus(ctx, s, b); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: b.App, What: fmt.Sprintf(what, buildRef(n), b.Branch), Subject: buildRef(n), Why: why}, event(kind, buildRef(n)))
	})
	if err == nil {
		h.Builder.Wake()
	}
	return b, err
}

// follow writes what a build does until it ends, the limit passes or ctx ends.
func (h *Helm) follow(ctx context.Context, b bosman.Build, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, PushFollow)
	defer cancel()
	seen := map[string]bosman.StepState{}
	started := h.now()
	for {
		wake := h.Store.Wake()
		now, err := h.Store.Build(ctx, b.App, b.Number)
		if err != nil {
			return err
		}
		for _, st := range now.Steps {
			name := st.Name
			if st.Variant != "" && st.Variant != bosman.DefaultVariant {
				name += " (" + st.Variant + ")"
			}
			if seen[name] == st.State {
				continue
			}
			seen[name] = st.State
			sayStep(w, name, st)
		}
		if now.State.Final() {
			sayBuild(w, now, h.now().Sub(started))
			say(w, "%s", h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", b.App, b.Number)))
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			say(w, "%s goes on without you: %s", buildRef(b.Number), h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", b.App, b.Number)))
			return nil
		}
	}
}

func sayStep(w io.Writer, name string, st bosman.BuildStep) {
	took := st.EndedAt.Sub(st.StartedAt).Round(100 * time.Millisecond)
	switch st.State {
	case bosman.StepRunning:
		say(w, "  ◐ %s …", name)
	case bosman.StepDone:
		if st.Cached {
			say(w, "  ✓ %s from the cache", name)
			return
		}
		say(w, "  ✓ %s in %s", name, took)
	case bosman.StepFailed, bosman.StepAllowed:
		say(w, "  ✕ %s after %s: %s", name, took, st.Note)
	case bosman.StepSkipped:
		say(w, "  – %s: %s", name, st.Note)
	case bosman.StepWaiting, bosman.StepUndone:
	}
}

func sayBuild(w io.Writer, b bosman.Build, took time.Duration) {
	mark := map[bosman.BuildState]string{bosman.BuildGreen: "✓", bosman.BuildRed: "✕", bosman.BuildError: "✕", bosman.BuildCancelled: "–"}[b.State]
	line := fmt.Sprintf("%s %s is %s after %s", mark, buildRef(b.Number), b.State, took.Round(100*time.Millisecond))
	if b.Release != 0 && b.State == bosman.BuildGreen {
		line += ": release " + releaseRef(b.Release)
	}
	if b.Reason != "" {
		line += ": " + b.Reason
	}
	say(w, "%s", line)
}
