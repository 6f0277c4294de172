package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/bosman-cd/bosman"
)

// SaveInstance inserts or replaces an instance.
func (s *Store) SaveInstance(ctx context.Context, i bosman.Instance) error {
	return save(ctx, s.db, &instanceRow{Instance: i}, "app, name")
}

// Instance gives one instance.
func (s *Store) Instance(ctx context.Context, app, name string) (bosman.Instance, error) {
	return one[instanceRow, bosman.Instance](ctx, s.db, bosman.NotFound("%s has no instance %s", app, name).
		WithNext("bosman status "+app+" lists the instances"), cond("app = ? AND name = ?", app, name))
}

// InstanceByKey gives the instance that an error key belongs to.
func (s *Store) InstanceByKey(ctx context.Context, key string) (bosman.Instance, error) {
	return one[instanceRow, bosman.Instance](ctx, s.db, bosman.NotFound("no instance has that key"), cond("error_key = ?", key))
}

// Instances gives the instances of an app ("" for all), live first, then
// staging, then testing and preview by name.
func (s *Store) Instances(ctx context.Context, app string) ([]bosman.Instance, error) {
	return many[instanceRow, bosman.Instance](ctx, s.db, cond("(? = '' OR app = ?)", app, app),
		order("app, CASE kind WHEN 'live' THEN 0 WHEN 'staging' THEN 1 WHEN 'testing' THEN 2 ELSE 3 END, name"))
}

// MarkUsed notes when an instance was last asked for something.
func (s *Store) MarkUsed(ctx context.Context, app, name string, at time.Time) error {
	_, err := s.db.NewRaw("UPDATE instances SET used_at = ? WHERE app = ? AND name = ? AND used_at < ?", at.UTC(), app, name, at.UTC()).Exec(ctx)
	return err
}

// RemoveInstance forgets an instance.
func (s *Store) RemoveInstance(ctx context.Context, app, name string) error {
	res, err := s.db.NewRaw("DELETE FROM instances WHERE app = ? AND name = ?", app, name).Exec(ctx)
	return changed(res, err, bosman.NotFound("%s has no instance %s", app, name))
}

// SaveOperation inserts or replaces an operation.
func (s *Store) SaveOperation(ctx context.Context, o bosman.Operation) error {
	return save(ctx, s.db, &operationRow{Operation: o}, "app, number")
}

// Operation gives one operation.
func (s *Store) Operation(ctx context.Context, app string, number int) (bosman.Operation, error) {
	return one[operationRow, bosman.Operation](ctx, s.db, bosman.NotFound("%s has no deployment %s", app, bosman.Ref(bosman.LetterOperation, number)), cond("app = ? AND number = ?", app, number))
}

// Operations gives the operations on an instance ("" for all of the app),
// newest first.
func (s *Store) Operations(ctx context.Context, app, instance string, max int) ([]bosman.Operation, error) {
	return many[operationRow, bosman.Operation](ctx, s.db, cond("app = ? AND (? = '' OR instance = ?)", app, instance, instance), order("number DESC"), limit(max))
}

// UnfinishedOperations gives the operations of all apps that are not final,
// oldest first.
func (s *Store) UnfinishedOperations(ctx context.Context) ([]bosman.Operation, error) {
	return many[operationRow, bosman.Operation](ctx, s.db, cond("state IN ('queued', 'running', 'watching')"), order("created_at, app, number"))
}

// Owner gives the operation that owns an instance, 0 if none.
func (s *Store) Owner(ctx context.Context, app, instance string) (int, error) {
	var op int
	err := s.db.NewRaw("SELECT operation FROM owners WHERE app = ? AND instance = ?", app, instance).Scan(ctx, &op)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return op, err
}

// LetterFence counts the fences of an instance: the app of the count is
// APP/INSTANCE.
const LetterFence bosman.Letter = 'f'

// Take makes an operation the owner of its instance, or fails with KindBusy
// while another one is. Taking twice is no harm. The fence is greater than any
// given for the instance before.
func (s *Store) Take(ctx context.Context, app, instance string, op int) (fence int, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		owner, err := s.Owner(ctx, app, instance)
		if err != nil {
			return err
		}
		if owner != 0 && owner != op {
			return bosman.Busy("%s of %s is held by %s", instance, app, bosman.Ref(bosman.LetterOperation, owner)).
				WithNext("wait until it ends, or take it back with bosman revert " + instance)
		}
		fence, _, err = s.TakeOver(ctx, app, instance, op)
		return err
	})
	return fence, err
}

// TakeOver makes an operation the owner of its instance whoever owned it, and
// gives the previous owner (0 if none).
func (s *Store) TakeOver(ctx context.Context, app, instance string, op int) (fence, previous int, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		err := s.db.NewRaw("SELECT operation, fence FROM owners WHERE app = ? AND instance = ?", app, instance).Scan(ctx, &previous, &fence)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if previous == op {
			previous = 0
			return nil
		}
		if fence, err = s.Next(ctx, app+"/"+instance, LetterFence); err != nil {
			return err
		}
		if _, err := s.db.NewRaw(`INSERT INTO owners (app, instance, operation, fence) VALUES (?, ?, ?, ?)
			ON CONFLICT (app, instance) DO UPDATE SET operation = excluded.operation, fence = excluded.fence`, app, instance, op, fence).Exec(ctx); err != nil {
			return err
		}
		return s.markOwner(ctx, app, instance, op)
	})
	return fence, previous, err
}

// GiveBack ends an operation's ownership; a no-op if it is not the owner.
func (s *Store) GiveBack(ctx context.Context, app, instance string, op int) error {
	return s.InTx(ctx, func(s *Store) error {
		res, err := s.db.NewRaw("DELETE FROM owners WHERE app = ? AND instance = ? AND operation = ?", app, instance, op).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return s.markOwner(ctx, app, instance, 0)
	})
}

func (s *Store) markOwner(ctx context.Context, app, instance string, op int) error {
	_, err := s.db.NewRaw("UPDATE instances SET operation = ? WHERE app = ? AND name = ?", op, app, instance).Exec(ctx)
	return err
}

// SaveBackup inserts or replaces a backup.
func (s *Store) SaveBackup(ctx context.Context, b bosman.Backup) error {
	return save(ctx, s.db, &backupRow{Backup: b}, "app, number")
}

// Backup gives one backup.
func (s *Store) Backup(ctx context.Context, app string, number int) (bosman.Backup, error) {
	return one[backupRow, bosman.Backup](ctx, s.db, bosman.NotFound("%s has no backup %s", app, bosman.Ref(bosman.LetterBackup, number)).
		WithNext("bosman backup list --app "+app+" lists them"), cond("app = ? AND number = ?", app, number))
}

// Backups gives the backups of an instance ("" for all of the app), newest
// first.
func (s *Store) Backups(ctx context.Context, app, instance string, max int) ([]bosman.Backup, error) {
	return many[backupRow, bosman.Backup](ctx, s.db, cond("app = ? AND (? = '' OR instance = ?)", app, instance, instance), order("number DESC"), limit(max))
}

// RemoveBackup forgets a backup whose files are gone.
func (s *Store) RemoveBackup(ctx context.Context, app string, number int) error {
	res, err := s.db.NewRaw("DELETE FROM backups WHERE app = ? AND number = ?", app, number).Exec(ctx)
	return changed(res, err, bosman.NotFound("%s has no backup %s", app, bosman.Ref(bosman.LetterBackup, number)))
}
