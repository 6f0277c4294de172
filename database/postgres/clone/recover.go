package clone

import (
	"context"
	"path/filepath"
	"slices"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Recover implements database.Engine: what the index does not name goes, what
// went with the host is noted as lost, and servers that should run are
// started. A server that cannot be started is reported, and does not keep the
// others from theirs.
func (e *Engine) Recover(ctx context.Context) error {
	if err := e.host.forgetNote(e.app, e.now().UTC()); err != nil {
		return err
	}
	x, err := e.host.read(e.app)
	if err != nil {
		return err
	}
	if err := e.sweep(ctx, x); err != nil {
		return err
	}
	for _, en := range x.Entries {
		if err := e.recoverOne(ctx, en); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes folders that the index does not name.
func (e *Engine) sweep(ctx context.Context, x index) error {
	for _, parent := range []string{"servers", "goldens"} {
		left, err := filepath.Glob(filepath.Join(e.host.Dir, e.app, parent, "*"))
		if err != nil {
			return err
		}
		for _, dir := range left {
			if slices.ContainsFunc(x.Entries, func(en entry) bool { return e.folder(en) == dir }) {
				continue
			}
			e.log.Info("half-made copy removed", "folder", dir)
			if err := e.host.uproot(ctx, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) recoverOne(ctx context.Context, en entry) error {
	dir := e.folder(en)
	whole := there(filepath.Join(dir, "data", "PG_VERSION"))
	if en.Golden != nil {
		if !whole {
			return e.lose(ctx, en)
		}
		return nil // it was written to its disk before it was entered
	}
	if database.HasTag(en.Name, database.TagVerify) || database.HasTag(en.Name, database.TagMaking) {
		return e.Drop(ctx, e.describe(en.Name))
	}
	c := e.host.server(dir)
	runs, err := c.Runs()
	if err != nil {
		return err
	}
	if !runs {
		if c.Lost() || !whole {
			e.log.Warn("the host stopped without warning, and a copy with it; it needs to be made anew", "database", en.Name)
			return e.lose(ctx, en)
		}
		if en.Parked || !en.KeptAt.IsZero() {
			return nil
		}
	}
	err = e.launch(ctx, en)
	if err == nil {
		err = e.adopt(ctx, en)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Error("the server of a copy cannot be started", "database", en.Name, "err", err)
		return nil
	}
	return err
}

// lose drops what cannot be trusted any more.
func (e *Engine) lose(ctx context.Context, en entry) error {
	if err := e.host.update(e.app, func(all *index) error {
		all.remove(en.ID)
		if en.Golden == nil && len(database.Tags(en.Name)) == 0 {
			all.lose(en.Name, e.now().UTC())
		}
		return nil
	}); err != nil {
		return err
	}
	if err := faults.Point("clone.lost"); err != nil {
		return err
	}
	return e.host.discard(ctx, e.folder(en), nil)
}

// Wake starts the server of a name that was stopped for want of use; the
// database is usable when it returns. KindNotFound if there is none.
func (e *Engine) Wake(ctx context.Context, name string) error {
	if _, err := e.Find(ctx, name); err != nil {
		return err
	}
	release, err := e.host.wait(ctx, e.app, name)
	if err != nil {
		return err
	}
	defer release()
	x, err := e.host.read(e.app)
	if err != nil {
		return err
	}
	en := x.find(name)
	if en == nil {
		return bosman.NotFound("there is no database %s among the copies of %s", name, e.app)
	}
	if err := e.launch(ctx, *en); err != nil || !en.Parked {
		return err
	}
	return e.setParked(en.ID, false)
}

func (e *Engine) setParked(id string, parked bool) error {
	return e.host.update(e.app, func(all *index) error {
		for i := range all.Entries {
			if all.Entries[i].ID == id {
				all.Entries[i].Parked = parked
			}
		}
		return nil
	})
}

// Tend starts servers that died and stops those that nobody needs: of kept
// copies, and of instances that idle says do not run. It gives how many it
// started again. Call it every few seconds.
func (h *Host) Tend(ctx context.Context, idle func(app, instance string) bool) (revived int, err error) {
	apps, err := h.apps()
	if err != nil {
		return 0, err
	}
	for _, app := range apps {
		e, err := h.Engine(app)
		if err == nil {
			err = h.writeDown(app)
		}
		if err != nil {
			return revived, err
		}
		x, err := h.read(app)
		if err != nil {
			return revived, err
		}
		for _, en := range x.Entries {
			n, err := e.tend(ctx, en, idle)
			revived += n
			if err != nil {
				return revived, err
			}
		}
	}
	return revived, nil
}

func (e *Engine) tend(ctx context.Context, en entry, idle func(app, instance string) bool) (revived int, err error) {
	if en.Golden != nil {
		return 0, nil
	}
	release, err := e.host.claim(ctx, e.app, en.Name)
	if bosman.KindOf(err) == bosman.KindBusy {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer release()
	x, err := e.host.read(e.app) // it may have changed before we had it
	if err != nil {
		return 0, err
	}
	if now := x.find(en.Name); now == nil || now.ID != en.ID || now.Parked != en.Parked {
		return 0, nil
	}
	if !database.HasTag(en.Name, database.TagPool) {
		e.host.letGo(ctx, e.folder(en)) // it was handed out
	}
	c := e.host.server(e.folder(en))
	runs, err := c.Runs()
	if err != nil {
		return 0, err
	}
	defer func() {
		if now, rerr := c.Runs(); err == nil && rerr == nil && !now {
			err = c.Rest() // nobody needs it for now
		}
	}()
	unused := en.Parked || !en.KeptAt.IsZero() || idle != nil && len(database.Tags(en.Name)) == 0 && idle(e.app, en.Name)
	switch {
	case unused && runs:
		if err := c.Stop(ctx); err != nil {
			return 0, err
		}
		return 0, e.setParked(en.ID, true)
	case unused && !en.Parked:
		return 0, e.setParked(en.ID, true)
	case !unused && !runs:
		return 1, e.launch(ctx, en)
	}
	return 0, nil
}

// Stop stops all servers cleanly and writes what they hold to the disk; for
// when everything is shut down. The next Recover starts them again.
func (h *Host) Stop(ctx context.Context) error {
	apps, err := h.apps()
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := h.writeDown(app); err != nil {
			return err
		}
	}
	all, err := filepath.Glob(filepath.Join(h.Dir, "*", "*", "*", "data"))
	if err != nil {
		return err
	}
	for _, data := range all {
		if err := h.server(filepath.Dir(data)).Stop(ctx); err != nil {
			return err
		}
	}
	for _, data := range all {
		if err := h.server(filepath.Dir(data)).Rest(); err != nil {
			return err
		}
	}
	return nil
}

// Held names the databases of instances here, of all apps, kept ones included.
func (h *Host) Held() (names []string, err error) {
	apps, err := h.apps()
	if err != nil {
		return nil, err
	}
	for _, app := range apps {
		x, err := h.read(app)
		if err != nil {
			return names, err
		}
		for _, en := range x.Entries {
			if en.Golden == nil && !database.HasTag(en.Name, database.TagPool) {
				names = append(names, app+"/"+en.Name)
			}
		}
	}
	return names, nil
}
