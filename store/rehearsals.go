package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/bosman-cd/bosman"
)

type rehearsalRow struct {
	bun.BaseModel `bun:"table:rehearsals,alias:t"`
	bosman.Rehearsal
}

func (r *rehearsalRow) noun() *bosman.Rehearsal { return &r.Rehearsal }

// SaveRehearsal inserts or replaces the rehearsal of a release.
func (s *Store) SaveRehearsal(ctx context.Context, r bosman.Rehearsal) error {
	return save(ctx, s.db, &rehearsalRow{Rehearsal: r}, "app, release")
}

// Rehearsal gives the rehearsal of a release; KindNotFound without one.
func (s *Store) Rehearsal(ctx context.Context, app string, release int) (bosman.Rehearsal, error) {
	return one[rehearsalRow, bosman.Rehearsal](ctx, s.db, bosman.NotFound("%s was not rehearsed", bosman.Ref(bosman.LetterRelease, release)).
		WithNext("bosman rehearse "+bosman.Ref(bosman.LetterRelease, release)), cond("app = ? AND release = ?", app, release))
}

// UnfinishedRehearsals gives those that were under way, of all apps.
func (s *Store) UnfinishedRehearsals(ctx context.Context) ([]bosman.Rehearsal, error) {
	return many[rehearsalRow, bosman.Rehearsal](ctx, s.db, cond("state = ?", bosman.RehearsalRunning), order("started_at"))
}
