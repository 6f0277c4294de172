package custody

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/vault"
)

// Files of a state.
const (
	rowsFile  = "bosman.db"
	aboutFile = "state.json"
	// identityFile is what a release's digest is taken of: it holds the hash
	// of everything in the tree.
	identityFile = "release.json"
)

// parts puts the repositories and releases that are not in the vault yet.
func (k *Keeper) parts(ctx context.Context, v *vault.Store, st *State) error {
	repos, err := k.Sources.Repos(ctx)
	if err != nil {
		return err
	}
	for _, r := range repos {
		p, err := putRepo(ctx, v, r)
		if err != nil {
			return err
		}
		st.Repos = append(st.Repos, p)
	}
	releases, err := k.Sources.Releases(ctx)
	if err != nil {
		return err
	}
	for _, r := range releases {
		p, err := putRelease(ctx, v, r)
		if errors.Is(err, fs.ErrNotExist) {
			k.Log.Warn("a release is not on this machine and cannot be backed up", "app", r.App, "release", r.Number)
			continue
		}
		if err != nil {
			return err
		}
		st.Releases = append(st.Releases, p)
	}
	return faults.Point("custody.parts")
}

// once puts an object unless it is there, and proves it by reading it back.
func once(ctx context.Context, v *vault.Store, name string, write func(io.Writer) error) (int64, error) {
	if i, err := v.Stat(ctx, name); err == nil {
		return i.Size, nil
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return 0, err
	}
	put, err := v.Put(ctx, name, write)
	if err != nil {
		return 0, err
	}
	got, err := v.Verify(ctx, name)
	if err == nil && got.SHA256 != put.SHA256 {
		err = bosman.Failed("%s does not give back what was written: %s", v.Target(), name)
	}
	if err != nil { // else it would be taken for good the next time
		return 0, errors.Join(err, v.Delete(context.WithoutCancel(ctx), name))
	}
	return put.Size, nil
}

// attempts bounds how often a repository that is pushed to is tried again.
const attempts = 5

func putRepo(ctx context.Context, v *vault.Store, r Repo) (p Part, err error) {
	for range attempts {
		p = Part{App: r.App, Main: r.Main}
		if p.Digest, err = r.Digest(ctx); err != nil || p.Digest == "" {
			return p, err
		}
		p.Object = gitPrefix + r.App + "/" + p.Digest[:32]
		p.Bytes, err = once(ctx, v, p.Object, func(w io.Writer) error { return r.Bundle(ctx, p.Digest, w) })
		if bosman.KindOf(err) != bosman.KindBusy {
			return p, err
		}
	}
	return p, err
}

func putRelease(ctx context.Context, v *vault.Store, r Release) (Part, error) {
	p := Part{App: r.App, Number: r.Number}
	id, err := os.ReadFile(filepath.Join(r.Dir, identityFile))
	if err != nil {
		return p, err
	}
	sum := sha256.Sum256(id)
	p.Digest = hex.EncodeToString(sum[:])
	p.Object = fmt.Sprintf("%s%s/%s-%s", releasesPrefix, r.App, bosman.Ref(bosman.LetterRelease, r.Number), p.Digest[:16])
	p.Bytes, err = once(ctx, v, p.Object, func(w io.Writer) error { return packTree(ctx, r.Dir, w) })
	return p, err
}

// packTree writes a folder as tar with exact times, as the seal of a release
// covers them.
func packTree(ctx context.Context, dir string, w io.Writer) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return packFile(t, path, filepath.ToSlash(rel))
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// packFile adds a file, folder or link.
func packFile(t *tar.Writer, path, name string) (err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return bosman.Internal("%s is neither file, folder nor link", path)
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format, h.Uname, h.Gname = name, tar.FormatPAX, "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	_, err = io.Copy(t, in) // a size that changed is an error of tar
	return err
}

