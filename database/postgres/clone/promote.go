package clone

import (
	"context"
	"path/filepath"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
	"github.com/bosman-cd/bosman/internal/faults"
)

var (
	_ database.Promoter = (*Engine)(nil)
	_ database.Promoter = (*Both)(nil)
)

// Promote implements database.Promoter: the server of the trial is masked,
// settled and stopped, and the golden copy shares its blocks.
func (e *Engine) Promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g database.Golden, made bool, err error) {
	unlock, err := e.host.wait(ctx, e.app, "golden copy of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return g, false, err
	}
	defer unlock()
	all, err := e.generations(from)
	if err != nil || len(all) > 0 && !all[0].Copy.TakenAt.Before(p.TakenAt) {
		return g, false, err
	}
	x, err := e.promote(ctx, trial, from, p)
	if err != nil {
		return g, false, err
	}
	if err := faults.Point("clone.promote.entered"); err != nil {
		return e.asGolden(x), true, err
	}
	if err := e.Drop(ctx, trial); err != nil {
		return e.asGolden(x), true, err
	}
	return e.asGolden(x), true, e.dropGoldens(ctx, from)
}

func (e *Engine) promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g entry, err error) {
	x, err := e.entryOf(trial)
	if err != nil {
		return g, err
	}
	release, err := e.host.claim(ctx, e.app, x.Name) // so that nobody starts its server again
	if err != nil {
		return g, err
	}
	defer release()
	name, err := e.face.NameOf(ctx, from)
	if err != nil {
		return g, err
	}
	spec, version, err := e.maskSpec(ctx, from, p.Release)
	if err != nil {
		return g, err
	}
	if err := e.still(ctx, x, spec); err != nil {
		return g, err
	}
	dir, _, err := e.plant(ctx, filepath.Join(e.folder(x), "data"), "goldens")
	if err != nil {
		return g, err
	}
	if err := storage.Sync(dir); err != nil { // see fillGolden
		return g, e.host.discard(ctx, dir, diskError("write the golden copy to its disk", e.host.Dir, err))
	}
	g = entry{
		ID: filepath.Base(dir), Name: database.GoldenName(name, p.TakenAt),
		Golden: &golden{Source: from.Cluster + "/" + from.Name, Mark: postgres.MarkOf(p.Marks[""]), Mask: version},
		Copy:   p.Copy(name, bytesOf(filepath.Join(dir, "data", "base"))),
	}
	err = faults.Point("clone.promote.planted")
	if err == nil {
		err = e.host.update(e.app, func(all *index) error {
			all.Entries = append(all.Entries, g)
			return nil
		})
	}
	if err != nil {
		return g, e.host.discard(ctx, dir, err)
	}
	return g, nil
}

// still masks what a server holds, makes it fit to be copied and stops it.
func (e *Engine) still(ctx context.Context, x entry, spec mask.Spec) error {
	if err := e.launch(ctx, x); err != nil {
		return err
	}
	in, err := e.inner(e.folder(x))
	if err != nil {
		return err
	}
	if err := in.Mask(ctx, x.Name, spec); err != nil {
		return err
	}
	if err := in.Settle(ctx, x.Name); err != nil {
		return err
	}
	if err := faults.Point("clone.promote.settled"); err != nil {
		return err
	}
	return e.host.server(e.folder(x)).Stop(ctx)
}
