package steps

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // registers the driver and its error codes
)

// journal is our part of the engine's file: the values runs remember and the
// messages sent to them. Each write is on the disk when it returns.
type journal struct{ db *sql.DB }

const journalSchema = `
CREATE TABLE IF NOT EXISTS bosman_value (
	run TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
	PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bosman_message (
	run TEXT NOT NULL, topic TEXT NOT NULL, value TEXT NOT NULL, sent_ms INTEGER NOT NULL,
	PRIMARY KEY (run, topic)) WITHOUT ROWID;`

// openJournal opens the file with full synchronisation: what was acknowledged
// survives a power cut.
func openJournal(ctx context.Context, path string) (*journal, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	if _, err := db.ExecContext(ctx, journalSchema); err != nil {
		return nil, errors.Join(fmt.Errorf("open the journal: %w", err), db.Close())
	}
	return &journal{db: db}, nil
}

func (j *journal) set(ctx context.Context, run, name string, value []byte) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO bosman_value (run, name, value) VALUES (?, ?, ?)
		ON CONFLICT (run, name) DO UPDATE SET value = excluded.value`, run, name, string(value))
	return err
}

// get gives nil for a value that was never set.
func (j *journal) get(ctx context.Context, run, name string) ([]byte, error) {
	var v string
	err := j.db.QueryRowContext(ctx, `SELECT value FROM bosman_value WHERE run = ? AND name = ?`, run, name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return []byte(v), err
}

// send keeps the first message of a topic; later ones are dropped, so that a
// step that reads it again after a crash reads the same.
func (j *journal) send(ctx context.Context, run, topic string, value []byte) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO bosman_message (run, topic, value, sent_ms) VALUES (?, ?, ?, ?)
		ON CONFLICT (run, topic) DO NOTHING`, run, topic, string(value), time.Now().UnixMilli())
	return err
}

// message gives nil when none came yet.
func (j *journal) message(ctx context.Context, run, topic string) (json.RawMessage, error) {
	var v string
	err := j.db.QueryRowContext(ctx, `SELECT value FROM bosman_message WHERE run = ? AND topic = ?`, run, topic).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return json.RawMessage(v), err
}

func (j *journal) forget(ctx context.Context, run string) error {
	_, err := j.db.ExecContext(ctx, `DELETE FROM bosman_value WHERE run = ?`, run)
	if err == nil {
		_, err = j.db.ExecContext(ctx, `DELETE FROM bosman_message WHERE run = ?`, run)
	}
	return err
}

// lock makes sure that one process only works on the journal. The kernel
// releases it when the process dies.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, bosman.Unavailable("the journal's lock %s cannot be opened", path).Because(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		e := bosman.Busy("another bosman works on %s", filepath.Dir(path)).Because(err).
			WithNext("stop the other one first; two would undo each other's work")
		return nil, errors.Join(e, f.Close())
	}
	return f, nil
}
