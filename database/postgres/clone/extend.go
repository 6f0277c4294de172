package clone

import (
	"context"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

var _ database.Extender = (*Engine)(nil)

// Extend implements database.Extender.
func (e *Engine) Extend(ctx context.Context, d bosman.Database, names []string) error {
	return e.use(ctx, d, func(in *postgres.Engine) error { return in.Extend(ctx, d, names) })
}

// AddSource lets databases of c be copied.
func (e *Engine) AddSource(c *postgres.Cluster) { e.face.AddSource(c) }

// AddSource lets databases of c be copied, to either side.
func (b *Both) AddSource(c *postgres.Cluster) {
	b.Engine.AddSource(c)
	b.old.AddSource(c)
}
