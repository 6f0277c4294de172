package database

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// note is what a keeper writes down before it builds data beside an
// instance's own and before it swaps them:
//
//	building ─► swapping ─► (removed)
//	   └──────────────────► (removed, and what was built with it)
//
// After a crash, building is undone and swapping is finished. What a plan
// prepared or swapped in stays as it is: see SwapIn.
type note struct {
	Name     string    `json:"name"` // the instance
	Files    string    `json:"files,omitempty"`
	Database bool      `json:"database"`
	Swapping bool      `json:"swapping"`
	Prepared bool      `json:"prepared,omitempty"` // complete, and left beside for SwapIn
	Swapped  *Snapshot `json:"swapped,omitempty"`  // what SwapIn kept
	At       time.Time `json:"at"`
	// What was kept and takes the place, instead of something built for it;
	// it is never dropped.
	From      string `json:"from,omitempty"`       // name of the database
	FromName  string `json:"from_name,omitempty"`  // on its server
	FromFiles string `json:"from_files,omitempty"` // folder
}

// next is the database that takes the place.
func (n note) next() string {
	if n.From != "" {
		return n.From
	}
	return Beside(n.Name, TagNext)
}

// nextFiles is the folder that takes the place.
func (n note) nextFiles() string {
	if n.FromFiles != "" {
		return n.FromFiles
	}
	return nextFiles(n.Files)
}

// nextFiles is where files are built; beside the real ones, so that a rename
// does.
func nextFiles(files string) string { return files + "__" + TagNext }

func (k *Keeper) notePath(name string) string { return filepath.Join(k.State, name+".swap.json") }

func (k *Keeper) write(n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.State, 0o700); err != nil {
		return diskError("note what is being done", k.State, err)
	}
	return diskError("note what is being done", k.State, atomicfile.Write(k.notePath(n.Name), b, 0o600))
}

