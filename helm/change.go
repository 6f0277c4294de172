package helm

import (
	"context"
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// FindChange gives the change that ref names: c12, 12, its branch, or the URL
// of its pull request.
func (h *Helm) FindChange(ctx context.Context, a bosman.Actor, app, ref string) (bosman.Change, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Change{}, err
	}
	if n, err := bosman.ParseRef(bosman.LetterChange, ref); err == nil {
		return h.Store.Change(ctx, app, n)
	}
	if strings.Contains(ref, "://") {
		return h.Store.ChangeByURL(ctx, app, ref)
	}
	fork, branch, ok := strings.Cut(ref, ":")
	if !ok {
		fork, branch = "", ref
	}
	return h.Store.ChangeByBranch(ctx, app, fork, branch)
}

// Accept records that a person found the change's present head good.
func (h *Helm) Accept(ctx context.Context, a bosman.Actor, app, ref, why string) error {
	return h.signOff(ctx, a, app, ref, bosman.Accepted, why)
}

// SendBack records that a person did not, and why; its author sees it and the
// change cannot be merged until a new push.
func (h *Helm) SendBack(ctx context.Context, a bosman.Actor, app, ref, why string) error {
	if strings.TrimSpace(why) == "" {
		return bosman.Invalid("sending a change back needs a reason").WithKept("nothing was changed").WithNext(`say it: bosman send-back ` + ref + ` --why "the list is empty for Gdańsk"`)
	}
	return h.signOff(ctx, a, app, ref, bosman.SentBack, why)
}

func (h *Helm) signOff(ctx context.Context, a bosman.Actor, app, ref string, verdict bosman.SignoffVerdict, why string) error {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return err
	}
	if err := h.may(ctx, a, bosman.MaySignOff, app, ""); err != nil {
		return err
	}
	if c.State != bosman.ChangeOpen {
		return bosman.Conflict("%s (%s) is %s", changeRef(c.Number), c.Branch, c.State).WithKept("nothing was changed")
	}
	what := map[bosman.SignoffVerdict]string{bosman.Accepted: "accepted", bosman.SentBack: "sent back"}[verdict]
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.AddSignoff(ctx, bosman.Signoff{App: app, Change: c.Number, Commit: c.Head, Person: a.Person, Verdict: verdict, Why: why, At: h.now()}); err != nil {
			return err
		}
		c.UpdatedAt = h.now()
		if verdict == bosman.SentBack {
			c.MergeWanted = ""
		}
		if err := s.SaveChange(ctx, c); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: what + " " + changeRef(c.Number) + " (" + c.Branch + ")", Subject: changeRef(c.Number), Why: why},
			event(bosman.EventSignedOff, changeRef(c.Number)), event(bosman.EventChangeUpdated, changeRef(c.Number)))
	})
}

// Merged is what Merge did.
type Merged struct {
	Change  int
	Commit  string // main's new head; "" while it waits
	Build   int    // the build it waits for, 0 if it is merged
	Release int    // the release that staging gets
	Note    string
}

// Merge moves main to the change's tested merge result. When main moved since
// the tests, the new merge result is built first and merged by itself once it
// is green.
func (h *Helm) Merge(ctx context.Context, a bosman.Actor, app, ref string) (Merged, error) {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return Merged{}, err
	}
	if err := h.may(ctx, a, bosman.MayMerge, app, ""); err != nil {
		return Merged{}, err
	}
	return h.merge(ctx, a, c)
}

