package mariadb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// The files of a backup.
const (
	dumpFile    = "database.sql.zst"      // mariadb-dump: tables and sequences
	plainFile   = "database.sql"          // the same, where whoever takes it compresses
	objectsFile = "database.objects.json" // views, triggers, routines, events; collation
	objectsSQL  = "database.objects.sql"  // the same for people: zstd -d, then the mariadb client
	infoFile    = "database.json"         // database.BackupInfo
)

// extras is objectsFile.
type extras struct {
	Collation string   `json:"collation"`
	Objects   []object `json:"objects"`
}

// Backup implements database.Engine.
func (e *Engine) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	info := database.BackupInfo{Engine: "mariadb", Name: d.Name}
	c, err := e.reach(d)
	if err != nil {
		return info, err
	}
	if err := c.mark(ctx, d.Name, &info); err != nil {
		return info, err
	}
	out := filepath.Join(dir, dumpFile)
	more, err := c.dump(ctx, e, d.Name, dir, &info, func(write func(io.Writer) error) error { return compressed(out, write) })
	if err != nil {
		return info, err
	}
	if err := e.home.point("database.backup.dumped"); err != nil {
		return info, err
	}
	stat, err := os.Stat(out)
	if err != nil {
		return info, ground.IOError("look at the dump", dir, err)
	}
	info.Bytes = stat.Size()
	for name, v := range map[string]any{objectsFile: more, infoFile: info} {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return info, err
		}
		if err := atomicfile.Write(filepath.Join(dir, name), append(b, '\n'), 0o600); err != nil {
			return info, ground.IOError("write what the backup holds", dir, err)
		}
	}
	return info, ground.IOError("write what the backup holds", dir, atomicfile.Write(filepath.Join(dir, objectsSQL), more.script(), 0o600))
}

// BackupTo implements database.Streamer.
func (e *Engine) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (database.BackupInfo, error) {
	info := database.BackupInfo{Engine: "mariadb", Name: d.Name}
	c, err := e.reach(d)
	if err != nil {
		return info, err
	}
	if err := c.mark(ctx, d.Name, &info); err != nil {
		return info, err
	}
	counted := &counter{}
	more, err := c.dump(ctx, e, d.Name, c.Dir, &info, func(write func(io.Writer) error) error {
		return put(plainFile, func(w io.Writer) error {
			counted.w = w
			return write(counted)
		})
	})
	info.Bytes = counted.n
	if err != nil {
		return info, err
	}
	if err := c.point("database.backup.dumped"); err != nil {
		return info, err
	}
	for name, v := range map[string]any{objectsFile: more, infoFile: info} {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return info, err
		}
		if err := put(name, text(append(b, '\n'))); err != nil {
			return info, err
		}
	}
	return info, put(objectsSQL, text(more.script()))
}

func text(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// compressed writes what write writes into the new file out.
func compressed(out string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(out)
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return ground.IOError("write the dump", dir, err)
	}
	defer func() { err = errors.Join(err, ground.IOError("write the dump", dir, f.Close())) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return errors.Join(write(z), ground.IOError("write the dump", dir, z.Close()))
}

// script is what a person feeds to the mariadb client after the dump.
func (x extras) script() []byte {
	var out strings.Builder
	out.WriteString("-- Views, triggers, routines and events of a backup by Bosman, without their definer.\n-- First the tables: zstd -dc " + dumpFile + " | mariadb DATABASE\nDELIMITER ;;\n")
	for _, o := range x.Objects {
		if o.Mode != "" {
			out.WriteString("SET sql_mode = " + literal(o.Mode) + ";;\n")
		}
		out.WriteString(o.SQL + ";;\n")
	}
	return []byte(out.String())
}

// dump hands the tables of the database name to sink as they are at one
// moment, and says what the database holds at that moment: commits wait while
// both transactions begin, some hundredths of a second. dir is where sink
// writes.
func (c *Cluster) dump(ctx context.Context, e *Engine, name, dir string, info *database.BackupInfo, sink func(write func(io.Writer) error) error) (extras, error) {
	var more extras
	dumping, cancel := context.WithCancel(ctx)
	defer cancel()
	doing := "dump database " + name
	err := c.with(ctx, "", doing, func(conn *sql.Conn) error {
		l, err := e.readOn(ctx, c, conn, name)
		if err != nil {
			return err
		}
		if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&info.Version); err != nil {
			return err
		}
		h, err := c.history(ctx, conn, name)
		if err != nil {
			return err
		}
		info.Lacks = h.lacks()
		return c.with(ctx, name, doing, func(counting *sql.Conn) error {
			ended, err := c.beginTogether(ctx, conn, counting, name, info, func() error {
				return sink(func(w io.Writer) error { return c.dumpTo(dumping, name, dir, w) })
			})
			if ended == nil {
				return err
			}
			var in database.Inspection
			if err == nil {
				in, err = c.inspect(ctx, counting, name, true)
				info.Rows, info.Schema = in.Rows, in.Schema
			}
			if err == nil {
				more, err = readExtras(ctx, counting, name)
				more.Objects = append(more.Objects, l.Parked...)
			}
			if err != nil {
				cancel()
			}
			if derr := <-ended; err == nil {
				err = derr
			}
			return err
		})
	})
	return more, err
}

