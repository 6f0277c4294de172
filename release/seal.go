package release

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Seal makes rel, whose App, Number and identity are set, out of the folder
// tree (the default variant) and variants (variant → path below /app → host
// folder or file). All are moved, so they must lie on the store's file system. Mount
// points for data, templates and static folders of m are made, everything
// becomes root's, readable to all and writable to nobody else, and the release
// appears under its name at once or not at all. It gives rel with Dir,
// Variants, SealedAt and Bytes. A release of that number that was sealed
// before with the same identity is given back as it is; another identity is a
// conflict. A full disk is KindUnavailable; nothing half-made is left.
func (s *Store) Seal(rel bosman.Release, tree string, variants map[string]map[string]string, m *bosman.Manifest) (bosman.Release, error) {
	ref := bosman.Ref(bosman.LetterRelease, rel.Number)
	if old, err := s.Load(rel.App, rel.Number); err == nil {
		if old.Tree != rel.Tree || old.Definition != rel.Definition || old.Trust != rel.Trust {
			return old, bosman.Conflict("release %s of %s exists and was built from something else", ref, rel.App)
		}
		return old, nil
	}
	dir := s.Dir(rel.App, rel.Number) + partial
	out, err := s.seal(rel, tree, variants, m, dir)
	if err != nil {
		if kind := bosman.KindOf(err); kind != bosman.KindInvalid {
			err = sealError(ref, err)
		}
		return bosman.Release{}, errors.Join(err, os.RemoveAll(dir))
	}
	return out, nil
}

func (s *Store) seal(rel bosman.Release, tree string, variants map[string]map[string]string, m *bosman.Manifest, dir string) (bosman.Release, error) {
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	if err == nil {
		err = os.Rename(tree, filepath.Join(dir, treeDir))
	}
	if err != nil {
		return rel, err
	}
	r := record{
		App: rel.App, Number: rel.Number, Commit: rel.Commit, Tree: rel.Tree, Definition: rel.Definition,
		Trust: rel.Trust, Build: rel.Build, Mounts: map[string][]string{},
	}
	for name, outputs := range variants {
		if err := moveVariant(filepath.Join(dir, variantsDir, name), outputs); err != nil {
			return rel, err
		}
		r.Variants = append(r.Variants, name)
		for p := range outputs {
			r.Mounts[name] = append(r.Mounts[name], p)
		}
		slices.Sort(r.Mounts[name])
	}
	slices.Sort(r.Variants)
	if err := mountPoints(filepath.Join(dir, treeDir), m); err != nil {
		return rel, err
	}
	for _, part := range []string{treeDir, variantsDir} {
		if err := own(filepath.Join(dir, part)); err != nil {
			return rel, err
		}
	}
	sum := newListing()
	for _, part := range []string{treeDir, variantsDir} {
		if err := sum.add(dir, part); err != nil {
			return rel, err
		}
	}
	r.Bytes, r.Listing, r.SealedAt = sum.bytes, sum.hash(), time.Now().UnixMilli()
	if err := syncAll(dir); err != nil {
		return rel, err
	}
	if err := s.write(dir, r); err != nil {
		return rel, err
	}
	if err := faults.Point("release.before-rename"); err != nil {
		return rel, err
	}
	if err := os.Rename(dir, s.Dir(rel.App, rel.Number)); err != nil {
		return rel, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return rel, err
	}
	return s.Load(rel.App, rel.Number)
}

func moveVariant(dir string, outputs map[string]string) error {
	for p, from := range outputs {
		if err := local("outputs", p); err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	return nil
}

// mountPoints makes what instances mount over: folders for data: and static:,
// files for templates:. Links that lead out of the tree are refused.
func mountPoints(tree string, m *bosman.Manifest) error {
	if m == nil {
		return nil
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only read from here on
	base := path.Clean(filepath.ToSlash(m.Root))
	folder := func(what, p string) error {
		p = path.Join(base, strings.TrimSuffix(p, "/"))
		if err := local(what, p); err != nil {
			return err
		}
		if err := root.MkdirAll(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return pathError(what, p, err)
		}
		return nil
	}
	for _, p := range m.Data {
		if err := folder("data", p); err != nil {
			return err
		}
	}
	for _, p := range m.Static {
		if err := folder("static", p); err != nil {
			return err
		}
	}
	for _, p := range m.Templates {
		if err := folder("templates", path.Dir(p)); err != nil {
			return err
		}
		p = path.Join(base, p)
		f, err := root.OpenFile(p, os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return pathError("templates", p, err)
		}
	}
	return nil
}

func pathError(what, p string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return bosman.Invalid("%s: %s cannot be made in the release", what, p).Because(err)
}

// own gives everything below dir to Bosman's own user: readable and, where it
// was so for its owner, executable to all, writable to nobody else, without
// set-user-id. Sockets, pipes and devices that steps left are removed.
func own(dir string) error {
	uid, gid := os.Geteuid(), os.Getegid()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && (int(st.Uid) != uid || int(st.Gid) != gid) {
			if err := os.Lchown(p, uid, gid); err != nil {
				return err
			}
		}
		want := fs.FileMode(0o644)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			return nil
		case info.IsDir():
			want = 0o755
		case !info.Mode().IsRegular():
			return os.Remove(p)
		case info.Mode()&0o100 != 0:
			want = 0o755
		}
		if info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != want {
			return os.Chmod(p, want)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// listing sums up what lies in a sealed release.
type listing struct {
	h     hash.Hash
	bytes int64
}

func newListing() *listing { return &listing{h: sha256.New()} }

func (l *listing) hash() string { return hex.EncodeToString(l.h.Sum(nil)) }

func (l *listing) add(dir, part string) error {
	err := filepath.WalkDir(filepath.Join(dir, part), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var size int64
		link := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			size = info.Size()
			l.bytes += size
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(l.h, "%q %v %d %d %q\n", rel, info.Mode(), size, info.ModTime().UnixNano(), link)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncAll makes what was written to dir's file system durable.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
