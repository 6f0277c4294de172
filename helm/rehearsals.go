package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/store"
)

// dueRehearsal gives the rehearsal of a build's release, and has it begun if
// it is due and nobody asked for it; nil when none is needed.
func (h *Helm) dueRehearsal(ctx context.Context, app string, build, release int) (*bosman.Rehearsal, error) {
	if release == 0 {
		return nil, nil
	}
	if due, ok := h.Migrations.(Rehearser); ok && build != 0 {
		if err := due.Due(ctx, app, build); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			h.Log.Warn("nobody can say whether a release is to be rehearsed", "app", app, "release", release, "err", err)
		}
	}
	r, err := h.Store.Rehearsal(ctx, app, release)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// anyway is the setting that holds who lets the present head of a change be
// merged whatever its rehearsal says, and why.
func anyway(c bosman.Change) string {
	return fmt.Sprintf("merge-anyway:%s/%s/%s", c.App, changeRef(c.Number), c.Head)
}

// MergeAnyway is Merge of a change although its rehearsal fails. It needs an
// administrator and a reason, and holds for the change's present head.
func (h *Helm) MergeAnyway(ctx context.Context, a bosman.Actor, app, ref, why string) (Merged, error) {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return Merged{}, err
	}
	for verb, kind := range map[bosman.Verb]bosman.InstanceKind{bosman.MayMerge: "", bosman.MayAdminister: bosman.KindLive} {
		if err := h.may(ctx, a, verb, app, kind); err != nil {
			return Merged{}, bosman.AsError(err).WithKept("main was not moved")
		}
	}
	if strings.TrimSpace(why) == "" {
		return Merged{}, bosman.Invalid("passing a rule needs a reason").WithKept("main was not moved").
			WithNext(`say it: bosman merge ` + ref + ` --override "staging's data are older than live's"`)
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetSetting(ctx, anyway(c), a.Person+": "+why); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "lets " + changeRef(c.Number) + " (" + c.Branch + ") be merged whatever its rehearsal says", Subject: changeRef(c.Number), Why: why},
			event(bosman.EventChangeUpdated, changeRef(c.Number)))
	})
	if err != nil {
		return Merged{}, err
	}
	return h.merge(ctx, a, c)
}

// mayMerge judges the rehearsal of a green merge result: waits says that it
// goes on, an error that the merge must not be.
func (h *Helm) mayMerge(ctx context.Context, c bosman.Change, b bosman.Build) (waits bool, err error) {
	r, err := h.dueRehearsal(ctx, c.App, b.Number, b.Release)
	if err != nil || r == nil {
		return false, err
	}
	if r.State == bosman.RehearsalRunning {
		return true, nil
	}
	why := r.Stops()
	if why == "" {
		return false, nil
	}
	passed, err := h.Store.Setting(ctx, anyway(c))
	if err != nil {
		return false, err
	}
	ref := changeRef(c.Number)
	if passed == "" {
		return false, bosman.Conflict("%s (%s) is not merged: %s", ref, c.Branch, why).WithKept("main was not moved").
			WithNext("see what ran and what it said: bosman rehearse " + ref + "; " + mend(r) + ", or rehearse it again: bosman rehearse " + ref + " --again; an administrator may pass this rule: bosman merge " + ref + ` --override "reason"`)
	}
	r.Accepted = passed
	return false, h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveRehearsal(ctx, *r); err != nil {
			return err
		}
		return h.tell(ctx, s, c.App, event(bosman.EventRehearsed, releaseRef(r.Release)))
	})
}

// mend says what whoever pushed can do about a rehearsal that failed.
func mend(r *bosman.Rehearsal) string {
	if len(r.Outside) > 0 {
		return "push a fix (if the command cannot do without what it tried to reach: migrations: {network: true} in bosman.yaml)"
	}
	return "push a fix"
}

