package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/mask"
)

// A golden copy is a database on the scratch server into which nobody writes,
// and beside it, in golden/DATABASE, what the server says of each table's file
// (FLUSH TABLES … FOR EXPORT). A copy of it is made of the same files (ALTER
// TABLE … IMPORT TABLESPACE); the few tables that cannot be had so are dumped.

// keepGoldens is how many generations of a golden copy stay: a change made
// before the last migration may need the one before.
const keepGoldens = 2

// written tells whether anything was written: the counters of rows begin anew
// with the server, and the shape is of tables, columns and other definitions.
type written struct {
	Since string `json:"since,omitempty"`
	Rows  string `json:"rows,omitempty"`
	Shape string `json:"shape,omitempty"`
}

func (c *Cluster) written(ctx context.Context, name string) (w written, err error) {
	err = c.with(ctx, "", "read what was written to "+name, func(conn *sql.Conn) error {
		for query, into := range map[string]*string{
			"SELECT COALESCE(SUM(ROWS_CHANGED), 0) FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = ?": &w.Rows,
			// Joined with a table that has an index of its own: the catalogue's have none.
			`SELECT CONCAT_WS('/',
				(SELECT CONCAT_WS('.', COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', NAME, TABLE_ID, N_COLS))), 0))
					FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE CONCAT(REPLACE(a.n, '_', '\\_'), '/%')),
				(SELECT STRAIGHT_JOIN CONCAT_WS('.', COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', c.TABLE_ID, c.NAME, c.POS))), 0))
					FROM information_schema.INNODB_SYS_COLUMNS c JOIN (SELECT DISTINCT TABLE_ID FROM information_schema.INNODB_SYS_TABLES
						WHERE NAME LIKE CONCAT(REPLACE(?, '_', '\\_'), '/%')) t USING (TABLE_ID)),
				(SELECT COALESCE(SUM(CRC32(CONCAT(TRIGGER_NAME, ACTION_STATEMENT))), 0) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = a.n),
				(SELECT COALESCE(SUM(CRC32(CONCAT(TABLE_NAME, VIEW_DEFINITION))), 0) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = a.n),
				(SELECT COALESCE(SUM(CRC32(CONCAT(ROUTINE_NAME, LAST_ALTERED))), 0) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = a.n))
			FROM (SELECT ? AS n) a`: &w.Shape,
		} {
			if err := conn.QueryRowContext(ctx, query, slices.Repeat([]any{name}, strings.Count(query, "?"))...).Scan(into); err != nil {
				return err
			}
		}
		return conn.QueryRowContext(ctx, "SELECT DATE_FORMAT(NOW() - INTERVAL VARIABLE_VALUE SECOND, '%Y%m%d%H%i') FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'").Scan(&w.Since)
	})
	return w, err
}

// same allows for the minute in which a server was started to be rounded
// otherwise.
func (w written) same(o written) bool {
	return w.Rows == o.Rows && w.Shape == o.Shape && w.Since != "" && o.Since != "" && minutes(w.Since, o.Since) <= 1
}

func minutes(a, b string) float64 {
	at, err1 := time.Parse("200601021504", a)
	bt, err2 := time.Parse("200601021504", b)
	if err1 != nil || err2 != nil {
		return 99
	}
	return at.Sub(bt).Abs().Minutes()
}

// Refresh implements database.Refresher.
func (e *Engine) Refresh(ctx context.Context, from bosman.Database, release int) (database.Golden, error) {
	return e.refresh(ctx, from, release, false)
}

