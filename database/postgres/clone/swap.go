package clone

import (
	"context"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Swap implements database.Engine. Both servers run on: their databases are
// renamed, the index says so in one step, and the links are turned over.
//
//	renamed inside ─► index written ─► links turned
//
// The index decides: what a killed swap left is brought to what it says by
// Recover.
func (e *Engine) Swap(ctx context.Context, d, with bosman.Database) (bosman.Database, error) {
	next, err := e.entryOf(with)
	if err != nil {
		return bosman.Database{}, err
	}
	old, err := e.entryOf(d)
	bare := bosman.KindOf(err) == bosman.KindNotFound
	if err != nil && !bare {
		return bosman.Database{}, err
	}
	place := database.Base(next.Name)
	if next.Name == place {
		return bosman.Database{}, bosman.Conflict("the database %s stands in its place already", with.Name).WithKept("it is untouched")
	}
	if !bare && old.Name != place {
		return bosman.Database{}, bosman.Conflict("the database %s cannot take the place of %s", with.Name, d.Name).WithKept("both are untouched")
	}
	release, err := e.host.claim(ctx, e.app, place, next.Name)
	if err != nil {
		return bosman.Database{}, err
	}
	defer release()
	fresh := next
	fresh.Name, fresh.KeptAt, fresh.Parked = place, time.Time{}, false
	aside := old
	var kept bosman.Database
	if !bare {
		aside.KeptAt = e.now().UTC().Truncate(time.Millisecond)
		aside.Name = database.KeptName(place, aside.KeptAt)
		kept = e.describe(aside.Name)
	}
	if err := e.turn(ctx, next, fresh, old, aside); err != nil {
		return bosman.Database{}, err
	}
	if err := e.host.unlink(e.app, next.Name, next.ID); err != nil {
		return bosman.Database{}, err
	}
	return kept, faults.Point("clone.swap.linked")
}

// turn makes next into fresh, and old, if it exists, into aside.
func (e *Engine) turn(ctx context.Context, next, fresh, old, aside entry) error {
	undo := func(why error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		for _, was := range []entry{next, old} {
			if was.ID == "" || was.Parked {
				continue
			}
			if err := e.adopt(ctx, was); err != nil {
				e.log.Warn("the name of a copy could not be put back; the next start does", "database", was.Name, "error", err)
			}
		}
		return why
	}
	if err := e.launch(ctx, next); err != nil {
		return err
	}
	if old.ID != "" {
		// One that does not run takes its new name when it is started.
		runs, err := e.host.server(e.folder(old)).Runs()
		if err != nil {
			return err
		}
		if runs {
			if err := e.rename(ctx, aside); err != nil {
				return undo(err)
			}
		}
		if err := faults.Point("clone.swap.aside"); err != nil {
			return undo(err)
		}
	}
	if err := e.rename(ctx, fresh); err != nil {
		return undo(err)
	}
	if err := faults.Point("clone.swap.renamed"); err != nil {
		return undo(err)
	}
	err := e.host.update(e.app, func(all *index) error {
		for i := range all.Entries {
			switch all.Entries[i].ID {
			case fresh.ID:
				all.Entries[i] = fresh
			case aside.ID:
				all.Entries[i] = aside
			}
		}
		delete(all.Lost, fresh.Name)
		return nil
	})
	if err != nil {
		return undo(err)
	}
	if err := faults.Point("clone.swap.noted"); err != nil {
		return err
	}
	if err := e.host.link(e.app, fresh.Name, fresh.ID); err != nil {
		return err
	}
	if old.ID == "" {
		return nil
	}
	return e.host.link(e.app, aside.Name, aside.ID)
}

// rename renames what is inside a running server.
func (e *Engine) rename(ctx context.Context, x entry) error {
	in, err := e.inner(e.folder(x))
	if err != nil {
		return err
	}
	return in.Adopt(ctx, x.Name, !x.KeptAt.IsZero())
}

// SetAside keeps the database d under a name of its own although nothing takes
// its place here.
func (e *Engine) SetAside(ctx context.Context, d bosman.Database) (kept bosman.Database, err error) {
	x, err := e.entryOf(d)
	if err != nil {
		return kept, err
	}
	release, err := e.host.claim(ctx, e.app, x.Name)
	if err != nil {
		return kept, err
	}
	defer release()
	aside := x
	aside.KeptAt = e.now().UTC().Truncate(time.Millisecond)
	aside.Name = database.KeptName(database.Base(x.Name), aside.KeptAt)
	if err := e.host.update(e.app, func(all *index) error {
		*all.find(x.Name) = aside
		return nil
	}); err != nil {
		return kept, err
	}
	if runs, err := e.host.server(e.folder(x)).Runs(); err != nil {
		return kept, err
	} else if runs {
		if err := e.adopt(ctx, aside); err != nil {
			return kept, err
		}
	}
	return e.describe(aside.Name), e.host.unlink(e.app, x.Name, x.ID)
}
