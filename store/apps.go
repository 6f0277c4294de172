package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/bosman-cd/bosman"
)

// AddApp adds an app; its name must be new.
func (s *Store) AddApp(ctx context.Context, a bosman.App) error {
	if _, err := s.App(ctx, a.Name); err == nil {
		return bosman.Conflict("there is already an app %s", a.Name).WithNext("choose another name, or see bosman app list")
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	_, err := s.db.NewInsert().Model(&appRow{App: a}).Exec(ctx)
	return err
}

// SaveApp replaces the row of an app.
func (s *Store) SaveApp(ctx context.Context, a bosman.App) error {
	return save(ctx, s.db, &appRow{App: a}, "name")
}

// App gives one app.
func (s *Store) App(ctx context.Context, name string) (bosman.App, error) {
	return one[appRow, bosman.App](ctx, s.db, bosman.NotFound("there is no app %s", name).WithNext("bosman app list shows the apps there are"), cond("name = ?", name))
}

// Apps gives all apps by name.
func (s *Store) Apps(ctx context.Context) ([]bosman.App, error) {
	return many[appRow, bosman.App](ctx, s.db, order("name"))
}

// RemoveApp forgets an app and its rows; the activity log stays.
func (s *Store) RemoveApp(ctx context.Context, name string) error {
	return s.InTx(ctx, func(s *Store) error {
		for _, table := range []string{"changes", "builds", "releases", "instances", "operations", "owners", "backups", "signoffs", "secrets", "problems", "error_events", "counts", "mails", "cron_runs", "rehearsals"} {
			if _, err := s.db.NewRaw("DELETE FROM ? WHERE app = ?", bun.Ident(table), name).Exec(ctx); err != nil {
				return err
			}
		}
		res, err := s.db.NewRaw("DELETE FROM apps WHERE name = ?", name).Exec(ctx)
		return changed(res, err, bosman.NotFound("there is no app %s", name))
	})
}

// SaveChange inserts or replaces a change.
func (s *Store) SaveChange(ctx context.Context, c bosman.Change) error {
	return save(ctx, s.db, &changeRow{Change: c}, "app, number")
}

// Change gives one change.
func (s *Store) Change(ctx context.Context, app string, number int) (bosman.Change, error) {
	return one[changeRow, bosman.Change](ctx, s.db, noChange(app, bosman.Ref(bosman.LetterChange, number)), cond("app = ? AND number = ?", app, number))
}

func noChange(app, ref string) *bosman.Error {
	return bosman.NotFound("%s has no change %s", app, ref).WithNext("bosman changes --app " + app + " lists them")
}

// ChangeByBranch gives the newest change of a branch, an open one first.
func (s *Store) ChangeByBranch(ctx context.Context, app, fork, branch string) (bosman.Change, error) {
	return one[changeRow, bosman.Change](ctx, s.db, noChange(app, branch),
		cond("app = ? AND fork = ? AND branch = ?", app, fork, branch), order("state = 'open' DESC, number DESC"))
}

// ChangeByURL gives the change of a pull request.
func (s *Store) ChangeByURL(ctx context.Context, app, url string) (bosman.Change, error) {
	return one[changeRow, bosman.Change](ctx, s.db, noChange(app, url), cond("app = ? AND url = ? AND url <> ''", app, url), order("number DESC"))
}

// Changes gives an app's changes, newest activity first. State "" means all,
// app "" means all apps, max 0 means no limit.
func (s *Store) Changes(ctx context.Context, app string, state bosman.ChangeState, max int) ([]bosman.Change, error) {
	return many[changeRow, bosman.Change](ctx, s.db, cond("(? = '' OR app = ?) AND (? = '' OR state = ?)", app, app, state, state), order("updated_at DESC, number DESC"), limit(max))
}

// AddSignoff records a person's yes or no.
func (s *Store) AddSignoff(ctx context.Context, o bosman.Signoff) error {
	_, err := s.db.NewInsert().Model(&signoffRow{Signoff: o}).Exec(ctx)
	return err
}

// Signoffs gives what was said on a change, oldest first.
func (s *Store) Signoffs(ctx context.Context, app string, change int) ([]bosman.Signoff, error) {
	return many[signoffRow, bosman.Signoff](ctx, s.db, cond("app = ? AND change = ?", app, change), order("at"))
}