func (h *Helm) merge(ctx context.Context, a bosman.Actor, c bosman.Change) (Merged, error) {
	out := Merged{Change: c.Number}
	if err := h.mergeable(ctx, c); err != nil {
		return out, err
	}
	app, err := h.Store.App(ctx, c.App)
	if err != nil {
		return out, err
	}
	repo, err := h.Repos.Open(c.App)
	if err != nil {
		return out, err
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		return out, err
	}
	main := heads[app.MainBranch]
	b, err := h.Store.LatestBuild(ctx, c.App, c.Number)
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return out, err
	}
	if err != nil || b.Head != c.Head || b.Base != main || b.State == bosman.BuildCancelled || b.State == bosman.BuildError {
		// What was tested is not what main would get.
		if b, err = h.queueBuild(ctx, a, c, "to merge", false); err != nil {
			return out, err
		}
	}
	switch {
	case b.State == bosman.BuildRed:
		return out, bosman.Conflict("%s (%s) is red: %s", changeRef(c.Number), c.Branch, b.Reason).
			WithKept("main was not moved").WithNext("push a fix; the tests run again by themselves")
	case !b.State.Final():
		c.MergeWanted = a.Person
		out.Build = b.Number
		out.Note = fmt.Sprintf("%s waits for the tests of %s and merges by itself when they are green", changeRef(c.Number), buildRef(b.Number))
		return out, h.Store.InTx(ctx, func(s *store.Store) error {
			if err := s.SaveChange(ctx, c); err != nil {
				return err
			}
			return h.note(ctx, s, a, bosman.Activity{App: c.App, What: "asked to merge " + changeRef(c.Number) + " (" + c.Branch + ") once " + buildRef(b.Number) + " is green", Subject: changeRef(c.Number)},
				event(bosman.EventChangeUpdated, changeRef(c.Number)))
		})
	}
	o, err := h.Origin(ctx, c.App)
	switch bosman.KindOf(err) {
	case "":
		if err := repo.Push(ctx, o.remote(), b.Commit, "refs/heads/"+app.MainBranch, main); err != nil {
			return out, err
		}
	case bosman.KindNotFound:
	default:
		return out, err
	}
	if err := repo.MoveMain(ctx, b.Commit, main); err != nil {
		return out, err
	}
	out.Commit, out.Release = b.Commit, b.Release
	out.Note = fmt.Sprintf("main is now %s; staging follows with %s", bosman.Short(b.Commit), releaseRef(b.Release))
	if b.Unconcerned() {
		out.Note = fmt.Sprintf("main is now %s; %s", bosman.Short(b.Commit), b.Reason)
	}
	return out, h.mainMoved(ctx, a, app, main, b.Commit, c.Number)
}

// mergeable says why a change may not be merged whatever its tests say.
func (h *Helm) mergeable(ctx context.Context, c bosman.Change) error {
	name := changeRef(c.Number) + " (" + c.Branch + ")"
	kept := "main was not moved"
	switch {
	case c.State != bosman.ChangeOpen:
		return bosman.Conflict("%s is %s already", name, c.State).WithKept(kept)
	case len(c.Conflicts) > 0:
		return bosman.Conflict("%s conflicts with main in %s", name, strings.Join(c.Conflicts, ", ")).WithKept(kept).
			WithNext("merge main into " + c.Branch + ", solve the conflicts there and push")
	case c.Blocked != "":
		return bosman.Conflict("%s is blocked: %s", name, c.Blocked).WithKept(kept)
	case c.Trust == bosman.TrustStranger:
		return bosman.Conflict("%s comes from the fork of %s and is never merged from here", name, c.Fork).WithKept(kept).
			WithNext("take the commits over into a branch of your own once you read them")
	}
	last, err := h.lastSignoff(ctx, c)
	if err != nil {
		return err
	}
	if last != nil && last.Verdict == bosman.SentBack {
		return bosman.Conflict("%s was sent back by %s: %s", name, last.Person, last.Why).WithKept(kept).
			WithNext("push a fix, or let a tester accept it: bosman accept " + changeRef(c.Number))
	}
	return nil
}

// lastSignoff is the newest yes or no on the change's present head; nil
// without one.
func (h *Helm) lastSignoff(ctx context.Context, c bosman.Change) (*bosman.Signoff, error) {
	all, err := h.Store.Signoffs(ctx, c.App, c.Number)
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Commit == c.Head {
			return &all[i], nil
		}
	}
	return nil, nil
}

// CloseChange takes a change off the road; reopening is a push.
func (h *Helm) CloseChange(ctx context.Context, a bosman.Actor, app, ref string) error {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return err
	}
	if err := h.may(ctx, a, bosman.MayPush, app, ""); err != nil {
		return err
	}
	return h.closeChange(ctx, a, c, "by hand")
}

func (h *Helm) closeChange(ctx context.Context, a bosman.Actor, c bosman.Change, why string) error {
	if c.State != bosman.ChangeOpen {
		return nil
	}
	c.State, c.UpdatedAt, c.MergeWanted = bosman.ChangeClosed, h.now(), ""
	if err := h.cancelBuilds(ctx, c.App, c.Number, 0, "the change was closed"); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveChange(ctx, c); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: c.App, What: "closed " + changeRef(c.Number) + " (" + c.Branch + ")", Subject: changeRef(c.Number), Why: why},
			event(bosman.EventChangeClosed, changeRef(c.Number)))
	})
}
