package clone

import (
	"context"
	"errors"
	"io"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// Both drives the copies of one app where some still stand on the shared
// scratch cluster: what is made is made here, what is there stays until a
// fresh copy takes its place.
type Both struct {
	*Engine
	old *postgres.Engine
}

var _ abilities = (*Both)(nil)

// With adds the copies that old drives.
func (e *Engine) With(old *postgres.Engine) *Both { return &Both{Engine: e, old: old} }

func (b *Both) of(d bosman.Database) abilities {
	if d.Cluster == Cluster {
		return b.Engine
	}
	return b.old
}

// free says whether a name is free there; here is looked when it is made.
func (b *Both) free(ctx context.Context, name string) error {
	d, err := b.old.Find(ctx, name)
	switch {
	case err == nil:
		return bosman.Conflict("the database %s exists already", d.Name).WithKept("it is untouched")
	case bosman.KindOf(err) == bosman.KindNotFound:
		return nil
	}
	return err
}

// Create implements database.Engine.
func (b *Both) Create(ctx context.Context, name string) (bosman.Database, error) {
	if err := b.free(ctx, name); err != nil {
		return bosman.Database{}, err
	}
	return b.Engine.Create(ctx, name)
}

// Copy implements database.Engine.
func (b *Both) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	if err := b.free(ctx, to); err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	return b.Engine.Copy(ctx, from, to, opt)
}

// Restore implements database.Engine.
func (b *Both) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	if err := b.free(ctx, name); err != nil {
		return bosman.Database{}, err
	}
	return b.Engine.Restore(ctx, dir, name)
}

// Backup implements database.Engine.
func (b *Both) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	return b.of(d).Backup(ctx, d, dir)
}

// Inspect implements database.Engine.
func (b *Both) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	return b.of(d).Inspect(ctx, d)
}

// Schema is Inspect without counting rows.
func (b *Both) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	return b.of(d).Schema(ctx, d)
}

// Check implements database.Checker.
func (b *Both) Check(ctx context.Context, d bosman.Database) error { return b.of(d).Check(ctx, d) }

// Activity implements database.ActivityCounter.
func (b *Both) Activity(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	return b.of(d).Activity(ctx, d)
}

// BackupTo implements database.Streamer.
func (b *Both) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (database.BackupInfo, error) {
	return b.of(d).BackupTo(ctx, d, put)
}

// Record implements database.Recorder.
func (b *Both) Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	return b.of(d).Record(ctx, d, fn)
}

// Drop implements database.Engine.
func (b *Both) Drop(ctx context.Context, d bosman.Database) error { return b.of(d).Drop(ctx, d) }

// SetAside keeps a database although nothing takes its place on its server.
func (b *Both) SetAside(ctx context.Context, d bosman.Database) (bosman.Database, error) {
	return b.of(d).SetAside(ctx, d)
}

// Find implements database.Engine.
func (b *Both) Find(ctx context.Context, name string) (bosman.Database, error) {
	d, err := b.Engine.Find(ctx, name)
	if bosman.KindOf(err) != bosman.KindNotFound {
		return d, err
	}
	was, olderr := b.old.Find(ctx, name)
	if bosman.KindOf(olderr) == bosman.KindNotFound {
		return d, err
	}
	return was, olderr
}

// Wake starts the server of a name that was stopped for want of use.
func (b *Both) Wake(ctx context.Context, name string) error {
	err := b.Engine.Wake(ctx, name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		if _, olderr := b.old.Find(ctx, name); olderr == nil {
			return nil
		}
	}
	return err
}

// List implements database.Engine.
func (b *Both) List(ctx context.Context) ([]database.Entry, error) {
	here, err := b.Engine.List(ctx)
	if err != nil {
		return nil, err
	}
	there, err := b.old.List(ctx)
	return append(here, there...), err
}

// Recover implements database.Engine.
func (b *Both) Recover(ctx context.Context) error {
	return errors.Join(b.Engine.Recover(ctx), b.old.Recover(ctx))
}

// Swap implements database.Engine. From one server to the other there are two
// steps: what was there is kept first, then its place is taken.
func (b *Both) Swap(ctx context.Context, d, with bosman.Database) (bosman.Database, error) {
	if d.Cluster == with.Cluster {
		return b.of(d).Swap(ctx, d, with)
	}
	all, err := b.List(ctx)
	if err != nil {
		return bosman.Database{}, err
	}
	var name string
	there := false
	for _, x := range all {
		switch {
		case x.Database.Cluster == with.Cluster && x.Database.Name == with.Name:
			name = database.Base(x.Name)
		case x.Database.Cluster == d.Cluster && x.Database.Name == d.Name:
			there = true
		}
	}
	if name == "" {
		return bosman.Database{}, bosman.NotFound("there is no database %s on %s", with.Name, with.Cluster)
	}
	place := b.of(with).Describe(name)
	if !there {
		return b.of(with).Swap(ctx, place, with)
	}
	kept, err := b.of(d).SetAside(ctx, d)
	if err != nil {
		return bosman.Database{}, err
	}
	if _, err = b.of(with).Swap(ctx, place, with); err == nil {
		return kept, nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, uerr := b.of(d).Swap(back, d, kept)
	return bosman.Database{}, errors.Join(err, uerr)
}

// Place gives where the database of a name is after what stands beside it,
// ready, has taken its place.
func (b *Both) Place(ctx context.Context, name string) (bosman.Database, error) {
	next, err := b.Find(ctx, database.Beside(name, database.TagNext))
	if bosman.KindOf(err) == bosman.KindNotFound {
		return b.Find(ctx, name)
	}
	return b.of(next).Describe(name), err
}

// MaskWith implements database.Masker, for the copies on either side.
func (b *Both) MaskWith(m database.Masking) {
	b.Engine.MaskWith(m)
	b.old.MaskWith(m)
}
