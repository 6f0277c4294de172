package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// talk runs fn with a superuser's connection to the maintenance database that
// stays open from call to call: opening one takes longer than most questions.
// fn must be short: others wait.
func (c *Cluster) talk(ctx context.Context, doing string, fn func(*pgx.Conn) error) error {
	for !c.talking.TryLock() { // whoever talks now may get no answer
		select {
		case <-ctx.Done():
			return c.down(doing, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	if c.Profile == Solo && !c.keeps || c.remote != nil { // seldom asked, and has few connections
		c.talking.Unlock()
		return c.with(ctx, "postgres", doing, fn)
	}
	defer c.talking.Unlock()
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
	c.talking.Lock()
	defer c.talking.Unlock()
	c.keeps = true
}

// LetGo closes what Engine.Greet opened.
func (c *Cluster) LetGo(ctx context.Context) {
	c.talking.Lock()
	defer c.talking.Unlock()
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
