package helm

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/notify"
	"github.com/bosman-cd/bosman/store"
)

const targetScope = "notify"

// AddTarget adds somebody to be told what happens, a webhook or a chat, or
// changes the one of that name.
func (h *Helm) AddTarget(ctx context.Context, a bosman.Actor, t notify.Target) error {
	if err := h.may(ctx, a, bosman.MayAdminister, t.App, ""); err != nil {
		return err
	}
	if err := bosman.CheckName("target", t.Name); err != nil {
		return err
	}
	if err := notify.CheckTarget(t); err != nil {
		return err
	}
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	sealed, err := h.Box.Seal(string(data))
	if err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveSecret(ctx, store.SealedSecret{Scope: targetScope, Name: t.Name, Sealed: sealed, SetAt: h.now(), SetBy: a.Person}); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: t.App, What: "tells " + t.Name + " what happens", Subject: t.Name})
	})
}

// RemoveTarget takes one away.
func (h *Helm) RemoveTarget(ctx context.Context, a bosman.Actor, name string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.RemoveSecret(ctx, "", targetScope, name); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{What: "does not tell " + name + " any more", Subject: name})
	})
}

// Targets lists who is told what happens.
func (h *Helm) Targets(ctx context.Context) ([]notify.Target, error) {
	all, err := h.Store.Secrets(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []notify.Target
	for _, s := range all {
		if s.Scope != targetScope {
			continue
		}
		text, err := h.Box.Open(s.Sealed)
		if err != nil {
			return nil, err
		}
		var t notify.Target
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// MessageOf gives what an event is told as; ok is false for most.
func (h *Helm) MessageOf(ctx context.Context, e bosman.Event) (m notify.Message, ok bool, err error) {
	m = notify.Message{App: e.App, At: e.At}
	switch e.Kind {
	case bosman.EventOperationEnded:
		return h.operationMessage(ctx, m, number(e.Subject))
	case bosman.EventBuildEnded:
		b, err := h.Store.Build(ctx, e.App, number(e.Subject))
		if err != nil || b.Change != 0 || b.State != bosman.BuildRed && b.State != bosman.BuildError {
			return m, false, ignoreMissing(err)
		}
		m.Kind, m.Title, m.Text = "build.red", fmt.Sprintf("%s: main is %s (%s)", e.App, b.State, buildRef(b.Number)), b.Reason
		m.URL = h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", e.App, b.Number))
		return m, true, nil
	case bosman.EventProblemNew:
		p, err := h.Store.Problem(ctx, e.App, number(e.Subject))
		if err != nil {
			return m, false, ignoreMissing(err)
		}
		ref := bosman.Ref(bosman.LetterProblem, p.Number)
		m.Kind, m.Title, m.Text = "problem.new", fmt.Sprintf("%s: %s is new: %s", e.App, ref, p.Title), fmt.Sprintf("since %s, in %s", releaseRef(p.FirstRelease), p.Culprit)
		m.URL = h.Addresses.Page(fmt.Sprintf("/%s/problems/%d", e.App, p.Number))
		return m, true, nil
	case bosman.EventBackupTrouble:
		return h.backupMessage(ctx, m, e)
	case bosman.EventWatchedAfter:
		return h.afterMessage(ctx, m, number(e.Subject))
	case bosman.EventStateUnkept:
		return stateMessage(m, e), true, nil
	default:
		return m, false, nil
	}
}

func (h *Helm) operationMessage(ctx context.Context, m notify.Message, n int) (notify.Message, bool, error) {
	o, err := h.Store.Operation(ctx, m.App, n)
	if err != nil {
		return m, false, ignoreMissing(err)
	}
	kind, err := KindOf(o.Instance)
	if err != nil {
		return m, false, err
	}
	loud := o.State == bosman.OpFailed || o.Plan == bosman.PlanRevert
	if kind != bosman.KindLive && !(kind == bosman.KindStaging && loud) || o.Plan == bosman.PlanBackup && !loud {
		return m, false, nil
	}
	if o.State == bosman.OpSuperseded || o.State == bosman.OpCancelled {
		return m, false, nil
	}
	m.Instance, m.URL = o.Instance, h.Addresses.Page(fmt.Sprintf("/%s/deployments/%d", m.App, n))
	m.Kind = map[bool]string{true: "deployment.failed", false: "deployment.ended"}[o.State == bosman.OpFailed]
	m.Title = fmt.Sprintf("%s: %s (%s) is %s", m.App, wish(o), opRef(n), o.State)
	m.Text = o.Why
	if o.Plan == bosman.PlanDeploy && o.State == bosman.OpDone && o.Error != nil { // it serves, but not well, or not all was done
		m.Kind = "deployment.failed"
		m.Title = fmt.Sprintf("%s: %s (%s) serves, but a person must look", m.App, wish(o), opRef(n))
	}
	if o.Plan == bosman.PlanRevert {
		m.Kind = "reverted"
	}
	if o.Error != nil {
		m.Text = o.Error.Message
		if o.Error.Kept != "" {
			m.Text += "; " + o.Error.Kept
		}
		if o.State == bosman.OpDone && o.Error.Next != "" {
			m.Text += "; " + o.Error.Next
		}
	}
	return m, true, nil
}

// ignoreMissing passes over what was removed meanwhile.
func ignoreMissing(err error) error {
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	return err
}
