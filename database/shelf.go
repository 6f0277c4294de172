package database

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Where the file system cannot share blocks, copying many files takes long. A
// shelf holds one copy of a folder of files that was made in advance: brought
// up to date it takes only what changed, and it is handed out by a rename.
// Nobody else writes into it, so a file that is as it was put there, and whose
// source is as it was, needs no look.
//
//	STATE/files/NAME/ready/  the copy      STATE/files/NAME/list  what it holds
type shelf struct{ dir string }

func (k *Keeper) shelfOf(name string) shelf { return shelf{filepath.Join(k.State, "files", name)} }

func (s shelf) ready() string { return filepath.Join(s.dir, "ready") }
func (s shelf) list() string  { return filepath.Join(s.dir, "list") }

// shelved is a file on the shelf: as its source was and as it was put there.
type shelved struct {
	Path []byte   `json:"p"` // perhaps not UTF-8
	From identity `json:"f"`
	Here identity `json:"h"`
}

// StockFiles keeps a copy of the files of an instance ready for those that
// PrepareCopy makes of it, unless there are fewer bytes than least or the file
// system shares blocks anyway. It may be called again at any time; marked Low
// it yields to other work. It gives what had to be written.
func (k *Keeper) StockFiles(ctx context.Context, name, files string, least int64) (Tree, error) {
	if err := bosman.CheckName("instance", name); err != nil {
		return Tree{}, err
	}
	if files == "" || sharesBlocks(k.State) {
		return Tree{Cloned: true}, nil
	}
	k.shelves.Lock()
	defer k.shelves.Unlock()
	s := k.shelfOf(name)
	size, err := FilesSize(ctx, files)
	if err != nil {
		return Tree{}, err
	}
	if size < least {
		return Tree{}, diskError("remove a copy made in advance", s.dir, os.RemoveAll(s.dir))
	}
	if _, err := os.Lstat(s.ready()); errors.Is(err, fs.ErrNotExist) {
		if err := Room(k.State, 2*size); err != nil { // for the copy, and the one it becomes
			return Tree{}, err
		}
	}
	t, err := s.update(ctx, files)
	return t, diskError("keep a copy of the files ready", s.dir, err)
}

// copyFiles copies the files of an instance: from the shelf, if it has a copy
// ready, else one by one.
func (k *Keeper) copyFiles(ctx context.Context, name, src, dst string, uid int) (Tree, error) {
	anew := func() (Tree, error) {
		if err := copyRoom(ctx, src, filepath.Dir(dst)); err != nil {
			return Tree{}, err
		}
		return CopyTree(ctx, src, dst, uid)
	}
	if bosman.CheckName("instance", name) != nil || !k.shelves.TryLock() { // it is being stocked
		return anew()
	}
	defer k.shelves.Unlock()
	s := k.shelfOf(name)
	_, err1 := os.Lstat(s.ready())
	_, err2 := os.Lstat(src)
	if err1 != nil || err2 != nil {
		return anew()
	}
	t, err := s.update(ctx, src)
	if err != nil {
		return t, diskError("copy the files", dst, err)
	}
	if err := faults.Point("database.shelf.updated"); err != nil {
		return t, err
	}
	err = errors.Join(os.Remove(s.list()), os.Rename(s.ready(), dst))
	if errors.Is(err, unix.EXDEV) {
		return anew()
	}
	if err != nil {
		return t, diskError("copy the files", dst, err)
	}
	return t, diskError("copy the files", dst, giveTree(ctx, src, dst, uid))
}

// sharesBlocks says whether copies in a folder cost no time.
func sharesBlocks(dir string) bool {
	if os.MkdirAll(dir, 0o700) != nil {
		return false
	}
	in, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return false
	}
	defer func() { _ = errors.Join(in.Close(), os.Remove(in.Name())) }() // only a probe
	out, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return false
	}
	defer func() { _ = errors.Join(out.Close(), os.Remove(out.Name())) }()
	if _, err := in.WriteString("probe"); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil
}

// FilesSize is what the files in a folder take on the disk, or would if they
// shared nothing; 0 for a missing one.
func FilesSize(ctx context.Context, root string) (int64, error) {
	all, err := walk(ctx, root)
	var size int64
	for i := range all {
		size += all[i].held // of a file with holes less than its size
	}
	return size, err
}

// read gives what the shelf is said to hold, by path; without a list, as after
// a crash, all of it is looked at anew.
func (s shelf) read() map[string]shelved {
	out := map[string]shelved{}
	f, err := os.Open(s.list())
	if err != nil {
		return out
	}
	defer func() { _ = f.Close() }() // it was only read
	d := json.NewDecoder(bufio.NewReader(f))
	for {
		var x shelved
		if d.Decode(&x) != nil {
			return out
		}
		out[string(x.Path)] = x
	}
}

