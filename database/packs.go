package database

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Contents of files lie in packs: objects of many files each, that several
// backups of an app share. What an earlier backup holds already is not
// written again, and what nobody touched since is not even read.

// packSize is how much content closes a pack.
const packSize = 32 << 20

// worthLooking is from which size on two new files that are as big are read
// beforehand, to see whether they are the same.
const worthLooking = 64 << 10

func packFolder(app string) string { return "files/" + app + "/" }

// packer puts the files of one backup into packs.
type packer struct {
	vault Vault
	app   string
	root  *os.Root // the folder of the files; nil for none
	all   []leaf
	packs map[string]Content // those used
	new   []string           // those written now
	wrote int64              // content written now
}

// reuse takes over from an earlier list what is still the same: by its
// identity without reading, else by its content. there are the packs that can
// be relied on. What is left is given back, each content once.
func (p *packer) reuse(ctx context.Context, old []leaf, there map[string]Content) (todo []int, err error) {
	byID, byHash := map[identity]*leaf{}, map[string]*leaf{}
	sizes, seen := map[int64]bool{}, map[int64]bool{} // of what is known; of what is there
	for i := range old {
		l := &old[i]
		if _, ok := there[l.Pack]; !ok || l.SHA256 == "" {
			continue
		}
		byHash[l.SHA256], sizes[l.Size] = l, true
		if l.Seen != (identity{}) {
			byID[l.Seen] = l
		}
	}
	for i := range p.all { // two that are as big may be the same
		if l := &p.all[i]; l.Mode.IsRegular() && l.Size >= worthLooking {
			sizes[l.Size] = sizes[l.Size] || seen[l.Size]
			seen[l.Size] = true
		}
	}
	used := map[string]int64{}
	for i := range p.all {
		l := &p.all[i]
		if !l.Mode.IsRegular() || l.Size == 0 {
			continue
		}
		known := byID[l.Seen]
		if l.Seen == (identity{}) {
			known = nil
		}
		if known == nil && sizes[l.Size] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := l.read(p.root, io.Discard); err != nil && bosman.KindOf(err) != bosman.KindNotFound {
				return nil, err
			}
			known = byHash[l.SHA256]
		}
		if known == nil {
			todo = append(todo, i)
			continue
		}
		l.SHA256, l.Pack, l.Offset = known.SHA256, known.Pack, known.Offset
		used[l.Pack] += l.Size
	}
	// A pack that is mostly waste is not carried on: what is left of it moves.
	for i := range p.all {
		l := &p.all[i]
		if l.Pack == "" {
			continue
		}
		if c := there[l.Pack]; used[l.Pack] < c.Plain/2 {
			l.Pack, l.Offset = "", 0
			todo = append(todo, i)
		} else {
			p.packs[l.Pack] = c
		}
	}
	return todo, nil
}

