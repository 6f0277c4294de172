package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/faults"
)

// How many generations of a golden copy stay: the newest, for a change made
// before the last migration may need the one before, and of those that copies
// were made of which are still there, so that they can be had again.
const (
	keepGoldens  = 2
	keepInUse    = 3
	quickRefresh = 3 * time.Second // what a tester waits for fresher data without having asked for it
)

// counter is how much was written, to tell whether anything was.
type counter struct {
	Xact   string `json:"xact,omitempty"` // transactions of the whole cluster, finished and under way
	Tuples int64  `json:"tuples,omitempty"`
	OID    uint32 `json:"oid,omitempty"` // another database under the same name counts anew
}

func (c *Cluster) counter(ctx context.Context, name string) (counter, error) {
	var n counter
	err := c.talk(ctx, "read what was written to "+name, func(conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, `SELECT pg_current_snapshot()::text, tup_inserted + tup_updated + tup_deleted, datid
			FROM pg_stat_database WHERE datname = $1`, name).Scan(&n.Xact, &n.Tuples, &n.OID)
		if errors.Is(err, pgx.ErrNoRows) {
			err = bosman.NotFound("there is no database %s on cluster %s", name, c.Name)
		}
		return err
	})
	return n, err
}

// Copy implements database.Engine: from another cluster by way of a golden
// copy, within one by a dump, unless the source stands still.
func (e *Engine) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	src, err := e.reach(from)
	if err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	if src == e.home {
		if opt.Still {
			return e.copyStill(ctx, from, to, opt)
		}
		return e.copyByDump(ctx, from, to, opt)
	}
	begun := time.Now()
	if opt.From == "" {
		opt.From = from.Name
	}
	for range 3 {
		g, err := e.choose(ctx, from, opt)
		if err != nil {
			return bosman.Database{}, bosman.CopyInfo{}, err
		}
		info := g.Copy
		info.From = opt.From
		if !opt.Exact {
			info.Strategy = e.home.Strategy().Name + database.InAdvance
			db, ok, err := e.handOut(ctx, g, to, info)
			if err != nil || ok {
				info.Took = time.Since(begun)
				return db, info, err
			}
		}
		info.Strategy = e.home.Strategy().Name
		db, gone, err := e.template(ctx, g, to, info)
		if gone {
			continue // a newer generation took its place
		}
		info.Took = time.Since(begun)
		return db, info, err
	}
	return bosman.Database{}, bosman.CopyInfo{}, bosman.Busy("the golden copy of %s is being replaced again and again", from.Name).WithNext("try again")
}

// choose finds or makes the generation to copy.
func (e *Engine) choose(ctx context.Context, from bosman.Database, opt database.CopyOptions) (database.Golden, error) {
	return database.Generations[database.Golden]{
		All:     func() ([]database.Golden, error) { return e.Offered(ctx, from, opt.Release) },
		Copy:    func(g database.Golden) bosman.CopyInfo { return g.Copy },
		Stale:   func() (bool, error) { return e.Stale(ctx, from) },
		Refresh: func(exact bool) (database.Golden, error) { return e.refresh(ctx, from, opt.Release, exact) },
		Quick:   quickRefresh,
		Now:     e.now(),
	}.Choose(from, opt)
}

// template makes a copy of a golden copy. gone says that it was dropped
// before we came to it.
func (e *Engine) template(ctx context.Context, g database.Golden, to string, info bosman.CopyInfo) (db bosman.Database, gone bool, err error) {
	golden := g.Database.Name
	done, there, err := e.useGolden(ctx, golden)
	if err != nil || !there {
		return db, err == nil, err
	}
	defer done()
	bytes, err := e.home.bytesOf(ctx, golden)
	if err != nil {
		return db, false, err
	}
	if err := e.room(ctx, bytes); err != nil {
		return db, false, err
	}
	db, release, making, err := e.begin(ctx, to)
	if err != nil {
		return db, false, err
	}
	defer release()
	if err := e.clone(ctx, golden, making); err != nil {
		return db, false, e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.copy.filled"); err != nil {
		return db, false, e.abandon(ctx, making, err)
	}
	if err := e.show(ctx, making, db.Name, label{App: e.app, Name: to, Copy: info, Golden: golden}); err != nil {
		return db, false, e.abandon(ctx, making, err)
	}
	return db, false, faults.Point("database.copy.shown")
}

// clone copies the files of a database nobody uses.
func (e *Engine) clone(ctx context.Context, golden, making string) error {
	return e.home.with(ctx, "postgres", "copy database "+golden, func(conn *pgx.Conn) error {
		yield(ctx, conn)
		return e.cloneOn(ctx, conn, golden, making)
	})
}