// readOn is read on the server c.
func (e *Engine) readOn(ctx context.Context, c *Cluster, conn *sql.Conn, name string) (label, error) {
	there := *e
	there.home = c
	return there.read(ctx, conn, name)
}

func readExtras(ctx context.Context, conn *sql.Conn, name string) (x extras, err error) {
	if err := conn.QueryRowContext(ctx, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", name).Scan(&x.Collation); err != nil {
		return x, err
	}
	x.Objects, err = readObjects(ctx, conn, name)
	return x, err
}

// beginTogether starts a dump and a transaction that see the same moment. The
// answer of the dump comes over the channel, which the caller must read if
// there is one, also with an error.
func (c *Cluster) beginTogether(ctx context.Context, conn, counting *sql.Conn, name string, info *database.BackupInfo, dump func() error) (<-chan error, error) {
	c.stage.Lock()
	defer c.stage.Unlock()
	before, err := column(ctx, conn, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ?", dumper)
	if err != nil {
		return nil, err
	}
	if err := run(ctx, conn, "BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"); err != nil {
		return nil, errors.Join(err, endStage(ctx, conn))
	}
	if err := run(ctx, counting, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
		return nil, errors.Join(err, endStage(ctx, conn))
	}
	info.TakenAt = time.Now().UTC()
	ended := make(chan error, 1)
	go func() { ended <- dump() }() // read by the caller
	err = c.dumping(ctx, conn, name, before, ended)
	return ended, errors.Join(err, endStage(ctx, conn))
}

func endStage(ctx context.Context, conn *sql.Conn) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := run(end, conn, "BACKUP STAGE END")
	if number(err) == errBackupStage || ctx.Err() != nil { // the connection's end ends it too
		return nil
	}
	return err
}

// dumping waits until mariadb-dump has begun its transaction: only then does
// it choose a database. If it ended before we looked its answer stays there.
func (c *Cluster) dumping(ctx context.Context, conn *sql.Conn, name string, before []string, ended chan error) error {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		now, err := column(ctx, conn, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ? AND DB = ?", dumper, name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(now, func(id string) bool { return !slices.Contains(before, id) }) {
			return nil
		}
	}
	return bosman.Busy("the dump of %s did not begin within 20 seconds", name).WithNext("try again")
}

// dumpArgs are those of mariadb-dump for the tables of a database.
func (c *Cluster) dumpArgs(ctx context.Context, name string) ([]string, error) {
	args := []string{
		"--single-transaction", "--quick", "--skip-triggers", "--no-tablespaces", "--hex-blob", "--skip-add-drop-table",
		"--skip-add-locks", "--skip-disable-keys", // fewer round trips; InnoDB gains nothing by them
		"--skip-comments", "--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--net-buffer-length=1M",
	}
	err := c.with(ctx, "", "dump database "+name, func(conn *sql.Conn) error {
		views, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ?", name)
		for _, v := range views {
			args = append(args, "--ignore-table="+name+"."+v)
		}
		if err != nil {
			return err
		}
		h, err := c.history(ctx, conn, name)
		if h.dumped {
			args = append(args, "--dump-history")
		}
		return err
	})
	return append(args, name), err
}

// dumpTo dumps the tables of the database name.
func (c *Cluster) dumpTo(ctx context.Context, name, dir string, to io.Writer) error {
	args, err := c.dumpArgs(ctx, name)
	if err != nil {
		return err
	}
	_, err = c.client(ctx, c.database(name, dumper), dir, nil, to, "mariadb-dump", args...)
	return err
}

var collationName = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// Restore implements database.Engine. The dump is read as a user who may do
// nothing outside of the new database: its content is the application's.
func (e *Engine) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	var info database.BackupInfo
	var more extras
	for file, v := range map[string]any{infoFile: &info, objectsFile: &more} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return bosman.Database{}, bosman.NotFound("there is no backup of a MariaDB database in %s", dir).Because(err)
		}
		if err != nil {
			return bosman.Database{}, ground.IOError("read the backup", dir, err)
		}
		if err := json.Unmarshal(b, v); err != nil {
			return bosman.Database{}, bosman.Failed("the backup in %s is damaged: %s cannot be read", dir, file).Because(err)
		}
	}
	if info.Engine != "mariadb" || !collationName.MatchString(more.Collation) {
		return bosman.Database{}, bosman.Failed("the backup in %s is damaged: it does not say what it holds", dir)
	}
	what := &content{collation: more.Collation, objects: more.Objects, info: bosman.CopyInfo{From: info.Name, TakenAt: info.TakenAt, Strategy: "dump", Bytes: info.Bytes}}
	return e.make(ctx, name, what, func(ctx context.Context, worker bosman.Database) (err error) {
		f, err := os.Open(filepath.Join(dir, plainFile))
		if err == nil {
			defer func() { _ = f.Close() }() // it was only read
			return e.load(ctx, worker, f)
		}
		if f, err = os.Open(filepath.Join(dir, dumpFile)); err != nil {
			return ground.IOError("read the backup", dir, err)
		}
		defer func() { _ = f.Close() }() // it was only read
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		return e.load(ctx, worker, z)
	})
}

