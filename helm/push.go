package helm

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// Check refuses pushes that would break the rules of main: history rewritten,
// main deleted, or moved by somebody who may not merge.
func (h *Helm) Check(ctx context.Context, p source.Push) error {
	actor := bosman.Actor{Person: p.Person, From: "git"}
	app, err := h.Store.App(ctx, p.App)
	if err != nil {
		return err
	}
	for _, u := range p.Updates {
		if err := h.may(ctx, actor, bosman.MayPush, p.App, ""); err != nil {
			return err
		}
		if u.Branch() != app.MainBranch {
			continue
		}
		switch {
		case u.Deleted():
			return bosman.Conflict("%s is the main branch and cannot be deleted", app.MainBranch).WithKept("no ref was moved")
		case u.Forced:
			return bosman.Conflict("this push would rewrite the history of %s", app.MainBranch).WithKept("no ref was moved").
				WithNext("fetch, rebase your commits on " + app.MainBranch + " and push again; to take a release back, revert it or push a commit that undoes it")
		case !u.Created():
			if err := h.may(ctx, actor, bosman.MayMerge, p.App, ""); err != nil {
				return bosman.AsError(err).WithNext("push a branch of another name; it becomes a change that a tester can merge")
			}
		}
	}
	return nil
}

// PushFollow is how long the output of a push follows a build.
const PushFollow = 10 * time.Minute

// Received acts on refs that moved and follows what comes of it.
func (h *Helm) Received(ctx context.Context, p source.Push, progress io.Writer) error {
	actor := bosman.Actor{Person: p.Person, From: "git"}
	app, err := h.Store.App(ctx, p.App)
	if err != nil {
		return err
	}
	var follow []bosman.Build
	main := "" // where it is now, if it moved
	for _, u := range p.Updates {
		branch := u.Branch()
		if branch == "" {
			continue // tags are only kept
		}
		if branch == app.MainBranch {
			if err := h.mainMoved(ctx, actor, app, old(u), u.New, 0); err != nil {
				return err
			}
			b, err := h.settleMain(ctx, p.App)
			if err != nil {
				return err
			}
			say(progress, "main is now %s", bosman.Short(u.New))
			if f, err := h.followed(ctx, app); err == nil && f.head == "" {
				say(progress, "! staging follows %s, which is not there yet: push it, or change follow: in %s", f.branch, bosman.ManifestFile)
			}
			if b.Number != 0 {
				follow = append(follow, b)
			}
			main = u.New
			continue
		}
		c, b, err := h.branchMoved(ctx, actor, app, u)
		if err != nil {
			return err
		}
		h.sayChange(progress, c, b)
		if err := h.settleFollowed(ctx, p.App); err != nil {
			return err
		}
		if b.Number != 0 && !b.State.Final() {
			follow = append(follow, b)
		}
	}
	if len(follow) == 1 {
		if err := h.follow(ctx, follow[0], progress); err != nil {
			return err
		}
	}
	if main != "" && len(follow) < 2 {
		return h.sayRehearsal(ctx, p.App, main, progress)
	}
	if len(follow) == 1 {
		return nil
	}
	for _, b := range follow {
		say(progress, "%s builds %s: %s", buildRef(b.Number), b.Branch, h.Addresses.Page("/"+b.App+"/builds/"+fmt.Sprint(b.Number)))
	}
	return nil
}

func old(u source.RefUpdate) string {
	if u.Created() {
		return ""
	}
	return u.Old
}

func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // whoever pushed may have hung up; that changes nothing
}

