package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// origin is a repository that an app begins with.
type origin struct {
	name string // as people know it
	dir  string // its git folder, or a bare copy of main and the tags
	temp bool
	tags []string
}

const (
	mainBranch = "main"
	mainRef    = "refs/heads/" + mainBranch
	tagRefs    = "refs/tags/"
	liveTags   = tagRefs + "live-" // Bosman sets those
)

func (o *origin) close() {
	if o.temp {
		_ = os.RemoveAll(o.dir) // a copy in the folder for temporary files
	}
}

// fromGit is a git command whose error is what git says.
func (e *env) fromGit(ctx context.Context, progress bool, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh", "LC_ALL=C.UTF-8")
	if e.getenv("GIT_SSH_COMMAND") == "" && e.getenv("GIT_SSH") == "" {
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes")
	}
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if progress {
		cmd.Stderr = io.MultiWriter(&said, e.stderr)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(said.String(), "\r", "\n")), "\n")
		last := strings.TrimPrefix(strings.TrimPrefix(lines[len(lines)-1], "fatal: "), "error: ")
		for _, l := range lines { // the first complaint says more than the advice that follows
			if rest, fatal := strings.CutPrefix(l, "fatal: "); fatal {
				last = rest
				break
			}
		}
		return "", bosman.Failed("%s", last).Because(err)
	}
	return out.String(), nil
}

// openOrigin looks whether an app can begin with the repository, and fetches
// it if it lies elsewhere. Nothing is changed but a temporary folder.
func (e *env) openOrigin(from string) (o *origin, err error) {
	const kept = "no app was added"
	dir, rerr := filepath.Abs(from)
	info, serr := os.Stat(from)
	switch {
	case serr == nil && rerr == nil && info.IsDir() && from != "":
		o, err = e.originHere(from, dir)
	case serr != nil && !errors.Is(serr, fs.ErrNotExist):
		return nil, bosman.Unavailable("%s cannot be read", from).Because(serr).WithKept(kept)
	default:
		o, err = e.originThere(from)
	}
	if err == nil {
		err = e.judgeOrigin(o)
	}
	if err != nil {
		if o != nil {
			o.close()
		}
		if e.ctx.Err() != nil {
			return nil, e.ctx.Err()
		}
		return nil, bosman.AsError(err).WithKept(kept)
	}
	return o, nil
}

// originHere is a repository in a folder of this machine.
func (e *env) originHere(from, dir string) (*origin, error) {
	out, err := e.fromGit(e.ctx, false, "-C", dir, "rev-parse", "--absolute-git-dir")
	if err != nil {
		return nil, bosman.Invalid("%s is not a git repository", from).Because(err).WithNext("name the folder of one, or add the app without --from and push to it")
	}
	return &origin{name: from, dir: strings.TrimSpace(out)}, nil
}

