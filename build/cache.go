package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
)

// cache holds the outputs of build steps: DATA/cache/APP/TRUST-KEY/N is the
// output of place N in the step's list. Entries belong to Bosman's own user and never
// change; releases may share their files as hard links.
type cache struct {
	dir string // DATA/cache/APP
}

// keyed is what a step's result depends on.
type keyed struct {
	Sandbox  string
	Trust    bosman.Trust
	Root     string
	Run      string
	Variant  string
	Env      map[string]string
	Secrets  []string // names
	Outputs  []string
	Inputs   []string // "path mode hash", for a step without inputs the tree
	Previous string   // key of the step before
}

func (k keyed) hash() (string, error) {
	data, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:40], nil
}

// hashInputs gives a line for each file below base that matches the globs.
func hashInputs(ctx context.Context, base string, globs []string) ([]string, error) {
	files, err := globFiles(base, globs)
	if err != nil {
		return nil, err
	}
	lines := make([]string, 0, len(files))
	for _, name := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		sum, mode, err := hashFile(filepath.Join(base, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		lines = append(lines, name+" "+mode+" "+sum)
	}
	return lines, nil
}

func hashFile(path string) (sum, mode string, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", "", err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		return target, "link", err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	mode = "file"
	if info.Mode()&0o100 != 0 {
		mode = "program"
	}
	return hex.EncodeToString(h.Sum(nil)), mode, errors.Join(err, f.Close())
}

func (c cache) entry(key string) string { return filepath.Join(c.dir, "steps", key) }

func place(i int) string { return "o" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) }

// has says whether the outputs of key are held, and marks them as used.
func (c cache) has(key string) bool {
	dir := c.entry(key)
	if !exists(dir) {
		return false
	}
	now := time.Now()
	return os.Chtimes(dir, now, now) == nil
}

// restore puts the outputs of key to their paths below base.
func (c cache) restore(key, base string, outputs []string, share bool) error {
	for i, out := range outputs {
		to, err := inTree(base, out)
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
			return err
		}
		if err := copyTree(filepath.Join(c.entry(key), place(i)), to, share); err != nil {
			return err
		}
	}
	return nil
}

// keep stores copies of the outputs below base under key. An entry appears at
// once or not at all.
func (c cache) keep(key, base string, outputs []string) (err error) {
	if exists(c.entry(key)) {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "steps"), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.dir, "steps"), ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	for i, out := range outputs {
		from, err := inTree(base, out)
		if err != nil {
			return err
		}
		if err := copyTree(from, filepath.Join(tmp, place(i)), false); err != nil {
			return err
		}
	}
	if err := plainModes(tmp); err != nil {
		return err
	}
	err = os.Rename(tmp, c.entry(key))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return os.RemoveAll(tmp) // another build was quicker
	}
	return err
}

// plainModes gives files the modes a release has, so that sealing one that
// shares them changes nothing.
func plainModes(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() || info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(p, mode)
	})
}

// share replaces the files of an output below base that are still as they were
// stored under key by hard links to the cache: releases with the same
// environment then hold it once on the disk.
func (c cache) share(key, base string, outputs []string) error {
	for i, out := range outputs {
		kept := filepath.Join(c.entry(key), place(i))
		to, err := inTree(base, out)
		if err != nil {
			return err
		}
		err = filepath.WalkDir(kept, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(kept, p)
			if err != nil {
				return err
			}
			target, err := inTree(base, path.Join(out, filepath.ToSlash(rel)))
			if rel == "." {
				target = to
			}
			if bosman.KindOf(err) == bosman.KindInvalid {
				return nil // a later step put something else there
			}
			if err != nil {
				return err
			}
			return shareFile(p, target)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func shareFile(kept, target string) error {
	a, err := os.Lstat(kept)
	if err != nil {
		return err
	}
	b, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a later step removed it
	}
	if err != nil {
		return err
	}
	if os.SameFile(a, b) || !b.Mode().IsRegular() || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) ||
		a.Mode()&0o100 != b.Mode()&0o100 {
		return nil
	}
	tmp := target + ".bosman-share"
	if err := os.Link(kept, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, target); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// PruneCache removes what no build of an app has used since before, below
// cacheDir (DATA/cache): results of steps and the caches of tools (pip, npm). It
// gives how many it removed. Releases keep the files they share.
func PruneCache(cacheDir, app string, before time.Time) (int, error) {
	n := 0
	for _, dir := range []string{filepath.Join(cacheDir, app), filepath.Join(cacheDir, app, "steps")} {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, bosman.Unavailable("the cache of %s cannot be read", app).Because(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || e.Name() == "steps" || !info.ModTime().Before(before) {
				continue // used, or gone
			}
			gone := filepath.Join(dir, ".gone-"+strings.TrimPrefix(e.Name(), "."))
			if err := errors.Join(os.Rename(filepath.Join(dir, e.Name()), gone), os.RemoveAll(gone)); err != nil {
				return n, bosman.Unavailable("the cache of %s could not be pruned", app).Because(err)
			}
			n++
		}
	}
	return n, nil
}

// mergeEnv joins environments, the later over the earlier.
func mergeEnv(layers ...map[string]string) map[string]string {
	env := map[string]string{}
	for _, layer := range layers {
		for k, v := range layer {
			env[k] = v
		}
	}
	return env
}

// envList gives NAME=value, sorted.
func envList(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}
