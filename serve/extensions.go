package serve

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// extend makes the extensions that a release asks for in an instance's
// database, before the application needs them.
func (d *databases) extend(ctx context.Context, k *database.Keeper, db bosman.Database, m *bosman.Manifest) error {
	names := m.Database.Extensions
	if len(names) == 0 || db.Name == "" {
		return nil
	}
	e, ok := k.Engine.(database.Extender)
	if !ok {
		return bosman.Invalid("bosman.yaml asks for extensions, which %s databases have not got", db.Engine).WithKept("the data is as it was")
	}
	return e.Extend(ctx, db, names)
}

// extendOwn is extend for what an instance runs on now.
func (d *databases) extendOwn(ctx context.Context, i bosman.Instance, m *bosman.Manifest) error {
	if len(m.Database.Extensions)+len(m.Databases) == 0 || i.Database.Engine == "" {
		return nil
	}
	if err := d.noteFurther(i.App, m.DatabaseNames()); err != nil {
		return err
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	if err := d.complete(ctx, k, i, m); err != nil {
		return err
	}
	return d.extend(ctx, k, i.Database, m)
}
