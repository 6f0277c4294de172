package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// StopForRoom stops a testing or preview instance whose data grew until the
// disk was nearly full, until a person starts it. Its data stays; why is shown
// with the instance and the operation.
func (h *Helm) StopForRoom(ctx context.Context, i bosman.Instance, why string) error {
	if i.Kind != bosman.KindTesting && i.Kind != bosman.KindPreview {
		return bosman.Internal("%s is not stopped for others' room", i.Name)
	}
	_, err := h.ask(ctx, bosman.System(), bosman.Operation{App: i.App, Instance: i.Name, Plan: bosman.PlanStop, Release: i.Release, From: i.Release, Why: why})
	return err
}
