package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

var (
	_ database.Promoter = (*Engine)(nil)
	_ database.Promoter = (*Many)(nil)
)

// mark notes in a backup how far the writing to its source has come; call it
// before the source is read.
func (c *Cluster) mark(ctx context.Context, name string, info *database.BackupInfo) error {
	n, err := c.counter(ctx, name)
	if err != nil {
		return err
	}
	return database.Marked(info, n)
}

// MarkOf reads one of a backup's marks.
func MarkOf(text string) Mark { return database.MarkOf[counter](text).mark() }

// Promote implements database.Promoter: the database gets another name, and
// nobody may connect to it.
func (e *Engine) Promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g database.Golden, made bool, err error) {
	if e.home.Profile != Scratch {
		return g, false, bosman.Invalid("golden copies are made on the scratch cluster, not on %s", e.home.Name)
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
	l, err := e.promote(ctx, trial, from, p)
	if err != nil {
		return g, false, err
	}
	if err := faults.Point("database.promote.shown"); err != nil {
		return e.asGolden(l), true, err
	}
	return e.asGolden(l), true, e.dropGoldens(ctx, from)
}

func (e *Engine) promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (l labelled, err error) {
	release, err := e.home.names.Claim(ctx, trial.Name)
	if err != nil {
		return l, err
	}
	defer release()
	source, err := e.NameOf(ctx, from)
	if err != nil {
		return l, err
	}
	spec, version, err := e.maskSpec(ctx, from, p.Release)
	if err != nil {
		return l, err
	}
	var was label
	if err := e.home.with(ctx, "postgres", "look at database "+trial.Name, func(conn *pgx.Conn) (err error) {
		was, err = e.read(ctx, conn, trial.Name)
		return err
	}); err != nil {
		return l, err
	}
	if err := e.Mask(ctx, was.Name, spec); err != nil { // before it has a name that is handed out
		return l, err
	}
	bytes, err := e.home.bytesOf(ctx, trial.Name)
	if err != nil {
		return l, err
	}
	if err := faults.Point("database.promote.masked"); err != nil {
		return l, err
	}
	name := database.GoldenName(source, p.TakenAt)
	l = labelled{db: database.NameOnServer(e.app, name), label: label{
		App: e.app, Name: name, Source: from.Cluster + "/" + from.Name, Counter: database.MarkOf[counter](p.Marks[""]), Mask: version, Size: bytes,
		Copy: p.Copy(source, was.Copy.Bytes),
	}}
	comment, err := l.comment(l.db)
	if err != nil {
		return l, err
	}
	return l, e.home.with(ctx, "postgres", "keep golden copy "+l.db, func(conn *pgx.Conn) error {
		return e.alone(ctx, conn, []string{trial.Name}, func(tx pgx.Tx) error {
			return run(ctx, tx, "ALTER DATABASE "+quote(trial.Name)+" RENAME TO "+quote(l.db),
				"ALTER DATABASE "+quote(l.db)+" WITH ALLOW_CONNECTIONS false",
				"REVOKE ALL ON DATABASE "+quote(l.db)+" FROM PUBLIC, "+quote(workerRole(e.app))+", "+quote(loginRole(e.app, was.Name)), comment)
		})
	})
}

// Promote implements database.Promoter: the further databases first, each for
// itself, and the main one last. Killed on the way, those that have become
// golden copies are whole.
func (m *Many) Promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g database.Golden, made bool, err error) {
	name, err := m.nameOf(ctx, trial)
	if err != nil {
		return g, false, err
	}
	err = m.each(ctx, from, func(f further, own bosman.Database) error {
		one, err := f.Find(ctx, name)
		if err == nil {
			q := p
			q.Marks = map[string]string{"": p.Marks[f.name]}
			_, _, err = f.Promote(ctx, one, own, q)
		}
		if bosman.KindOf(err) == bosman.KindNotFound {
			return nil // the backup does not hold it
		}
		return err
	})
	if err == nil {
		err = faults.Point("postgres.many.promoted")
	}
	if err != nil {
		return g, false, err
	}
	if g, made, err = m.Engine.Promote(ctx, trial, from, p); !made {
		return g, false, err
	}
	return g, true, m.clear(ctx, name) // what did not become golden
}
