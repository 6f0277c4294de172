package source

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Exported says what Export wrote.
type Exported struct {
	Files      int
	Bytes      int64
	Submodules []string // paths left as empty folders: their content is elsewhere
}

// Export writes the files of a commit or tree into dir, which must be empty
// or missing. Executable bits and symbolic links are kept; .gitattributes
// work as in a normal clone. A tree with a symbolic link that points out of
// it (an absolute one, or too many ..) is refused as KindInvalid before
// anything is written: a release is read by programs outside its sandbox too.
func (r *Repo) Export(ctx context.Context, rev, dir string) (Exported, error) {
	var done Exported
	entries, err := r.Tree(ctx, rev)
	if err != nil {
		return done, err
	}
	var links []Entry
	for _, e := range entries {
		switch e.Kind {
		case Submodule:
			done.Submodules = append(done.Submodules, e.Path)
			continue
		case Symlink:
			links = append(links, e)
		}
		done.Files++
		done.Bytes += e.Bytes
	}
	if err := r.checkLinks(ctx, links); err != nil {
		return done, err
	}
	if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return done, bosman.Unavailable("the folder for the files of %s cannot be made", r.App).Because(err)
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		return done, bosman.Conflict("the folder for the files of %s is not empty", r.App).Because(err).WithKept("nothing was written")
	}
	scratch, err := os.MkdirTemp(r.dir, "export-*")
	if err != nil {
		return done, bosman.Unavailable("the index for the files of %s cannot be written", r.App).Because(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // what remains is swept with the repository
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(scratch, "index"), "GIT_WORK_TREE=" + dir}
	if _, err = r.run(ctx, call{args: []string{"read-tree", qualify(rev)}, env: env}); err == nil {
		_, err = r.run(ctx, call{args: []string{"checkout-index", "--all", "--quiet"}, env: env})
	}
	if err != nil {
		return done, err
	}
	for _, s := range done.Submodules {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(s)), 0o755); err != nil {
			return done, bosman.Unavailable("the folder of a submodule cannot be made").Because(err)
		}
	}
	return done, nil
}

func (r *Repo) checkLinks(ctx context.Context, links []Entry) error {
	hashes := make([]string, len(links))
	for i, l := range links {
		hashes[i] = l.Hash
	}
	targets, err := r.Blobs(ctx, hashes)
	if err != nil {
		return err
	}
	for _, l := range links {
		to := string(targets[l.Hash])
		if leaves(l.Path, to) {
			return bosman.Invalid("the symbolic link %s points out of the repository, to %s", l.Path, to).
				WithKept("nothing was written").WithNext("point it at a file inside, or take it out")
		}
	}
	return nil
}

// leaves says whether the link at name, a path from the root of the tree,
// points out of the tree. It climbs step by step: a/../../b leaves even if it
// comes back.
func leaves(name, to string) bool {
	if strings.HasPrefix(to, "/") || strings.Contains(to, "\x00") {
		return true
	}
	at := path.Dir(name)
	for _, step := range strings.Split(to, "/") {
		if step == ".." && at == "." {
			return true
		}
		at = path.Join(at, step)
	}
	return false
}
