package mariadb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Ensured says what Ensure did.
type Ensured struct {
	Started   bool // it had to be started
	Created   bool // a new, empty server folder was made
	Recreated bool // the scratch server was thrown away after the host crashed: its databases are gone
}

// Ensure makes the server's folder if it does not exist and starts it if it
// does not run. It is idempotent; the server outlives this process.
func (c *Cluster) Ensure(ctx context.Context) (Ensured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var done Ensured
	if err := c.settle(); err != nil {
		return done, err
	}
	pid, err := c.runningPid()
	if err != nil {
		return done, err
	}
	if pid != 0 && c.ping(ctx) == nil {
		if c.ready {
			return done, c.tend(ctx)
		}
		err := c.prepare(ctx)
		c.ready = err == nil
		return done, err
	}
	for _, p := range []string{"mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump"} {
		if _, err := program(p); err != nil {
			return done, err
		}
	}
	if pid == 0 && c.initialised() && c.lost() {
		c.log().Warn("scratch database server thrown away: the host stopped without warning")
		if err := c.ground().NoteLoss(time.Now()); err != nil {
			return done, err
		}
		if err := c.point("mariadb.lost"); err != nil {
			return done, err
		}
		if err := errors.Join(os.RemoveAll(c.dataDir()), os.RemoveAll(c.goldenDir())); err != nil {
			return done, ground.IOError("remove the scratch database server", c.Dir, err)
		}
		done.Recreated = true
	}
	if err := c.configure(); err != nil {
		return done, err
	}
	if !c.initialised() {
		if err := c.install(ctx); err != nil {
			return done, err
		}
		done.Created = true
	}
	if pid == 0 {
		if err := c.start(ctx); err != nil {
			return done, err
		}
		done.Started = true
	}
	if err := c.await(ctx, 10*time.Minute); err != nil { // it may have much to recover
		return done, err
	}
	err = errors.Join(c.upgrade(ctx), c.prepare(ctx))
	c.ready = err == nil
	return done, err
}

// tend finishes what could not be finished before, for want of space perhaps.
func (c *Cluster) tend(ctx context.Context) error {
	return c.with(ctx, "", "finish swaps", func(conn *sql.Conn) error {
		notes, err := column(ctx, conn, "SELECT doc FROM bosman.swaps")
		for _, n := range notes {
			err = errors.Join(err, c.recoverSwap(ctx, conn, n, ""))
		}
		return errors.Join(err, c.reopenAll(ctx, conn))
	})
}

