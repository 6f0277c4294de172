package clone

import (
	"context"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

var _ database.Masker = (*Engine)(nil)

// MaskWith implements database.Masker.
func (e *Engine) MaskWith(m database.Masking) { e.masking = m }

// MaskPlan implements database.Masker; d is on one of the sources.
func (e *Engine) MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (mask.Plan, error) {
	return e.face.MaskPlan(ctx, d, s)
}

// maskSpec gives what is to be masked in a golden copy of from, and its
// version.
func (e *Engine) maskSpec(ctx context.Context, from bosman.Database, release int) (mask.Spec, string, error) {
	if e.masking == nil {
		return mask.Spec{}, "", nil
	}
	name, err := e.face.NameOf(ctx, from)
	if err != nil {
		return mask.Spec{}, "", err
	}
	return e.masking.Spec(ctx, name, release)
}

// masked gives the golden copies of from that are masked as is asked for now.
func (e *Engine) masked(ctx context.Context, from bosman.Database, release int) ([]entry, error) {
	_, version, err := e.maskSpec(ctx, from, release)
	if err != nil {
		return nil, err
	}
	all, err := e.generations(from)
	var out []entry
	for _, g := range all {
		if g.Golden.Mask == version {
			out = append(out, g)
		}
	}
	return out, err
}

// Offered implements database.Refresher.
func (e *Engine) Offered(ctx context.Context, from bosman.Database, release int) ([]database.Golden, error) {
	all, err := e.masked(ctx, from, release)
	out := make([]database.Golden, 0, len(all))
	for _, g := range all {
		out = append(out, e.asGolden(g))
	}
	return out, err
}