// load feeds SQL to the client.
func (e *Engine) load(ctx context.Context, worker bosman.Database, from io.Reader) error {
	_, err := e.home.client(ctx, worker, e.home.Dir, from, nil, "mariadb", "--batch", "--binary-mode", "--default-character-set=utf8mb4",
		"--max-allowed-packet=1G", "--init-command=SET SESSION foreign_key_checks = 0, unique_checks = 0", worker.Name)
	return err
}

// Copy implements database.Engine: from another server by way of a golden
// copy, unless it is to be of now and is not masked; else by a dump.
func (e *Engine) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	if opt.From == "" {
		opt.From = from.Name
	}
	src, err := e.reach(from)
	if err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	if src != e.home && e.home.Profile == Scratch {
		s, _, err := e.maskSpec(ctx, from, opt.Release)
		if err != nil {
			return bosman.Database{}, bosman.CopyInfo{}, err
		}
		if !opt.Exact || !s.Empty() {
			return e.copyGolden(ctx, from, to, opt)
		}
	}
	if err := opt.Suits(from, opt.Release); err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	what, _, err := e.content(ctx, src, from, opt)
	if err != nil {
		return bosman.Database{}, what.info, err
	}
	db, err := e.make(ctx, to, what, func(ctx context.Context, worker bosman.Database) (err error) {
		what.info.TakenAt = time.Now().UTC()
		if err := e.pipe(ctx, src, from.Name, worker); err != nil {
			return err
		}
		what.info.Bytes, err = e.home.bytesOf(ctx, worker.Name)
		return err
	})
	what.info.Took = time.Since(begun)
	return db, what.info, err
}

// content reads what the database from holds besides tables, and its label.
func (e *Engine) content(ctx context.Context, src *Cluster, from bosman.Database, opt database.CopyOptions) (*content, label, error) {
	what := &content{info: bosman.CopyInfo{From: opt.From, Release: opt.Release, Strategy: "dump", TakenAt: time.Now().UTC()}}
	var l label
	err := src.with(ctx, "", "copy database "+from.Name, func(conn *sql.Conn) (err error) {
		if l, err = e.readOn(ctx, src, conn, from.Name); err != nil {
			return err
		}
		more, err := readExtras(ctx, conn, from.Name)
		what.collation, what.objects = more.Collation, slices.Concat(more.Objects, l.Parked)
		return err
	})
	return what, l, err
}

// pipe dumps the database name of src, or some tables of it, into worker's.
func (e *Engine) pipe(ctx context.Context, src *Cluster, name string, worker bosman.Database, tables ...string) error {
	args, err := src.dumpArgs(ctx, name)
	args = append(args, tables...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w, err := os.Pipe()
	if err != nil {
		return ground.IOError("copy database "+name, src.Dir, err)
	}
	ended := make(chan error, 1)
	go func() { // waited for below
		_, err := src.client(ctx, src.database(name, dumper), src.Dir, nil, w, "mariadb-dump", args...)
		if err != nil {
			cancel(err) // half a dump must not pass for a whole one
		}
		ended <- errors.Join(err, w.Close())
	}()
	err = e.load(ctx, worker, r)
	_ = r.Close() // a dump that is not read to its end fails
	derr := <-ended
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = nil
		if derr == nil {
			derr = cause
		}
	}
	if err != nil {
		return err
	}
	return derr
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Accepts implements database.Versioned: a dump of a newer series may say
// what an older one does not know.
func (e *Engine) Accepts(ctx context.Context, b database.BackupInfo) error {
	var have string
	if err := e.home.with(ctx, "", "ask the version", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&have)
	}); err != nil {
		return err
	}
	if newer(series(b.Version), series(have)) {
		return bosman.Invalid("the backup was made by MariaDB %s, and %s runs here", series(b.Version), series(have)).
			WithKept("nothing was touched").WithNext("upgrade MariaDB to " + series(b.Version) + " or newer")
	}
	return nil
}

// newer says whether the series a is above b: "11.4" above "10.11".
func newer(a, b string) bool {
	am, an, _ := strings.Cut(a, ".")
	bm, bn, _ := strings.Cut(b, ".")
	if integer(am) != integer(bm) {
		return integer(am) > integer(bm)
	}
	return integer(an) > integer(bn)
}