func (k *Keeper) erase(name string) error {
	err := os.Remove(k.notePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return diskError("remove a note", k.State, err)
}

// Replace puts a copy of from in the place of the data of the instance name:
// built beside it, then swapped by renaming. into says where its files are
// and whose; its database may not exist yet. Stop the instance's processes
// before: they would go on with the old files. What was replaced is kept and
// returned. The files are those of now, the database may be a little older
// (CopyInfo.TakenAt): it never names a file that was not there, unless that
// was deleted since.
func (k *Keeper) Replace(ctx context.Context, from Snapshot, name string, into Snapshot, opt CopyOptions) (now, kept Snapshot, info bosman.CopyInfo, err error) {
	begun := time.Now()
	now, kept, err = k.replace(ctx, name, into, k.buildCopy(from, into, opt, &info))
	if info.From == "" {
		info.From, info.TakenAt, info.Release, info.Strategy = opt.From, begun.UTC(), opt.Release, "files"
	}
	info.Took = time.Since(begun)
	return now, kept, info, err
}

// buildCopy builds a copy of from beside the data of an instance.
func (k *Keeper) buildCopy(from, into Snapshot, opt CopyOptions, info *bosman.CopyInfo) func(context.Context, note) error {
	return func(ctx context.Context, n note) error {
		if n.Database {
			if from.Database.Engine == "" {
				return bosman.Conflict("%s has no database to copy", opt.From)
			}
			_, i, err := k.Engine.Copy(ctx, from.Database, n.next(), opt)
			if err != nil {
				return err
			}
			*info = i
		}
		if n.Files == "" {
			return nil
		}
		tree, err := k.copyFiles(ctx, opt.From, from.Files, nextFiles(n.Files), into.UID)
		info.Bytes += tree.Bytes
		return err
	}
}

// Restore puts the content of the backup at a place in the place of the data
// of the instance name, as Replace does. Checksums are compared before and the
// restored database is compared before the swap; until then nothing of the
// instance is touched.
func (k *Keeper) Restore(ctx context.Context, at Place, name string, into Snapshot) (now, kept Snapshot, m Manifest, err error) {
	if m, err = k.fit(ctx, at); err != nil {
		return now, kept, m, err
	}
	now, kept, err = k.replace(ctx, name, into, k.buildRestore(at, m, into))
	return now, kept, m, err
}

// RestoreFiles is Restore for the files alone: the database is not the
// keeper's to replace.
func (k *Keeper) RestoreFiles(ctx context.Context, at Place, name string, into Snapshot) (kept Snapshot, m Manifest, err error) {
	if m, err = ReadManifest(ctx, at); err != nil {
		return kept, m, err
	}
	files := &Keeper{State: k.State, Log: k.Log}
	into.Database = bosman.Database{}
	_, kept, err = files.replace(ctx, name, into, files.buildRestore(at, m, into))
	return kept, m, err
}

// fit reads the manifest of a backup that is to be restored here.
func (k *Keeper) fit(ctx context.Context, at Place) (m Manifest, err error) {
	if at.Vault != nil { // its content is compared as it is fetched
		m, err = ReadManifest(ctx, at)
	} else {
		m, err = CheckSums(ctx, at)
	}
	if err == nil && (m.Database != nil) != (k.Engine != nil) {
		err = bosman.Conflict("the backup %s and the app do not agree on whether there is a database", at.Name)
	}
	return m, err
}

// buildRestore builds the content of a backup beside the data of an instance.
func (k *Keeper) buildRestore(at Place, m Manifest, into Snapshot) func(context.Context, note) error {
	return func(ctx context.Context, n note) error {
		if n.Files != "" { // first: what is wrong with them shows sooner
			if err := k.restoreFiles(ctx, at, m, nextFiles(n.Files), into.UID); err != nil {
				return err
			}
		}
		if !n.Database {
			return nil
		}
		_, err := k.restoreInto(ctx, at, m, k.Engine, n.next())
		return err
	}
}

// restoreFiles puts the files of a backup into the folder to, which must not
// exist; of a backup without files an empty one is made.
func (k *Keeper) restoreFiles(ctx context.Context, at Place, m Manifest, to string, uid int) error {
	switch {
	case m.Files == nil:
		_, err := CopyTree(ctx, "/nonexistent", to, uid)
		return err
	case at.Vault == nil:
		_, _, err := readArchive(ctx, filepath.Join(at.Name, filesFile), to, uid)
		return err
	}
	all, err := m.list(ctx, at)
	if err != nil {
		return err
	}
	if err := Room(filepath.Dir(to), m.Files.Bytes); err != nil {
		return err
	}
	return unpackFiles(ctx, at.Vault, m.App, all, to, uid)
}

// replace builds beside and swaps.
func (k *Keeper) replace(ctx context.Context, name string, into Snapshot, build func(context.Context, note) error) (now, kept Snapshot, err error) {
	n, err := k.begin(ctx, name, into)
	if err != nil {
		return now, kept, err
	}
	if err := k.build(ctx, n, into, build); err != nil {
		return now, kept, err
	}
	n.Swapping = true
	if err := k.write(n); err != nil {
		return now, kept, err
	}
	if err := faults.Point("database.replace.noted"); err != nil {
		return now, kept, err
	}
	kept, err = k.swap(ctx, n)
	if err != nil {
		return now, kept, err
	}
	now = Snapshot{Files: into.Files, UID: into.UID}
	if n.Database {
		now.Database, err = k.Engine.Find(ctx, name)
	}
	return now, kept, err
}

// begin notes that data is built beside that of the instance name, and
// removes what was left there.
func (k *Keeper) begin(ctx context.Context, name string, into Snapshot) (note, error) {
	n := note{Name: name, Files: into.Files, Database: k.Engine != nil, At: time.Now().UTC()}
	if err := bosman.CheckName("instance", name); err != nil {
		return n, err
	}
	if err := k.finish(ctx, name); err != nil { // what a killed run left
		return n, err
	}
	if err := k.write(n); err != nil {
		return n, err
	}
	return n, k.discard(ctx, n) // left without a note, or prepared and never wanted
}

// build builds beside; what fails leaves nothing.
func (k *Keeper) build(ctx context.Context, n note, into Snapshot, build func(context.Context, note) error) error {
	err := build(ctx, n)
	if err == nil {
		err = k.own(ctx, n, into.UID)
	}
	if err == nil {
		err = faults.Point("database.replace.built")
	}
	if err == nil {
		return nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err = diskError("build the data beside the old", into.Files, err)
	return errors.Join(err, k.discard(end, n), k.erase(n.Name))
}

func (k *Keeper) own(ctx context.Context, n note, uid int) error {
	o, ok := k.Engine.(Owner)
	if !ok || uid == 0 {
		return nil
	}
	db, err := k.Engine.Find(ctx, n.next())
	if err != nil {
		return err
	}
	return o.Own(ctx, db, uid)
}

// swap puts what was built into its place; called again it finishes.
func (k *Keeper) swap(ctx context.Context, n note) (kept Snapshot, err error) {
	stamp := n.At
	if n.Database {
		next, err := k.Engine.Find(ctx, n.next())
		switch {
		case err == nil:
			current, err := k.Engine.Find(ctx, n.Name)
			if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
				return kept, err
			}
			if kept.Database, err = k.Engine.Swap(ctx, current, next); err != nil {
				return kept, err
			}
		case bosman.KindOf(err) != bosman.KindNotFound:
			return kept, err
		}
		entry, err := k.newestKept(ctx, n.Name, n.At)
		if err != nil {
			return kept, err
		}
		if !entry.KeptAt.IsZero() {
			kept.Database, stamp = entry.Database, entry.KeptAt
		}
	}
	if err := faults.Point("database.replace.database"); err != nil {
		return kept, err
	}
	if n.Files != "" {
		files := n.Files + "__" + TagKept + "_" + Stamp(stamp)
		if err := swapFolder(n.Files, n.nextFiles(), files); err != nil {
			return kept, diskError("put the files in their place", n.Files, err)
		}
		if _, err := os.Lstat(files); err == nil {
			kept.Files = files
		}
	}
	if err := faults.Point("database.replace.files"); err != nil {
		return kept, err
	}
	if n.Prepared {
		return kept, nil // the note goes on: see SwapIn
	}
	return kept, k.erase(n.Name)
}

// newestKept is the database of name that was replaced last, not before t.
func (k *Keeper) newestKept(ctx context.Context, name string, t time.Time) (Entry, error) {
	all, err := k.Engine.List(ctx)
	var best Entry
	for _, e := range all {
		if Base(e.Name) == name && RecoveredAt(e.Name).IsZero() && !e.KeptAt.Before(t.Truncate(time.Millisecond)) && e.KeptAt.After(best.KeptAt) {
			best = e
		}
	}
	return best, err
}

// discard removes what was built beside an instance's data.
func (k *Keeper) discard(ctx context.Context, n note) error {
	if n.Database && n.From == "" {
		db, err := k.Engine.Find(ctx, n.next())
		if err == nil {
			err = k.Engine.Drop(ctx, db)
		}
		if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
			return err
		}
	}
	if n.Files == "" {
		return nil
	}
	return diskError("remove files that were being built", n.Files, os.RemoveAll(nextFiles(n.Files)))
}

