package client

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// Databases lists the databases of an app.
func (c *Client) Databases(ctx context.Context, app string) (bosman.Storage, error) {
	return get[bosman.Storage](ctx, c, at("apps", app, "databases"))
}

// Reset gives a testing instance a fresh copy again; exact: of this moment.
func (c *Client) Reset(ctx context.Context, app, instance string, exact bool) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "instances", instance, "reset"), m{"exact": exact})
}
