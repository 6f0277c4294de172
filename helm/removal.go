package helm

import (
	"context"
	"encoding/json"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/store"
)

// A removal is noted before it begins and forgotten with the instance's row, so
// that the next start finishes what was killed on the way:
//
//	noted ─► route, processes, data, folder ─► row
//	  ├─ fails: forgotten, and the instance stays
//	  └─ somebody goes on with the instance: forgotten

// removal is the setting that notes the removal of an instance, and by whom.
func removal(app, name string) string { return "removing:" + app + "/" + name }

// forgetRemoval forgets that an instance was to be removed.
func forgetRemoval(ctx context.Context, s *store.Store, app, name string) error {
	by, err := s.Setting(ctx, removal(app, name))
	if err != nil || by == "" {
		return err
	}
	return s.SetSetting(ctx, removal(app, name), "")
}

// removeInstance takes an instance away for a, who may.
func (h *Helm) removeInstance(ctx context.Context, a bosman.Actor, i bosman.Instance) error {
	by, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := h.Store.SetSetting(ctx, removal(i.App, i.Name), string(by)); err != nil {
		return err
	}
	if err := faults.Point("helm.removal.noted"); err != nil {
		return err
	}
	err = h.Runtime.Remove(ctx, i)
	if err == nil {
		err = h.Store.InTx(ctx, func(s *store.Store) error {
			if err := s.RemoveInstance(ctx, i.App, i.Name); err != nil {
				return err
			}
			if err := s.SetSetting(ctx, removal(i.App, i.Name), ""); err != nil {
				return err
			}
			return h.note(ctx, s, a, bosman.Activity{App: i.App, What: "removed the instance " + i.Name, Subject: i.Name, Instance: i.Name}, event(bosman.EventInstanceChanged, i.Name))
		})
	}
	if err == nil || ctx.Err() != nil { // cut short, it is finished at the next start
		return err
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if serr := h.Store.SetSetting(end, removal(i.App, i.Name), ""); serr != nil {
		h.Log.Error("a removal that failed is tried again at the next start", "app", i.App, "instance", i.Name, "err", serr)
	}
	return err
}

// FinishRemovals finishes removals that were killed on the way. Call it at the
// start, before instances are started.
func (h *Helm) FinishRemovals(ctx context.Context) error {
	all, err := h.Store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		by, err := h.Store.Setting(ctx, removal(i.App, i.Name))
		if err != nil {
			return err
		}
		var a bosman.Actor
		if by == "" || json.Unmarshal([]byte(by), &a) != nil {
			continue
		}
		if i.Operation != 0 { // somebody went on with it
			if err := forgetRemoval(ctx, h.Store, i.App, i.Name); err != nil {
				return err
			}
			continue
		}
		h.Log.Info("the removal of an instance goes on", "app", i.App, "instance", i.Name)
		if err := h.removeInstance(ctx, a, i); err != nil {
			if ctx.Err() != nil {
				return err
			}
			h.Log.Error("an instance could not be removed; ask for it again", "app", i.App, "instance", i.Name, "err", err)
		}
	}
	return nil
}
