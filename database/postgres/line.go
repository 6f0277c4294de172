package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

// turn is a lock for which one waits no longer than a context lasts; who came
// first has it first. The zero value is free.
type turn struct {
	once sync.Once
	free chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() {
		t.free = make(chan struct{}, 1)
		t.free <- struct{}{}
	})
	select {
	case <-t.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lock is take without an end.
func (t *turn) lock() { _ = t.take(context.Background()) } // which gives no error

func (t *turn) give() { t.free <- struct{}{} }

// talk runs fn with a superuser's connection to the maintenance database that
// stays open from call to call: opening one takes longer than most questions.
// fn must be short: others wait.
func (c *Cluster) talk(ctx context.Context, doing string, fn func(*pgx.Conn) error) error {
	if err := c.talking.take(ctx); err != nil { // whoever talks now may get no answer
		return c.down(doing, err)
	}
	if c.Profile == Solo && !c.keeps || c.remote != nil { // seldom asked, and has few connections
		c.talking.give()
		return c.with(ctx, "postgres", doing, fn)
	}
	defer c.talking.give()
	if c.line != nil && c.line.Ping(ctx) != nil { // the server was restarted meanwhile, or ctx has ended
		c.hangUp(ctx)
	}
	if c.line == nil {
		if c.secret == "" {
			return bosman.Internal("database cluster %s is used before Ensure", c.Name)
		}
		line, err := connect(ctx, c.admin("postgres"))
		if err != nil {
			return c.sqlError(doing, err)
		}
		c.line = line
	}
	err := fn(c.line)
	if c.line.IsClosed() || c.line.PgConn().TxStatus() != 'I' {
		c.hangUp(ctx)
	}
	return c.sqlError(doing, err)
}

// keep lets the line of a Solo server stay open until LetGo.
func (c *Cluster) keep() {
	c.talking.lock()
	defer c.talking.give()
	c.keeps = true
}

// LetGo closes what Engine.Greet opened.
func (c *Cluster) LetGo(ctx context.Context) {
	c.talking.lock()
	defer c.talking.give()
	c.keeps = false
	if c.line != nil {
		c.hangUp(ctx)
	}
}

func (c *Cluster) hangUp(ctx context.Context) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = c.line.Close(end) // nothing was under way on it
	c.line = nil
}

// yield lets the server process behind conn yield to all others, if ctx says
// so. It is best effort: elsewhere than on Linux, or as another user, it stays
// as it is.
func yield(ctx context.Context, conn *pgx.Conn) {
	if database.IsLow(ctx) {
		ground.Yield(int(conn.PgConn().PID()))
	}
}

// The server processes of a client program that is to yield are looked for
// soon, for most open their connection first, and then ever more seldom.
const (
	yieldFirst = 50 * time.Millisecond
	yieldEvery = 5 * time.Second
)

// yieldBehind lets the server processes behind connections of the application
// called name yield to all others, until ctx ends.
func (c *Cluster) yieldBehind(ctx context.Context, name string) {
	seen := map[int]bool{}
	for next := yieldFirst; ; next = min(2*next, yieldEvery) {
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
		_ = c.talk(ctx, "look for connections", func(conn *pgx.Conn) error { // best effort
			rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1", name)
			if err != nil {
				return err
			}
			var pid int
			_, err = pgx.ForEachRow(rows, []any{&pid}, func() error {
				if !seen[pid] {
					ground.Yield(pid)
					seen[pid] = true
				}
				return nil
			})
			return err
		})
	}
}
