package postgres

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Many drives the databases of an app that has several. Callers name the main
// one; the further ones are made, copied, backed up, swapped and dropped with
// it, under the same names of instances and the same moments. To make a name,
// the further ones come first and the main one last, which is what says that
// all are there; to swap or drop them the order is the same, so that whoever
// was killed on the way finds the main one as it was and does it all again.
type Many struct {
	*Engine
	further []further
}

// further is the engine of one of an app's further databases, whose roles are
// its own.
type further struct {
	name string
	*Engine
}

var (
	_ database.Engine          = (*Many)(nil)
	_ database.Checker         = (*Many)(nil)
	_ database.Refresher       = (*Many)(nil)
	_ database.Pooler          = (*Many)(nil)
	_ database.ActivityCounter = (*Many)(nil)
	_ database.Streamer        = (*Many)(nil)
)

// With adds further databases by their names, which hold lower-case letters
// and digits. Set Quota first: each of them has the same one.
func (e *Engine) With(names ...string) *Many {
	m := &Many{Engine: e}
	for _, name := range names {
		app := e.app + "$" + name // no app's name holds a dollar
		m.further = append(m.further, further{name, &Engine{
			Quota: e.Quota, home: e.home, app: app, sources: e.sources, log: e.log.With("app", app), now: e.now, adopted: e.adopted,
		}})
	}
	return m
}

// Further gives the engine of each further database.
func (m *Many) Further() map[string]*Engine {
	out := map[string]*Engine{}
	for _, f := range m.further {
		out[f.name] = f.Engine
	}
	return out
}

type momentKey struct{}

// moment is when what is replaced now is said to be replaced: all databases of
// an app at the same time.
func (e *Engine) moment(ctx context.Context) time.Time {
	at, ok := ctx.Value(momentKey{}).(time.Time)
	if !ok {
		at = e.now()
	}
	return at.UTC().Truncate(time.Millisecond)
}

// nameOf gives the name under which d was made.
func (m *Many) nameOf(ctx context.Context, d bosman.Database) (name string, err error) {
	c, err := m.reach(d)
	if err != nil {
		return "", err
	}
	err = c.with(ctx, "postgres", "look at database "+d.Name, func(conn *pgx.Conn) error {
		l, err := m.read(ctx, conn, d.Name)
		name = l.Name
		return err
	})
	return name, err
}

