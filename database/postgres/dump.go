package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// The files of a backup.
const (
	dumpFile  = "database.dump"      // pg_dump -Fc
	infoFile  = "database.json"      // database.BackupInfo
	rolesFile = "database.roles.sql" // roles without their passwords, for people
)

// reach gives the cluster of d, whose superuser reads it, or an error.
func (e *Engine) reach(d bosman.Database) (*Cluster, error) {
	if c, ok := e.sources[d.Cluster]; ok && d.Engine == "postgres" {
		return c, nil
	}
	if c := e.adoptedSource(d.Cluster); c != nil {
		return c, nil
	}
	return nil, bosman.Invalid("the database %s is on %s %q, which is not one of Bosman's clusters here", d.Name, d.Engine, d.Cluster)
}

// Backup implements database.Engine.
func (e *Engine) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	c, err := e.reach(d)
	if err != nil {
		return database.BackupInfo{}, err
	}
	var before database.BackupInfo
	if err := c.mark(ctx, d.Name, &before); err != nil {
		return before, err
	}
	info, err := c.dump(ctx, d.Name, dir, "1", true)
	if err != nil {
		return info, err
	}
	info.Marks = before.Marks
	if info.Roles, err = e.dumpRoles(ctx, c); err != nil {
		return info, err
	}
	if err := atomicfile.Write(filepath.Join(dir, rolesFile), []byte(strings.Join(info.Roles, "\n")+"\n"), 0o600); err != nil {
		return info, ground.IOError("write the roles", dir, err)
	}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return info, err
	}
	return info, ground.IOError("write what the backup holds", dir, atomicfile.Write(filepath.Join(dir, infoFile), append(b, '\n'), 0o600))
}

// dump writes the database name into dir as it is at one moment, and says
// what it holds at that moment if asked to count.
func (c *Cluster) dump(ctx context.Context, name, dir, compression string, count bool) (database.BackupInfo, error) {
	info := database.BackupInfo{Engine: "postgres", Name: name}
	program, err := c.dumper("pg_dump")
	if err != nil {
		return info, err
	}
	err = c.with(ctx, name, "dump database "+name, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			var snapshot string
			if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version')").
				Scan(&snapshot, &info.TakenAt, &info.Version); err != nil {
				return err
			}
			info.TakenAt = info.TakenAt.UTC()
			if !c.asOf.IsZero() {
				info.TakenAt = c.asOf
			}
			err := c.dumpInto(ctx, &info, filepath.Join(dir, dumpFile), program, "-Fc", "-Z", compression, "--snapshot="+snapshot, "-d", dsn(c.admin(name), false))
			if err != nil {
				return err
			}
			if err := c.apart(ctx, tx, &info); err != nil {
				return err
			}
			if info.Extensions, err = extensions(ctx, tx); err != nil || !count {
				return err
			}
			in, err := inspect(ctx, tx)
			info.Rows, info.Schema = in.Rows, in.Schema
			return err
		})
	})
	if err != nil {
		return info, err
	}
	return info, faults.Point("database.backup.dumped")
}

// dumpInto runs pg_dump into a file. If ctx asks for it, it goes through our
// hands, which hold it back: so gently that others do not wait for the disk.
func (c *Cluster) dumpInto(ctx context.Context, info *database.BackupInfo, file, program string, args ...string) error {
	dir, admin := filepath.Dir(file), c.admin(info.Name)
	if database.IsLow(ctx) {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return ground.IOError("write the dump", dir, err)
		}
		out := &sized{to: &ground.GentleWriter{To: f}}
		err = c.clientTo(ctx, out, admin, dir, program, args...)
		info.Bytes = out.n
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if said := new(bosman.Error); ctx.Err() != nil || errors.As(err, &said) {
			return err
		}
		return ground.IOError("write the dump", dir, err)
	}
	defer ground.Steady(dir)()
	if _, err := c.client(ctx, admin, dir, program, append(args, "-f", file)...); err != nil {
		return err
	}
	stat, err := os.Stat(file)
	if err != nil {
		return ground.IOError("look at the dump", dir, err)
	}
	info.Bytes = stat.Size()
	return nil
}

// client runs one of PostgreSQL's client programs, given by its path, as d's
// user; dir is where it writes. It gives what the program printed.
func (c *Cluster) client(ctx context.Context, d bosman.Database, dir, path string, args ...string) ([]byte, error) {
	var stdout bytes.Buffer
	err := c.clientTo(ctx, &stdout, d, dir, path, args...)
	return stdout.Bytes(), err
}

