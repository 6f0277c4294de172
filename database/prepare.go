package database

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// What a durable plan does in separate steps, each of which may be repeated
// after a crash:
//
//	PrepareCopy, PrepareRestore ─► prepared ─► SwapIn ─► swapped ─► (next Prepare)
//	                                   └─► Discard         └─► SwapBack
//
// The note of an instance says how far it came.

// PrepareCopy builds a copy of from beside the data of the instance name.
// into says where its files are and whose. Prepared again, what was prepared
// before is built anew.
func (k *Keeper) PrepareCopy(ctx context.Context, from Snapshot, name string, into Snapshot, opt CopyOptions) (bosman.CopyInfo, error) {
	var info bosman.CopyInfo
	begun := time.Now()
	err := k.prepare(ctx, name, into, k.buildCopy(from, into, opt, &info))
	if info.From == "" {
		info.From, info.TakenAt, info.Release, info.Strategy = opt.From, begun.UTC(), opt.Release, "files"
	}
	info.Took = time.Since(begun)
	return info, err
}

// PrepareRestore builds the content of the backup at a place beside the data
// of the instance name, with checksums and content compared.
func (k *Keeper) PrepareRestore(ctx context.Context, at Place, name string, into Snapshot) (Manifest, error) {
	m, err := k.fit(ctx, at)
	if err != nil {
		return m, err
	}
	return m, k.prepare(ctx, name, into, k.buildRestore(at, m, into))
}

// prepare builds beside and leaves it there.
func (k *Keeper) prepare(ctx context.Context, name string, into Snapshot, build func(context.Context, note) error) error {
	n, err := k.begin(ctx, name, into)
	if err != nil {
		return err
	}
	if err := k.build(ctx, n, into, build); err != nil {
		return err
	}
	n.Prepared = true
	return k.write(n)
}

// SwapIn puts what was prepared for the instance name in the place of its
// data, which is kept: kept is zero if there was none. Stop the instance's
// processes before. KindNotFound if nothing was prepared.
func (k *Keeper) SwapIn(ctx context.Context, name string) (kept Snapshot, err error) {
	n, err := k.read(name)
	if err != nil {
		return kept, err
	}
	if n.Swapped != nil {
		return *n.Swapped, nil
	}
	if !n.Prepared && !n.Swapping {
		return kept, bosman.NotFound("nothing was prepared to take the place of %s", name).WithKept("its data is as it was")
	}
	n.Swapping, n.Prepared = true, true
	if err := k.write(n); err != nil {
		return kept, err
	}
	if err := faults.Point("database.swapin.noted"); err != nil {
		return kept, err
	}
	if kept, err = k.swap(ctx, n); err != nil {
		return kept, err
	}
	n.Swapping, n.Prepared, n.Swapped = false, false, &kept
	return kept, k.write(n)
}

// SwapBack undoes the SwapIn of the instance name: what it kept takes its
// place again and what it put there is removed, or kept if it was kept before.
// Without a SwapIn it does nothing.
func (k *Keeper) SwapBack(ctx context.Context, name string) error {
	n, err := k.read(name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil || n.Swapped == nil {
		return err
	}
	if n.From != "" || n.FromFiles != "" {
		return k.swapBackKept(ctx, n)
	}
	if n.Files != "" {
		if err := swapBackFiles(n.Files, n.Swapped.Files); err != nil {
			return diskError("put the files back", n.Files, err)
		}
	}
	if n.Database {
		if err := k.swapBackDatabase(ctx, name, n.Swapped.Database); err != nil {
			return err
		}
	}
	return k.erase(name)
}

func (k *Keeper) swapBackDatabase(ctx context.Context, name string, kept bosman.Database) error {
	current, err := k.Engine.Find(ctx, name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		err = nil
		if kept.Engine == "" {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if kept.Engine == "" {
		return k.Engine.Drop(ctx, current)
	}
	there, err := k.has(ctx, kept)
	if err != nil || !there {
		return err // it is back in its place already
	}
	replaced, err := k.Engine.Swap(ctx, current, kept)
	if err != nil || replaced.Engine == "" {
		return err
	}
	return k.Engine.Drop(ctx, replaced)
}

func (k *Keeper) has(ctx context.Context, d bosman.Database) (bool, error) {
	all, err := k.Engine.List(ctx)
	for _, e := range all {
		if e.Database.Name == d.Name {
			return true, err
		}
	}
	return false, err
}

// swapBackFiles puts kept (may be "") back as current.
func swapBackFiles(current, kept string) error {
	if kept == "" {
		return os.RemoveAll(current)
	}
	if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
		return nil // done before
	} else if err != nil {
		return err
	}
	if err := os.RemoveAll(current); err != nil {
		return err
	}
	return os.Rename(kept, current)
}

// Discard removes what was prepared for the instance name and not swapped in.
func (k *Keeper) Discard(ctx context.Context, name string) error {
	n, err := k.read(name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil || n.Swapping || n.Swapped != nil {
		return err
	}
	if err := k.discard(ctx, n); err != nil {
		return err
	}
	return k.erase(name)
}

// read reads the note of an instance; KindNotFound without one.
func (k *Keeper) read(name string) (note, error) {
	var n note
	b, err := os.ReadFile(k.notePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return n, bosman.NotFound("nothing was prepared to take the place of %s", name).WithKept("its data is as it was")
	}
	if err != nil {
		return n, diskError("read a note", k.State, err)
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Name != name {
		return n, bosman.Internal("the note %s cannot be read", k.notePath(name)).Because(err)
	}
	return n, nil
}
