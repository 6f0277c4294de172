package cli

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// appOfRemotes gives the app that a remote of the current folder's repository
// pushes to, "" when that is not clear.
func appOfRemotes(ctx context.Context, apps []string) string {
	out, err := exec.CommandContext(ctx, "git", "config", "--get-regexp", `^remote\..*\.url$`).Output()
	if err != nil {
		return "" // no repository here, or no remote
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		key, remote, _ := strings.Cut(strings.TrimSpace(line), " ")
		u, err := url.Parse(remote)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || path.Dir(u.Path) != "/" {
			continue
		}
		name, isGit := strings.CutSuffix(path.Base(u.Path), ".git")
		if !isGit || !slices.Contains(apps, name) {
			continue
		}
		if key == "remote.bosman.url" {
			return name
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// helper is the command that git asks for a password.
func (e *env) helper() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return "!" + shellWords([]string{self, "--data", e.data(), "git-credential"}), nil
}

// setupGit lets git ask Bosman for the password of its address.
func (e *env) setupGit(base string) error {
	helper, err := e.helper()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(e.ctx, "git", "config", "--global", "--replace-all", "credential."+base+".helper", helper).CombinedOutput(); err != nil {
		return bosman.Failed("git could not be set up: %s", strings.TrimSpace(string(out))).WithNext("git config --global credential." + base + ".helper '" + helper + "'")
	}
	return nil
}

type gitCredentialCmd struct {
	Action string `arg:"" enum:"get,store,erase" help:"What git asks: get, store or erase."`
}

// Help gives examples.
func (gitCredentialCmd) Help() string {
	return `git calls this by itself after "bosman app add NAME --setup-git". It gives a
token of yours that lasts for minutes, so that a push needs no password.

Examples:
  git config --global credential.http://localhost:8080.helper '!bosman git-credential'`
}

// Run answers git.
func (c *gitCredentialCmd) Run(e *env) error {
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(e.stdin, 1<<16))
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok {
			asked[k] = v
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if c.Action != "get" { // nothing is kept, so nothing is stored or erased
		return nil
	}
	if p := asked["protocol"]; p != "http" && p != "https" {
		return nil
	}
	me, err := e.server().Me(e.ctx)
	if err != nil {
		return err // git goes on and asks for a password
	}
	token, err := e.server().GitToken(e.ctx)
	if err != nil {
		return err
	}
	return e.say("username=%s\npassword=%s", me.Person, token.Text)
}
