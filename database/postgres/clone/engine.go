package clone

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Engine drives the copies of one app, each on a server of its own.
type Engine struct {
	host    *Host
	app     string
	sources []*postgres.Cluster
	face    *postgres.Engine // describes databases; it has no server
	masking database.Masking // nil: golden copies hold what their source holds
	log     *slog.Logger
	now     func() time.Time
}

// abilities are what an engine of PostgreSQL databases can do.
type abilities interface {
	database.Engine
	database.Checker
	database.Refresher
	database.Pooler
	database.ActivityCounter
	database.Masker
	database.Streamer
	database.Versioned
	database.Recorder
	Schema(ctx context.Context, d bosman.Database) (database.Schema, error)
	Describe(name string) bosman.Database
	SetAside(ctx context.Context, d bosman.Database) (bosman.Database, error)
}

var _ abilities = (*Engine)(nil)

// Engine drives the copies of app. Databases on the clusters in sources, which
// must have been ensured, can be copied. The host must have been opened.
func (h *Host) Engine(app string, sources ...*postgres.Cluster) (*Engine, error) {
	e := &Engine{host: h, app: app, sources: sources, log: h.Log.With("app", app, "cluster", Cluster), now: time.Now}
	var err error
	e.face, err = e.inner(filepath.Join(h.Dir, app, "none"))
	return e, err
}

// describe gives how an instance reaches the database of a name.
func (e *Engine) describe(name string) bosman.Database {
	d := e.face.Describe(name)
	d.Host = e.host.at(e.app, name)
	return d
}

// entryOf gives the entry of one of the databases here.
func (e *Engine) entryOf(d bosman.Database) (entry, error) {
	x, err := e.host.read(e.app)
	if err != nil {
		return entry{}, err
	}
	for _, en := range x.Entries {
		if d.Cluster == Cluster && e.face.Describe(en.Name).Name == d.Name {
			return en, nil
		}
	}
	return entry{}, bosman.NotFound("there is no database %s among the copies of %s", d.Name, e.app)
}

// Create implements database.Engine.
func (e *Engine) Create(ctx context.Context, name string) (bosman.Database, error) {
	return e.fresh(ctx, name, func(in *postgres.Engine) (bosman.CopyInfo, error) {
		_, err := in.Create(ctx, name)
		return bosman.CopyInfo{}, err
	})
}

// Restore implements database.Engine.
func (e *Engine) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	return e.fresh(ctx, name, func(in *postgres.Engine) (info bosman.CopyInfo, err error) {
		if _, err = in.Restore(ctx, dir, name); err != nil {
			return info, err
		}
		all, err := in.List(ctx)
		if err == nil && len(all) == 1 {
			info = all[0].Copy
		}
		return info, err
	})
}

// fresh makes a server that begins empty and lets fill make the database name
// on it.
func (e *Engine) fresh(ctx context.Context, name string, fill func(*postgres.Engine) (bosman.CopyInfo, error)) (bosman.Database, error) {
	d, release, err := e.begin(ctx, name)
	if err != nil {
		return d, err
	}
	defer release()
	data, err := e.host.empty(ctx)
	if err != nil {
		return d, err
	}
	dir, _, err := e.plant(ctx, data, "servers")
	if err != nil {
		return d, err
	}
	x := entry{ID: filepath.Base(dir), Name: name}
	if _, err := e.host.start(ctx, dir, working...); err != nil {
		return d, e.host.discard(ctx, dir, err)
	}
	in, err := e.inner(dir)
	if err == nil {
		x.Copy, err = fill(in)
	}
	if err == nil {
		err = faults.Point("clone.filled")
	}
	if err != nil {
		return d, e.host.discard(ctx, dir, err)
	}
	return d, e.enter(ctx, x, dir)
}

// begin checks that a name is free and reserves it.
func (e *Engine) begin(ctx context.Context, name string) (d bosman.Database, release func(), err error) {
	if err := database.CheckName(name); err != nil {
		return d, nil, err
	}
	if release, err = e.host.claim(ctx, e.app, name); err != nil {
		return d, nil, err
	}
	d = e.describe(name)
	x, err := e.host.read(e.app)
	if err == nil && x.find(name) != nil {
		err = bosman.Conflict("the database %s exists already", d.Name).WithKept("it is untouched")
	}
	if err != nil {
		release()
		return d, nil, err
	}
	return d, release, nil
}

// enter shows a server that is complete.
func (e *Engine) enter(ctx context.Context, x entry, dir string) error {
	err := e.host.link(e.app, x.Name, x.ID)
	if err == nil {
		err = e.host.update(e.app, func(all *index) error {
			all.Entries = append(all.Entries, x)
			delete(all.Lost, x.Name)
			return nil
		})
	}
	if err != nil {
		return e.host.discard(ctx, dir, err)
	}
	return faults.Point("clone.entered")
}

