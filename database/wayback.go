package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// TagWayBack names the copy of an instance's data from before an operation,
// with that one's number: way_back_d37.
const TagWayBack = "way_back"

func wayBackTag(operation int) string { return TagWayBack + "_d" + strconv.Itoa(operation) }

// wayBackOf gives the operation of a name or folder that ends in such a tag.
func wayBackOf(name string) (operation int, ok bool) {
	_, n, ok := strings.Cut(name, "__"+TagWayBack+"_d")
	if !ok {
		return 0, false
	}
	operation, err := strconv.Atoi(n)
	return operation, err == nil && operation > 0
}

// WayBack is a copy of an instance's data that was restored from a backup,
// compared with it, and stands beside the data, ready to take its place.
type WayBack struct {
	Operation int
	Snapshot  Snapshot
	Bytes     int64 // of the database
}

// KeepWayBack proves the backup at a place by a restore, as Verify does, but
// on the engine of the instance's own data, and keeps what was restored: proof
// and way back are one run. into says where the files are and whose. A way
// back that is there already is proven again. KindUnavailable, before anything
// is done, if the disk has no room for it.
func (k *Keeper) KeepWayBack(ctx context.Context, at Place, name string, into Snapshot, operation int) (w WayBack, m Manifest, err error) {
	w = WayBack{Operation: operation, Snapshot: Snapshot{UID: into.UID}}
	if err := k.wayBackRoom(ctx, at, into); err != nil {
		return w, m, err
	}
	if err := k.DropWayBacks(ctx, name, into.Files, func(n int) bool { return n == operation }); err != nil {
		return w, m, err // half made before a crash
	}
	if w.Snapshot.Database, m, err = k.VerifyInto(ctx, at, k.Engine, Beside(name, wayBackTag(operation))); err != nil {
		return w, m, err
	}
	if err := faults.Point("database.wayback.restored"); err != nil {
		return w, m, err
	}
	if into.Files != "" {
		w.Snapshot.Files = into.Files + "__" + wayBackTag(operation)
		err = k.restoreFiles(ctx, at, m, w.Snapshot.Files, into.UID)
	}
	if o, ok := k.Engine.(Owner); ok && err == nil && m.Database != nil && into.UID != 0 {
		err = o.Own(ctx, w.Snapshot.Database, into.UID)
	}
	if err == nil {
		err = faults.Point("database.wayback.files")
	}
	if err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return w, m, errors.Join(diskError("keep the way back", into.Files, err), k.Drop(end, w.Snapshot))
	}
	w.Snapshot.Database.Password = ""
	w.Bytes, err = k.bytesOf(ctx, w.Snapshot.Database)
	return w, m, err
}

// wayBackRoom says whether the disk has room for the data once more.
func (k *Keeper) wayBackRoom(ctx context.Context, at Place, into Snapshot) error {
	m, err := ReadManifest(ctx, at)
	if err != nil {
		return err
	}
	if m.Database != nil {
		n, err := k.bytesOf(ctx, into.Database)
		if err != nil {
			return err
		}
		// A server writes as much into its log while it restores.
		if err := Room(k.State, 2*n); err != nil {
			return err
		}
	}
	if m.Files == nil || into.Files == "" {
		return nil
	}
	return Room(filepath.Dir(into.Files), m.Files.Bytes)
}

func (k *Keeper) bytesOf(ctx context.Context, d bosman.Database) (int64, error) {
	if k.Engine == nil || d.Name == "" {
		return 0, nil
	}
	all, err := k.Engine.List(ctx)
	for _, e := range all {
		if e.Database.Name == d.Name {
			return e.Bytes, err
		}
	}
	return 0, err
}

// WayBacks lists the ways back of the instance name. files is where its files
// are, "" for none.
func (k *Keeper) WayBacks(ctx context.Context, name, files string) ([]WayBack, error) {
	byOperation := map[int]*WayBack{}
	of := func(n int) *WayBack {
		if byOperation[n] == nil {
			byOperation[n] = &WayBack{Operation: n}
		}
		return byOperation[n]
	}
	if k.Engine != nil {
		all, err := k.Engine.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if n, ok := wayBackOf(e.Name); ok && Base(e.Name) == name {
				w := of(n)
				w.Snapshot.Database, w.Bytes = e.Database, e.Bytes
			}
		}
	}
	if files != "" {
		entries, err := os.ReadDir(filepath.Dir(files))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, diskError("list the ways back", files, err)
		}
		for _, e := range entries {
			if n, ok := wayBackOf(e.Name()); ok && strings.HasPrefix(e.Name(), filepath.Base(files)+"__") {
				of(n).Snapshot.Files = filepath.Join(filepath.Dir(files), e.Name())
			}
		}
	}
	out := make([]WayBack, 0, len(byOperation))
	for _, w := range byOperation {
		out = append(out, *w)
	}
	return out, nil
}