// write puts the files todo into new packs.
func (p *packer) write(ctx context.Context, todo []int) error {
	done := map[string]*leaf{}
	for len(todo) > 0 {
		name := packFolder(p.app) + strings.ToLower(Stamp(time.Now())+"-"+rand.Text()[:10])
		c, err := seal(ctx, p.vault, name, func(w io.Writer) error {
			var at int64
			for len(todo) > 0 && at < packSize {
				if err := ctx.Err(); err != nil {
					return err
				}
				l := &p.all[todo[0]]
				todo = todo[1:]
				if known := done[l.SHA256]; l.SHA256 != "" && known != nil {
					l.Size, l.Pack, l.Offset = known.Size, known.Pack, known.Offset
					continue
				}
				err := l.read(p.root, w)
				if bosman.KindOf(err) == bosman.KindNotFound {
					l.Mode = fs.ModeIrregular // gone meanwhile: left out below
					continue
				}
				if err != nil {
					return err
				}
				if l.Size > 0 {
					l.Pack, l.Offset = name, at
					done[l.SHA256] = l
				}
				at += l.Size
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.new = append(p.new, name)
		p.packs[name] = c
		p.wrote += c.Plain
		if err := faults.Point("database.backup.packed"); err != nil {
			return err
		}
	}
	p.all = slices.DeleteFunc(p.all, func(l leaf) bool { return l.Mode&fs.ModeIrregular != 0 })
	return nil
}

// unpackFiles writes the files of a list into the new folder dst, each
// content checked. Nothing is written outside of it, whatever the list says.
// Everything belongs to uid, or for 0 to whom it belonged.
func unpackFiles(ctx context.Context, v Vault, app string, all []leaf, dst string, uid int) (err error) {
	if err := os.Mkdir(dst, 0o750); err != nil {
		return err
	}
	if err := chown(dst, uid, uid); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	packs := map[string][]*leaf{}
	for i := range all {
		l := &all[i]
		switch {
		case l.Mode.IsDir():
			if l.path() != "." {
				if err := root.Mkdir(l.path(), 0o700); err != nil {
					return err
				}
			}
		case l.Mode&fs.ModeSymlink != 0:
			if err := errors.Join(root.Symlink(l.link(), l.path()), l.give(root, uid)); err != nil {
				return err
			}
		case !l.Mode.IsRegular():
			return bosman.Failed("the list of files holds %q, which is not a file, folder or link", l.path())
		case l.Size == 0:
			if err := l.write(root, strings.NewReader(""), uid); err != nil {
				return err
			}
		default:
			packs[l.Pack] = append(packs[l.Pack], l)
		}
	}
	for name, of := range packs {
		if err := unpackPack(ctx, v, app, name, of, root, uid); err != nil {
			return err
		}
	}
	for i := range slices.Backward(all) { // inner first: a folder may be read-only
		if l := &all[i]; l.Mode.IsDir() {
			t := time.Unix(0, l.Time)
			if err := errors.Join(l.give(root, uid), root.Chmod(l.path(), l.Mode.Perm()), root.Chtimes(l.path(), t, t)); err != nil {
				return err
			}
		}
	}
	return nil
}

// give makes a path belong to uid, or to whom it belonged.
func (l *leaf) give(root *os.Root, uid int) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if uid != 0 {
		return root.Lchown(l.path(), uid, uid)
	}
	return root.Lchown(l.path(), l.UID, l.GID)
}

// write makes the file with its content, which is compared with its sum.
func (l *leaf) write(root *os.Root, content io.Reader, uid int) error {
	f, err := root.OpenFile(l.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	to := &holes{f: f}
	n, err := io.Copy(to, io.TeeReader(content, h))
	if err == nil {
		err = to.end()
	}
	if err == nil && (n != l.Size || n > 0 && hex.EncodeToString(h.Sum(nil)) != l.SHA256) {
		err = bosman.Failed("the file %q is not what was backed up", l.path())
	}
	if err = errors.Join(err, f.Chmod(l.Mode.Perm()), f.Close()); err != nil {
		return err
	}
	t := time.Unix(0, l.Time)
	return errors.Join(l.give(root, uid), root.Chtimes(l.path(), t, t))
}

// unpackPack writes the files of one pack. Without a root it only compares.
func unpackPack(ctx context.Context, v Vault, app, name string, of []*leaf, root *os.Root, uid int) error {
	if path.Dir(name)+"/" != packFolder(app) {
		return bosman.Failed("the list of files names %q, which holds no files of %s", name, app)
	}
	slices.SortFunc(of, func(a, b *leaf) int { return cmp.Compare(a.Offset, b.Offset) })
	_, err := v.Get(ctx, name, func(r io.Reader) error {
		var at int64
		for i := 0; i < len(of); {
			first := of[i]
			if err := ctx.Err(); err != nil {
				return err
			}
			if first.Offset < at {
				return bosman.Failed("the list of files does not fit %s", name)
			}
			if _, err := io.CopyN(io.Discard, r, first.Offset-at); err != nil {
				return cutShort(name, err)
			}
			content := io.LimitReader(r, first.Size)
			if root == nil {
				h := sha256.New()
				if n, err := io.Copy(h, content); err != nil {
					return err
				} else if n != first.Size || hex.EncodeToString(h.Sum(nil)) != first.SHA256 {
					return bosman.Failed("the file %q is not what was backed up", first.path())
				}
			} else if err := first.write(root, content, uid); err != nil {
				return err
			}
			at = first.Offset + first.Size
			for i++; i < len(of) && of[i].Offset == first.Offset; i++ { // the same content again
				if root == nil {
					continue
				}
				if err := of[i].duplicate(root, first, uid); err != nil {
					return err
				}
			}
		}
		_, err := io.Copy(io.Discard, r) // its end proves it
		return err
	})
	return err
}

func cutShort(name string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bosman.Failed("%s is cut short", name).Because(err)
	}
	return err
}

// duplicate writes a file whose content another one has.
func (l *leaf) duplicate(root *os.Root, of *leaf, uid int) (err error) {
	f, err := root.Open(of.path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return l.write(root, f, uid)
}

// tally counts files and bytes of a list.
func tally(all []leaf) (files int, bytes int64) {
	for i := range all {
		if !all[i].Mode.IsDir() {
			files++
			bytes += all[i].Size
		}
	}
	return files, bytes
}

// clearFolder empties a folder of ours.
func clearFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
