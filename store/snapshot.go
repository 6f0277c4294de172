package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/bosman-cd/bosman"
)

// Snapshot writes all rows, as they are in one moment, into the new file at
// path, while others read and write, and checks what it wrote.
func (s *Store) Snapshot(ctx context.Context, path string) (err error) {
	if _, err := s.root.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return bosman.Unavailable("Bosman's own database could not be copied").WithNext("look whether the disk is full").Because(err)
	}
	if err := CheckFile(ctx, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// CheckFile says whether the database file at path is whole. It changes
// nothing. KindFailed if it is damaged.
func CheckFile(ctx context.Context, path string) (err error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro&immutable=1"}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return bosman.Failed("the database file %s cannot be read", path).Because(err)
	}
	if found != "ok" {
		return bosman.Failed("the database file %s is damaged: %s", path, found)
	}
	return nil
}

// Mark changes with everything a person or an operation changed that is worth
// a backup of Bosman's own state; reading changes nothing.
func (s *Store) Mark(ctx context.Context) (string, error) {
	var activity, events, backups int64
	err := s.db.NewRaw("SELECT coalesce(max(id), 0) FROM activity").Scan(ctx, &activity)
	if err == nil {
		err = s.db.NewRaw("SELECT coalesce(max(id), 0) FROM events WHERE kind IN (?, ?, ?)",
			bosman.EventOperationEnded, bosman.EventMainMoved, bosman.EventBackupMade).Scan(ctx, &events)
	}
	if err == nil {
		err = s.db.NewRaw("SELECT count(*) FROM backups").Scan(ctx, &backups)
	}
	return fmt.Sprintf("%d/%d/%d", activity, events, backups), err
}

// Abandon ends the operations that were under way when the rows were copied:
// nothing of them is there any more. Those behind their point of no return are
// done. It gives the names of the operations. Builds begin again by themselves.
func (s *Store) Abandon(ctx context.Context, why *bosman.Error, now bosman.Activity) (ended []string, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		ops, err := s.UnfinishedOperations(ctx)
		if err != nil {
			return err
		}
		for _, o := range ops {
			o.State, o.EndedAt, o.Error, o.Waits = bosman.OpFailed, now.At, why, ""
			if o.Committed { // only watched, or about to settle
				o.State, o.Error = bosman.OpDone, nil
			}
			if err := s.SaveOperation(ctx, o); err != nil {
				return err
			}
			ended = append(ended, o.App+" "+bosman.Ref(bosman.LetterOperation, o.Number))
		}
		for _, q := range []string{"DELETE FROM owners", "UPDATE instances SET operation = 0"} {
			if _, err := s.db.NewRaw(q).Exec(ctx); err != nil {
				return err
			}
		}
		return s.AppendActivity(ctx, now)
	})
	return ended, err
}
