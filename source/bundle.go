package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Digest stands for all refs of the repository, hidden ones too, and what
// they point at; "" when there are none. Two repositories of the same digest
// hold the same history.
func (r *Repo) Digest(ctx context.Context) (string, error) {
	refs, err := r.refs(ctx, "refs/")
	if err != nil || len(refs) == 0 {
		return "", err
	}
	out, err := r.git(ctx, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	sort.Strings(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:]), nil
}

// Bundle writes everything that refs reach, as git bundle does, while pushes
// go on. KindBusy if a ref moved meanwhile: then what was written has another
// digest than want.
func (r *Repo) Bundle(ctx context.Context, want string, w io.Writer) error {
	if _, err := r.run(ctx, call{args: []string{"bundle", "create", "--quiet", "-", "--all"}, out: w}); err != nil {
		return err
	}
	got, err := r.Digest(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return bosman.Busy("the repository of %s changed while it was copied", r.App)
	}
	return nil
}

// Unbundle makes the repository of an app out of a bundle ("" for one without
// refs), with the settings and hooks of any other. It appears at once when it
// is complete and has the digest wanted; one that is there with it is left.
func (r *Repos) Unbundle(ctx context.Context, app, mainBranch, bundle, want string) error {
	if old, err := r.Open(app); err == nil {
		if got, err := old.Digest(ctx); err != nil || got == want {
			return err
		}
		return bosman.Conflict("there is a repository of %s with other content", app).WithKept("it is untouched")
	}
	making := filepath.Join(r.dir, "recover-"+app)
	if err := os.RemoveAll(making); err != nil {
		return bosman.Unavailable("a half-made repository cannot be removed").Because(err)
	}
	repo, err := (&Repos{dir: making, git: r.git}).Create(ctx, app, mainBranch)
	if err != nil {
		return err
	}
	if bundle != "" {
		if _, err := repo.git(ctx, "fetch", "--quiet", "--no-write-fetch-head", "--no-tags", "--", bundle, "+refs/*:refs/*"); err != nil {
			return err
		}
	}
	got, err := repo.Digest(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return bosman.Failed("the repository of %s is not what was backed up", app).WithKept("nothing was put in its place")
	}
	if _, err := repo.git(ctx, "fsck", "--connectivity-only", "--no-dangling", "--no-progress"); err != nil {
		return bosman.Failed("the history of %s is damaged", app).Because(err).WithKept("nothing was put in its place")
	}
	if err := os.Rename(repo.dir, r.at(app).dir); err != nil {
		return bosman.Unavailable("the repository of %s cannot be put in its place", app).Because(err)
	}
	return errors.Join(syncFolder(r.dir), os.RemoveAll(making))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
