package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Ensured says what Ensure did.
type Ensured struct {
	Started   bool // it had to be started
	Created   bool // a new, empty cluster was made
	Recreated bool // the scratch cluster was thrown away after the host crashed: its databases are gone
}

// Ensure makes the cluster if it does not exist and starts it if it does not
// run. It is idempotent; the server outlives this process.
func (c *Cluster) Ensure(ctx context.Context) (Ensured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var done Ensured
	if err := c.settle(); err != nil {
		return done, err
	}
	if err := c.findPrograms(); err != nil {
		return done, err
	}
	pid, err := c.runningPid()
	if err != nil {
		return done, err
	}
	if pid != 0 {
		err := c.await(ctx, time.Minute)
		if err == nil {
			return done, c.prepare(ctx)
		}
		if !errors.Is(err, errDied) {
			return done, err
		}
	}
	if c.initialised() && c.lost() {
		c.log().Warn("scratch cluster thrown away: the host stopped without warning")
		if err := c.ground().NoteLoss(time.Now()); err != nil {
			return done, err
		}
		if err := faults.Point("postgres.lost"); err != nil {
			return done, err
		}
		if err := os.RemoveAll(c.dataDir()); err != nil {
			return done, ground.IOError("remove the scratch cluster", c.Dir, err)
		}
		done.Recreated = true
	}
	if !c.initialised() {
		if err := c.initdb(ctx); err != nil {
			return done, err
		}
		done.Created = true
	}
	if err := c.configure(); err != nil {
		return done, err
	}
	if err := c.start(ctx); err != nil {
		return done, err
	}
	done.Started = true
	if err := c.await(ctx, time.Minute); err != nil {
		return done, err
	}
	return done, c.prepare(ctx)
}

// Stop stops the server, ending all connections; nil if it does not run.
func (c *Cluster) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.findPrograms(); err != nil {
		return err
	}
	pid, err := c.runningPid()
	if err != nil {
		return err
	}
	if pid == 0 {
		return c.rest()
	}
	c.talking.lock()
	if c.line != nil {
		c.hangUp(ctx)
	}
	c.talking.give()
	out, err := c.asOwner(ctx, "pg_ctl", "stop", "-D", c.dataDir(), "-m", "fast", "-w", "-t", "60")
	if err != nil {
		return bosman.Unavailable("could not stop database cluster %s", c.Name).Because(fmt.Errorf("%w: %s", err, out))
	}
	return c.rest()
}

// rest writes what a stopped scratch cluster left to the kernel to the disk.
func (c *Cluster) rest() error {
	if c.Profile != Scratch || !c.initialised() {
		return nil
	}
	return c.ground().NoteRest()
}

// asOwner runs one of PostgreSQL's programs as the server's user and gives
// the end of what it said.
func (c *Cluster) asOwner(ctx context.Context, program string, args ...string) (string, error) {
	g := c.ground()
	return g.Run(g.Command(ctx, c.owner, "/", filepath.Join(c.BinDir, program), args...))
}

// initdb makes the cluster beside its place and renames it, so that a killed
// initdb leaves nothing that looks like a cluster.
func (c *Cluster) initdb(ctx context.Context) error {
	partial := c.dataDir() + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return ground.IOError("remove a half-made database cluster", c.Dir, err)
	}
	if err := os.RemoveAll(c.dataDir()); err != nil { // no PG_VERSION in it: never a cluster
		return ground.IOError("remove an empty database folder", c.Dir, err)
	}
	if err := c.owner.Own(partial, 0o700); err != nil {
		return err
	}
	pw := filepath.Join(c.logDir(), "pw")
	if err := os.WriteFile(pw, []byte(c.secret+"\n"), 0o600); err != nil {
		return ground.IOError("write a password file", c.Dir, err)
	}
	defer func() { _ = os.Remove(pw) }() // readable by the server's user alone
	if err := c.owner.Give(pw); err != nil {
		return err
	}
	args := []string{
		"-D", partial, "-U", superuser, "--pwfile", pw, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
	}
	if c.Profile != Main {
		args = append(args, "--no-sync")
	}
	if c.Profile == Solo {
		args = append(args, "--wal-segsize=4")
	}
	out, err := c.asOwner(ctx, "initdb", args...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if ground.NoRoom(c.Dir) {
			return c.ground().Full("make database cluster "+c.Name, fmt.Errorf("%w: %s", err, out))
		}
		return bosman.Unavailable("could not make database cluster %s", c.Name).Because(fmt.Errorf("%w: %s", err, out))
	}
	if err := faults.Point("postgres.initdb"); err != nil {
		return err
	}
	if err := atomicfile.Write(c.programsNote(), []byte(c.BinDir+"\n"), 0o644); err != nil {
		return ground.IOError("note which programs made database cluster "+c.Name, c.Dir, err)
	}
	if err := os.Rename(partial, c.dataDir()); err != nil {
		return ground.IOError("put database cluster in its place", c.Dir, err)
	}
	return nil
}

