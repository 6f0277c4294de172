package serve

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// verify proves a backup and notes it in its row. Where the instance is the
// one that testers' copies are made of, what was restored for it is their next
// golden copy.
func (d *databases) verify(ctx context.Context, k *database.Keeper, at database.Place, b *bosman.Backup, every bool) error {
	begun := time.Now()
	copies, from := d.copiesOf(ctx, *b)
	done, err := k.Drill(ctx, at, every, copies, from)
	if err != nil {
		if ctx.Err() == nil {
			b.Error, b.VerifiedAt = bosman.AsError(err).Message, time.Time{}
		}
		return err
	}
	b.VerifiedAt, b.VerifyTook, b.Error = done.ProvenAt, done.ProvenAt.Sub(begun), ""
	ref := bosman.Ref(bosman.LetterBackup, b.Number)
	if done.Made {
		d.log.Info("a backup was proven, and what was restored is the next golden copy", "app", b.App, "instance", b.Instance, "backup", ref)
		d.renewals.want(b.App, false) // copies ready are of an older one now
	}
	if done.Why != nil && ctx.Err() == nil {
		d.log.Warn("a backup was proven, but what was restored did not become a golden copy; one is made when it is due", "app", b.App, "instance", b.Instance, "backup", ref, "err", done.Why)
	}
	return nil
}

// copiesOf gives the engine of the copies of a backup's instance, and the
// database they are copies of; nil if testers' copies are made of another one,
// or none may be made of this one. That it cannot be told says nothing about
// the backup.
func (d *databases) copiesOf(ctx context.Context, b bosman.Backup) (database.Engine, bosman.Database) {
	copies, from, err := d.copiesOfSource(ctx, b)
	if err != nil && ctx.Err() == nil {
		d.log.Info("a backup is proven without making a golden copy of it", "app", b.App, "instance", b.Instance, "err", err)
	}
	if err != nil {
		return nil, from
	}
	return copies, from
}

func (d *databases) copiesOfSource(ctx context.Context, b bosman.Backup) (copies database.Engine, from bosman.Database, err error) {
	if d.copySource == nil || b.Release == 0 {
		return nil, from, nil
	}
	source, err := d.copySource(ctx, b.App)
	if err != nil || source != b.Instance {
		return nil, from, err
	}
	i, err := d.records.store.Instance(ctx, b.App, source)
	if bosman.KindOf(err) == bosman.KindNotFound || err == nil && (i.Release == 0 || i.Database.Engine == "") {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, err
	}
	k, err := d.keeper(ctx, bosman.Instance{App: b.App, Kind: bosman.KindTesting}, i.Database.Engine)
	if err != nil {
		return nil, from, err
	}
	i.Release = b.Release // whose masks hold for its data
	return k.Engine, i.Database, d.maskable(ctx, k, i)
}