// refresh makes a new generation unless nothing was written since the newest;
// always if exact.
func (e *Engine) refresh(ctx context.Context, from bosman.Database, release int, exact bool) (database.Golden, error) {
	src, err := e.reach(from)
	if err != nil {
		return database.Golden{}, err
	}
	if e.home.Profile != Scratch {
		return database.Golden{}, bosman.Invalid("golden copies are made on the scratch server, not on %s", e.home.Name)
	}
	unlock, err := e.home.names.Wait(ctx, "golden copy of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return database.Golden{}, err
	}
	defer unlock()
	now, err := src.written(ctx, from.Name)
	if err != nil {
		return database.Golden{}, err
	}
	all, err := e.generations(ctx, from)
	if err != nil {
		return database.Golden{}, err
	}
	spec, version, err := e.maskSpec(ctx, from, release)
	if err != nil {
		return database.Golden{}, err
	}
	if len(all) > 0 && !exact && all[0].Copy.Release == release && all[0].Mask == version && all[0].Written.same(now) {
		return e.asGolden(all[0]), nil
	}
	g, err := e.makeGolden(ctx, src, from, release, now, spec)
	if err != nil {
		return g, err
	}
	return g, e.dropGoldens(ctx, from)
}

// makeGolden dumps the source into a database of its own, masks it, and puts
// beside it what is needed to copy its files.
func (e *Engine) makeGolden(ctx context.Context, src *Cluster, from bosman.Database, release int, now written, spec mask.Spec) (database.Golden, error) {
	begun := time.Now()
	what, source, err := e.content(ctx, src, from, database.CopyOptions{Release: release})
	if err != nil {
		return database.Golden{}, err
	}
	what.info.From = source.Name
	what.source, what.written = from.Cluster+"/"+from.Name, now
	if what.mask, err = spec.Version(); err != nil {
		return database.Golden{}, err
	}
	name := database.GoldenName(source.Name, begun)
	d, err := e.make(ctx, name, what, func(ctx context.Context, worker bosman.Database) (err error) {
		what.info.TakenAt = time.Now().UTC()
		if err := e.pipe(ctx, src, from.Name, worker); err != nil {
			return err
		}
		if err := e.home.point("database.golden.made"); err != nil {
			return err
		}
		if err := e.mask(ctx, worker, spec, what); err != nil {
			return err
		}
		if err := e.home.export(ctx, worker.Name); err != nil {
			return err
		}
		what.info.Bytes, err = e.home.bytesOf(ctx, worker.Name)
		what.info.Took = time.Since(begun)
		return err
	})
	if err != nil {
		return database.Golden{}, err
	}
	g := labelled{db: d.Name, label: label{App: e.app, Name: name, Copy: what.info, Source: what.source, Written: now, Mask: what.mask}}
	return e.asGolden(g), e.home.point("database.golden.shown")
}

func (c *Cluster) exportDir(db string) string { return filepath.Join(c.goldenDir(), db) }

// importable gives the tables of db that are one file each and can be
// imported: InnoDB without full-text indexes and partitions; by name the file
// without its ending, within the data folder. rest gives the others.
func importable(ctx context.Context, conn *sql.Conn, db string) (files map[string]string, rest []string, err error) {
	// The server's catalogue has no indexes: joined, it is read once more for each table.
	spaces, err := table(ctx, conn, `SELECT NAME, FILENAME FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME LIKE CONCAT(REPLACE(?, '_', '\\_'), '/%')`, db)
	if err != nil {
		return nil, nil, err
	}
	at := map[string]string{}
	for _, s := range spaces {
		at[s[0]] = s[1]
	}
	special, err := column(ctx, conn, "SELECT DISTINCT TABLE_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND INDEX_TYPE IN ('FULLTEXT', 'SPATIAL')", db)
	if err != nil {
		return nil, nil, err
	}
	indexed := map[string]bool{}
	for _, t := range special {
		indexed[t] = true
	}
	rows, err := table(ctx, conn, `SELECT TABLE_NAME, CONCAT(TABLE_SCHEMA, '/', CAST(CONVERT(TABLE_NAME USING filename) AS BINARY)),
		ENGINE = 'InnoDB' AND TABLE_TYPE = 'BASE TABLE' AND CREATE_OPTIONS NOT LIKE '%partitioned%'
		FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW' ORDER BY TABLE_NAME`, db)
	if err != nil {
		return nil, nil, err
	}
	files = map[string]string{}
	for _, r := range rows {
		base, ok := strings.CutSuffix(strings.TrimPrefix(at[r[1]], "./"), ".ibd")
		if ok && filepath.Dir(base) == db && r[2] == "1" && !indexed[r[0]] {
			files[r[0]] = base
		} else {
			rest = append(rest, r[0])
		}
	}
	return files, rest, nil
}

