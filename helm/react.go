package helm

import (
	"context"
	"fmt"
	"strconv"

	"github.com/bosman-cd/bosman"
)

// react reads events in order and does what follows from them. Each reaction
// may be repeated: the cursor moves after it.
func (h *Helm) react(ctx context.Context) error {
	return h.Store.FollowAs(ctx, "helm", func(ctx context.Context, e bosman.Event) error {
		err := h.reaction(ctx, e)
		if err != nil && ctx.Err() == nil {
			h.Log.Error("a reaction failed", "app", e.App, "event", e.Kind, "subject", e.Subject, "err", err)
			return nil
		}
		return err
	})
}

// reaction is the table of what follows from what.
func (h *Helm) reaction(ctx context.Context, e bosman.Event) error {
	switch e.Kind {
	case bosman.EventMainMoved:
		if err := h.advancePolicy(ctx, e.App); err != nil {
			h.Log.Warn("the policy of main could not be read", "app", e.App, "err", err)
		}
		if _, err := h.settleMain(ctx, e.App); err != nil {
			return err
		}
		if err := h.mainMovedUnder(ctx, e.App); err != nil {
			return err
		}
		return h.settleFollowed(ctx, e.App)
	case bosman.EventBuildEnded:
		return h.buildEnded(ctx, e.App, number(e.Subject))
	case bosman.EventReleaseSealed:
		return h.followMain(ctx, e.App)
	case bosman.EventChangeClosed, bosman.EventRehearsed:
		return h.findHazards(ctx, e.App)
	case bosman.EventOperationEnded:
		return h.operationEnded(ctx, e.App, number(e.Subject))
	default:
		return nil
	}
}

// number reads the number of a subject such as "b12"; 0 if it has none.
func number(subject string) int {
	if len(subject) < 2 {
		return 0
	}
	n, err := strconv.Atoi(subject[1:])
	if err != nil {
		return 0
	}
	return n
}

// settleMain sees that main has a green release or a build on its way to one,
// and that staging follows. The build is zero when none is needed.
func (h *Helm) settleMain(ctx context.Context, name string) (bosman.Build, error) {
	h.settling.Lock()
	defer h.settling.Unlock()
	app, err := h.Store.App(ctx, name)
	if err != nil {
		return bosman.Build{}, err
	}
	repo, err := h.Repos.Open(name)
	if err != nil {
		return bosman.Build{}, err
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		return bosman.Build{}, err
	}
	main := heads[app.MainBranch]
	if main == "" {
		return bosman.Build{}, nil
	}
	h.policies.forget(name)
	if b, err := h.Store.BuildOfCommit(ctx, name, main); err == nil && b.State != bosman.BuildCancelled && b.State != bosman.BuildError {
		if b.State == bosman.BuildGreen {
			return bosman.Build{}, h.followMain(ctx, name)
		}
		return b, nil
	} else if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return bosman.Build{}, err
	}
	b, err := h.queueCommit(ctx, bosman.System(), app, app.MainBranch, "main moved", false)
	if err == nil && b.State == bosman.BuildGreen {
		err = h.followMain(ctx, name)
	}
	return b, err
}

// mainMovedUnder looks at the open changes after main moved: which conflict
// now, whose migrations collide now, and which accepted ones need their new
// merge result tested.
func (h *Helm) mainMovedUnder(ctx context.Context, app string) error {
	open, err := h.Store.Changes(ctx, app, bosman.ChangeOpen, 0)
	if err != nil {
		return err
	}
	a, err := h.Store.App(ctx, app)
	if err != nil {
		return err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return err
	}
	if len(open) == 0 {
		return nil
	}
	main, err := repo.Resolve(ctx, "refs/heads/"+a.MainBranch)
	if err != nil {
		return err
	}
	for _, c := range open {
		m, err := repo.MergeResult(ctx, main, c.Head, mergeMessage(c))
		if err != nil {
			h.Log.Warn("a change cannot be merged with main", "app", app, "change", c.Number, "err", err)
			continue
		}
		last, err := h.lastSignoff(ctx, c)
		if err != nil {
			return err
		}
		if len(m.Conflicts) > 0 || len(c.Conflicts) > 0 {
			c.Conflicts = m.Conflicts
			if err := h.saveChange(ctx, c); err != nil {
				return err
			}
		}
		if len(m.Conflicts) == 0 && (c.MergeWanted != "" || last != nil && last.Verdict == bosman.Accepted) {
			if _, err := h.queueBuild(ctx, bosman.System(), c, "main moved", false); err != nil {
				return err
			}
		}
	}
	return h.findHazards(ctx, app)
}