// clientTo is client for a program that prints much.
func (c *Cluster) clientTo(ctx context.Context, to io.Writer, d bosman.Database, dir, path string, args ...string) error {
	program := filepath.Base(path)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "HOME=/nonexistent", "PGPASSWORD=" + d.Password}
	// Our own death ends it too: what it works on is cleared by Recover.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var started func(pid int)
	if database.IsLow(ctx) {
		started = ground.Yield
		cmd.SysProcAttr.Setsid = true // for a share of its own
		if c.remote == nil {
			defer c.lowly(ctx, cmd)()
		}
	}
	refused, err := ground.Pour(cmd, to, started)
	switch {
	case ctx.Err() != nil && err != nil:
		return ctx.Err()
	case refused != nil:
		return refused
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return ground.Missing(path, "postgresql-client")
	}
	said := fmt.Errorf("%s: %w: %s", program, err, ground.Tail(stderr.Bytes(), 2000))
	if full := ground.Unfinished(program, d.Name, said, c.Dir, dir); full != nil {
		return full
	}
	if ping := c.ping(ctx); ping != nil {
		return c.down("finish "+program+" of "+d.Name, said)
	}
	if crowded := c.crowded(ctx, "finish "+program+" of "+d.Name, d.Name, said); crowded != nil {
		return crowded
	}
	return bosman.Failed("%s of %s did not succeed", program, d.Name).Because(said)
}

// lowly has the server processes that a client program works with yield too,
// and be one at a time, until the function it gives is called.
func (c *Cluster) lowly(ctx context.Context, cmd *exec.Cmd) (stop func()) {
	at := slices.Index(cmd.Args, "-d")
	if at < 0 {
		return func() {} // it works on files
	}
	name := "bosman low " + rand.Text()
	cmd.Args[at+1] += " application_name='" + name + "'" // the last one counts
	cmd.Env = append(cmd.Env, "PGOPTIONS=-c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0")
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { c.yieldBehind(ctx, name) })
	return func() {
		cancel()
		done.Wait()
	}
}

// Restore implements database.Engine. The dump is read as the app's owner,
// never as superuser: its content is the application's.
func (e *Engine) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	var info database.BackupInfo
	b, err := os.ReadFile(filepath.Join(dir, infoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return bosman.Database{}, bosman.NotFound("there is no backup of a PostgreSQL database in %s", dir).Because(err)
	}
	if err != nil {
		return bosman.Database{}, ground.IOError("read the backup", dir, err)
	}
	if err := json.Unmarshal(b, &info); err != nil || info.Engine != "postgres" {
		return bosman.Database{}, bosman.Failed("the backup in %s is damaged: %s cannot be read", dir, infoFile).Because(err)
	}
	db, err := e.make(ctx, name, bosman.CopyInfo{From: info.Name, TakenAt: info.TakenAt, Strategy: "dump", Bytes: info.Bytes}, func(ctx context.Context, making string) error {
		return e.fill(ctx, dir, making, info)
	})
	if err == nil && len(info.Apart) > 0 {
		e.log.Info("the restored database is without what no backup brings back", "database", db.Name, "without", info.Apart)
	}
	return db, err
}

