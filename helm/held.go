package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// toFollow tells the branch that staging follows and the release it is to run
// for it; zero while there is none.
func (h *Helm) toFollow(ctx context.Context, name string) (followed, bosman.Release, error) {
	app, err := h.Store.App(ctx, name)
	if err != nil {
		return followed{}, bosman.Release{}, err
	}
	f, err := h.followed(ctx, app)
	if err != nil || f.head == "" {
		return f, bosman.Release{}, err
	}
	r, err := h.releaseOf(ctx, app, f)
	return f, r, err
}

// Held says why an instance does not follow its branch although that has a release
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
	f, r, err := h.toFollow(ctx, i.App)
	if err != nil || r.Bad == "" || r.Number == i.Release {
		return nil, err
	}
	ref := releaseRef(r.Number)
	return &bosman.Held{
		Release: r.Number, Why: ref + ", which " + f.branch + " holds, is marked bad: " + r.Bad,
		Next: fmt.Sprintf(`push a commit that mends it, or take it all the same: bosman deploy %s --release %s --override "reason"`, i.Name, ref),
	}, nil
}

// staysBehind is the setting that holds for which head of its branch it was last
// written down that an instance does not follow.
func staysBehind(i bosman.Instance) string { return "held:" + i.App + "/" + i.Name }

// hold writes into the activity log, once for each head of the branch, that an
// instance does not follow to a release that is marked bad.
func (h *Helm) hold(ctx context.Context, i bosman.Instance, r bosman.Release, f followed) error {
	if i.Release == r.Number {
		return nil
	}
	said, err := h.Store.Setting(ctx, staysBehind(i))
	if err != nil || said == f.head {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetSetting(ctx, staysBehind(i), f.head); err != nil {
			return err
		}
		ref := releaseRef(r.Number)
		return h.note(ctx, s, bosman.System(), bosman.Activity{
			App: i.App, Instance: i.Name, Subject: ref, Why: r.Bad,
			What: fmt.Sprintf("left %s on %s: %s, which %s holds, is marked bad", i.Name, releaseRef(i.Release), ref, f.branch),
		}, event(bosman.EventInstanceChanged, i.Name))
	})
}
