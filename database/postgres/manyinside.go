package postgres

import (
	"context"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Inspect implements database.Engine: tables of a further database are named
// "reports:public.candidate". Each is seen in a snapshot of its own.
func (m *Many) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	got, err := m.Engine.Inspect(ctx, d)
	if err != nil {
		return got, err
	}
	return got, m.each(ctx, d, func(f further, own bosman.Database) error {
		in, err := f.Inspect(ctx, own)
		addRows(&got.Rows, f.name, in.Rows)
		addSchema(&got.Schema, f.name, in.Schema)
		return err
	})
}

// Schema is Inspect without counting rows.
func (m *Many) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	got, err := m.Engine.Schema(ctx, d)
	if err != nil {
		return got, err
	}
	return got, m.each(ctx, d, func(f further, own bosman.Database) error {
		s, err := f.Schema(ctx, own)
		addSchema(&got, f.name, s)
		return err
	})
}

// Check implements database.Checker.
func (m *Many) Check(ctx context.Context, d bosman.Database) error {
	if err := m.Engine.Check(ctx, d); err != nil {
		return err
	}
	return m.each(ctx, d, func(f further, own bosman.Database) error { return f.Check(ctx, own) })
}

// Activity implements database.ActivityCounter.
func (m *Many) Activity(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	got, err := m.Engine.Activity(ctx, d)
	if err != nil {
		return got, err
	}
	return got, m.each(ctx, d, func(f further, own bosman.Database) error {
		rows, err := f.Activity(ctx, own)
		addRows(&got, f.name, rows)
		return err
	})
}

// Refresh implements database.Refresher: it tells of the main one's golden copy.
func (m *Many) Refresh(ctx context.Context, from bosman.Database, release int) (database.Golden, error) {
	if err := m.each(ctx, from, func(f further, own bosman.Database) error {
		_, err := f.Refresh(ctx, own, release)
		return err
	}); err != nil {
		return database.Golden{}, err
	}
	return m.Engine.Refresh(ctx, from, release)
}

// Stale implements database.Refresher.
func (m *Many) Stale(ctx context.Context, from bosman.Database) (bool, error) {
	stale, err := m.Engine.Stale(ctx, from)
	if err != nil || stale {
		return stale, err
	}
	return stale, m.each(ctx, from, func(f further, own bosman.Database) error {
		one, err := f.Stale(ctx, own)
		stale = stale || one
		return err
	})
}

// Fill implements database.Pooler.
func (m *Many) Fill(ctx context.Context, from bosman.Database, want int) (database.Pool, error) {
	pool, err := m.Engine.Fill(ctx, from, want)
	if err != nil {
		return pool, err
	}
	return pool, m.each(ctx, from, func(f further, own bosman.Database) error {
		one, err := f.Fill(ctx, own, want)
		if err == nil && one.Ready < pool.Ready {
			pool = one
		}
		return err
	})
}