func (e *Engine) cloneOn(ctx context.Context, conn *pgx.Conn, golden, making string) error {
	statement := "CREATE DATABASE " + quote(making) + " TEMPLATE " + quote(golden)
	if e.home.serverVersion() >= 150000 { // before, there was no other way
		statement += " STRATEGY FILE_COPY"
	}
	if err := run(ctx, conn, statement, "REVOKE ALL ON DATABASE "+quote(making)+" FROM PUBLIC"); err != nil {
		return err
	}
	return e.sameSettings(ctx, conn, golden, making)
}

// copyStill copies the files of a database of this cluster while nobody may
// use it: its connections are ended, new ones wait.
func (e *Engine) copyStill(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	info := bosman.CopyInfo{From: opt.From, Release: opt.Release, Strategy: StrategyStill, TakenAt: e.now().UTC()}
	var err error
	if info.Bytes, err = e.home.bytesOf(ctx, from.Name); err != nil {
		return bosman.Database{}, info, err
	}
	if err := e.room(ctx, info.Bytes); err != nil {
		return bosman.Database{}, info, err
	}
	db, release, making, err := e.begin(ctx, to)
	if err != nil {
		return db, info, err
	}
	defer release()
	err = e.home.with(ctx, "postgres", "copy database "+from.Name, func(conn *pgx.Conn) error {
		for range 3 {
			if _, err = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", from.Name); err != nil {
				return err
			}
			if err = e.cloneOn(ctx, conn, from.Name, making); !inUse(err) {
				break
			}
		}
		return err
	})
	if err != nil {
		return db, info, e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.copy.filled"); err != nil {
		return db, info, e.abandon(ctx, making, err)
	}
	if err := e.show(ctx, making, db.Name, label{App: e.app, Name: to, Copy: info}); err != nil {
		return db, info, e.abandon(ctx, making, err)
	}
	info.Took = time.Since(begun)
	return db, info, faults.Point("database.copy.shown")
}

// Refresh implements database.Refresher.
func (e *Engine) Refresh(ctx context.Context, from bosman.Database, release int) (database.Golden, error) {
	return e.refresh(ctx, from, release, false)
}

// refresh makes a new generation unless nothing was written since the newest.
// exact trusts only the transaction counter, which does not lag.
func (e *Engine) refresh(ctx context.Context, from bosman.Database, release int, exact bool) (database.Golden, error) {
	src, err := e.reach(from)
	if err != nil {
		return database.Golden{}, err
	}
	if e.home.Profile != Scratch {
		return database.Golden{}, bosman.Invalid("golden copies are made on the scratch cluster, not on %s", e.home.Name)
	}
	unlock, err := e.home.names.Wait(ctx, "golden copy of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return database.Golden{}, err
	}
	defer unlock()
	now, err := src.counter(ctx, from.Name)
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
	if len(all) > 0 && all[0].Copy.Release == release && all[0].Mask == version {
		was := all[0].Counter
		if was == now || !exact && was.OID == now.OID && was.Tuples == now.Tuples {
			return e.asGolden(all[0]), e.dropGoldens(ctx, from)
		}
	}
	g, err := e.makeGolden(ctx, src, from, release, now, spec)
	if err != nil {
		return g, err
	}
	return g, e.dropGoldens(ctx, from)
}

