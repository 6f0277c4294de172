package serve

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// bringAdopted brings back an instance whose database Bosman did not make: it
// was not on the lost server, and what it holds is newer than any backup. Only
// files are restored.
func (r *recovery) bringAdopted(ctx context.Context, i bosman.Instance) error {
	who := i.Name + " of " + i.App
	if err := r.say("✓ %s: its database, %s on %s:%d, was not on this server and is used again as it is", who, i.Database.Name, i.Database.Host, i.Database.Port); err != nil {
		return err
	}
	if _, err := r.releases.Load(i.App, i.Release); err != nil {
		if err := r.lose("%s: %s is not among the releases brought back; nothing runs there until one is deployed", who, bosman.Ref(bosman.LetterRelease, i.Release)); err != nil {
			return err
		}
		e := emptied(i)
		e.Database, e.Note = i.Database, "its release was lost with the server"
		return r.store.SaveInstance(ctx, e)
	}
	if i.Previous != 0 {
		if _, err := r.releases.Load(i.App, i.Previous); err != nil {
			i.Previous = 0
		}
	}
	m, err := r.dbs.records.Manifest(ctx, i.App, i.Release)
	if err != nil {
		return err
	}
	if into := r.dbs.snapshot(i, m); into.Files != "" {
		brought, err := r.newest(ctx, i, func(ctx context.Context, i bosman.Instance, f found) error { return r.restoreFiles(ctx, i, f, into) })
		if err != nil {
			return err
		}
		if !brought {
			if err := r.lose("%s: there is no backup to restore its files from; there are none", who); err != nil {
				return err
			}
		}
	}
	i.State, i.Note = bosman.InstanceStarting, ""
	if i.Stopped {
		i.State = bosman.InstanceStopped
	}
	return r.store.SaveInstance(ctx, i)
}

// restoreFiles restores the files of an instance from one backup.
func (r *recovery) restoreFiles(ctx context.Context, i bosman.Instance, f found, into database.Snapshot) error {
	begun := time.Now()
	k := &database.Keeper{State: filepath.Join(r.opt.Data, "databases", i.App, adoptedFile+i.Name), Log: r.opt.Log}
	if err := k.Recover(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(instanceDir(r.opt.Data, i.App, i.Name), 0o755); err != nil {
		return bosman.Unavailable("the folder of %s cannot be made", i.Name).Because(err)
	}
	kept, got, err := k.RestoreFiles(ctx, f.at, i.Name, into)
	if err != nil {
		return err
	}
	if err := k.Drop(ctx, kept); err != nil { // of an interrupted run
		return err
	}
	if err := faults.Point("recover.restored"); err != nil {
		return err
	}
	files := 0
	if got.Files != nil {
		files = got.Files.Files
	}
	return r.say("✓ %s of %s: %d files of %s of %s restored and compared (%s)", i.Name, i.App, files,
		bosman.Ref(bosman.LetterBackup, got.Number), got.CreatedAt.Format("2006-01-02 15:04:05 MST"), short(time.Since(begun)))
}
