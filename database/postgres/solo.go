package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

// Solo is the profile of a small server that holds the one database of a copy
// and may be lost with the host. Package clone makes and keeps such servers:
// their data folders are copies of others', so that there is no initdb.
const Solo Profile = "solo"

// soloSettings make a server small: dozens of them stand idle on one host.
// What is not written back keeps sharing its blocks with the original.
func soloSettings() [][2]string {
	return [][2]string{
		{"shared_buffers", "16MB"},
		{"max_connections", "30"},
		{"max_locks_per_transaction", "512"}, // few connections, as many tables as elsewhere
		{"superuser_reserved_connections", "5"},
		{"maintenance_work_mem", "32MB"},
		{"fsync", "off"}, // yet every commit is with the kernel: a killed server loses nothing
		{"full_page_writes", "off"},
		{"wal_level", "minimal"},
		{"archive_mode", "off"},
		{"max_wal_senders", "0"},
		{"max_replication_slots", "0"},
		{"max_logical_replication_workers", "0"},
		{"max_worker_processes", "2"},
		{"max_parallel_workers", "2"},
		{"max_parallel_workers_per_gather", "1"},
		{"max_parallel_maintenance_workers", "1"},
		{"min_wal_size", "8MB"},
		{"max_wal_size", "64MB"},
		{"wal_recycle", "off"},
		{"wal_init_zero", "off"},
		{"bgwriter_lru_maxpages", "0"},
		{"autovacuum_max_workers", "1"},
		{"autovacuum_naptime", "5min"},
		{"checkpoint_timeout", "30min"},
		{"shared_preload_libraries", "''"},
		// What differs from copy to copy is said when it is started: the file stays shared.
		{"unix_socket_directories", "''"},
		{"log_directory", "'../log'"},
	}
}

// NewSolo describes the server of a copy. Passwords are derived from secret,
// which several servers may share; socketDir is short.
func NewSolo(name, dir, socketDir, secret string, log *slog.Logger) *Cluster {
	return &Cluster{Name: name, Profile: Solo, Dir: dir, SocketDir: socketDir, Port: 5432, Log: log, secret: secret}
}

// Found makes an empty Solo cluster, unless it is there, and starts it.
func (c *Cluster) Found(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.findPrograms(); err != nil {
		return err
	}
	if !c.initialised() {
		if err := c.initdb(ctx); err != nil {
			return err
		}
	}
	if _, err := c.launch(ctx, nil); err != nil {
		return err
	}
	return c.prepare(ctx)
}

// Launch starts a Solo server whose data folder is there, in a session of its
// own, unless it runs. settings ("shared_buffers=128MB") are for this run only.
// It comes back as soon as the server takes connections, in a tenth of the
// time that pg_ctl needs to notice.
func (c *Cluster) Launch(ctx context.Context, settings ...string) (started bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(); err != nil {
		return false, err
	}
	if !c.initialised() {
		return false, bosman.NotFound("there is no database server in %s", c.Dir)
	}
	if c.BinDir == "" {
		if err := c.findPrograms(); err != nil {
			return false, err
		}
	}
	return c.launch(ctx, settings)
}

func (c *Cluster) launch(ctx context.Context, settings []string) (started bool, err error) {
	pid, err := c.runningPid()
	if err != nil {
		return false, err
	}
	if pid == 0 {
		if err := c.configure(); err != nil {
			return false, err
		}
		if err := c.ground().NoteStart(os.WriteFile); err != nil {
			return false, err
		}
		settings = append([]string{"unix_socket_directories=" + strconv.Quote(c.SocketDir)}, settings...)
		started = true
	}
	return started, c.untilReady(ctx, pid != 0, settings)
}

const (
	startLimit = time.Minute // a server may have to recover
	startTries = 12          // half a second each, if it ends at once
)

// untilReady spawns the server until it is ready: the memory of a killed one
// goes by itself within seconds.
func (c *Cluster) untilReady(ctx context.Context, spawned bool, settings []string) error {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	since := time.Now()
	for try := 0; ; {
		if !spawned {
			if try++; try > startTries || try > 1 && ground.NoRoom(c.Dir) {
				return c.notReady()
			}
			if err := errors.Join(c.endOrphans(ctx), c.removeStale()); err != nil {
				return err
			}
			if err := c.spawn(ctx, settings); err != nil {
				return err
			}
			spawned, since = true, time.Now()
		}
		if c.ready() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return c.notReady()
		case <-time.After(4 * time.Millisecond):
		}
		if time.Since(since) > 500*time.Millisecond { // it should have its pid file by now
			pid, err := c.runningPid()
			if err != nil {
				return err
			}
			spawned = pid != 0
		}
	}
}

func (c *Cluster) notReady() error {
	said := errors.New(c.lastWords())
	if ground.NoRoom(c.Dir) {
		return c.ground().Full("start database server "+c.Name, said)
	}
	return c.down("start it", said)
}

