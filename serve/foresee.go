package serve

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Foresee says what a backup will take, by what the last one took, and
// refuses where there is no room: in the target for what the dump adds, and
// on this machine for what the proof restores.
func (d *databases) Foresee(ctx context.Context, i bosman.Instance, verify bool) (string, error) {
	all, err := d.records.store.Backups(ctx, i.App, i.Name, 20)
	if err != nil {
		return "", err
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return "", err
	}
	content, err := databaseBytes(ctx, k, i.Database)
	if err != nil {
		return "", err
	}
	adds := content / packed
	last, known := bosman.CountedBackup(all)
	if known {
		if at, err := d.vaults.place(ctx, last); err == nil && at.Vault != nil {
			if m, err := database.ReadManifest(ctx, at); err == nil { // else it is guessed
				adds = 0
				for _, c := range m.Contents {
					adds += c.Bytes
				}
			}
		}
	}
	var here int64
	if _, streams := k.Engine.(database.Streamer); !streams && k.Engine != nil {
		here += content
	}
	if verify {
		here += 2 * content // the dump and what it becomes
	}
	if filepath.IsAbs(d.vaults.home) {
		if err := database.Room(d.vaults.home, adds); err != nil {
			return "", bosman.AsError(err).WithKept("nothing was written; " + i.Name + " was left as it is")
		}
	}
	if err := database.Room(d.data, here); err != nil {
		return "", bosman.AsError(err).WithKept("nothing was written; " + i.Name + " was left as it is")
	}
	lacks := ""
	if l, ok := k.Engine.(database.Lacking); ok && i.Database.Name != "" {
		if lacks, err = l.Lacks(ctx, i.Database); err != nil {
			return "", err
		}
	}
	if lacks != "" {
		lacks = "the backup will not hold " + lacks
	}
	if !known {
		return lacks, nil
	}
	text := fmt.Sprintf("about %s in %s", size(adds), short(last.Took))
	if verify && last.VerifyTook > 0 {
		text += fmt.Sprintf(" and %s to restore and compare", short(last.VerifyTook))
	}
	text += ", as " + bosman.Ref(bosman.LetterBackup, last.Number)
	if lacks != "" {
		text += "; " + lacks
	}
	return text, nil
}

// packed is how much smaller a dump is than its database, roughly, until one
// was made.
const packed = 4

// databaseBytes is how big a database is on disk.
func databaseBytes(ctx context.Context, k *database.Keeper, db bosman.Database) (int64, error) {
	if k.Engine == nil || db.Name == "" {
		return 0, nil
	}
	all, err := k.Engine.List(ctx)
	for _, e := range all {
		if e.Database.Name == db.Name {
			return e.Bytes, err
		}
	}
	return 0, err
}

// stockFrom is from how many bytes of uploaded files on a copy of them is made
// in advance, where the file system does not share blocks.
const stockFrom = 64 << 20

// stock keeps a copy of the files of staging ready for testers.
func (d *databases) stock(ctx context.Context, k *database.Keeper, staging bosman.Instance) error {
	m, err := d.records.Manifest(ctx, staging.App, staging.Release)
	if err != nil {
		return err
	}
	_, err = k.StockFiles(database.Low(ctx), staging.Name, d.snapshot(staging, m).Files, stockFrom)
	if bosman.KindOf(err) == bosman.KindUnavailable { // no room: copies only take longer
		d.log.Warn("no copy of the files is made in advance", "app", staging.App, "err", err)
		return nil
	}
	return err
}