// Stop stops the server, ending all connections; nil if it does not run.
func (c *Cluster) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(); err != nil {
		return err
	}
	pid, err := c.runningPid()
	if err != nil {
		return err
	}
	if pid == 0 {
		return c.rest()
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return bosman.Unavailable("could not stop database server %s", c.Name).Because(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		pid, err := c.runningPid()
		if err != nil {
			return err
		}
		if pid == 0 {
			return c.rest()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return bosman.Unavailable("database server %s did not stop within two minutes", c.Name).WithNext("its log is in " + c.logDir())
}

// rest writes what a stopped scratch server left to the kernel to the disk.
func (c *Cluster) rest() error {
	if c.Profile != Scratch || !c.initialised() {
		return nil
	}
	return c.ground().NoteRest()
}

// program finds one of MariaDB's programs, which are not all in PATH.
func program(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", ground.Missing(name, "mariadb-server mariadb-client")
}

// asOwner runs a program as the server's user in the folder dir and gives the
// end of what it said.
func (c *Cluster) asOwner(ctx context.Context, dir string, stdin []byte, name string, args ...string) (string, error) {
	g := c.ground()
	cmd := g.Command(ctx, c.owner, dir, name, args...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	return g.Run(cmd)
}

// initialised says whether the data folder holds a server that install
// finished: it works beside it and is renamed into place.
func (c *Cluster) initialised() bool {
	_, err := os.Stat(filepath.Join(c.dataDir(), "ibdata1"))
	return err == nil
}

// install makes the server's folder beside its place and renames it, so that
// a killed install leaves nothing that looks like a server. Bosman's superuser
// is its only user.
func (c *Cluster) install(ctx context.Context) error {
	partial := c.dataDir() + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(c.dataDir())); err != nil { // no ibdata1 in it: never a server
		return ground.IOError("remove a half-made database server", c.Dir, err)
	}
	if err := c.owner.Own(partial, 0o700); err != nil {
		return err
	}
	installer, err1 := program("mariadb-install-db")
	server, err2 := program("mariadbd")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	doing := "make database server " + c.Name
	out, err := c.asOwner(ctx, "/", nil, installer, "--defaults-file="+c.confPath(), "--datadir="+partial,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	if err == nil {
		users := "FLUSH PRIVILEGES;\n" +
			"CREATE USER " + account(superuser) + " IDENTIFIED BY " + literal(c.secret) + ";\n" +
			"GRANT ALL PRIVILEGES ON *.* TO " + account(superuser) + " WITH GRANT OPTION;\n" +
			"DELETE FROM mysql.global_priv WHERE User IN ('', 'root');\n"
		out, err = c.asOwner(ctx, "/", []byte(users), server, "--defaults-file="+c.confPath(), "--datadir="+partial, "--bootstrap", "--log-error="+filepath.Join(c.logDir(), "install.log"))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if ground.NoRoom(c.Dir) {
			return c.ground().Full(doing, fmt.Errorf("%w: %s", err, out))
		}
		return bosman.Unavailable("could not %s", doing).Because(fmt.Errorf("%w: %s", err, out))
	}
	if err := c.point("mariadb.install"); err != nil {
		return err
	}
	if err := os.Rename(partial, c.dataDir()); err != nil {
		return ground.IOError("put the database server in its place", c.Dir, err)
	}
	return nil
}

func (c *Cluster) confPath() string { return filepath.Join(c.Dir, "my.cnf") }

// settings are few and small: several servers share a modest machine.
func (c *Cluster) settings() [][2]string {
	s := [][2]string{
		{"datadir", c.dataDir()},
		{"socket", c.socket()},
		{"pid_file", filepath.Join(c.logDir(), "mariadbd.pid")},
		{"log_error", c.logPath()},
		{"tmpdir", c.workDir()},
		{"skip_networking", "ON"},
		{"skip_name_resolve", "ON"},
		{"skip_log_bin", ""},
		{"symbolic_links", "OFF"},
		{"local_infile", "OFF"},
		{"secure_file_priv", c.logDir()},
		{"character_set_server", "utf8mb4"},
		{"collation_server", "utf8mb4_general_ci"},
		{"default_time_zone", "+00:00"},
		{"max_connections", "150"},
		{"max_user_connections", "0"},
		{"max_allowed_packet", "1G"},
		{"performance_schema", "OFF"},
		{"key_buffer_size", "4M"},
		{"aria_pagecache_buffer_size", "8M"},
		{"query_cache_size", "0"},
		{"table_open_cache", "2000"},
		{"userstat", "ON"},
		{"innodb_file_per_table", "ON"},
		{"innodb_buffer_pool_dump_at_shutdown", "OFF"},
		{"innodb_buffer_pool_load_at_startup", "OFF"},
	}
	if c.Profile == Scratch {
		s = append(s, errorLogSettings(c.logDir())...)
		return append(s, [][2]string{
			{"event_scheduler", "OFF"}, // copies do nothing by themselves
			{"innodb_buffer_pool_size", "96M"},
			{"innodb_log_file_size", "256M"},
			{"innodb_flush_method", "nosync"},
			{"innodb_doublewrite", "OFF"},
			{"innodb_flush_log_at_trx_commit", "2"}, // what we say is done outlives a killed server
			{"debug_no_sync", ""},
		}...)
	}
	return append(s, [][2]string{
		{"event_scheduler", "ON"},
		{"innodb_buffer_pool_size", "128M"},
		{"innodb_log_file_size", "256M"},
		{"innodb_doublewrite", "ON"},
		{"innodb_flush_log_at_trx_commit", "1"},
	}...)
}

func (c *Cluster) logPath() string { return filepath.Join(c.logDir(), "server.log") }

// configure writes the settings.
func (c *Cluster) configure() error {
	var conf strings.Builder
	conf.WriteString("# Written by Bosman at each start; changes here are lost.\n[mariadbd]\n")
	for _, kv := range c.settings() {
		switch {
		case kv[1] == "":
			conf.WriteString(kv[0] + "\n")
		default:
			fmt.Fprintf(&conf, "%s = \"%s\"\n", kv[0], strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(kv[1]))
		}
	}
	if err := atomicfile.Write(c.confPath(), []byte(conf.String()), 0o644); err != nil {
		return ground.IOError("configure database server "+c.Name, c.Dir, err)
	}
	return nil
}

// launch writes the pid of the server to be and becomes it.
const launch = `sh -c 'echo $$ >"$0" && exec "$@"' "$@" </dev/null >>"$1.out" 2>&1 &`

func (c *Cluster) pidPath() string { return filepath.Join(c.logDir(), "pid") }

// start starts the server in a session of its own.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.ground().NoteStart(atomicfile.Write); err != nil {
		return err
	}
	if info, err := os.Stat(c.logPath()); err == nil && info.Size() > 8<<20 {
		if err := os.Rename(c.logPath(), c.logPath()+".1"); err != nil {
			return ground.IOError("turn over the log of database server "+c.Name, c.Dir, err)
		}
	}
	if err := os.Remove(c.pidPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ground.IOError("remove an old pid file", c.Dir, err)
	}
	server, err := program("mariadbd")
	if err != nil {
		return err
	}
	out, err := c.asOwner(ctx, c.dataDir(), nil, "/bin/sh", "-c", launch, "sh", c.pidPath(), server, "--defaults-file="+c.confPath())
	if err != nil {
		return ended(ctx, c.down("start it", fmt.Errorf("%w: %s", err, out)))
	}
	for range 100 { // the launcher writes the pid at once
		if pid, err := c.runningPid(); err != nil || pid != 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return c.dead()
}

// dead is the error for a server that ended by itself.
func (c *Cluster) dead() error {
	said := errors.New(c.lastWords())
	if ground.NoRoom(c.Dir) {
		return c.ground().Full("start database server "+c.Name, said)
	}
	return c.down("start it", said)
}

// await waits until the server takes connections, while it lives.
func (c *Cluster) await(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		err := c.ping(ctx)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if bosman.KindOf(err) != bosman.KindUnavailable && !errors.Is(err, context.DeadlineExceeded) {
			return err // it answers, but not to us
		}
		if pid, perr := c.runningPid(); perr != nil || pid == 0 {
			return errors.Join(perr, c.dead())
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastWords is the end of the server's log.
func (c *Cluster) lastWords() string { return ground.LastWords(c.logPath()) }

// runningPid is the server's pid, 0 if it does not run.
func (c *Cluster) runningPid() (int, error) { return c.ground().RunningPid(c.pidPath()) }

// lost says whether the scratch server's files cannot be trusted since the host
// crashed: nobody knows which of them reached the disk.
func (c *Cluster) lost() bool { return c.Profile == Scratch && c.ground().Lost() }

// upgrade brings the server's own tables to the version that runs now.
func (c *Cluster) upgrade(ctx context.Context) error {
	var version string
	err := c.with(ctx, "", "ask the version", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	})
	if err != nil {
		return err
	}
	path := filepath.Join(c.Dir, "version")
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ground.IOError("read the version of database server "+c.Name, c.Dir, err)
	}
	if series(string(was)) == series(version) {
		return nil
	}
	if len(was) > 0 {
		c.log().Info("the database server was upgraded", "from", strings.TrimSpace(string(was)), "to", version)
		if _, err := c.client(ctx, c.database("", superuser), c.Dir, nil, nil, "mariadb-upgrade", "--silent"); err != nil {
			return err
		}
	}
	return ground.IOError("note the version of database server "+c.Name, c.Dir, atomicfile.Write(path, []byte(version+"\n"), 0o644))
}

// series is 10.11 for "10.11.19-MariaDB-0+deb12u1".
func series(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return version
	}
	return parts[0] + "." + parts[1]
}