// each calls fn with each further database that stands beside d.
func (m *Many) each(ctx context.Context, d bosman.Database, fn func(f further, own bosman.Database) error) error {
	name, err := m.nameOf(ctx, d)
	if err != nil {
		return err
	}
	c, err := m.reach(d)
	if err != nil {
		return err
	}
	for _, f := range m.further {
		own := c.database(database.NameOnServer(f.app, name), loginRole(f.app, name))
		there, err := c.exists(ctx, own.Name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := fn(f, own); err != nil {
			return err
		}
	}
	return nil
}

// compose makes all databases of a name, the main one last.
func (m *Many) compose(ctx context.Context, name string, one func(f further) error, main func() (bosman.Database, error)) (bosman.Database, error) {
	d, err := m.Engine.Find(ctx, name)
	if err == nil {
		return d, bosman.Conflict("the database %s exists already", d.Name).WithKept("it is untouched")
	}
	if bosman.KindOf(err) != bosman.KindNotFound {
		return d, err
	}
	if err = m.clear(ctx, name); err != nil { // left by a killed run
		return d, err
	}
	for _, f := range m.further {
		if err = one(f); err != nil {
			break
		}
	}
	if err == nil {
		err = faults.Point("postgres.many.further")
	}
	if err == nil {
		d, err = main()
	}
	if err == nil {
		return d, nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return d, errors.Join(err, m.clear(end, name))
}

// clear drops the further databases of a name.
func (m *Many) clear(ctx context.Context, name string) error {
	for _, f := range m.further {
		own, err := f.Find(ctx, name)
		if err == nil {
			err = f.Drop(ctx, own)
		}
		if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
			return err
		}
	}
	return nil
}

// Create implements database.Engine.
func (m *Many) Create(ctx context.Context, name string) (bosman.Database, error) {
	return m.compose(ctx, name, func(f further) error {
		_, err := f.Create(ctx, name)
		return err
	}, func() (bosman.Database, error) { return m.Engine.Create(ctx, name) })
}

// Complete makes those further databases that the name, whose main one is
// there, has not got yet: empty ones.
func (m *Many) Complete(ctx context.Context, name string) error {
	for _, f := range m.further {
		_, err := f.Find(ctx, name)
		if bosman.KindOf(err) == bosman.KindNotFound {
			_, err = f.Create(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Copy implements database.Engine. A further database that from has not got is
// made empty. The copies are of one release: where the newest golden copies are
// not, all are copied as they are now.
func (m *Many) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	sources := map[string]bosman.Database{}
	if err := m.each(ctx, from, func(f further, own bosman.Database) error {
		sources[f.name] = own
		return nil
	}); err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	var info bosman.CopyInfo
	var more []bosman.CopyInfo
	one := func(f further) error {
		source, ok := sources[f.name]
		if !ok {
			_, err := f.Create(ctx, to)
			return err
		}
		_, i, err := f.Copy(ctx, source, to, opt)
		more = append(more, i)
		return err
	}
	main := func() (d bosman.Database, err error) {
		d, info, err = m.Engine.Copy(ctx, from, to, opt)
		return d, err
	}
	d, err := m.compose(ctx, to, one, main)
	differs := func(i bosman.CopyInfo) bool { return i.Release != info.Release }
	if err == nil && !opt.Exact && slices.ContainsFunc(more, differs) {
		if err := m.Drop(ctx, d); err != nil {
			return bosman.Database{}, info, err
		}
		opt.Exact, more = true, nil
		d, err = m.compose(ctx, to, one, main)
	}
	for _, i := range more {
		info.Bytes += i.Bytes
		if i.TakenAt.Before(info.TakenAt) {
			info.TakenAt = i.TakenAt
		}
	}
	info.Took = time.Since(begun)
	return d, info, err
}

// fileOf is the name in a backup of a file of a further database's:
// "database-reports.dump".
func fileOf(name, file string) string {
	return "database-" + name + strings.TrimPrefix(file, "database")
}

// marked says what is about a further database: "reports:public.candidate".
func marked(name, what string) string { return name + ":" + what }

func addSchema(to *database.Schema, name string, s database.Schema) {
	for _, t := range s.Tables {
		t.Name = marked(name, t.Name)
		to.Tables = append(to.Tables, t)
	}
	for _, o := range s.Objects {
		o.Name = marked(name, o.Name)
		to.Objects = append(to.Objects, o)
	}
	to.Sort()
}

func addRows(to *map[string]int64, name string, rows map[string]int64) {
	if *to == nil {
		*to = map[string]int64{}
	}
	for t, n := range rows {
		(*to)[marked(name, t)] = n
	}
}

func addInfo(to *database.BackupInfo, name string, i database.BackupInfo) {
	addRows(&to.Rows, name, i.Rows)
	addSchema(&to.Schema, name, i.Schema)
	to.Bytes += i.Bytes
	to.Roles = append(to.Roles, i.Roles...)
	if to.Marks != nil {
		to.Marks[name] = i.Marks[""]
	}
}

// Backup implements database.Engine.
func (m *Many) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	info, err := m.Engine.Backup(ctx, d, dir)
	if err != nil {
		return info, err
	}
	return info, m.each(ctx, d, func(f further, own bosman.Database) error {
		sub := filepath.Join(dir, "database-"+f.name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			return ground.IOError("make a folder for the dump", dir, err)
		}
		i, err := f.Backup(ctx, own, sub)
		if err != nil {
			return err
		}
		for _, file := range []string{dumpFile, infoFile, rolesFile} {
			if err := os.Rename(filepath.Join(sub, file), filepath.Join(dir, fileOf(f.name, file))); err != nil {
				return ground.IOError("name the dump", dir, err)
			}
		}
		addInfo(&info, f.name, i)
		return ground.IOError("remove a folder", dir, os.Remove(sub))
	})
}

// BackupTo implements database.Streamer.
func (m *Many) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (database.BackupInfo, error) {
	info, err := m.Engine.BackupTo(ctx, d, put)
	if err != nil {
		return info, err
	}
	return info, m.each(ctx, d, func(f further, own bosman.Database) error {
		i, err := f.BackupTo(ctx, own, func(name string, write func(io.Writer) error) error { return put(fileOf(f.name, name), write) })
		addInfo(&info, f.name, i)
		return err
	})
}

// Restore implements database.Engine. A further database that the backup does
// not hold is made empty.
func (m *Many) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	held, err := filepath.Glob(filepath.Join(dir, fileOf("*", infoFile)))
	if err != nil {
		return bosman.Database{}, err
	}
	for _, path := range held {
		if !slices.ContainsFunc(m.further, func(f further) bool { return fileOf(f.name, infoFile) == filepath.Base(path) }) {
			return bosman.Database{}, bosman.Conflict("the backup holds a database that this app has not got: %s", filepath.Base(path)).
				WithKept("no data was touched").WithNext("deploy the release that the backup belongs to, then restore it")
		}
	}
	return m.compose(ctx, name, func(f further) error {
		if !slices.Contains(held, filepath.Join(dir, fileOf(f.name, infoFile))) {
			_, err := f.Create(ctx, name)
			return err
		}
		return f.restoreFrom(ctx, dir, name)
	}, func() (bosman.Database, error) { return m.Engine.Restore(ctx, dir, name) })
}

// restoreFrom restores a further database from its files of the backup in dir.
func (f further) restoreFrom(ctx context.Context, dir, name string) error {
	tmp, err := os.MkdirTemp(f.home.tmpDir(), "further")
	if err != nil {
		return ground.IOError("make a folder for the dump", f.home.Dir, err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // the folder is emptied by Recover
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, file := range []string{dumpFile, infoFile} {
		if err := os.Symlink(filepath.Join(abs, fileOf(f.name, file)), filepath.Join(tmp, file)); err != nil {
			return ground.IOError("look at the dump", tmp, err)
		}
	}
	_, err = f.Restore(ctx, tmp, name)
	return err
}