// rehearsalEnded says on the changes what a rehearsal found, and merges what
// waited for it.
func (h *Helm) rehearsalEnded(ctx context.Context, app string, release int) error {
	if err := h.findHazards(ctx, app); err != nil {
		h.Log.Warn("migrations were not compared", "app", app, "err", err)
	}
	r, err := h.Store.Rehearsal(ctx, app, release)
	if err != nil || r.State == bosman.RehearsalRunning {
		return ignoreMissing(err)
	}
	if r.Change == 0 {
		if err := h.tellForgeOfMain(ctx, r); err != nil {
			return err
		}
	}
	open, err := h.Store.Changes(ctx, app, bosman.ChangeOpen, 0)
	if err != nil {
		return err
	}
	for _, c := range open {
		if c.MergeWanted == "" {
			continue
		}
		b, err := h.Store.LatestBuild(ctx, app, c.Number)
		if err != nil {
			return err
		}
		if b.Release == release && b.Head == c.Head && b.State == bosman.BuildGreen {
			if err := h.mergeWanted(ctx, c, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeWanted merges a change whose build ended for the person who wanted it.
func (h *Helm) mergeWanted(ctx context.Context, c bosman.Change, b bosman.Build) error {
	actor := bosman.Actor{Person: c.MergeWanted, From: "bosman"}
	why := ""
	if b.State == bosman.BuildGreen {
		err := h.may(ctx, actor, bosman.MayMerge, c.App, "")
		if err == nil {
			if _, err = h.merge(ctx, actor, c); err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		why = bosman.AsError(err).Message
		h.Log.Warn("a change was not merged by itself", "app", c.App, "change", c.Number, "err", err)
	}
	c.MergeWanted = ""
	if why == "" {
		return h.saveChange(ctx, c)
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveChange(ctx, c); err != nil {
			return err
		}
		return h.note(ctx, s, bosman.System(), bosman.Activity{App: c.App, What: "did not merge " + changeRef(c.Number) + " (" + c.Branch + ") for " + actor.Person, Subject: changeRef(c.Number), Why: why},
			event(bosman.EventChangeUpdated, changeRef(c.Number)))
	})
}

// judgeRehearsal lets no release meet staging's or live's data for the first
// time whose command fails on a copy of them.
func (h *Helm) judgeRehearsal(ctx context.Context, op bosman.Operation, i bosman.Instance) (Wait, error) {
	if op.Override != "" || i.Kind != bosman.KindStaging && i.Kind != bosman.KindLive {
		return Wait{}, nil
	}
	for _, name := range []string{i.Name, string(bosman.KindStaging)} {
		if ran, err := h.ranOn(ctx, op.App, name, op.Release); err != nil || ran {
			return Wait{}, err // it was more than rehearsed
		}
	}
	rel, err := h.Store.Release(ctx, op.App, op.Release)
	if err != nil {
		return Wait{}, err
	}
	r, err := h.dueRehearsal(ctx, op.App, rel.Build, rel.Number)
	if err != nil || r == nil {
		return Wait{}, err
	}
	name := releaseRef(rel.Number)
	if r.State == bosman.RehearsalRunning {
		return Wait{For: name + " is rehearsed on a copy of staging's data"}, nil
	}
	if why := r.Stops(); why != "" {
		return Wait{}, bosman.Conflict("%s", why).
			WithNext("see what ran and what it said: bosman rehearse " + name + "; " + mend(r) + "; an administrator may pass this rule: bosman deploy " + i.Name + " --release " + name + ` --override "reason"`)
	}
	return Wait{}, nil
}

// sayRehearsal tells whoever moved main what the rehearsal of that commit
// finds. Main stays as it is.
func (h *Helm) sayRehearsal(ctx context.Context, app, commit string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, PushFollow)
	defer cancel()
	b, err := h.Store.BuildOfCommit(ctx, app, commit)
	if err != nil || b.State != bosman.BuildGreen {
		return ignoreMissing(err)
	}
	for said := false; ; {
		wake := h.Store.Wake()
		r, err := h.dueRehearsal(ctx, app, b.Number, b.Release)
		if err != nil || r == nil {
			return err
		}
		switch why := r.Stops(); {
		case r.State == bosman.RehearsalRunning:
		case why != "":
			say(w, "! %s", why)
			say(w, "! main holds it now, staging does not get it: push a fix; bosman rehearse %s shows what ran", releaseRef(r.Release))
			return nil
		default:
			if r.State == bosman.RehearsalPassed {
				say(w, "✓ %s was rehearsed on a copy of staging's data in %s", releaseRef(r.Release), took(r.Took))
			}
			return nil
		}
		if !said {
			say(w, "  ◐ %s is rehearsed on a copy of staging's data …", releaseRef(r.Release))
			said = true
		}
		select {
		case <-wake:
		case <-ctx.Done():
			say(w, "the rehearsal goes on without you: bosman rehearse %s", releaseRef(r.Release))
			return nil
		}
	}
}

// tellForgeOfMain has the app's forge hear how the rehearsal of a commit of
// main went.
func (h *Helm) tellForgeOfMain(ctx context.Context, r bosman.Rehearsal) error {
	setting, err := h.Store.Setting(ctx, originOf(r.App))
	if err != nil || setting == "" {
		return err
	}
	var o Origin
	if err := json.Unmarshal([]byte(setting), &o); err != nil {
		return err
	}
	rel, err := h.Store.Release(ctx, r.App, r.Release)
	if err != nil {
		return err
	}
	st := forge.Status{Repo: o.Repo, Commit: rel.Commit, Context: migrationContext, URL: h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", r.App, rel.Build))}
	st.State, st.Description = verdict(bosman.Change{}, &r)
	data, err := json.Marshal(letter{Status: st})
	if err != nil {
		return err
	}
	return h.Store.Owe(ctx, store.Owed{Kind: StatusKind(r.App), CoalesceKey: StatusKey(st), Data: data, At: h.now()})
}