// lastSent is the release of the newest deployment to an instance that was
// not called off; 0 without any.
func (h *Helm) lastSent(ctx context.Context, i bosman.Instance) (int, error) {
	ops, err := h.Store.Operations(ctx, i.App, i.Name, 0)
	if err != nil {
		return 0, err
	}
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy && o.State != bosman.OpSuperseded && o.State != bosman.OpCancelled {
			return o.Release, nil
		}
	}
	return 0, nil
}

// buildEnded merges what waited for the build, and sends main's release on.
func (h *Helm) buildEnded(ctx context.Context, app string, n int) error {
	b, err := h.Store.Build(ctx, app, n)
	if err != nil {
		return err
	}
	if err := h.oweStatus(ctx, h.Store, b); err != nil {
		return err
	}
	if err := h.followMain(ctx, app); err != nil || b.Change == 0 {
		return err
	}
	c, err := h.Store.Change(ctx, app, b.Change)
	if err != nil {
		return err
	}
	if c.MergeWanted == "" || c.State != bosman.ChangeOpen || b.State == bosman.BuildCancelled {
		return nil
	}
	actor := bosman.Actor{Person: c.MergeWanted, From: "bosman"}
	if b.State == bosman.BuildGreen {
		if err := h.may(ctx, actor, bosman.MayMerge, app, ""); err == nil {
			if _, err = h.merge(ctx, actor, c); err == nil {
				return nil
			}
			h.Log.Warn("a change was not merged by itself", "app", app, "change", c.Number, "err", err)
		}
	}
	c.MergeWanted = ""
	return h.saveChange(ctx, c)
}

// Reconcile compares what is with what should be after a start: refs against
// changes, and operations against the durable engine.
func (h *Helm) Reconcile(ctx context.Context) error {
	apps, err := h.Store.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := h.reconcileRefs(ctx, app); err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
	}
	ops, err := h.Store.UnfinishedOperations(ctx)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := h.Operator.Begin(ctx, op); err != nil {
			return fmt.Errorf("resume %s of %s: %w", opRef(op.Number), op.App, err)
		}
	}
	h.Builder.Wake()
	return nil
}

// reconcileRefs acts on refs that moved while nobody recorded it.
func (h *Helm) reconcileRefs(ctx context.Context, app bosman.App) error {
	repo, err := h.Repos.Open(app.Name)
	if err != nil {
		return err
	}
	heads, err := repo.Heads(ctx)
	if err != nil {
		return err
	}
	known, err := h.Store.Setting(ctx, knownMain(app.Name))
	if err != nil {
		return err
	}
	main := heads[app.MainBranch]
	if main != "" && main != known {
		if err := h.mainMoved(ctx, bosman.System(), app, known, main, 0); err != nil {
			return err
		}
	}
	open, err := h.Store.Changes(ctx, app.Name, "", 0)
	if err != nil {
		return err
	}
	seen := map[string]bosman.Change{}
	for _, c := range open {
		if prev, ok := seen[c.Branch]; c.Fork == "" && (!ok || prev.Number < c.Number) {
			seen[c.Branch] = c
		}
	}
	for branch, head := range heads {
		if branch == app.MainBranch || seen[branch].Head == head {
			continue
		}
		if _, _, err := h.Propose(ctx, bosman.System(), Proposal{App: app.Name, Branch: branch, Head: head, Trust: bosman.TrustTeam}); err != nil {
			h.Log.Warn("a branch could not be taken up", "app", app.Name, "branch", branch, "err", err)
		}
	}
	if err := h.settleFollowed(ctx, app.Name); err != nil {
		h.Log.Warn("the branch that staging follows could not be taken up", "app", app.Name, "err", err)
	}
	for branch, c := range seen {
		if _, there := heads[branch]; !there && c.State == bosman.ChangeOpen {
			if err := h.closeChange(ctx, bosman.System(), c, "the branch was deleted"); err != nil {
				return err
			}
		}
	}
	return nil
}
