package client

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// Rehearsal gives the rehearsal of a release, r12, or of what names a change.
func (c *Client) Rehearsal(ctx context.Context, app, ref string) (bosman.Rehearsal, error) {
	return get[bosman.Rehearsal](ctx, c, at("apps", app, "rehearsals", ref))
}

// Rehearse asks for one.
func (c *Client) Rehearse(ctx context.Context, app, ref string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "rehearsals", ref), nil)
}

// AcceptRehearsal lets a release pass whose rehearsal never came to its
// database.
func (c *Client) AcceptRehearsal(ctx context.Context, app, ref, why string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "rehearsals", ref, "accept"), m{"why": why})
}
