package mariadb

import (
	"context"
	"database/sql"
	"slices"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

var _ database.Promoter = (*Engine)(nil)

// mark notes in a backup how far the writing to its source has come; call it
// before the source is read.
func (c *Cluster) mark(ctx context.Context, name string, info *database.BackupInfo) error {
	w, err := c.written(ctx, name)
	if err != nil {
		return err
	}
	return database.Marked(info, w)
}

// Promote implements database.Promoter: the database keeps its name on the
// server, and its label says what it is from then on.
func (e *Engine) Promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g database.Golden, made bool, err error) {
	if e.home.Profile != Scratch {
		return g, false, bosman.Invalid("golden copies are made on the scratch server, not on %s", e.home.Name)
	}
	unlock, err := e.home.names.Wait(ctx, "golden copy of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return g, false, err
	}
	defer unlock()
	all, err := e.generations(ctx, from)
	if err != nil || len(all) > 0 && !all[0].Copy.TakenAt.Before(p.TakenAt) {
		return g, false, err
	}
	spec, version, err := e.maskSpec(ctx, from, p.Release)
	if err != nil {
		return g, false, err
	}
	l, err := e.promote(ctx, trial, from, p, spec, version)
	if err != nil {
		return g, false, err
	}
	if err := e.home.point("database.promote.shown"); err != nil {
		return e.asGolden(l), true, err
	}
	return e.asGolden(l), true, e.dropGoldens(ctx, from)
}

func (e *Engine) promote(ctx context.Context, trial, from bosman.Database, p database.Promotion, spec mask.Spec, version string) (l labelled, err error) {
	release, err := e.home.names.Claim(ctx, trial.Name)
	if err != nil {
		return l, err
	}
	defer release()
	src, err := e.reach(from)
	if err != nil {
		return l, err
	}
	parked, err := e.maskTrial(ctx, trial, spec)
	if err != nil {
		return l, err
	}
	if err := e.home.point("database.promote.masked"); err != nil {
		return l, err
	}
	if err := e.home.export(ctx, trial.Name); err != nil {
		return l, err
	}
	if err := e.home.point("database.promote.exported"); err != nil {
		return l, err
	}
	var source label
	if err := src.with(ctx, "", "look at database "+from.Name, func(conn *sql.Conn) (err error) {
		source, err = e.readOn(ctx, src, conn, from.Name)
		return err
	}); err != nil {
		return l, err
	}
	return l, e.home.with(ctx, "", "keep golden copy "+trial.Name, func(conn *sql.Conn) error {
		was, err := e.read(ctx, conn, trial.Name)
		if err != nil {
			return err
		}
		l = labelled{db: trial.Name, ready: true, label: label{
			App: e.app, Name: database.GoldenName(source.Name, p.TakenAt),
			Source: from.Cluster + "/" + from.Name, Written: database.MarkOf[written](p.Marks[""]), Parked: parked, Mask: version,
			Copy: p.Copy(source.Name, was.Copy.Bytes),
		}}
		return putLabel(ctx, conn, trial.Name, l.label, true)
	})
}

// maskTrial masks a database that was restored on trial, and gives what of it
// waits for the place of an instance. Masks go over bare tables, so that no
// trigger runs: all else is dropped before and made anew. While it lasts the
// label says that the database is on trial.
func (e *Engine) maskTrial(ctx context.Context, trial bosman.Database, spec mask.Spec) ([]object, error) {
	worker := e.home.database(trial.Name, workerUser(trial.Name))
	what := &content{}
	err := e.home.with(ctx, "", "mask "+trial.Name, func(conn *sql.Conn) error {
		was, err := e.read(ctx, conn, trial.Name)
		if what.objects = was.Parked; err != nil || spec.Empty() {
			return err
		}
		objects, err := readObjects(ctx, conn, trial.Name)
		if err == nil {
			err = dropObjects(ctx, conn, trial.Name, objects)
		}
		if err == nil {
			err = e.home.ensureUser(ctx, conn, worker.User)
		}
		what.objects = slices.Concat(objects, was.Parked)
		return err
	})
	if err != nil || spec.Empty() {
		return what.objects, err
	}
	if err := e.mask(ctx, worker, spec, what); err != nil {
		return nil, err
	}
	return what.objects, e.home.with(ctx, "", "shut out who masked "+trial.Name, func(conn *sql.Conn) error {
		return e.home.setUser(ctx, conn, worker.User, "LOCK")
	})
}
