package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// Masks tells what would be masked in copies of an instance's data.
type Masks interface {
	Masks(ctx context.Context, i bosman.Instance) ([]bosman.MaskReport, error)
}

// MasksOf says, for each database of an instance, what is masked in copies of
// it and what looks personal and is not; for whoever may see the app.
func (h *Helm) MasksOf(ctx context.Context, a bosman.Actor, app, instance string) ([]bosman.MaskReport, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	i, err := h.Store.Instance(ctx, app, instance)
	if err != nil || h.Masks == nil {
		return nil, err
	}
	return h.Masks.Masks(ctx, i)
}

// ConfirmedManifest is main's bosman.yaml as far as what it loosens was
// confirmed: what live's data is protected by.
func (h *Helm) ConfirmedManifest(ctx context.Context, app string) (*bosman.Manifest, error) {
	m, _, err := h.livePolicy(ctx, app)
	return m, err
}