// shortForm is git@host:path.
var shortForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*@([A-Za-z0-9][A-Za-z0-9.-]*):[^:-][^:]*$`)

// checkURL refuses what is no plain address of a repository: other programs
// as transports, options, passwords that everybody on this machine would see.
func checkURL(from string) error {
	if shortForm.MatchString(from) {
		return nil
	}
	next := "name a folder, or write https://host/owner/name.git, ssh://git@host/owner/name.git or git@host:owner/name.git"
	u, err := url.Parse(from)
	switch {
	case err != nil || !strings.Contains(from, "://"):
		return bosman.Invalid("%q is neither a folder nor the address of a repository", from).WithNext(next)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh":
		return bosman.Invalid("repositories are not fetched by %s://", u.Scheme).WithNext(next)
	case u.Opaque != "" || u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-") || strings.ContainsAny(from, "\r\n\x00"):
		return bosman.Invalid("%q is not the address of a repository", from).WithNext(next)
	}
	if _, secret := u.User.Password(); secret {
		return bosman.Invalid("the address holds a password, which everybody on this machine could see").
			WithNext("take it out and let git find it: git help credentials")
	}
	return nil
}

// originThere fetches main and the tags of a repository elsewhere.
func (e *env) originThere(from string) (*origin, error) {
	if err := checkURL(from); err != nil {
		return nil, err
	}
	next := "look whether git ls-remote " + from + " works from here without asking for anything"
	heads, err := e.fromGit(e.ctx, false, "ls-remote", "--heads", "--", from)
	if err != nil {
		return nil, bosman.Unavailable("%s cannot be fetched: %s", from, bosman.AsError(err).Message).Because(err).WithNext(next)
	}
	if !strings.Contains(heads, "\t"+mainRef+"\n") {
		return nil, noMain(from, heads)
	}
	dir, err := os.MkdirTemp("", "bosman-from-")
	if err != nil {
		return nil, bosman.Unavailable("there is no folder for the copy of %s", from).Because(err)
	}
	o := &origin{name: from, dir: dir, temp: true}
	if _, err := e.fromGit(e.ctx, false, "init", "--quiet", "--bare", "--template=", "--", dir); err != nil {
		return o, err
	}
	if _, err := fmt.Fprintf(e.stderr, "fetching %s\n", from); err != nil {
		return o, err
	}
	if _, err := e.fromGit(e.ctx, true, "--git-dir="+dir, "fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head",
		"--", from, "+"+mainRef+":"+mainRef, "+"+tagRefs+"*:"+tagRefs+"*"); err != nil {
		return o, bosman.Unavailable("%s could not be fetched: %s", from, bosman.AsError(err).Message).Because(err).WithNext(next)
	}
	return o, nil
}

func noMain(from, heads string) error {
	var others []string
	for line := range strings.Lines(heads) {
		if _, ref, ok := strings.Cut(strings.TrimSpace(line), "refs/heads/"); ok && len(others) < 5 {
			others = append(others, ref)
		}
	}
	if len(others) == 0 {
		return bosman.Invalid("%s holds no commits", from).WithNext("add the app without --from and push to it")
	}
	return bosman.Invalid("%s has no branch %s; it has %s", from, mainBranch, strings.Join(others, ", ")).
		WithNext("make one there (git branch " + mainBranch + " " + others[0] + "), or add the app without --from and push: git push REMOTE " + others[0] + ":" + mainBranch)
}

// judgeOrigin looks for main and its bosman.yaml, and lists the tags.
func (e *env) judgeOrigin(o *origin) error {
	heads, err := e.fromGit(e.ctx, false, "--git-dir="+o.dir, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads")
	if err != nil {
		return err
	}
	if !strings.Contains(heads, " "+mainRef+"\n") {
		return noMain(o.name, heads)
	}
	if _, err := e.fromGit(e.ctx, false, "--git-dir="+o.dir, "cat-file", "-e", mainRef+":"+bosman.ManifestFile); err != nil {
		return bosman.Invalid("%s of %s has no %s", mainBranch, o.name, bosman.ManifestFile).
			WithNext("write one with bosman init in a clone of it, commit it to " + mainBranch + " and try again")
	}
	tags, err := e.fromGit(e.ctx, false, "--git-dir="+o.dir, "for-each-ref", "--format=%(refname)", "refs/tags")
	if err != nil {
		return err
	}
	o.tags = slices.DeleteFunc(strings.Fields(tags), func(t string) bool { return strings.HasPrefix(t, liveTags) })
	return nil
}

// pushFrom pushes main and the tags of the origin, and follows the build as
// any push does. Where nothing arrived the app goes again.
func (e *env) pushFrom(o *origin, app, base, remote string) error {
	helper, err := e.helper()
	if err != nil {
		return err
	}
	args := []string{"--git-dir=" + o.dir}
	if e.global.Remote == "" && e.getenv("BOSMAN_URL") == "" {
		args = append(args, "-c", "credential."+base+".helper="+helper)
	}
	args = append(args, "push", "--no-verify", "--", remote, mainRef+":"+mainRef)
	if len(o.tags) > 0 {
		args = append(args, tagRefs+"*:"+tagRefs+"*", "^"+liveTags+"*")
	}
	_, err = e.fromGit(e.ctx, true, args...)
	switch {
	case err == nil:
		return nil
	case e.ctx.Err() != nil:
		return err // what arrived goes on
	}
	next := fmt.Sprintf("mend it and try again, or add the app without --from and push: git push %s %s", remote, mainBranch)
	failed := bosman.Failed("the push to %s did not succeed: %s", app, bosman.AsError(err).Message).Because(err).WithNext(next)
	if all, berr := e.server().Builds(e.ctx, app, -1, 1); berr != nil || len(all) > 0 {
		return failed.WithKept("the app was added")
	}
	if _, rerr := e.server().RemoveApp(e.ctx, app, app); rerr != nil {
		return failed.WithKept("the app was added and is empty").Because(errors.Join(err, rerr))
	}
	return failed.WithKept("the app was removed again")
}
