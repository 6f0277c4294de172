// Package release keeps the releases of all apps: sealed, immutable trees
// under DATA/releases/APP/rN. It seals a tree that a build made, gives paths to
// those who run it, and prunes. It must not know how a tree was built or which
// instance runs it.
//
//	rN.partial/ ──rename──► rN/   (sealed: never changes again)  ──► removed
//
//	rN/tree/                  the default variant, seen at /app
//	rN/variants/NAME/PATH     what another asset variant mounts over /app/PATH
//	rN/release.json           identity; written last, synced
package release

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

const (
	treeDir     = "tree"
	variantsDir = "variants"
	recordFile  = "release.json"
	partial     = ".partial"
	removing    = ".removing"
)

// Store is the folder of releases.
type Store struct {
	dir   string
	parse func([]byte) (*bosman.Manifest, error)
}

// New gives the store in dir (DATA/releases); parse reads a bosman.yaml.
func New(dir string, parse func([]byte) (*bosman.Manifest, error)) *Store {
	return &Store{dir: dir, parse: parse}
}

// Dir is DATA/releases/APP/rN.
func (s *Store) Dir(app string, n int) string {
	return filepath.Join(s.dir, app, bosman.Ref(bosman.LetterRelease, n))
}

// Tree is the folder that is shown at /app.
func (s *Store) Tree(app string, n int) string { return filepath.Join(s.Dir(app, n), treeDir) }

// Mounts gives, for an asset variant, which host folders or files are mounted
// over which paths below /app. It is empty for the default variant and for one
// that the release does not hold.
func (s *Store) Mounts(rel bosman.Release, variant string) (map[string]string, error) {
	if variant == bosman.DefaultVariant || !slices.Contains(rel.Variants, variant) {
		return nil, nil
	}
	dir := filepath.Join(s.Dir(rel.App, rel.Number), variantsDir, variant)
	mounts := map[string]string{}
	record, err := s.read(rel.App, rel.Number)
	if err != nil {
		return nil, err
	}
	for _, p := range record.Mounts[variant] {
		mounts[p] = filepath.Join(dir, filepath.FromSlash(p))
	}
	return mounts, nil
}

// record is the JSON shape of release.json.
type record struct {
	App        string              `json:"app"`
	Number     int                 `json:"number"`
	Commit     string              `json:"commit"`
	Tree       string              `json:"tree"`
	Definition string              `json:"definition"`
	Trust      bosman.Trust        `json:"trust"`
	Build      int                 `json:"build"`
	Variants   []string            `json:"variants,omitempty"`
	Mounts     map[string][]string `json:"mounts,omitempty"`
	SealedAt   int64               `json:"sealed_at"` // Unix milliseconds
	Bytes      int64               `json:"bytes"`
	Listing    string              `json:"listing"` // hash of paths, kinds, modes, sizes and times
}

func (s *Store) read(app string, n int) (record, error) {
	var r record
	data, err := os.ReadFile(filepath.Join(s.Dir(app, n), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, bosman.NotFound("release %s of %s is not on this machine", bosman.Ref(bosman.LetterRelease, n), app)
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, bosman.Unavailable("release %s of %s cannot be read", bosman.Ref(bosman.LetterRelease, n), app).Because(err)
	}
	return r, nil
}

// Load gives a sealed release as it lies on the disk: KindNotFound if it is
// not there. Tests and Bad are the store's business and stay empty.
func (s *Store) Load(app string, n int) (bosman.Release, error) {
	r, err := s.read(app, n)
	if err != nil {
		return bosman.Release{}, err
	}
	return bosman.Release{
		App: r.App, Number: r.Number, Commit: r.Commit, Tree: r.Tree, Definition: r.Definition, Trust: r.Trust,
		Build: r.Build, Tests: bosman.TestsPending, Dir: s.Dir(app, n), Variants: r.Variants,
		SealedAt: time.UnixMilli(r.SealedAt).UTC(), Bytes: r.Bytes,
	}, nil
}

// Manifest reads the bosman.yaml of a sealed release.
func (s *Store) Manifest(rel bosman.Release) (*bosman.Manifest, error) {
	data, err := os.ReadFile(filepath.Join(s.Tree(rel.App, rel.Number), bosman.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bosman.NotFound("release %s holds no %s", bosman.Ref(bosman.LetterRelease, rel.Number), bosman.ManifestFile)
	}
	if err != nil {
		return nil, bosman.Unavailable("release %s cannot be read", bosman.Ref(bosman.LetterRelease, rel.Number)).Because(err)
	}
	return s.parse(data)
}

// List gives the sealed releases of an app on this machine, oldest first.
func (s *Store) List(app string) ([]bosman.Release, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, app))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, bosman.Unavailable("the releases of %s cannot be listed", app).Because(err)
	}
	var list []bosman.Release
	for _, e := range entries {
		n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), string(rune(bosman.LetterRelease))))
		if err != nil {
			continue // half-made or being removed
		}
		rel, err := s.Load(app, n)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, rel)
	}
	slices.SortFunc(list, func(a, b bosman.Release) int { return a.Number - b.Number })
	return list, nil
}

