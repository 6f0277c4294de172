package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// followMain sends what staging follows to every instance of that kind, unless
// it runs there or is on its way.
func (h *Helm) followMain(ctx context.Context, name string) error {
	h.sending.Lock()
	defer h.sending.Unlock()
	f, r, err := h.toFollow(ctx, name)
	if err != nil || r.Tests != bosman.TestsGreen || r.Trust != bosman.TrustTeam {
		return err
	}
	instances, err := h.Store.Instances(ctx, name)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.Kind != bosman.KindStaging {
			continue
		}
		sent, err := h.lastSent(ctx, i)
		if err != nil {
			return err
		}
		if sent == r.Number {
			continue // it came, is on its way, or failed; what people did since is theirs
		}
		if r.Bad != "" {
			if err := h.hold(ctx, i, r, f); err != nil {
				return err
			}
			continue
		}
		if _, err := h.ask(ctx, bosman.System(), bosman.Operation{App: name, Instance: i.Name, Plan: bosman.PlanDeploy, Release: r.Number, From: i.Release, Auto: true, Why: i.Name + " follows " + f.branch}); err != nil {
			return fmt.Errorf("send %s to %s: %w", releaseRef(r.Number), i.Name, err)
		}
	}
	return nil
}

// followed is the branch that staging follows.
type followed struct {
	repo   *source.Repo
	branch string
	head   string // "" while there is no such branch
	ahead  bool   // it holds what main does not: it is a change
}

// followed tells where the branch stands that main's bosman.yaml, as far as it
// was confirmed, has staging follow.
func (h *Helm) followed(ctx context.Context, app bosman.App) (followed, error) {
	f := followed{branch: app.MainBranch}
	var err error
	if f.repo, err = h.Repos.Open(app.Name); err != nil {
		return f, err
	}
	heads, err := f.repo.Heads(ctx)
	if err != nil || heads[app.MainBranch] == "" {
		return f, err
	}
	m, err := h.ConfirmedManifest(ctx, app.Name)
	if bosman.KindOf(err) == bosman.KindInvalid { // main's build says what is wrong with it
		m, err = nil, nil
	}
	if err != nil {
		return f, err
	}
	if b := m.PolicyFor(bosman.KindStaging).Follow; b != "" {
		f.branch = b
	}
	if f.head = heads[f.branch]; f.head == "" || f.branch == app.MainBranch {
		return f, nil
	}
	contained, err := f.repo.IsAncestor(ctx, f.head, heads[app.MainBranch])
	f.ahead = !contained
	return f, err
}

// releaseOf is the release that staging is to run: of a branch that is ahead
// of main the one of its change, which is what main would become; else the
// one of the commit where the branch stands. It is zero while there is none.
func (h *Helm) releaseOf(ctx context.Context, app bosman.App, f followed) (bosman.Release, error) {
	if f.ahead {
		c, err := h.Store.ChangeByBranch(ctx, app.Name, "", f.branch)
		if err != nil || c.Head != f.head {
			return bosman.Release{}, ignoreMissing(err)
		}
		b, err := h.Store.LatestBuild(ctx, app.Name, c.Number)
		if err != nil || b.Head != f.head || b.State != bosman.BuildGreen || b.Release == 0 {
			return bosman.Release{}, ignoreMissing(err)
		}
		return h.Store.Release(ctx, app.Name, b.Release)
	}
	tree, err := f.repo.TreeOf(ctx, f.head)
	if err != nil {
		return bosman.Release{}, err
	}
	r, err := h.Store.ReleaseOfTree(ctx, app.Name, tree, bosman.TrustTeam)
	if bosman.KindOf(err) != bosman.KindNotFound {
		return r, err
	}
	// Not one of its own: nothing of the app changed since another.
	b, err := h.Store.BuildOfCommit(ctx, app.Name, f.head)
	if err != nil || !b.Unconcerned() {
		return bosman.Release{}, ignoreMissing(err)
	}
	return h.Store.Release(ctx, app.Name, b.Release)
}

// settleFollowed sees that the branch which staging follows has a release or a
// build on its way to one, and that staging gets it. Main and branches that
// are ahead of it are built anyway.
func (h *Helm) settleFollowed(ctx context.Context, name string) error {
	app, err := h.Store.App(ctx, name)
	if err != nil {
		return err
	}
	f, err := h.followed(ctx, app)
	if err != nil || f.branch == app.MainBranch {
		return err
	}
	if f.head == "" {
		h.Log.Warn("staging follows a branch that is not there", "app", name, "branch", f.branch)
		return nil
	}
	if !f.ahead {
		if err := h.buildStanding(ctx, app, f); err != nil {
			return err
		}
	}
	return h.followMain(ctx, name)
}

// buildStanding queues the build of a commit of main that a followed branch
// stands at, unless there is one.
func (h *Helm) buildStanding(ctx context.Context, app bosman.App, f followed) error {
	h.settling.Lock()
	defer h.settling.Unlock()
	r, err := h.releaseOf(ctx, app, f)
	if err != nil || r.Number != 0 {
		return err
	}
	b, err := h.Store.BuildOfCommit(ctx, app.Name, f.head)
	if bosman.KindOf(err) != bosman.KindNotFound && (err != nil || b.State != bosman.BuildCancelled && b.State != bosman.BuildError) {
		return err
	}
	_, err = h.queueCommit(ctx, bosman.System(), app, f.branch, "staging follows "+f.branch, false)
	return err
}

// buildFollowed builds the followed branch itself where it is no change,
// which changeErr says; own is false where that is not so.
func (h *Helm) buildFollowed(ctx context.Context, a bosman.Actor, app bosman.App, branch string, changeErr error) (b bosman.Build, own bool, err error) {
	f, err := h.followed(ctx, app)
	if err != nil || f.branch != branch || f.head == "" || f.ahead && changeErr == nil {
		return b, false, err
	}
	b, err = h.queueCommit(ctx, a, app, branch, "asked for", true)
	return b, true, err
}

// queueCommit queues a build of the commit a branch stands at, which is main's
// or part of it. Where nothing of the app changed it is green at once, unless
// always.
func (h *Helm) queueCommit(ctx context.Context, a bosman.Actor, app bosman.App, branch, why string, always bool) (bosman.Build, error) {
	repo, err := h.Repos.Open(app.Name)
	if err != nil {
		return bosman.Build{}, err
	}
	commit, err := repo.Commit(ctx, "refs/heads/"+branch)
	if err != nil {
		return bosman.Build{}, err
	}
	b := bosman.Build{App: app.Name, Branch: branch, Head: commit.Hash, Commit: commit.Hash, Tree: commit.Tree, Trust: bosman.TrustTeam}
	if !always {
		if err := h.spare(ctx, &b, commit.Hash); err != nil {
			return bosman.Build{}, err
		}
	}
	return h.enqueue(ctx, a, b, why, func(*store.Store) error { return nil })
}
