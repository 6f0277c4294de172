package clone

import (
	"context"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/faults"
)

// The pool: copies of the newest golden copy whose servers run already, that
// nobody may enter until one is renamed to the name of its instance.
//
//	ready ─► handed out
//	   └─► dropped (of an older generation, or more than wanted)

// Fill implements database.Pooler.
func (e *Engine) Fill(ctx context.Context, from bosman.Database, want int) (database.Pool, error) {
	var pool database.Pool
	free, err := e.host.claim(ctx, e.app, "pool of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return pool, err
	}
	defer free()
	all, err := e.generations(from)
	if err != nil || len(all) == 0 {
		return pool, err
	}
	x, err := e.host.read(e.app)
	if err != nil {
		return pool, err
	}
	for _, en := range x.Entries {
		if en.Of == nil || en.Of.Source != from.Cluster+"/"+from.Name || !database.HasTag(en.Name, database.TagPool) {
			continue
		}
		if en.Of.ID == all[0].ID && pool.Ready < want {
			e.greet(ctx, en)
			pool.Ready++
			continue
		}
		if err := e.Drop(ctx, e.describe(en.Name)); err != nil && bosman.KindOf(err) != bosman.KindBusy {
			return pool, err
		}
	}
	for pool.Ready < want {
		name := database.Beside(database.Base(all[0].Name), database.TagPool+"_"+database.Stamp(e.now()))
		_, _, gone, err := e.copyGolden(ctx, all[0], name, all[0].Copy.From)
		if bosman.KindOf(err) == bosman.KindUnavailable {
			pool.Why = bosman.AsError(err).Message
			return pool, nil
		}
		if err != nil || gone {
			return pool, err
		}
		pool.Ready++
		if x, err = e.host.read(e.app); err != nil {
			return pool, err
		}
		if en := x.find(name); en != nil {
			e.greet(ctx, *en)
		}
	}
	return pool, nil
}

// greet opens a connection to the server of a ready copy, over which it is
// handed out. Without one, as after a restart of Bosman, a hand-out opens its
// own.
func (e *Engine) greet(ctx context.Context, en entry) {
	dir := e.folder(en)
	runs, err := e.host.server(dir).Runs()
	if err == nil && runs && e.host.hold(dir) {
		var in *postgres.Engine
		if in, err = e.inner(dir); err == nil {
			err = in.Greet(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		e.log.Warn("a copy made in advance does not answer", "database", en.Name, "err", err)
	}
}

// handOut gives a ready copy of the generation g its instance's name. ok is
// false if none is ready.
func (e *Engine) handOut(ctx context.Context, g entry, to, from string) (d bosman.Database, info bosman.CopyInfo, ok bool, err error) {
	begun := time.Now()
	x, err := e.host.read(e.app)
	if err != nil {
		return d, info, false, err
	}
	for _, en := range x.Entries {
		if en.Of == nil || en.Of.ID != g.ID || !database.HasTag(en.Name, database.TagPool) || en.Parked {
			continue
		}
		held, err := e.host.claim(ctx, e.app, en.Name)
		if bosman.KindOf(err) == bosman.KindBusy {
			continue // somebody else takes it
		}
		if err != nil {
			return d, info, false, err
		}
		d, info, err = e.take(ctx, en, to, from, begun)
		held()
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // it was taken, or dropped
		}
		return d, info, err == nil, err
	}
	return d, info, false, nil
}

// take renames a ready copy, which the caller has claimed.
func (e *Engine) take(ctx context.Context, en entry, to, from string, begun time.Time) (bosman.Database, bosman.CopyInfo, error) {
	d, release, err := e.begin(ctx, to)
	if err != nil {
		return d, bosman.CopyInfo{}, err
	}
	defer release()
	x, err := e.host.read(e.app) // it may have gone before we had it
	if err != nil {
		return d, bosman.CopyInfo{}, err
	}
	if now := x.find(en.Name); now == nil || now.ID != en.ID {
		return d, bosman.CopyInfo{}, bosman.NotFound("the copy %s is gone", en.Name)
	}
	mine := en
	mine.Name, mine.Copy.From, mine.Copy.Strategy = to, from, Strategy+database.InAdvance
	if err := e.launch(ctx, en); err != nil {
		return d, bosman.CopyInfo{}, err
	}
	// Until the index says so a killed hand-out is undone by Recover.
	if err := e.adopt(ctx, mine); err != nil {
		return d, bosman.CopyInfo{}, err
	}
	if err := faults.Point("clone.pool.renamed"); err != nil {
		return d, bosman.CopyInfo{}, err
	}
	mine.Copy.Took = time.Since(begun)
	if err := e.host.note(e.app, func(all *index) error {
		if at := all.find(en.Name); at != nil {
			*at = mine
		}
		delete(all.Lost, to)
		return nil
	}); err != nil {
		return d, bosman.CopyInfo{}, err
	}
	if err := faults.Point("clone.pool.handed"); err != nil {
		return d, bosman.CopyInfo{}, err
	}
	return d, mine.Copy, e.host.unlink(e.app, en.Name, en.ID)
}

// ofGolden says which golden copy a copy was made of.
type ofGolden struct {
	ID     string `json:"id"`
	Source string `json:"source"`
}

func origin(g entry) *ofGolden { return &ofGolden{ID: g.ID, Source: g.Golden.Source} }
