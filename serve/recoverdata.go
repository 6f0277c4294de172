package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/store"
	"github.com/bosman-cd/bosman/vault"
)

// found is a backup in the target.
type found struct {
	at       database.Place
	manifest database.Manifest
	proven   bool // it was restored and compared before
}

// bringData restores the data of live and staging.
func (r *recovery) bringData(ctx context.Context, own *vault.Keys) (err error) {
	recs := &records{store: r.store, releases: r.releases, target: r.opt.From, now: time.Now}
	r.dbs = newDatabases(r.opt.Data, recs, r.opt.Log)
	r.dbs.vaults = newVaults(r.opt.From, own, vault.S3FromEnv(os.Getenv))
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, r.dbs.stop(end)) // serve starts them itself
	}()
	all, err := r.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		if (i.Kind != bosman.KindLive && i.Kind != bosman.KindStaging) || i.Release == 0 {
			continue
		}
		if err := r.step("data/"+i.App+"/"+i.Name, "", func() error { return r.bringInstance(ctx, i) }); err != nil {
			return err
		}
	}
	return r.countNewer(ctx)
}

// countNewer says which backups no row is known of: those made after the
// state was.
func (r *recovery) countNewer(ctx context.Context) error {
	apps, err := r.store.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		rows, err := r.store.Backups(ctx, app.Name, "", 0)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, b := range rows {
			known[b.Name] = true
		}
		names, err := database.Stored(ctx, r.vault, app.Name)
		if err != nil {
			return err
		}
		newer := 0
		for _, n := range names {
			if !known[n] {
				newer++
			}
		}
		if newer > 0 {
			if err := r.say("%d backups of %s are newer than the state; take them up when Bosman runs: bosman backup import --app %s", newer, app.Name, app.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// backupsOf lists the backups of an instance in the target, newest first, and
// says what keeps others from being used. One that nobody verified is as good
// as any: what is restored is compared.
func (r *recovery) backupsOf(ctx context.Context, i bosman.Instance) (good []found, others []string, err error) {
	v := r.vault
	names, err := database.Stored(ctx, v, i.App)
	if err != nil {
		return nil, nil, err
	}
	for n := len(names) - 1; n >= 0; n-- {
		at := database.Place{Vault: v, Name: names[n]}
		m, err := database.ReadManifest(ctx, at)
		if kind := bosman.KindOf(err); ctx.Err() != nil || kind == bosman.KindUnavailable {
			return nil, nil, err
		} else if err != nil {
			others = append(others, fmt.Sprintf("%s: %s", names[n], bosman.AsError(err).Message))
			continue
		}
		if m.Instance != i.Name {
			continue
		}
		proven, err := database.ProvenAt(ctx, at, m)
		if err != nil && (ctx.Err() != nil || bosman.KindOf(err) == bosman.KindUnavailable) {
			return nil, nil, err
		}
		ref := bosman.Ref(bosman.LetterBackup, m.Number)
		if _, err := r.releases.Load(i.App, m.Release); err != nil && !i.Database.Adopted() {
			others = append(others, fmt.Sprintf("%s holds the data of %s, which is not among the releases brought back", ref, bosman.Ref(bosman.LetterRelease, m.Release)))
			continue
		}
		good = append(good, found{at, m, err == nil && !proven.IsZero()})
	}
	return good, others, nil
}

// newest restores from the newest backup with which restore succeeds, and says
// what is wrong with those before it; false if there is none.
func (r *recovery) newest(ctx context.Context, i bosman.Instance, restore func(context.Context, bosman.Instance, found) error) (bool, error) {
	good, others, err := r.backupsOf(ctx, i)
	if err != nil {
		return false, err
	}
	for _, f := range good {
		ref := bosman.Ref(bosman.LetterBackup, f.manifest.Number)
		err := restore(ctx, i, f)
		switch kind := bosman.KindOf(err); {
		case err == nil && f.proven:
			return true, nil
		case err == nil:
			return true, r.say("  %s was never verified before", ref)
		case ctx.Err() != nil:
			return false, err
		case kind != bosman.KindFailed && kind != bosman.KindConflict && kind != bosman.KindNotFound && kind != bosman.KindForbidden && kind != bosman.KindInvalid:
			return false, err
		}
		if err := r.lose("%s of %s: %s: %s", i.Name, i.App, ref, bosman.AsError(err).Message); err != nil {
			return false, err
		}
	}
	for _, o := range others {
		if err := r.lose("%s of %s: %s", i.Name, i.App, o); err != nil {
			return false, err
		}
	}
	return false, nil
}

// bringInstance restores one instance from the newest backup that can be.
func (r *recovery) bringInstance(ctx context.Context, i bosman.Instance) error {
	who := i.Name + " of " + i.App
	if i.Database.Adopted() {
		return r.bringAdopted(ctx, i)
	}
	brought, err := r.newest(ctx, i, r.restore)
	if err != nil || brought {
		return err
	}
	k, m, err := r.dbs.of(ctx, i, i.Release)
	if err == nil && len(m.Data) == 0 && k.Engine == nil {
		return r.say("✓ %s has no data of its own; it serves %s", who, bosman.Ref(bosman.LetterRelease, i.Release))
	}
	if i.Kind == bosman.KindStaging {
		return r.beginAgain(ctx, i)
	}
	if err := r.lose("%s: there is no backup to restore it from; it is empty", who); err != nil {
		return err
	}
	return r.store.SaveInstance(ctx, emptied(i))
}

// beginAgain lets serve deploy to a staging that has no backup, as it would
// the first time.
func (r *recovery) beginAgain(ctx context.Context, i bosman.Instance) error {
	was := i.Release
	if _, err := r.releases.Load(i.App, was); err != nil {
		if err := r.lose("%s of %s: neither a backup nor its release is there; it is empty until main is built again", i.Name, i.App); err != nil {
			return err
		}
		return r.store.SaveInstance(ctx, emptied(i))
	}
	if err := r.lose("%s of %s: there is no backup to restore it from; it begins with an empty database when Bosman starts", i.Name, i.App); err != nil {
		return err
	}
	return r.store.InTx(ctx, func(s *store.Store) error {
		n, err := s.Next(ctx, i.App, bosman.LetterOperation)
		if err != nil {
			return err
		}
		if err := s.SaveInstance(ctx, emptied(i)); err != nil {
			return err
		}
		return s.SaveOperation(ctx, bosman.Operation{
			App: i.App, Number: n, Instance: i.Name, Plan: bosman.PlanDeploy, Release: was, State: bosman.OpQueued, Auto: true,
			By: bosman.System().Person, Why: "its data was lost with the server", CreatedAt: time.Now().UTC(),
		})
	})
}

// restore restores an instance from one backup, and makes its row agree.
func (r *recovery) restore(ctx context.Context, i bosman.Instance, f found) error {
	begun := time.Now()
	if n := f.manifest.Release; n != i.Release {
		if err := r.lose("%s of %s ran %s, but its newest backup holds the data of %s: it runs that again", i.Name, i.App,
			bosman.Ref(bosman.LetterRelease, i.Release), bosman.Ref(bosman.LetterRelease, n)); err != nil {
			return err
		}
		ops, err := r.store.Operations(ctx, i.App, i.Name, 0)
		if err != nil {
			return err
		}
		i.Release, i.Previous = n, 0
		for _, o := range ops {
			if o.Release == n && o.State == bosman.OpDone {
				i.ProcessID = deploy.SetID(i.App, i.Name, o.Number)
				break
			}
		}
	}
	if i.Previous != 0 {
		if _, err := r.releases.Load(i.App, i.Previous); err != nil {
			i.Previous = 0
		}
	}
	k, m, err := r.dbs.of(ctx, i, i.Release)
	if err != nil {
		return err
	}
	if err := k.Recover(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(instanceDir(r.opt.Data, i.App, i.Name), 0o755); err != nil {
		return bosman.Unavailable("the folder of %s cannot be made", i.Name).Because(err)
	}
	_, kept, got, err := k.Restore(ctx, f.at, i.Name, r.dbs.snapshot(i, m))
	if err != nil {
		return err
	}
	if err := k.Drop(ctx, kept); err != nil { // of an interrupted run
		return err
	}
	if err := faults.Point("recover.restored"); err != nil {
		return err
	}
	i.Database = bosman.Database{}
	if k.Engine != nil {
		if i.Database, err = k.Engine.Find(ctx, i.Name); err != nil {
			return err
		}
		i.Database.Password = ""
	}
	i.State, i.Note = bosman.InstanceStarting, ""
	if i.Stopped {
		i.State = bosman.InstanceStopped
	}
	if err := r.store.SaveInstance(ctx, i); err != nil {
		return err
	}
	r.brought(i, got.CreatedAt)
	tables, rows := got.Total()
	files := 0
	if got.Files != nil {
		files = got.Files.Files
	}
	return r.say("✓ %s of %s: %s of %s, %d tables, %d rows, %d files restored and compared (%s)", i.Name, i.App,
		bosman.Ref(bosman.LetterBackup, got.Number), got.CreatedAt.Format("2006-01-02 15:04:05 MST"), tables, rows, files, short(time.Since(begun)))
}
