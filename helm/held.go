package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// mains gives the team's release of the tree that main holds; KindNotFound
// while there is none.
func (h *Helm) mains(ctx context.Context, name string) (bosman.Release, error) {
	app, err := h.Store.App(ctx, name)
	if err != nil {
		return bosman.Release{}, err
	}
	repo, err := h.Repos.Open(name)
	if err != nil {
		return bosman.Release{}, err
	}
	tree, err := repo.TreeOf(ctx, "refs/heads/"+app.MainBranch)
	if err != nil {
		return bosman.Release{}, err
	}
	return h.Store.ReleaseOfTree(ctx, name, tree, bosman.TrustTeam)
}

// Held says why an instance does not follow main although main has a release
// for it; nil when it does, or when nobody expects it to.
func (h *Helm) Held(ctx context.Context, a bosman.Actor, app, instance string) (*bosman.Held, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return nil, err
	}
	return h.held(ctx, i)
}

func (h *Helm) held(ctx context.Context, i bosman.Instance) (*bosman.Held, error) {
	if i.Kind != bosman.KindStaging {
		return nil, nil
	}
	r, err := h.mains(ctx, i.App)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil, nil
	}
	if err != nil || r.Bad == "" || r.Number == i.Release {
		return nil, err
	}
	ref := releaseRef(r.Number)
	return &bosman.Held{
		Release: r.Number, Why: ref + ", which main holds, is marked bad: " + r.Bad,
		Next: fmt.Sprintf(`push a commit that mends it, or take it all the same: bosman deploy %s --release %s --override "reason"`, i.Name, ref),
	}, nil
}

// staysBehind is the setting that holds for which head of main it was last
// written down that an instance does not follow.
func staysBehind(i bosman.Instance) string { return "held:" + i.App + "/" + i.Name }

// hold writes into the activity log, once for each head of main, that an
// instance does not follow to a release that is marked bad.
func (h *Helm) hold(ctx context.Context, i bosman.Instance, r bosman.Release) error {
	if i.Release == r.Number {
		return nil
	}
	head, err := h.Store.Setting(ctx, knownMain(i.App))
	if err != nil {
		return err
	}
	said, err := h.Store.Setting(ctx, staysBehind(i))
	if err != nil || said == head {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetSetting(ctx, staysBehind(i), head); err != nil {
			return err
		}
		ref := releaseRef(r.Number)
		return h.note(ctx, s, bosman.System(), bosman.Activity{
			App: i.App, Instance: i.Name, Subject: ref, Why: r.Bad,
			What: fmt.Sprintf("left %s on %s: %s, which main holds, is marked bad", i.Name, releaseRef(i.Release), ref),
		}, event(bosman.EventInstanceChanged, i.Name))
	})
}
