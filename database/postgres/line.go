package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
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
		yieldProcess(int(conn.PgConn().PID()))
	}
}

// yieldProcess gives a process a small share of processor and disk
// (ioprio_set(2): best effort, the last of eight). Not the smallest: somebody
// may come to wait for it.
func yieldProcess(pid int) {
	const processWho, last = 1, 2<<13 | 7
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, 10)                            // best effort
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, processWho, uintptr(pid), last) // best effort
}
