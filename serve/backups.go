package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/vault"
)

// vaults are the targets that backups lie in.
type vaults struct {
	home  string // where new backups go
	keys  *vault.Keys
	s3    vault.S3
	mu    sync.Mutex
	open  map[string]opened
	locks map[string]*sync.Mutex // by app: what is written or removed, one at a time
}

// opened is a target in use. A folder may be mounted over meanwhile: at is
// what it was.
type opened struct {
	store *vault.Store
	at    fs.FileInfo
}

func newVaults(home string, keys *vault.Keys, s3 vault.S3) *vaults {
	return &vaults{home: home, keys: keys, s3: s3, open: map[string]opened{}, locks: map[string]*sync.Mutex{}}
}

// store opens a target; "" is where new backups go.
func (v *vaults) store(ctx context.Context, target string) (*vault.Store, error) {
	if target == "" {
		target = v.home
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now, err := os.Stat(target) // fails for what is no folder, and for one that is yet to be made
	if o := v.open[target]; o.store != nil {
		if o.at == nil || err == nil && os.SameFile(o.at, now) {
			return o.store, nil
		}
		if err := o.store.Close(); err != nil {
			return nil, err
		}
		delete(v.open, target)
	}
	s, err := vault.Open(ctx, target, vault.Options{Keys: v.keys, S3: v.s3})
	if err != nil {
		return nil, err
	}
	o := opened{store: s}
	if filepath.IsAbs(target) {
		if o.at, err = os.Stat(target); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	v.open[target] = o
	return s, nil
}

// place is where a backup lies.
func (v *vaults) place(ctx context.Context, b bosman.Backup) (database.Place, error) {
	if b.Name == "" {
		return database.Folder(b.Dir), nil
	}
	s, err := v.store(ctx, b.Where)
	return database.Place{Vault: s, Name: b.Name}, err
}

// lock lets one backup of an app be written or removed at a time.
func (v *vaults) lock(app string) (unlock func()) {
	v.mu.Lock()
	l := v.locks[app]
	if l == nil {
		l = &sync.Mutex{}
		v.locks[app] = l
	}
	v.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// Backup dumps database and files, and proves the dump by a restore.
func (d *databases) Backup(ctx context.Context, i bosman.Instance, b bosman.Backup, verify bool) (bosman.Backup, error) {
	k, m, err := d.of(ctx, i, i.Release)
	if err != nil {
		return b, err
	}
	defer d.vaults.lock(b.App)()
	begun := time.Now()
	at, err := d.vaults.place(ctx, b)
	if err != nil {
		return b, err
	}
	done, err := database.ReadManifest(ctx, at)
	if bosman.KindOf(err) == bosman.KindNotFound {
		done, err = k.Backup(ctx, d.snapshot(i, m), at, database.About{App: b.App, Instance: b.Instance, Release: i.Release, Number: b.Number, Why: b.Why, By: b.By})
	}
	if err != nil {
		b.Error = err.Error()
		return b, err
	}
	b.Release, b.Error = i.Release, ""
	describe(&b, done)
	if b.Took == 0 {
		b.Took = time.Since(begun)
	}
	if verify {
		err = d.verify(ctx, k, at, &b, false)
	}
	return b, err
}

// describe says in a row what a manifest says.
func describe(b *bosman.Backup, m database.Manifest) {
	b.Bytes, b.Checksum, b.Content, b.Encrypted = m.Bytes, m.Checksum, 0, m.Format > 1
	b.Tables, b.Rows = m.Total()
	for _, c := range m.Contents {
		b.Content += max(c.Plain, 0)
	}
	if m.Files != nil {
		b.Files = m.Files.Files
		b.Content += m.Files.Bytes
	}
}

// Restore builds the content of a backup beside the data of i.
func (d *databases) Restore(ctx context.Context, i bosman.Instance, b bosman.Backup, _ int) (deploy.Prepared, error) {
	k, m, err := d.of(ctx, i, i.Release)
	if err != nil {
		return deploy.Prepared{}, err
	}
	at, err := d.vaults.place(ctx, b)
	if err != nil {
		return deploy.Prepared{}, err
	}
	begun := time.Now()
	done, err := k.PrepareRestore(ctx, at, i.Name, d.snapshot(i, m))
	if err != nil {
		return deploy.Prepared{}, err
	}
	db, err := place(ctx, k, i.Name)
	tables, rows := done.Total()
	return deploy.Prepared{Name: i.Name, Database: db, Note: fmt.Sprintf("%s: %d tables, %d rows restored and compared in %s", bosman.Ref(bosman.LetterBackup, b.Number), tables, rows, short(time.Since(begun)))}, err
}
