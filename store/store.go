// Package store keeps Bosman's own state in SQLite: rows of the nouns, in
// transactions. It must not know any stage, verb, permission or page; what a
// row means is the business of those who save it.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // the driver

	"github.com/bosman-cd/bosman"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is the open database, or a transaction on it.
type Store struct {
	db   bun.IDB
	root *bun.DB
	wake *broadcast
	tx   bool
	news *bool // in a transaction: whether events were appended
}

// Open opens (making it if need be) the database file at path and brings its
// schema up to date.
func Open(ctx context.Context, path string) (*Store, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"journal_mode(WAL)", "busy_timeout(15000)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}.Encode()}).String()
	conn, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	conn.SetMaxOpenConns(8)
	db := bun.NewDB(conn, sqlitedialect.New())
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(bosman.Unavailable("Bosman's own database %s cannot be opened", path).
			WithNext("look whether the disk is full and the file belongs to this user; nothing was changed").Because(err), conn.Close())
	}
	return &Store{db: db, root: db, wake: newBroadcast()}, nil
}

func migrate(ctx context.Context, conn *sql.DB) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, conn, mustSub())
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database.
func (s *Store) Close() error { return s.root.Close() }

// DB is the connection pool, for libraries that keep rows of their own here.
func (s *Store) DB() *sql.DB { return s.root.DB }

// InTx runs f in one write transaction: all of it holds or nothing. Inside a
// transaction it joins that one. Waiters for events wake after the commit.
func (s *Store) InTx(ctx context.Context, f func(*Store) error) error {
	if s.tx {
		return f(s)
	}
	var news bool
	err := s.root.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error {
		return f(&Store{db: tx, root: s.root, wake: s.wake, tx: true, news: &news})
	})
	if err == nil && news {
		s.wake.notify()
	}
	return err
}

// Next gives the next number of a kind for an app. Outside a transaction a
// number may be skipped when saving fails; numbers are never given twice.
func (s *Store) Next(ctx context.Context, app string, l bosman.Letter) (int, error) {
	var n int
	err := s.db.NewRaw(`INSERT INTO counters (app, letter, n) VALUES (?, ?, 1)
		ON CONFLICT (app, letter) DO UPDATE SET n = counters.n + 1 RETURNING n`, app, string(rune(l))).Scan(ctx, &n)
	return n, err
}

// rowOf ties a row struct to its noun.
type rowOf[R, T any] interface {
	*R
	noun() *T
}

type where func(*bun.SelectQuery) *bun.SelectQuery

func cond(text string, args ...any) where {
	return func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where(text, args...) }
}

// one reads one row, or fails with missing.
func one[R, T any, P rowOf[R, T]](ctx context.Context, db bun.IDB, missing *bosman.Error, w ...where) (T, error) {
	var row R
	q := db.NewSelect().Model(&row).Limit(1)
	for _, f := range w {
		q = f(q)
	}
	err := q.Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		var zero T
		return zero, missing
	}
	return *P(&row).noun(), err
}

// many reads rows in the order the conditions ask for.
func many[R, T any, P rowOf[R, T]](ctx context.Context, db bun.IDB, w ...where) ([]T, error) {
	var rows []R
	q := db.NewSelect().Model(&rows)
	for _, f := range w {
		q = f(q)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = *P(&rows[i]).noun()
	}
	return out, nil
}

func order(by string) where {
	return func(q *bun.SelectQuery) *bun.SelectQuery { return q.OrderExpr(by) }
}

// limit caps the rows; 0 means all.
func limit(n int) where {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		if n > 0 {
			q = q.Limit(int64(n))
		}
		return q
	}
}

// save inserts the row or replaces the one with the same key.
func save(ctx context.Context, db bun.IDB, row any, key string) error {
	_, err := db.NewInsert().Model(row).On("CONFLICT (" + key + ") DO UPDATE").Exec(ctx)
	return err
}

// changed is the error of an update that must hit exactly one row.
func changed(res sql.Result, err error, missing *bosman.Error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return missing
	}
	return nil
}

// broadcast wakes all who wait for the next event.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