// spawn starts the server as pg_ctl does: by a shell that ends at once, so that
// it is nobody's child.
func (c *Cluster) spawn(ctx context.Context, settings []string) error {
	args := []string{
		"-c", `umask 077; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &`, "start", filepath.Join(c.Dir, "log", "start.log"),
		filepath.Join(c.BinDir, "postgres"), "-D", c.dataDir(),
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd := c.ground().Command(ctx, c.owner, "/", "/bin/sh", args...)
	if err := cmd.Run(); err != nil {
		return c.down("start it", err)
	}
	return nil
}

// ready says whether the running server takes connections: the eighth line of
// its pid file says so (PM_STATUS_READY in PostgreSQL's pidfile.h).
func (c *Cluster) ready() bool {
	b, err := os.ReadFile(filepath.Join(c.dataDir(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
		return false
	}
	pid, err := c.runningPid() // not what another one left
	return err == nil && pid != 0
}

// Runs says whether the server runs. It asks the kernel only.
func (c *Cluster) Runs() (bool, error) {
	pid, err := c.runningPid()
	return pid != 0, err
}

// Lost says whether the files of a copy, whose server does not run, cannot be
// trusted since the host crashed.
func (c *Cluster) Lost() bool { return !c.initialised() || c.lost() }

// Rest writes the files of a copy, whose server does not run, to the disk: then
// they outlive a crash of the host. Once it was done it takes no time.
func (c *Cluster) Rest() error { return c.ground().NoteRest() }

// Halt ends the server at once, whatever it does; for one that is thrown away.
func (c *Cluster) Halt(ctx context.Context) error {
	for {
		pid, err := c.runningPid()
		if err != nil || pid == 0 {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return c.down("stop it", err)
		}
		for range 500 { // it kills its own children after five seconds
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); errors.Is(err, fs.ErrNotExist) || zombie(pid) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return c.down("stop it", err)
		}
	}
}

// zombie says whether a process has ended and nobody has asked how.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

// Describe gives how the instance of a name reaches its database on e's
// cluster, whether it exists or not.
func (e *Engine) Describe(name string) bosman.Database {
	return e.home.database(database.NameOnServer(e.app, name), loginRole(e.app, name))
}

// Adopt makes the only database of e's server that of the instance name, who
// is let in unless it is kept for later: where the data folder is a copy, it
// still has the name it had there. Asked again it changes nothing. The rights
// of the app's owner are those it had there.
func (e *Engine) Adopt(ctx context.Context, name string, kept bool) error {
	db := database.NameOnServer(e.app, name)
	return e.home.talk(ctx, "hand out database "+db, func(conn *pgx.Conn) error {
		is, used, statements, err := e.adoption(ctx, conn, name, kept)
		if err != nil {
			return err
		}
		if is == db || !used { // else a rename waits five seconds for others to leave
			if err = batch(ctx, conn, statements...); !inUse(err) {
				return err
			}
		}
		return e.alone(ctx, conn, []string{is}, func(tx pgx.Tx) error { return batch(ctx, tx.Conn(), statements...) })
	})
}

// adoption gives what makes the only database of e's server that of a name,
// how it is called now, and whether anybody is connected to it.
func (e *Engine) adoption(ctx context.Context, conn *pgx.Conn, name string, kept bool) (is string, used bool, statements []string, err error) {
	db, login := database.NameOnServer(e.app, name), loginRole(e.app, name)
	var role bool
	if err = conn.QueryRow(ctx, `SELECT datname, EXISTS (SELECT FROM pg_authid WHERE rolname = $1), EXISTS (SELECT FROM pg_stat_get_activity(NULL) a WHERE a.datid = d.oid)
		FROM pg_database d WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY datname LIMIT 1`, login).Scan(&is, &role, &used); err != nil {
		return is, used, nil, err
	}
	if !role {
		statements = loginStatements(e.home, e.app, login)
	}
	if is != db {
		statements = append(statements, "ALTER DATABASE "+quote(is)+" RENAME TO "+quote(db))
	}
	if kept {
		return is, used, append(statements, "REVOKE CONNECT, TEMPORARY ON DATABASE "+quote(db)+" FROM "+quote(login)), nil
	}
	return is, used, append(statements, "GRANT CONNECT, TEMPORARY ON DATABASE "+quote(db)+" TO "+quote(login)), nil
}

// Greet opens the connection over which e's Solo server will be told whose its
// database is, keeps it open until Cluster.LetGo, and goes through a hand-out
// that it takes back: the catalogs are read then, which takes longer than all
// else. The first connection to a database writes what the next ones read
// (pg_internal.init), so that is made here as well.
func (e *Engine) Greet(ctx context.Context) error {
	e.home.keep()
	var is string
	err := e.home.talk(ctx, "reach it", func(conn *pgx.Conn) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		var used bool
		var statements []string
		if is, used, statements, err = e.adoption(ctx, conn, "rehearsal", false); err == nil && !used {
			err = batch(ctx, conn, statements...)
		}
		return errors.Join(err, tx.Rollback(ctx))
	})
	if err != nil {
		return err
	}
	return e.home.with(ctx, is, "reach it", func(conn *pgx.Conn) error { return conn.Ping(ctx) })
}

// CopyByDump copies a database on one of e's clusters, which stays in use, to
// the name to on e's own, by pg_dump and pg_restore.
func (e *Engine) CopyByDump(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	return e.copyByDump(ctx, from, to, opt)
}

// CopyByDumpFrom copies a database on source's own cluster, which may have the
// same name as e's, and stays in use.
func (e *Engine) CopyByDumpFrom(ctx context.Context, source *Engine, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	other := *e
	other.sources = map[string]*Cluster{from.Cluster: source.home}
	return other.copyByDump(ctx, from, to, opt)
}

// NewestVersion is the major version of PostgreSQL that new clusters get.
func NewestVersion() (string, error) {
	dir, err := newestBin("/usr/lib/postgresql", "")
	return filepath.Base(filepath.Dir(dir)), err
}

// Settle makes the only database of e's Solo server fit to be copied with its
// folder: rows are as they will stay, so that reading a copy writes nothing,
// and what no copy needs is gone: fewer files, faster copies. The log of what
// was written goes too, which holds what masks replaced.
func (e *Engine) Settle(ctx context.Context, name string) error {
	db, login := database.NameOnServer(e.app, name), loginRole(e.app, name)
	if err := e.home.exec1(ctx, db, "settle "+db, "VACUUM (FREEZE, ANALYZE)"); err != nil {
		return err
	}
	return e.home.exec(ctx, "settle "+db,
		"REVOKE ALL ON DATABASE "+quote(db)+" FROM "+quote(login), "DROP ROLE "+quote(login),
		"ALTER DATABASE template0 IS_TEMPLATE false", "ALTER DATABASE template1 IS_TEMPLATE false",
		"DROP DATABASE template0", "DROP DATABASE template1", "SELECT pg_switch_wal()", "CHECKPOINT")
}

// Mark is how far the writing to a database has come, to compare.
type Mark struct {
	Moment string // changes with every transaction of the whole server
	Data   string // changes with the database's rows; lags up to ten seconds
}

// Mark reads how far the writing to d, on one of e's clusters, has come.
func (e *Engine) Mark(ctx context.Context, d bosman.Database) (Mark, error) {
	src, err := e.reach(d)
	if err != nil {
		return Mark{}, err
	}
	n, err := src.counter(ctx, d.Name)
	return n.mark(), err
}

func (n counter) mark() Mark {
	return Mark{Moment: n.Xact, Data: fmt.Sprintf("%d/%d", n.OID, n.Tuples)}
}

// NameOf gives the engine's name ("staging") of one of the app's databases.
func (e *Engine) NameOf(ctx context.Context, d bosman.Database) (string, error) {
	src, err := e.reach(d)
	if err != nil {
		return "", err
	}
	if src.remote != nil {
		return src.remote.instance, nil
	}
	var l label
	err = src.talk(ctx, "read the label of "+d.Name, func(conn *pgx.Conn) (err error) {
		l, err = e.read(ctx, conn, d.Name)
		return err
	})
	return l.Name, err
}

// SetAside keeps d under a name of its own although nothing takes its place
// here: what does stands on another server.
func (e *Engine) SetAside(ctx context.Context, d bosman.Database) (kept bosman.Database, err error) {
	release, err := e.home.names.Claim(ctx, d.Name)
	if err != nil {
		return kept, err
	}
	defer release()
	err = e.home.with(ctx, "postgres", "keep database "+d.Name, func(conn *pgx.Conn) error {
		return e.alone(ctx, conn, []string{d.Name}, func(tx pgx.Tx) error {
			l, err := e.read(ctx, tx, d.Name)
			if err != nil {
				return err
			}
			name := database.Base(l.Name)
			l.KeptAt = e.now().UTC().Truncate(time.Millisecond)
			l.Name = database.KeptName(name, l.KeptAt)
			login := loginRole(e.app, name)
			kept = e.home.database(database.NameOnServer(e.app, l.Name), login)
			comment, err := l.comment(kept.Name)
			if err != nil {
				return err
			}
			return run(ctx, tx, "ALTER DATABASE "+quote(d.Name)+" RENAME TO "+quote(kept.Name),
				"REVOKE CONNECT, TEMPORARY ON DATABASE "+quote(kept.Name)+" FROM "+quote(login), comment)
		})
	})
	return kept, err
}

// Held names the databases of instances on a throw-away cluster, of all apps:
// what is neither a golden copy nor made in advance nor of a build.
func (c *Cluster) Held(ctx context.Context) (names []string, err error) {
	err = c.with(ctx, "postgres", "list databases", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE NOT datistemplate ORDER BY datname")
		if err != nil {
			return err
		}
		var name, text string
		_, err = pgx.ForEachRow(rows, []any{&name, &text}, func() error {
			var l label
			if json.Unmarshal([]byte(text), &l) == nil && l.App != "" && !database.HasTag(l.Name, database.TagGolden) && !database.HasTag(l.Name, database.TagPool) && !database.HasTag(l.Name, database.TagVerify) {
				names = append(names, name)
			}
			return nil
		})
		return err
	})
	return names, err
}