// finish undoes or ends what a killed run noted for the instance name.
func (k *Keeper) finish(ctx context.Context, name string) error {
	b, err := os.ReadFile(k.notePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskError("read a note", k.State, err)
	}
	var n note
	if err := json.Unmarshal(b, &n); err != nil || n.Name != name {
		return bosman.Internal("the note %s cannot be read", k.notePath(name)).Because(err)
	}
	if n.Prepared && n.Swapping { // half of it may be in the place
		logger(k.Log).Info("a swap of data is finished after a crash", "instance", name)
		kept, err := k.swap(ctx, n)
		if err != nil {
			return err
		}
		n.Swapping, n.Prepared, n.Swapped = false, false, &kept
		return k.write(n)
	}
	if n.Prepared || n.Swapped != nil {
		return nil // a plan goes on with it
	}
	if n.Swapping {
		logger(k.Log).Info("a swap of data is finished after a crash", "instance", name)
		_, err := k.swap(ctx, n)
		return err
	}
	if err := k.discard(ctx, n); err != nil {
		return err
	}
	return k.erase(name)
}

// Recover brings everything in order after a crash: half-made databases go,
// swaps that began are finished. Run it once at the start, before other work
// and before instances are started.
func (k *Keeper) Recover(ctx context.Context) error {
	for _, e := range []Engine{k.Engine, k.Scratch} {
		if e == nil {
			continue
		}
		if err := e.Recover(ctx); err != nil {
			return err
		}
	}
	if err := clearFolder(filepath.Join(k.State, "tmp")); err != nil {
		return diskError("remove what was fetched", k.State, err)
	}
	entries, err := os.ReadDir(k.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskError("look for notes", k.State, err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".swap.json"); ok && !strings.HasPrefix(name, ".") {
			if err := k.finish(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Drop removes the data of a snapshot: one that was kept, or all an instance
// has.
func (k *Keeper) Drop(ctx context.Context, s Snapshot) error {
	if s.Database.Engine != "" && k.Engine != nil {
		if err := k.Engine.Drop(ctx, s.Database); err != nil {
			return err
		}
	}
	if s.Files == "" {
		return nil
	}
	return diskError("remove files", s.Files, os.RemoveAll(s.Files))
}

// Kept lists what was replaced in the instance name, and what was recovered
// from the log to stand beside it, newest first. files is
// where its files are, "" for none.
func (k *Keeper) Kept(ctx context.Context, name, files string) ([]KeptData, error) {
	byTime := map[string]*KeptData{}
	at := func(t time.Time) *KeptData {
		d := byTime[Stamp(t)]
		if d == nil {
			d = &KeptData{At: t}
			byTime[Stamp(t)] = d
		}
		return d
	}
	if k.Engine != nil {
		all, err := k.Engine.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if Base(e.Name) == name && !e.KeptAt.IsZero() {
				d := at(e.KeptAt)
				d.Snapshot.Database, d.Bytes = e.Database, e.Bytes
				if !RecoveredAt(e.Name).IsZero() {
					d.AsOf = e.Copy.TakenAt
				}
			}
		}
	}
	if files != "" {
		prefix := filepath.Base(files) + "__" + TagKept + "_"
		entries, err := os.ReadDir(filepath.Dir(files))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, diskError("list kept files", files, err)
		}
		for _, e := range entries {
			if stamp, ok := strings.CutPrefix(e.Name(), prefix); ok {
				if t, ok := ParseStamp(stamp); ok {
					at(t).Snapshot.Files = filepath.Join(filepath.Dir(files), e.Name())
				}
			}
		}
	}
	return sortKept(byTime), nil
}