func (h *Helm) sayChange(w io.Writer, c bosman.Change, b bosman.Build) {
	page := h.Addresses.Page(fmt.Sprintf("/%s/changes/%d", c.App, c.Number))
	switch {
	case c.Number == 0:
		say(w, "%s holds nothing that main does not", c.Branch)
		return
	case c.State != bosman.ChangeOpen:
		say(w, "%s (%s) is %s", changeRef(c.Number), c.Branch, c.State)
	case len(c.Conflicts) > 0:
		say(w, "%s (%s) conflicts with main and was not built:", changeRef(c.Number), c.Branch)
		for _, f := range c.Conflicts {
			if anew := bosman.WrittenAnew(f); anew != "" {
				f += ": it is written anew: take main's, then run " + anew
			}
			say(w, "    %s", f)
		}
		say(w, "merge main into %s, solve the conflicts there and push again", c.Branch)
	case b.Unconcerned():
		say(w, "%s (%s): %s", changeRef(c.Number), c.Branch, b.Reason)
	case b.State.Final():
		say(w, "%s (%s): this merge result was built before as %s: %s", changeRef(c.Number), c.Branch, buildRef(b.Number), b.State)
	default:
		say(w, "%s (%s): %s builds it as merged with main", changeRef(c.Number), c.Branch, buildRef(b.Number))
	}
	for _, hazard := range c.Hazards {
		say(w, "! %s", hazard)
	}
	say(w, "%s", page)
}

// branchMoved brings the change of a branch up to date and queues its build.
func (h *Helm) branchMoved(ctx context.Context, a bosman.Actor, app bosman.App, u source.RefUpdate) (bosman.Change, bosman.Build, error) {
	c, err := h.Store.ChangeByBranch(ctx, app.Name, "", u.Branch())
	switch {
	case bosman.KindOf(err) == bosman.KindNotFound:
		c = bosman.Change{}
	case err != nil:
		return c, bosman.Build{}, err
	}
	if u.Deleted() {
		if c.Number == 0 || c.State != bosman.ChangeOpen {
			return c, bosman.Build{}, nil
		}
		err := h.closeChange(ctx, a, c, "the branch was deleted")
		c.State = bosman.ChangeClosed
		return c, bosman.Build{}, err
	}
	return h.Propose(ctx, a, Proposal{App: app.Name, Branch: u.Branch(), Head: u.New, Trust: bosman.TrustTeam})
}

// Proposal is a head that somebody wants on main: a pushed branch, or a pull
// request of a forge whose commits were fetched.
type Proposal struct {
	App, Branch, Fork, Head string
	Title, URL              string
	Trust                   bosman.Trust
}

// Propose makes or updates the change of a proposal and queues its build.
func (h *Helm) Propose(ctx context.Context, a bosman.Actor, p Proposal) (bosman.Change, bosman.Build, error) {
	repo, err := h.Repos.Open(p.App)
	if err != nil {
		return bosman.Change{}, bosman.Build{}, err
	}
	commit, err := repo.Commit(ctx, p.Head)
	if err != nil {
		return bosman.Change{}, bosman.Build{}, err
	}
	if p.Title == "" {
		p.Title = commit.Subject
	}
	app, err := h.Store.App(ctx, p.App)
	if err != nil {
		return bosman.Change{}, bosman.Build{}, err
	}
	if contained, err := repo.IsAncestor(ctx, p.Head, "refs/heads/"+app.MainBranch); err == nil && contained {
		return bosman.Change{App: p.App, Branch: p.Branch}, bosman.Build{}, nil // nothing to bring to main
	} else if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return bosman.Change{}, bosman.Build{}, err
	}
	var c bosman.Change
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		c, err = s.ChangeByBranch(ctx, p.App, p.Fork, p.Branch)
		if bosman.KindOf(err) == bosman.KindNotFound || err == nil && c.State == bosman.ChangeMerged && c.Head != p.Head {
			n, err := s.Next(ctx, p.App, bosman.LetterChange)
			if err != nil {
				return err
			}
			c = bosman.Change{App: p.App, Number: n, Branch: p.Branch, Fork: p.Fork, CreatedAt: h.now()}
		} else if err != nil {
			return err
		}
		what := "pushed"
		if c.Head == "" {
			what = "opened"
		}
		pushed := c.Head != p.Head
		if p.URL != "" { // a push of its branch does not say that it has a pull request
			c.URL = p.URL
		}
		c.Head, c.Title, c.Author, c.PushedBy, c.Trust = p.Head, p.Title, commit.Author.Name, a.Person, p.Trust
		c.State, c.UpdatedAt = bosman.ChangeOpen, h.now()
		if pushed {
			c.MergeWanted = ""
		}
		if err := s.SaveChange(ctx, c); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: p.App, What: fmt.Sprintf("%s %s (%s) at %s", what, changeRef(c.Number), c.Branch, bosman.Short(c.Head)), Subject: changeRef(c.Number)},
			event(bosman.EventChangeUpdated, changeRef(c.Number)))
	})
	if err != nil {
		return c, bosman.Build{}, err
	}
	if err := h.cancelBuilds(ctx, c.App, c.Number, 0, "a newer push of "+c.Branch); err != nil {
		return c, bosman.Build{}, err
	}
	b, err := h.queueBuild(ctx, a, c, "pushed", false)
	if bosman.KindOf(err) == bosman.KindConflict {
		err = nil // the change says that it conflicts
	}
	if err != nil {
		return c, b, err
	}
	if err := h.findHazards(ctx, c.App); err != nil {
		h.Log.Warn("migrations were not compared", "app", c.App, "change", c.Number, "err", err)
	}
	c, err = h.Store.Change(ctx, c.App, c.Number)
	return c, b, err
}