// makeGolden dumps the source into a database that nobody may connect to.
// It is not marked as a template: any role that may create databases could
// copy it then.
func (e *Engine) makeGolden(ctx context.Context, src *Cluster, from bosman.Database, release int, now counter, spec mask.Spec) (database.Golden, error) {
	begun := time.Now()
	if err := e.olderThan(src, from); err != nil {
		return database.Golden{}, err
	}
	if err := e.goldenRoom(ctx, src, from); err != nil {
		return database.Golden{}, err
	}
	dir, err := os.MkdirTemp(e.home.tmpDir(), "golden")
	if err != nil {
		return database.Golden{}, ground.IOError("make a folder for the dump", e.home.Dir, err)
	}
	defer func() { _ = discard(ctx, dir) }() // the folder is emptied by Recover
	taken, err := src.dump(ctx, from.Name, dir, "0", false)
	if err != nil {
		return database.Golden{}, err
	}
	source, err := e.NameOf(ctx, from)
	if err != nil {
		return database.Golden{}, err
	}
	name := database.GoldenName(source, taken.TakenAt)
	db := database.NameOnServer(e.app, name)
	making := database.NameOnServer(e.app, database.Beside(database.Base(source), "golden__"+database.TagMaking))
	if err := e.home.dropDatabase(ctx, making); err != nil {
		return database.Golden{}, err
	}
	if err := e.roles(ctx, name); err != nil {
		return database.Golden{}, err
	}
	if err := e.home.exec(ctx, "create database "+making, "CREATE DATABASE "+quote(making)+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return database.Golden{}, err
	}
	if err := e.grantWork(ctx, making); err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.golden.made"); err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	if err := e.fill(ctx, dir, making, taken); err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	version, err := spec.Version()
	if err == nil {
		err = e.mask(ctx, making, spec) // before it has a name that is handed out
	}
	if err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	bytes, err := e.home.bytesOf(ctx, making)
	if err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	l := labelled{db: db, label: label{
		App: e.app, Name: name, Source: from.Cluster + "/" + from.Name, Counter: now, Mask: version, Size: bytes,
		Copy: bosman.CopyInfo{From: source, TakenAt: taken.TakenAt, Release: release, Strategy: "dump", Took: time.Since(begun), Bytes: taken.Bytes},
	}}
	comment, err := l.comment(db)
	if err != nil {
		return database.Golden{}, err
	}
	err = e.home.with(ctx, "postgres", "keep golden copy "+db, func(conn *pgx.Conn) error {
		return e.alone(ctx, conn, []string{making}, func(tx pgx.Tx) error {
			return run(ctx, tx, "ALTER DATABASE "+quote(making)+" RENAME TO "+quote(db),
				"ALTER DATABASE "+quote(db)+" WITH ALLOW_CONNECTIONS false",
				"REVOKE ALL ON DATABASE "+quote(db)+" FROM PUBLIC, "+quote(workerRole(e.app)), comment)
		})
	})
	if err != nil {
		return database.Golden{}, e.abandon(ctx, making, err)
	}
	return e.asGolden(l), faults.Point("database.golden.shown")
}

// discard removes what a copy was made of; gently if ctx asks for it.
func discard(ctx context.Context, dir string) error {
	if database.IsLow(ctx) {
		return ground.RemoveGently(ctx, dir)
	}
	return os.RemoveAll(dir)
}

// olderThan refuses to copy from a newer server, nil if e's is not older.
func (e *Engine) olderThan(src *Cluster, from bosman.Database) error {
	there, here := src.major(), e.home.major()
	if there <= here {
		return nil
	}
	next := fmt.Sprintf("stop Bosman, remove %s (its copies go with it) and start it again with PostgreSQL %d installed", e.home.Dir, there)
	if e.home.Profile == Solo {
		next = fmt.Sprintf("install it for the servers of copies: apt-get install postgresql-%d", there)
	}
	return bosman.Unavailable("%s is on PostgreSQL %d, the server for copies is of version %d: an older one cannot hold its copies", from.Name, there, here).
		WithKept("staging goes on").WithNext(next)
}

// goldenRoom refuses a generation that would fill the disk: its dump, which is
// not compressed, lies beside it for a while.
func (e *Engine) goldenRoom(ctx context.Context, src *Cluster, from bosman.Database) error {
	bytes, err := src.bytesOf(ctx, from.Name)
	if err != nil {
		return err
	}
	why, err := e.home.tight(2*bytes, 1)
	if err != nil || why == "" {
		return err
	}
	return bosman.Unavailable("there is no room for a golden copy of %s: %s", from.Name, why).
		WithKept("older golden copies stay").
		WithNext("bosman databases --app " + e.app + " shows what takes room; free some space")
}

// dropGoldens drops the generations that are neither among the newest nor in
// use.
func (e *Engine) dropGoldens(ctx context.Context, from bosman.Database) error {
	all, err := e.marks(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, l := range all {
		if !database.HasTag(l.Name, database.TagPool) {
			used[l.Golden] = true
		}
	}
	inUse := 0
	for i, g := range generationsOf(all, from) {
		if i < keepGoldens {
			continue
		}
		if used[g.db] && inUse < keepInUse {
			inUse++
			continue
		}
		if err := e.dropUnused(ctx, g.db); err != nil {
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
	all, err := e.marks(ctx)
	return generationsOf(all, from), err
}

func generationsOf(all []labelled, from bosman.Database) []labelled {
	var out []labelled
	for _, l := range all {
		if database.HasTag(l.Name, database.TagGolden) && l.Source == from.Cluster+"/"+from.Name {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b labelled) int { return b.Copy.TakenAt.Compare(a.Copy.TakenAt) })
	return out
}

// Goldens implements database.Refresher.
func (e *Engine) Goldens(ctx context.Context, from bosman.Database) ([]database.Golden, error) {
	all, err := e.generations(ctx, from)
	return database.GoldensOf(all, e.asGolden), err
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
	now, err := src.counter(ctx, from.Name)
	if err != nil {
		return false, err
	}
	was := all[0].Counter
	return was.OID != now.OID || was.Tuples != now.Tuples, nil
}
