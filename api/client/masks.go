package client

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// Masks says what is masked in copies of an instance's data.
func (c *Client) Masks(ctx context.Context, app, instance string) ([]bosman.MaskReport, error) {
	return get[[]bosman.MaskReport](ctx, c, at("apps", app, "instances", instance, "masks"))
}