// Drop implements database.Engine.
func (e *Engine) Drop(ctx context.Context, d bosman.Database) error {
	x, err := e.entryOf(d)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := e.host.claim(ctx, e.app, x.Name)
	if err != nil {
		return err
	}
	defer release()
	if x.Golden != nil {
		e.host.goldens.Lock() // after the copies under way
		defer e.host.goldens.Unlock()
	}
	if err := e.host.update(e.app, func(all *index) error { all.remove(x.ID); return nil }); err != nil {
		return err
	}
	if err := faults.Point("clone.dropped"); err != nil {
		return err
	}
	if err := e.host.unlink(e.app, x.Name, x.ID); err != nil {
		return err
	}
	return e.host.discard(ctx, e.folder(x), nil)
}

// Find implements database.Engine.
func (e *Engine) Find(_ context.Context, name string) (bosman.Database, error) {
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	d := e.describe(name)
	x, err := e.host.read(e.app)
	if err != nil || x.find(name) != nil {
		return d, err
	}
	if at, lost := x.Lost[name]; lost {
		return d, database.LostWithHost(name, at)
	}
	return d, bosman.NotFound("there is no database %s among the copies of %s", d.Name, e.app)
}

// List implements database.Engine. Bytes are those of the files, shared ones
// included.
func (e *Engine) List(context.Context) ([]database.Entry, error) {
	x, err := e.host.read(e.app)
	if err != nil {
		return nil, err
	}
	out := make([]database.Entry, 0, len(x.Entries))
	for _, en := range x.Entries {
		one := database.Entry{Database: e.describe(en.Name), Name: en.Name, KeptAt: en.KeptAt, Golden: en.Golden != nil, Pool: database.HasTag(en.Name, database.TagPool), Bytes: en.Copy.Bytes, Copy: en.Copy}
		if en.Golden == nil {
			one.Bytes = bytesOf(filepath.Join(e.folder(en), "data", "base"))
		} else {
			one.Database.Password = "" // nobody connects to it
		}
		out = append(out, one)
	}
	return out, nil
}

// bytesOf adds up the files below dir; what goes meanwhile does not count.
func bytesOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // a server's files come and go
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // as said
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// use calls fn with what drives d: its own server, or a source's.
func (e *Engine) use(ctx context.Context, d bosman.Database, fn func(*postgres.Engine) error) error {
	if d.Cluster != Cluster {
		return fn(e.face) // which says so if it is none of the sources
	}
	in, back, err := e.borrow(ctx, d)
	if err != nil {
		return err
	}
	defer back()
	return fn(in)
}

// Backup implements database.Engine.
func (e *Engine) Backup(ctx context.Context, d bosman.Database, dir string) (info database.BackupInfo, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { info, err = in.Backup(ctx, d, dir); return err })
	return info, err
}

// BackupTo implements database.Streamer.
func (e *Engine) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (info database.BackupInfo, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { info, err = in.BackupTo(ctx, d, put); return err })
	return info, err
}

// Accepts implements database.Versioned for the servers that are made now.
func (e *Engine) Accepts(ctx context.Context, b database.BackupInfo) error {
	data, err := e.host.empty(ctx)
	if err != nil {
		return err
	}
	here, err := strconv.Atoi(versionIn(filepath.Dir(data)))
	if err != nil {
		return bosman.Internal("the empty server in %s does not say its version", filepath.Dir(data)).Because(err)
	}
	return postgres.AcceptedBy(here, b)
}

// Inspect implements database.Engine.
func (e *Engine) Inspect(ctx context.Context, d bosman.Database) (got database.Inspection, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { got, err = in.Inspect(ctx, d); return err })
	return got, err
}

// Schema is Inspect without counting rows.
func (e *Engine) Schema(ctx context.Context, d bosman.Database) (s database.Schema, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { s, err = in.Schema(ctx, d); return err })
	return s, err
}

// Check implements database.Checker.
func (e *Engine) Check(ctx context.Context, d bosman.Database) error {
	return e.use(ctx, d, func(in *postgres.Engine) error { return in.Check(ctx, d) })
}

// Activity implements database.ActivityCounter.
func (e *Engine) Activity(ctx context.Context, d bosman.Database) (counts map[string]int64, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { counts, err = in.Activity(ctx, d); return err })
	return counts, err
}

// Record implements database.Recorder.
func (e *Engine) Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	err = e.use(ctx, d, func(in *postgres.Engine) (err error) { rec, done, err = in.Record(ctx, d, fn); return err })
	return rec, done, err
}

// Describe gives how the instance of a name reaches its database here, whether
// it exists or not.
func (e *Engine) Describe(name string) bosman.Database { return e.describe(name) }