// Prune removes the releases of an app that keep does not want and gives them.
// The caller's keep must hold on to what runs, what a revert needs and what is
// being deployed; Prune decides nothing.
func (s *Store) Prune(app string, keep func(bosman.Release) bool) ([]bosman.Release, error) {
	list, err := s.List(app)
	if err != nil {
		return nil, err
	}
	var removed []bosman.Release
	for _, rel := range list {
		if keep(rel) {
			continue
		}
		if err := s.Remove(app, rel.Number); err != nil {
			return removed, err
		}
		removed = append(removed, rel)
	}
	return removed, nil
}

// Remove takes a release from the disk; one that is not there is no error. It
// disappears at once (by a rename), so that nobody meets half of it.
func (s *Store) Remove(app string, n int) error {
	dir := s.Dir(app, n)
	gone := dir + removing
	err := os.RemoveAll(gone)
	if err == nil {
		err = os.Rename(dir, gone)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(gone)
	}
	if err != nil {
		return bosman.Unavailable("release %s of %s could not be removed", bosman.Ref(bosman.LetterRelease, n), app).Because(err)
	}
	return nil
}

// Sweep removes what a crash left half-made or half-removed, for all apps. It
// is called at start, before any build.
func (s *Store) Sweep() error {
	var errs []error
	for _, end := range []string{partial, removing} {
		found, err := filepath.Glob(filepath.Join(s.dir, "*", "r*"+end))
		errs = append(errs, err)
		for _, p := range found {
			errs = append(errs, os.RemoveAll(p))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return bosman.Unavailable("half-made releases could not be removed").Because(err)
	}
	return nil
}

// Verify says whether a sealed release still has the files it was sealed with,
// by path, kind, mode, size and time; contents are not read.
func (s *Store) Verify(app string, n int) error {
	r, err := s.read(app, n)
	if err != nil {
		return err
	}
	sum := newListing()
	for _, part := range []string{treeDir, variantsDir} {
		if err := sum.add(s.Dir(app, n), part); err != nil {
			return bosman.Unavailable("release %s of %s cannot be read", bosman.Ref(bosman.LetterRelease, n), app).Because(err)
		}
	}
	if sum.hash() != r.Listing {
		return bosman.Conflict("release %s of %s is not as it was sealed", bosman.Ref(bosman.LetterRelease, n), app).
			WithNext("remove it and build its commit again")
	}
	return nil
}

func (s *Store) write(dir string, r record) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, recordFile), append(data, '\n'), 0o644)
}

// sealError words err, which hit the sealing of a release.
func sealError(ref string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return bosman.Unavailable("the disk is full: release %s could not be sealed", ref).Because(err).
			WithKept("nothing of it was left").WithNext("free space or prune old releases, then retry the build")
	}
	return bosman.Unavailable("release %s could not be sealed", ref).Because(err).WithKept("nothing of it was left")
}

func local(what, p string) error {
	if !filepath.IsLocal(filepath.FromSlash(p)) {
		return bosman.Invalid("%s: %q does not lie in the app's folder", what, p)
	}
	return nil
}