// fill restores the dump in dir into the database making.
func (e *Engine) fill(ctx context.Context, dir, making string, info database.BackupInfo) error {
	c := e.home
	dump := filepath.Join(dir, dumpFile)
	var takeBack []string
	err := c.withPath(ctx, making, "add extensions to "+making, "public", func(conn *pgx.Conn) (err error) {
		if err := e.addExtensions(ctx, conn, info.Extensions); err != nil {
			return err
		}
		takeBack, err = e.lend(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	files, err := c.filesOf(ctx, making)
	if err != nil {
		return err
	}
	defer ground.Steady(files)()
	worker := c.database(making, workerRole(e.app))
	restore, version, err := e.restorer(dump)
	if err != nil {
		return err
	}
	list, err := c.client(ctx, worker, dir, restore, "-l", dump)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.tmpDir(), "list")
	if err != nil {
		return ground.IOError("write a list", c.Dir, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // the folder is emptied by Recover
	strangers, err := c.strangers(ctx, info.Policies)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	servers := serversIn(list)
	if err := e.nameServers(ctx, making, servers); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = f.Write(ours(list, info.Extensions, strangers))
	if err = errors.Join(err, f.Close()); err != nil {
		return ground.IOError("write a list", c.Dir, err)
	}
	var size int64
	if stat, err := os.Stat(dump); err == nil {
		size = stat.Size()
	}
	pace := paceOf(ctx, size, list)
	if needsRelay(version, c.major()) {
		through, relay, err := c.throughRelay(ctx, worker)
		if err != nil {
			return err
		}
		defer relay.close()
		worker = through
	}
	_, err = c.client(ctx, worker, c.Dir, restore, append(pace, "--no-owner", "--no-acl", "--no-tablespaces", "--no-security-labels", "--exit-on-error",
		"-L", f.Name(), "-d", dsn(worker, false), dump)...)
	if err != nil {
		return err
	}
	if err := c.with(ctx, making, "analyse "+making, func(conn *pgx.Conn) error {
		if err := run(ctx, conn, takeBack...); err != nil {
			return err
		}
		return analyse(ctx, conn, len(servers) > 0)
	}); err != nil {
		return err
	}
	return e.set(ctx, making, info.Settings)
}

// What a restore is worth doing two things at once for, in bytes, and how many
// entries of a dump one transaction holds the locks of.
const (
	twoJobs   = 16 << 20
	oneAtOnce = 2000
)

// paceOf gives pg_restore's options for a dump of a size and its table of
// contents. One that is to yield does one thing after the other, and all in
// one transaction: what it fills the tables with is not logged then.
func paceOf(ctx context.Context, size int64, list []byte) []string {
	switch {
	case database.IsLow(ctx) && bytes.Count(list, []byte("\n")) < oneAtOnce:
		return []string{"--single-transaction"}
	case size > twoJobs:
		return []string{"-j", "2"}
	}
	return nil // more cost more than they bring for a small dump
}

// exec1 runs one statement in the database name.
func (c *Cluster) exec1(ctx context.Context, name, doing, statement string) error {
	return c.with(ctx, name, doing, func(conn *pgx.Conn) error { return run(ctx, conn, statement) })
}

// ours leaves out of a dump's table of contents what only a superuser may
// make and what is there already: extensions, their schemas and public; and
// what only its own server can have (apartQuery).
func ours(list []byte, extensions map[string]string, strangers map[string]bool) []byte {
	made := map[string]bool{"public": true}
	for _, schema := range extensions {
		made[schema] = true
	}
	var out bytes.Buffer
	for line := range bytes.Lines(list) {
		_, rest, ok := bytes.Cut(line, []byte("; "))
		f := strings.Fields(string(rest)) // 3079 16385 EXTENSION - citext
		if ok && len(f) >= 4 {
			entry := strings.Join(f[2:], " ") + " "
			if strings.HasPrefix(entry, "EXTENSION ") || strings.HasPrefix(entry, "COMMENT - EXTENSION ") ||
				isSchema(string(rest), made) || isLeftOut(entry, strangers) || strings.HasPrefix(entry, "COMMENT - SCHEMA public ") {
				continue
			}
		}
		out.Write(line)
	}
	return out.Bytes()
}

// isSchema says whether an entry of a table of contents makes one of the
// schemas, whose names may hold blanks: "2615 16385 SCHEMA - my schema owner".
func isSchema(entry string, made map[string]bool) bool {
	_, rest, ok := strings.Cut(entry, " SCHEMA - ")
	if !ok || len(strings.Fields(entry)) < 5 || strings.Fields(entry)[2] != "SCHEMA" {
		return false
	}
	name, _, ok := cutLast(strings.TrimRight(rest, "\n"), " ")
	return ok && made[name]
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// extensions gives the extensions of a database and their schemas.
func extensions(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, "SELECT x.extname, n.nspname FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname <> 'plpgsql'")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var name, schema string
	_, err = pgx.ForEachRow(rows, []any{&name, &schema}, func() error {
		out[name] = schema
		return nil
	})
	return out, err
}

// copyByDump copies a database that stays in use.
func (e *Engine) copyByDump(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	info := bosman.CopyInfo{From: opt.From, Release: opt.Release, Strategy: "dump"}
	src, err := e.reach(from)
	if err != nil {
		return bosman.Database{}, info, err
	}
	if err := errors.Join(opt.Suits(from, opt.Release), e.olderThan(src, from)); err != nil {
		return bosman.Database{}, info, err
	}
	dir, err := os.MkdirTemp(e.home.tmpDir(), "copy")
	if err != nil {
		return bosman.Database{}, info, ground.IOError("make a folder for the dump", e.home.Dir, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the folder is emptied by Recover
	taken, err := src.dump(ctx, from.Name, dir, "0", false)
	if err != nil {
		return bosman.Database{}, info, err
	}
	info.TakenAt, info.Bytes = taken.TakenAt, taken.Bytes
	db, err := e.make(ctx, to, info, func(ctx context.Context, making string) error {
		return e.fill(ctx, dir, making, taken)
	})
	info.Took = time.Since(begun)
	return db, info, err
}