// export has the server finish the files of a golden copy and keeps what it
// says of them.
func (c *Cluster) export(ctx context.Context, db string) error {
	dir := c.exportDir(db)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return ground.IOError("make a golden copy", c.Dir, err)
	}
	return c.with(ctx, "", "make a golden copy in "+db, func(conn *sql.Conn) error {
		files, _, err := importable(ctx, conn, db)
		if err != nil || len(files) == 0 {
			return err
		}
		var names []string
		for t := range files {
			names = append(names, quote(db)+"."+quote(t))
		}
		if err := run(ctx, conn, "FLUSH TABLES "+strings.Join(names, ", ")+" FOR EXPORT"); err != nil {
			return err
		}
		for _, base := range files {
			if _, err := database.CopyFile(filepath.Join(c.dataDir(), base+".cfg"), filepath.Join(dir, filepath.Base(base)+".cfg"), 0o600); err != nil {
				return ground.IOError("make a golden copy", c.Dir, err)
			}
		}
		return run(ctx, conn, "UNLOCK TABLES")
	})
}

// clone fills the database of worker with the content of a golden copy.
func (e *Engine) clone(ctx context.Context, golden string, worker bosman.Database) error {
	c := e.home
	var rest []string
	err := c.with(ctx, worker.Name, "copy database "+golden, func(conn *sql.Conn) (err error) {
		var files map[string]string
		if files, rest, err = importable(ctx, conn, golden); err != nil {
			return err
		}
		if err := run(ctx, conn, "SET SESSION foreign_key_checks = 0, sql_mode = ''"); err != nil {
			return err
		}
		for t, base := range files {
			if err := c.importTable(ctx, conn, golden, worker.Name, t, base); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(rest) == 0 {
		return err
	}
	return e.pipe(ctx, c, golden, worker, rest...)
}

// importTable makes one table of the files of another.
func (c *Cluster) importTable(ctx context.Context, conn *sql.Conn, golden, db, name, base string) error {
	made, err := table(ctx, conn, "SHOW CREATE TABLE "+quote(golden)+"."+quote(name))
	if err != nil || len(made) != 1 {
		return errors.Join(err, sql.ErrNoRows)
	}
	if err := run(ctx, conn, made[0][1], "ALTER TABLE "+quote(name)+" DISCARD TABLESPACE"); err != nil {
		return err
	}
	to := filepath.Join(c.dataDir(), db, filepath.Base(base))
	err = c.share(filepath.Join(c.dataDir(), base+".ibd"), to+".ibd")
	if err == nil {
		err = c.share(filepath.Join(c.exportDir(golden), filepath.Base(base)+".cfg"), to+".cfg")
	}
	if err != nil {
		return ground.IOError("copy a table of "+golden, c.Dir, err)
	}
	if err := run(ctx, conn, "ALTER TABLE "+quote(name)+" IMPORT TABLESPACE"); err != nil {
		return err
	}
	if err := os.Remove(to + ".cfg"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ground.IOError("copy a table of "+golden, c.Dir, err)
	}
	return nil
}

// share copies a file for the server, sharing its blocks where the file
// system can.
func (c *Cluster) share(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = out.ReadFrom(in)
	}
	return errors.Join(err, out.Close(), c.owner.Give(to))
}

// choose finds or makes the generation to copy: one with other masks than
// those of now is not handed out.
func (e *Engine) choose(ctx context.Context, from bosman.Database, opt database.CopyOptions) (database.Golden, error) {
	return database.Generations[database.Golden]{
		All:     func() ([]database.Golden, error) { return e.Offered(ctx, from, opt.Release) },
		Copy:    func(g database.Golden) bosman.CopyInfo { return g.Copy },
		Stale:   func() (bool, error) { return e.Stale(ctx, from) },
		Refresh: func(exact bool) (database.Golden, error) { return e.refresh(ctx, from, opt.Release, exact) },
		Quick:   10 * time.Second,
		Now:     e.now(),
	}.Choose(from, opt)
}

// copyGolden makes a copy by way of a golden one.
func (e *Engine) copyGolden(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	for range 3 {
		g, err := e.choose(ctx, from, opt)
		if err != nil {
			return bosman.Database{}, bosman.CopyInfo{}, err
		}
		db, info, err := e.cloneGolden(ctx, g, to, opt.From, begun)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // a newer generation took its place
		}
		return db, info, err
	}
	return bosman.Database{}, bosman.CopyInfo{}, bosman.Busy("the golden copy of %s is being replaced again and again", from.Name).WithNext("try again")
}

func (e *Engine) cloneGolden(ctx context.Context, g database.Golden, to, from string, begun time.Time) (bosman.Database, bosman.CopyInfo, error) {
	e.home.golden.RLock()
	defer e.home.golden.RUnlock()
	what, _, err := e.content(ctx, e.home, g.Database, database.CopyOptions{})
	if err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	what.info = g.Copy
	what.info.From, what.info.Strategy = from, "import"
	db, err := e.make(ctx, to, what, func(ctx context.Context, worker bosman.Database) (err error) {
		if err := e.clone(ctx, g.Database.Name, worker); err != nil {
			return err
		}
		what.info.Bytes, err = e.home.bytesOf(ctx, worker.Name)
		what.info.Took = time.Since(begun)
		return err
	})
	return db, what.info, err
}

// dropGoldens drops all generations but the newest ones.
func (e *Engine) dropGoldens(ctx context.Context, from bosman.Database) error {
	e.home.golden.Lock() // after the copies under way
	defer e.home.golden.Unlock()
	all, err := e.generations(ctx, from)
	if err != nil {
		return err
	}
	for i, g := range all {
		if i < keepGoldens {
			continue
		}
		if err := e.Drop(ctx, e.home.database(g.db, "")); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) asGolden(l labelled) database.Golden {
	return database.GoldenOf(e.home.database(l.db, superuser), l.Copy)
}

// generations gives the golden copies of from, newest first.
func (e *Engine) generations(ctx context.Context, from bosman.Database) ([]labelled, error) {
	var all []labelled
	err := e.home.with(ctx, "", "list golden copies", func(conn *sql.Conn) (err error) {
		all, err = e.home.labels(ctx, conn)
		return err
	})
	all = slices.DeleteFunc(all, func(l labelled) bool {
		return !l.ready || l.App != e.app || !database.HasTag(l.Name, database.TagGolden) || l.Source != from.Cluster+"/"+from.Name
	})
	slices.SortFunc(all, func(a, b labelled) int { return b.Copy.TakenAt.Compare(a.Copy.TakenAt) })
	return all, err
}

// Goldens implements database.Refresher.
func (e *Engine) Goldens(ctx context.Context, from bosman.Database) ([]database.Golden, error) {
	all, err := e.generations(ctx, from)
	return database.GoldensOf(all, e.asGolden), err
}

// Offered implements database.Refresher: a golden copy that was made before a
// mask was added is not handed out any more.
func (e *Engine) Offered(ctx context.Context, from bosman.Database, release int) ([]database.Golden, error) {
	_, version, err := e.maskSpec(ctx, from, release)
	if err != nil {
		return nil, err
	}
	all, err := e.generations(ctx, from)
	var out []database.Golden
	for _, l := range all {
		if l.Mask == version {
			out = append(out, e.asGolden(l))
		}
	}
	return out, err
}

// Stale implements database.Refresher.
func (e *Engine) Stale(ctx context.Context, from bosman.Database) (bool, error) {
	src, err := e.reach(from)
	if err != nil {
		return false, err
	}
	all, err := e.generations(ctx, from)
	if err != nil || len(all) == 0 {
		return true, err
	}
	now, err := src.written(ctx, from.Name)
	return err == nil && !now.same(all[0].Written), err
}