// DropWayBacks drops the ways back of the instance name that which chooses.
func (k *Keeper) DropWayBacks(ctx context.Context, name, files string, which func(operation int) bool) error {
	all, err := k.WayBacks(ctx, name, files)
	if err != nil {
		return err
	}
	for _, w := range all {
		if !which(w.Operation) {
			continue
		}
		if err := k.Drop(ctx, w.Snapshot); err != nil {
			return err
		}
	}
	return nil
}

// PrepareKept readies data that stands beside that of the instance name, a way
// back or what was replaced earlier, for SwapIn. from names its database and
// folder. KindNotFound if it is not there any more.
func (k *Keeper) PrepareKept(ctx context.Context, name string, from, into Snapshot) error {
	if n, err := k.read(name); err == nil && (n.Swapping || n.Swapped != nil) && n.sameSource(from) {
		return nil // it is in the place, or on its way: before a crash
	}
	if err := k.thereStill(ctx, name, from); err != nil {
		return err
	}
	n, err := k.begin(ctx, name, into)
	if err != nil {
		return err
	}
	n.Prepared, n.FromFiles, n.FromName = true, from.Files, from.Database.Name
	if n.Database {
		if n.From, err = k.nameOf(ctx, from.Database); err != nil {
			return errors.Join(err, k.erase(name))
		}
	}
	if !RecoveredAt(n.From).IsZero() { // the log holds no files: those that are there stay
		n.Files = ""
	}
	if n.Files != "" && n.FromFiles == "" { // the app had no files then
		if _, err := CopyTree(ctx, "/nonexistent", nextFiles(n.Files), into.UID); err != nil {
			return errors.Join(err, k.erase(name))
		}
	}
	return k.write(n)
}

// sameSource says whether a note is about the data from.
func (n note) sameSource(from Snapshot) bool {
	return n.FromName == from.Database.Name && n.FromFiles == from.Files && n.FromName+n.FromFiles != ""
}

func (k *Keeper) thereStill(ctx context.Context, name string, from Snapshot) error {
	gone := bosman.NotFound("what was kept of %s is not there any more", name).WithKept("its data is as it is")
	if from.Database.Name != "" {
		if _, err := k.nameOf(ctx, from.Database); err != nil {
			if bosman.KindOf(err) == bosman.KindNotFound {
				return gone
			}
			return err
		}
	}
	if from.Files == "" {
		return nil
	}
	if _, err := os.Lstat(from.Files); errors.Is(err, fs.ErrNotExist) {
		return gone
	} else if err != nil {
		return diskError("look at what was kept", from.Files, err)
	}
	return nil
}

// nameOf gives the engine's name of a database.
func (k *Keeper) nameOf(ctx context.Context, d bosman.Database) (string, error) {
	all, err := k.Engine.List(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range all {
		if e.Database.Name == d.Name {
			return e.Name, nil
		}
	}
	return "", bosman.NotFound("there is no database %s", d.Name)
}

// swapBackKept undoes a SwapIn of data that was kept before: both change
// places again, and what was put there is kept under the time of now.
func (k *Keeper) swapBackKept(ctx context.Context, n note) error {
	stamp := time.Now().UTC()
	if n.Database {
		there, err := k.has(ctx, n.Swapped.Database)
		if err != nil {
			return err
		}
		if there {
			current, err := k.Engine.Find(ctx, n.Name)
			if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
				return err
			}
			if _, err := k.Engine.Swap(ctx, current, n.Swapped.Database); err != nil {
				return err
			}
		}
		if err := faults.Point("database.wayback.undone"); err != nil {
			return err
		}
		entry, err := k.newestKept(ctx, n.Name, n.At)
		if err != nil {
			return err
		}
		if !entry.KeptAt.IsZero() {
			stamp = entry.KeptAt
		}
	}
	if n.Files != "" && n.Swapped.Files != "" {
		if err := swapFolder(n.Files, n.Swapped.Files, n.Files+"__"+TagKept+"_"+Stamp(stamp)); err != nil {
			return diskError("put the files back", n.Files, err)
		}
	}
	return k.erase(n.Name)
}

// KeptAt gives what was replaced in the instance name at the moment that an id
// says: 20261123t090000000.
func (k *Keeper) KeptAt(ctx context.Context, name, files, id string) (KeptData, error) {
	all, err := k.Kept(ctx, name, files)
	if err != nil {
		return KeptData{}, err
	}
	for _, d := range all {
		if Stamp(d.At) == id {
			return d, nil
		}
	}
	return KeptData{}, bosman.NotFound("nothing of %s was kept as %s", name, id).WithNext(fmt.Sprintf("bosman kept list --instance %s", name))
}