// settings are few and small: several clusters share a modest machine.
func (c *Cluster) settings() [][2]string {
	s := [][2]string{
		{"listen_addresses", "''"},
		{"port", strconv.Itoa(c.Port)},
		{"unix_socket_directories", quoteConf(c.SocketDir)},
		{"unix_socket_permissions", "0777"}, // who may log in is for passwords to say
		{"password_encryption", "scram-sha-256"},
		{"max_connections", "120"},
		{"superuser_reserved_connections", "8"},
		{"work_mem", "4MB"},
		{"jit", "off"},
		{"max_wal_size", "512MB"},
		{"logging_collector", "on"},
		{"log_directory", quoteConf(c.logDir())},
		{"log_filename", "'server-%a.log'"},
		{"log_truncate_on_rotation", "on"},
		{"log_rotation_age", "1d"},
		{"log_rotation_size", "0"},
		{"log_min_error_statement", "panic"}, // statements may hold people's data
		{"log_line_prefix", "'%m [%p] %q%u@%d '"},
		{"log_timezone", "'UTC'"},
		{"timezone", "'UTC'"},
		{"track_counts", "on"},
		{"max_locks_per_transaction", "256"}, // counting the rows of 5,000 tables locks them and their indexes
		{"dynamic_shared_memory_type", "posix"},
	}
	switch c.Profile { // the last one counts
	case Solo:
		return append(s, soloSettings()...)
	case Replayed:
		return append(s, replayedSettings()...)
	case Main, Scratch:
	}
	if c.Profile == Scratch {
		s = append(s, [][2]string{
			{"shared_buffers", "48MB"},
			{"maintenance_work_mem", "48MB"},
			{"fsync", "off"},
			{"synchronous_commit", "off"},
			{"full_page_writes", "off"},
			{"wal_level", "minimal"},
			{"max_wal_senders", "0"},
			{"archive_mode", "off"},
			{"autovacuum_max_workers", "1"},
			{"autovacuum_naptime", "5min"},
			{"checkpoint_timeout", "30min"},
		}...)
		if c.major() >= 14 { // of an instance that is stopped, or died, nothing goes on writing
			s = append(s, [2]string{"client_connection_check_interval", "10s"})
		}
		if c.major() >= 18 && reflinks(c.dataDir()) == "" {
			s = append(s, [2]string{"file_copy_method", "clone"})
		}
		return s
	}
	s = append(s, [][2]string{
		{"shared_buffers", "64MB"},
		{"maintenance_work_mem", "64MB"},
		{"fsync", "on"},
		{"synchronous_commit", "on"},
		{"full_page_writes", "on"},
		{"wal_level", "replica"},
		{"autovacuum_max_workers", "2"},
	}...)
	return append(s, c.logSettings()...)
}

func quoteConf(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// configure writes the settings and who may log in. Instances reach only the
// database of their own name, whatever is granted inside.
func (c *Cluster) configure() error {
	var conf strings.Builder
	conf.WriteString("# Written by Bosman at each start; changes here are lost.\n")
	for _, kv := range c.settings() {
		fmt.Fprintf(&conf, "%s = %s\n", kv[0], kv[1])
	}
	if err := c.makeSpool(); err != nil {
		return err
	}
	hba := "# Written by Bosman at each start; changes here are lost.\n" +
		"local replication " + superuser + " scram-sha-256\n" +
		"local all " + superuser + " scram-sha-256\n" +
		"local all +" + groupWorkers + " scram-sha-256\n" +
		"local all +" + groupBuilds + " scram-sha-256\n" +
		"local sameuser all scram-sha-256\n"
	for name, text := range map[string]string{"postgresql.conf": conf.String(), "pg_hba.conf": hba} {
		path := filepath.Join(c.dataDir(), name)
		if have, err := os.ReadFile(path); err == nil && string(have) == text {
			continue
		}
		if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
			return ground.IOError("configure database cluster "+c.Name, c.Dir, err)
		}
		if err := c.owner.Give(path); err != nil {
			return err
		}
	}
	return nil
}

// start starts the server in a session of its own.
func (c *Cluster) start(ctx context.Context) error {
	if err := errors.Join(c.endOrphans(ctx), c.removeStale()); err != nil {
		return err
	}
	if err := c.ground().NoteStart(atomicfile.Write); err != nil {
		return err
	}
	startLog := filepath.Join(c.logDir(), "start.log")
	if err := os.Remove(startLog); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ground.IOError("remove an old log", c.Dir, err)
	}
	out, err := c.asOwner(ctx, "pg_ctl", "start", "-D", c.dataDir(), "-l", startLog, "-w", "-t", "60")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		said := c.lastWords()
		if ground.NoRoom(c.Dir) {
			return c.ground().Full("start database cluster "+c.Name, fmt.Errorf("%w: %s", err, said))
		}
		return c.down("start it", fmt.Errorf("%w: %s %s", err, out, said))
	}
	return nil
}

// lastWords is the end of the newest log file.
func (c *Cluster) lastWords() string {
	logs, err := filepath.Glob(filepath.Join(c.logDir(), "*.log"))
	if err != nil || len(logs) == 0 {
		return ""
	}
	slices.SortFunc(logs, func(a, b string) int { return modTime(a).Compare(modTime(b)) })
	return ground.LastWords(logs[len(logs)-1])
}

func modTime(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// runningPid is the server's pid, 0 if it does not run.
func (c *Cluster) runningPid() (int, error) {
	return c.ground().RunningPid(filepath.Join(c.dataDir(), "postmaster.pid"))
}

// removeStale removes lock files whose pid is somebody else's by now, which
// PostgreSQL would take for a running server. Files with a dead pid, and
// backends that outlive a killed server, are its own to judge.
func (c *Cluster) removeStale() error {
	lock := filepath.Join(c.SocketDir, ".s.PGSQL."+strconv.Itoa(c.Port)+".lock")
	for _, p := range []string{filepath.Join(c.dataDir(), "postmaster.pid"), lock} {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ground.IOError("read a lock file", c.Dir, err)
		}
		first, _, _ := strings.Cut(string(b), "\n")
		if _, err := os.Stat("/proc/" + strings.TrimSpace(first)); err != nil && first != "" {
			continue
		}
		if err := os.Remove(p); err != nil {
			return ground.IOError("remove a stale lock file", c.Dir, err)
		}
	}
	return nil
}

// lost says whether the files cannot be trusted since the host crashed: without
// fsync nobody knows which of them reached the disk.
func (c *Cluster) lost() bool { return c.Profile != Main && c.ground().Lost() }
