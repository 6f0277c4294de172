package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/notify"
	"github.com/bosman-cd/bosman/store"
)

// WatchedAfter says on a revert what became of the errors for which the watch
// asked for it. That they went on is said loudly: the release that was taken
// back was not their cause.
func (h *Helm) WatchedAfter(ctx context.Context, op bosman.Operation, wentOn bool, text string) error {
	ref := opRef(op.Number)
	return h.Store.InTx(ctx, func(s *store.Store) error {
		o, err := s.Operation(ctx, op.App, op.Number)
		if err != nil || bosman.WasWatchedAfter(o) {
			return ignoreMissing(err)
		}
		step := bosman.OperationStep{Name: bosman.StepAfter, State: bosman.StepDone, Note: text, StartedAt: o.EndedAt, EndedAt: h.now()}
		if wentOn {
			step.State = bosman.StepFailed
			o.Error = bosman.Failed("%s", text).WithKept(o.Instance + " serves " + releaseRef(o.Release)).
				WithNext(fmt.Sprintf("look for another cause: bosman problems; bosman log %s; %s stays marked bad until somebody deploys it with --override", o.Instance, releaseRef(o.From)))
		}
		o.Steps = append(o.Steps, step)
		if err := s.SaveOperation(ctx, o); err != nil {
			return err
		}
		return h.note(ctx, s, bosman.System(), bosman.Activity{App: o.App, What: "watched on after " + ref + ": " + text, Subject: ref, Instance: o.Instance},
			event(bosman.EventWatchedAfter, ref))
	})
}

// afterMessage tells what became of the errors after a revert.
func (h *Helm) afterMessage(ctx context.Context, m notify.Message, n int) (notify.Message, bool, error) {
	o, err := h.Store.Operation(ctx, m.App, n)
	if err != nil || len(o.Steps) == 0 {
		return m, false, ignoreMissing(err)
	}
	m.Kind, m.Instance, m.URL = "reverted", o.Instance, h.Addresses.Page(fmt.Sprintf("/%s/deployments/%d", m.App, n))
	m.Title = fmt.Sprintf("%s: %s is well after %s", m.App, o.Instance, opRef(n))
	m.Text = o.Steps[len(o.Steps)-1].Note
	if o.Error != nil {
		m.Kind, m.Title = "deployment.failed", fmt.Sprintf("%s: %s does badly still, after %s took %s back", m.App, o.Instance, opRef(n), releaseRef(o.From))
		m.Text += "; " + o.Error.Kept + "; " + o.Error.Next
	}
	return m, true, nil
}
