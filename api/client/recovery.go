package client

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// Recovery says how well Bosman would survive the loss of its server.
func (c *Client) Recovery(ctx context.Context) (bosman.Recovery, error) {
	return get[bosman.Recovery](ctx, c, "/recovery")
}

// MakeRecoveryKey makes the recovery key, or another in its place.
func (c *Client) MakeRecoveryKey(ctx context.Context, renew bool) (wire.RecoveryKey, error) {
	return post[wire.RecoveryKey](ctx, c, "/recovery/key", m{"renew": renew})
}

// ConfirmRecoveryKey proves that somebody has the recovery key.
func (c *Client) ConfirmRecoveryKey(ctx context.Context, answer string) (bosman.Recovery, error) {
	return post[bosman.Recovery](ctx, c, "/recovery/confirm", m{"answer": answer})
}

// BackUpState makes a backup of Bosman's own state now.
func (c *Client) BackUpState(ctx context.Context) (bosman.Recovery, error) {
	return post[bosman.Recovery](ctx, c, "/recovery/backup", m{})
}