// findHazards compares the migrations of all open changes with main and with
// each other, and keeps what it finds on the changes.
func (h *Helm) findHazards(ctx context.Context, app string) error {
	a, err := h.Store.App(ctx, app)
	if err != nil {
		return err
	}
	open, err := h.Store.Changes(ctx, app, bosman.ChangeOpen, 0)
	if err != nil {
		return err
	}
	found, err := h.Migrations.Compare(ctx, a, open)
	if err != nil {
		return err
	}
	for n, c := range open {
		want := found[c.Number]
		rehearsal, err := h.rehearsalOf(ctx, c)
		if err != nil {
			return err
		}
		want.Hazards = append(want.Hazards, rehearsed(rehearsal)...)
		if slices.Equal(want.Hazards, c.Hazards) && want.Blocked == c.Blocked && slices.Equal(want.Migrations, c.Migrations) && slices.Equal(want.Collisions, c.Collisions) {
			continue
		}
		c.Hazards, c.Blocked, c.Migrations, c.Collisions = want.Hazards, want.Blocked, want.Migrations, want.Collisions
		open[n] = c
		if err := h.saveChange(ctx, c); err != nil {
			return err
		}
	}
	return h.tellForge(ctx, app, open)
}

// mainMoved records that main moved from was to is; change is the one that was
// merged by Bosman, 0 for a push. Changes that main now contains are merged.
func (h *Helm) mainMoved(ctx context.Context, a bosman.Actor, app bosman.App, was, is string, change int) error {
	repo, err := h.Repos.Open(app.Name)
	if err != nil {
		return err
	}
	open, err := h.Store.Changes(ctx, app.Name, bosman.ChangeOpen, 0)
	if err != nil {
		return err
	}
	var merged []bosman.Change
	for _, c := range open {
		contained := c.Number == change
		if !contained {
			if contained, err = repo.IsAncestor(ctx, c.Head, is); err != nil {
				h.Log.Warn("a change's head cannot be compared with main", "app", app.Name, "change", c.Number, "err", err)
				continue
			}
		}
		if contained {
			c.State, c.Merged, c.MergedAt, c.MergedBy, c.UpdatedAt = bosman.ChangeMerged, is, h.now(), a.Person, h.now()
			c.MergeWanted, c.Conflicts, c.Hazards, c.Blocked, c.Collisions = "", nil, nil, "", nil
			merged = append(merged, c)
		}
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetSetting(ctx, knownMain(app.Name), is); err != nil {
			return err
		}
		for _, c := range merged {
			if err := s.SaveChange(ctx, c); err != nil {
				return err
			}
			if err := h.note(ctx, s, a, bosman.Activity{App: app.Name, What: "merged " + changeRef(c.Number) + " (" + c.Branch + ")", Subject: changeRef(c.Number)},
				event(bosman.EventChangeMerged, changeRef(c.Number))); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("moved %s to %s", app.MainBranch, bosman.Short(is))
		if was != "" {
			what += " from " + bosman.Short(was)
		}
		return h.note(ctx, s, a, bosman.Activity{App: app.Name, What: what, Subject: app.MainBranch}, event(bosman.EventMainMoved, is))
	})
	return err
}

// knownMain is the setting that holds the head of main that was acted on.
func knownMain(app string) string { return "main:" + app }
