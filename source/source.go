// Package source keeps our git repositories: one bare repository for each
// app, DATA/git/APP.git. It receives pushes over HTTP, merges heads with main
// without a work tree, moves and tags, reads trees and exports them, and
// mirrors repositories from elsewhere. All of it goes through the git
// program.
//
// It knows git only. It must not know builds, releases, the store or who may
// do what: callers hand in Authorize and Receiver.
//
// Refs of a repository:
//
//	refs/heads/*, refs/tags/*   the team's; pushed and fetched by clients
//	refs/bosman/merge/COMMIT    merge results; hidden from clients
//	refs/bosman/keep/COMMIT     commits of releases; hidden from clients
//	refs/bosman/pull/*          pull requests fetched from a forge; hidden
//
// Hidden refs keep their objects from being pruned. Hiding is not secrecy:
// git's protocol 2 serves any object whose hash a client knows.
package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

const (
	headsPrefix = "refs/heads/"
	tagsPrefix  = "refs/tags/"
	mergePrefix = "refs/bosman/merge/"
	keepPrefix  = "refs/bosman/keep/"
)

// Repos is the folder of all repositories.
type Repos struct {
	dir string
	git string
}

// New uses the folder dir (made if missing) and checks that the git program
// is there and new enough: merge-tree --write-tree came with 2.38.
func New(ctx context.Context, dir string) (*Repos, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return nil, bosman.Unavailable("the git program is missing").Because(err).WithNext("install it: apt-get install git")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, bosman.Internal("the folder of the repositories has no absolute path").Because(err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, bosman.Unavailable("the folder of the repositories cannot be made").Because(err)
	}
	r := &Repos{dir: dir, git: program}
	out, err := r.at("").git(ctx, "version")
	if err != nil {
		return nil, err
	}
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimSpace(string(out)), "git version %d.%d", &major, &minor); err != nil {
		return nil, bosman.Unavailable("git's version %q is not understood", strings.TrimSpace(string(out))).Because(err)
	}
	if major < 2 || major == 2 && minor < 38 {
		return nil, bosman.Unavailable("git %d.%d is too old: merging without a work tree needs 2.38", major, minor).
			WithNext("upgrade git")
	}
	return r, nil
}

// Repo is the repository of one app. Its methods may be called by many
// goroutines at once; git's own locks order the writes.
type Repo struct {
	App string
	dir string   // .../APP.git
	bin string   // the git program
	env []string // of a quarantine, or nil
}

// Dir is the folder of the repository.
func (r *Repo) Dir() string { return r.dir }

func (r *Repos) at(app string) *Repo {
	repo := &Repo{App: app, bin: r.git}
	if app != "" {
		repo.dir = filepath.Join(r.dir, app+".git")
	}
	return repo
}

var repoConfig = [][2]string{
	{"http.receivepack", "true"},
	{"http.uploadpack", "true"},
	{"http.getanyfile", "false"}, // the smart protocol only
	{"receive.fsckObjects", "true"},
	// what old but honest histories contain
	{"receive.fsck.zeroPaddedFilemode", "warn"},
	{"receive.fsck.badTimezone", "warn"},
	{"receive.fsck.missingSpaceBeforeDate", "warn"},
	{"receive.autogc", "false"}, // Maintain does it, when nobody waits
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"receive.denyNonFastForwards", "false"}, // of main: the hook refuses; changes may be rewritten
	{"receive.denyDeletes", "false"},
	{"receive.denyDeleteCurrent", "refuse"},
	{"transfer.hideRefs", "refs/bosman"},
	{"uploadpack.allowTipSHA1InWant", "false"},
	{"uploadpack.allowReachableSHA1InWant", "false"},
	{"uploadpack.allowAnySHA1InWant", "false"},
	{"uploadpack.allowFilter", "true"},
	{"core.logAllRefUpdates", "true"},
	{"core.fsync", "committed,reference"}, // a push that was answered survives a power cut
	{"core.quotePath", "false"},
	{"core.symlinks", "true"},
	{"core.autocrlf", "false"},
}

// The hooks only hand over to the program that the environment of the push
// names: an upgraded Bosman needs no new hooks.
const hookScript = `#!/bin/sh
if [ -z "$BOSMAN_HOOK_BINARY" ]; then
	echo "This repository takes pushes over Bosman's address only." >&2
	exit 1
fi
exec "$BOSMAN_HOOK_BINARY" hook %s
`

// Create makes the repository of an app, or brings the settings and hooks of
// one that exists up to date (the main branch too). mainBranch "" is "main".
func (r *Repos) Create(ctx context.Context, app, mainBranch string) (*Repo, error) {
	if err := bosman.CheckName("app", app); err != nil {
		return nil, err
	}
	if mainBranch == "" {
		mainBranch = "main"
	}
	repo := r.at(app)
	if err := repo.checkBranch(ctx, mainBranch); err != nil {
		return nil, err
	}
	if _, err := (&Repo{App: app, bin: r.git}).git(ctx, "init", "--quiet", "--bare", "--template=",
		"--initial-branch="+mainBranch, "--", repo.dir); err != nil {
		return nil, err
	}
	if _, err := repo.git(ctx, "symbolic-ref", "HEAD", headsPrefix+mainBranch); err != nil {
		return nil, err
	}
	if err := repo.configure(); err != nil {
		return nil, err
	}
	return repo, nil
}