// update makes the copy on the shelf what src is now.
func (s shelf) update(ctx context.Context, src string) (t Tree, err error) {
	known := s.read()
	if err := os.Remove(s.list()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err // until it is written again nothing is taken for granted
	}
	if err := os.MkdirAll(s.ready(), 0o700); err != nil {
		return t, err
	}
	want, err := walk(ctx, src)
	if err != nil {
		return t, err
	}
	have, err := walk(ctx, s.ready())
	if err != nil {
		return t, err
	}
	old := make(map[string]*leaf, len(have))
	for i := range have {
		old[have[i].path()] = &have[i]
	}
	from, _, err := openTree(src)
	if err != nil {
		return t, err
	}
	if from == nil {
		want = nil // gone a moment ago
	} else {
		defer func() { err = errors.Join(err, from.Close()) }()
	}
	list := make([]shelved, 0, len(want))
	for i := range want {
		l := &want[i]
		was := old[l.path()]
		delete(old, l.path())
		if err := ctx.Err(); err != nil {
			return t, err
		}
		fresh, err := s.put(ctx, from, l, was, known[l.path()])
		if err != nil {
			return t, err
		}
		if l.Mode.IsRegular() {
			t.Files++
			if fresh {
				t.Bytes += l.Size
			}
			list = append(list, shelved{Path: []byte(l.path()), From: l.Seen})
		}
	}
	for path := range old { // gone from the source; what lies below goes with it
		if err := os.RemoveAll(filepath.Join(s.ready(), path)); err != nil {
			return t, err
		}
	}
	return t, s.write(list)
}

// put brings one path of the source onto the shelf; fresh says that it was
// written anew.
func (s shelf) put(ctx context.Context, src *os.Root, l, was *leaf, known shelved) (fresh bool, err error) {
	to := filepath.Join(s.ready(), l.path())
	if was != nil && was.Mode.Type() != l.Mode.Type() {
		if err := os.RemoveAll(to); err != nil {
			return false, err
		}
		was = nil
	}
	switch {
	case l.Mode.IsDir():
		if was != nil {
			return false, nil
		}
		return false, os.Mkdir(to, 0o700)
	case l.Mode&fs.ModeSymlink != 0:
		if was != nil && was.link() == l.link() {
			return false, nil
		}
		if err := os.RemoveAll(to); err != nil {
			return false, err
		}
		return true, os.Symlink(l.link(), to)
	}
	if was != nil && l.Seen != (identity{}) && known.From == l.Seen && known.Here == was.Seen {
		return false, nil
	}
	if err := os.RemoveAll(to); err != nil {
		return false, err
	}
	begun := time.Now()
	in, err := openIn(src, l.path())
	if errors.Is(err, errVanished) {
		return false, nil
	}
	if err == nil {
		_, err = copyOpen(in, to, 0o600)
	}
	if err != nil {
		return false, err
	}
	if IsLow(ctx) { // half of the time belongs to others
		select {
		case <-ctx.Done():
		case <-time.After(time.Since(begun)):
		}
	}
	return true, nil
}

// write notes what lies on the shelf, once it has rested.
func (s shelf) write(list []shelved) (err error) {
	tmp := s.list() + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	e := json.NewEncoder(b)
	for i := range list {
		info, serr := os.Lstat(filepath.Join(s.ready(), string(list[i].Path)))
		if errors.Is(serr, fs.ErrNotExist) {
			continue
		}
		if serr == nil {
			list[i].Here = stamped(info)
			serr = e.Encode(list[i])
		}
		if err = errors.Join(err, serr); err != nil {
			break
		}
	}
	if err = errors.Join(err, b.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, s.list())
}

// giveTree gives a copy the owners, modes and times of its source.
func giveTree(ctx context.Context, src, dst string, uid int) error {
	all, err := walk(ctx, src)
	if err != nil {
		return err
	}
	for i := range slices.Backward(all) { // inner first: a folder may be read-only
		l := &all[i]
		to := filepath.Join(dst, l.path())
		info, err := os.Lstat(to)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != l.Mode.Type() {
			continue // it came meanwhile
		}
		if uid != 0 {
			err = errors.Join(err, chown(to, uid, uid))
		} else {
			err = errors.Join(err, chown(to, l.UID, l.GID))
		}
		if l.Mode&fs.ModeSymlink == 0 {
			t := time.Unix(0, l.Time)
			err = errors.Join(err, os.Chmod(to, l.Mode.Perm()), os.Chtimes(to, t, t))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