// unpackTree makes the folder dir of what packTree wrote. Nothing is written
// outside of it, whatever the archive says.
func unpackTree(ctx context.Context, r io.Reader, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var folders []*tar.Header
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		if !filepath.IsLocal(name) {
			return bosman.Failed("the archive names %q, which lies outside", h.Name)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
			folders = append(folders, h)
		case tar.TypeSymlink:
			err = unpackLink(root, name, h)
		case tar.TypeReg:
			err = unpackFile(root, name, h, t)
		default:
			err = bosman.Failed("the archive holds %q of an unknown kind", h.Name)
		}
		if err != nil {
			return err
		}
	}
	for i := len(folders) - 1; i >= 0; i-- { // last, since filling a folder changes its time
		h := folders[i]
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		if err := errors.Join(root.Chmod(name, h.FileInfo().Mode().Perm()), root.Chtimes(name, h.ModTime, h.ModTime)); err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	if err == nil {
		err = out.Chmod(h.FileInfo().Mode().Perm())
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// putState writes the state itself and reads it back.
func (k *Keeper) putState(ctx context.Context, v *vault.Store, st *State, work string) (int64, error) {
	files := map[string]string{rowsFile: filepath.Join(work, rowsFile)}
	names := []string{}
	for _, name := range k.Files {
		path := filepath.Join(k.Data, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue // not made yet
		}
		files[name] = path
		names = append(names, name)
	}
	names = append(names, rowsFile)
	for _, name := range names {
		sum, n, err := sumOf(files[name])
		if err != nil {
			return 0, err
		}
		st.Files = append(st.Files, FileSum{name, n, sum})
	}
	put, err := v.Put(ctx, st.Name, func(w io.Writer) error {
		about, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			return err
		}
		t := tar.NewWriter(w)
		if err := t.WriteHeader(&tar.Header{Name: aboutFile, Mode: 0o600, Size: int64(len(about)), Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := t.Write(about); err != nil {
			return err
		}
		for _, name := range names {
			if err := packFile(t, files[name], name); err != nil {
				return err
			}
		}
		return t.Close()
	})
	if err != nil {
		return 0, err
	}
	if err := proveState(ctx, v, st.Name); err != nil {
		return 0, errors.Join(err, v.Delete(context.WithoutCancel(ctx), st.Name))
	}
	return put.Size, nil
}

func sumOf(path string) (sum string, n int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	h := sha256.New()
	n, err = io.Copy(h, in)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// proveState reads a state to its end and compares every file with its sum.
func proveState(ctx context.Context, v *vault.Store, name string) error {
	_, err := readState(ctx, v, name, func(string) (io.WriteCloser, error) { return nil, nil })
	return err
}

// readState reads a state; to gives where each of its files goes, nil for
// nowhere. Only when it gives no error was everything right.
func readState(ctx context.Context, v *vault.Store, name string, to func(string) (io.WriteCloser, error)) (State, error) {
	var st State
	_, err := v.Get(ctx, name, func(r io.Reader) error {
		t := tar.NewReader(r)
		var err error
		if st, err = readAbout(t, name); err != nil {
			return err
		}
		for _, want := range st.Files {
			h, err := t.Next()
			if err != nil {
				return err
			}
			if h.Name != want.Name || h.Typeflag != tar.TypeReg {
				return damaged(name, "it holds "+h.Name+" where "+want.Name+" should be")
			}
			if err := readFile(t, name, want, to); err != nil {
				return err
			}
		}
		_, err = io.Copy(io.Discard, r) // to the end, which proves all of it
		return err
	})
	return st, err
}

func readFile(t io.Reader, name string, want FileSum, to func(string) (io.WriteCloser, error)) error {
	out, err := to(want.Name)
	if err != nil {
		return err
	}
	h := sha256.New()
	w := io.Writer(h)
	if out != nil {
		w = io.MultiWriter(h, out)
	}
	n, err := io.Copy(w, t)
	if out != nil {
		err = errors.Join(err, out.Close())
	}
	if err == nil && (n != want.Bytes || hex.EncodeToString(h.Sum(nil)) != want.SHA256) {
		err = damaged(name, want.Name+" is not what was written")
	}
	return err
}

func readAbout(t *tar.Reader, name string) (st State, err error) {
	h, err := t.Next()
	if err != nil {
		return st, err
	}
	if h.Name != aboutFile {
		return st, damaged(name, "it does not begin with "+aboutFile)
	}
	if err := json.NewDecoder(io.LimitReader(t, 64<<20)).Decode(&st); err != nil {
		return st, damaged(name, aboutFile+" cannot be read").Because(err)
	}
	if st.Format != 1 {
		return st, bosman.Invalid("the state %s has format %d, which this Bosman does not know", name, st.Format).WithNext("take the Bosman that wrote it, or a newer one")
	}
	return st, nil
}

func damaged(name, how string) *bosman.Error {
	return bosman.Failed("the state %s is damaged: %s", name, how).WithKept("nothing was changed").WithNext("take an older one with --state")
}

// about reads only the beginning of a state.
func about(ctx context.Context, v *vault.Store, name string) (st State, err error) {
	_, err = v.Get(ctx, name, func(r io.Reader) error {
		st, err = readAbout(tar.NewReader(r), name)
		return err
	})
	return st, err
}