// configure writes config and hooks as a whole, so that a half-made
// repository is mended by the next Create.
func (r *Repo) configure() error {
	var b strings.Builder
	b.WriteString("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n")
	for _, kv := range repoConfig {
		section, name := kv[0][:strings.LastIndex(kv[0], ".")], kv[0][strings.LastIndex(kv[0], ".")+1:]
		if s, sub, ok := strings.Cut(section, "."); ok {
			section = fmt.Sprintf("%s %q", s, sub)
		}
		fmt.Fprintf(&b, "[%s]\n\t%s = %s\n", section, name, kv[1])
	}
	if err := writeFile(filepath.Join(r.dir, "config"), b.String(), 0o640); err != nil {
		return err
	}
	hooks := filepath.Join(r.dir, "hooks")
	if err := os.MkdirAll(hooks, 0o750); err != nil {
		return bosman.Unavailable("the hooks of %s cannot be written", r.App).Because(err)
	}
	for _, name := range []string{hookPreReceive, hookPostReceive} {
		if err := writeFile(filepath.Join(hooks, name), fmt.Sprintf(hookScript, name), 0o750); err != nil {
			return err
		}
	}
	return nil
}

// Open gives the repository of an app.
func (r *Repos) Open(app string) (*Repo, error) {
	if err := bosman.CheckName("app", app); err != nil {
		return nil, err
	}
	repo := r.at(app)
	if _, err := os.Stat(filepath.Join(repo.dir, "HEAD")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, bosman.NotFound("%s has no repository", app)
		}
		return nil, bosman.Unavailable("the repository of %s cannot be read", app).Because(err)
	}
	return repo, nil
}

// List gives the apps that have a repository, in order.
func (r *Repos) List() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, bosman.Unavailable("the folder of the repositories cannot be read").Because(err)
	}
	var apps []string
	for _, e := range entries {
		if app, ok := strings.CutSuffix(e.Name(), ".git"); ok && e.IsDir() && bosman.CheckName("app", app) == nil {
			apps = append(apps, app)
		}
	}
	return apps, nil
}

// Remove deletes the repository of an app; one that is not there is no error.
func (r *Repos) Remove(app string) error {
	if err := bosman.CheckName("app", app); err != nil {
		return err
	}
	repo := r.at(app)
	// moved first: a crash leaves no half of a repository under its name
	gone := repo.dir + ".removed"
	if err := os.RemoveAll(gone); err != nil {
		return bosman.Unavailable("the repository of %s cannot be removed", app).Because(err)
	}
	if err := os.Rename(repo.dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return bosman.Unavailable("the repository of %s cannot be removed", app).Because(err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return bosman.Unavailable("the files of the removed repository of %s remain", app).Because(err)
	}
	return nil
}

// Maintain packs and prunes what nothing refers to for two weeks, and removes
// what killed git commands left a day ago. It is for quiet hours; pushes and
// reads go on meanwhile.
func (r *Repo) Maintain(ctx context.Context) error {
	if _, err := r.Recover(24 * time.Hour); err != nil {
		return err
	}
	_, err := r.git(ctx, "-c", "gc.writeCommitGraph=true", "gc", "--quiet", "--prune=2.weeks.ago")
	return err
}

// Recover removes what killed git commands left: locks, which would refuse
// every later push, half-received objects and half-made exports. It is for
// the start, before the repository is used; younger things than minAge are
// left, since git outlives a killed server for some moments. It gives the
// paths it removed.
func (r *Repo) Recover(minAge time.Duration) ([]string, error) {
	var removed []string
	err := filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		base := d.Name()
		inRefs := strings.HasPrefix(name, filepath.Join(r.dir, "refs")+"/")
		top := filepath.Dir(name) == r.dir
		stale := !d.IsDir() && strings.HasSuffix(base, ".lock") && (inRefs || top) ||
			d.IsDir() && filepath.Dir(name) == filepath.Join(r.dir, "objects") && strings.Contains(base, "incoming-") ||
			d.IsDir() && top && strings.HasPrefix(base, "export-")
		if !stale {
			return nil
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < minAge {
			return ignoreGone(err)
		}
		if err := os.RemoveAll(name); err != nil {
			return err
		}
		removed = append(removed, name)
		if d.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		return removed, bosman.Unavailable("what a killed git left in the repository of %s cannot be removed", r.App).Because(err)
	}
	return removed, nil
}

// Size is the room the repository takes on disk, in bytes.
func (r *Repo) Size() (int64, error) {
	var sum int64
	err := filepath.WalkDir(r.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		sum += info.Size()
		return nil
	})
	if err != nil {
		return 0, bosman.Unavailable("the repository of %s cannot be measured", r.App).Because(err)
	}
	return sum, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil // packed or pruned meanwhile
	}
	return err
}
