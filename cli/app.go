package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

type appCmd struct {
	List    appListCmd    `cmd:"" default:"withargs" help:"List apps."`
	Add     appAddCmd     `cmd:"" help:"Add an app."`
	Connect appConnectCmd `cmd:"" help:"Tie an app to a repository at a forge."`
	Remove  appRemoveCmd  `cmd:"" help:"Remove an app; only its backups stay."`
}

// Help gives examples.
func (appCmd) Help() string {
	return "Examples:\n  bosman app list\n  bosman app add rms --from .\n  bosman app remove rms"
}

type appListCmd struct{}

// Help gives examples.
func (appListCmd) Help() string { return "Examples:\n  bosman app list --json" }

// Run lists apps.
func (c *appListCmd) Run(e *env) error {
	all, err := e.server().Apps(e.ctx)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, a := range all {
			rows = append(rows, []string{a.Name, a.MainBranch, e.ago(a.CreatedAt), a.CreatedBy, first(a.Origin, "pushed to Bosman")})
		}
		return e.table([]string{"APP", "MAIN", "ADDED", "BY", "FROM"}, rows, "there is no app yet: bosman app add NAME")
	})
}

type appAddCmd struct {
	Name     string `arg:"" help:"Lower-case letters, digits and dashes."`
	From     string `placeholder:"DIR|URL" help:"Begin with main and the tags of this repository: a folder, https://, ssh:// or git@host:path."`
	SetupGit bool   `help:"Let git on this machine ask Bosman for a password by itself."`
}

// Help gives examples.
func (appAddCmd) Help() string {
	return `The app gets a repository, staging and live. With --from it begins with main and
the tags of a repository that exists, and main is built as if it had been
pushed; without, push to it as it says. A repository elsewhere is fetched by
this machine's git, with your keys and credential helpers; nothing is asked.

Examples:
  bosman app add rms
  bosman app add rms --from . --setup-git
  bosman app add rms --from https://example.org/team/rms.git
  bosman app add rms --from git@example.org:team/rms.git`
}

// Run adds an app.
func (c *appAddCmd) Run(e *env) error {
	var from *origin
	if c.From != "" {
		all, err := e.server().Apps(e.ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(a bosman.App) bool { return a.Name == c.Name }) { // nothing is fetched for that
			return bosman.Conflict("there is already an app %s", c.Name).WithKept("it was left as it is").WithNext("bosman app list")
		}
		if from, err = e.openOrigin(c.From); err != nil {
			return err
		}
		defer from.close()
	}
	app, err := e.server().AddApp(e.ctx, c.Name)
	if err != nil {
		return err
	}
	me, err := e.server().Me(e.ctx)
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(first(e.global.Remote, e.getenv("BOSMAN_URL"), me.URL, "http://localhost:8080"), "/")
	remote := base + "/" + app.Name + ".git"
	if c.SetupGit {
		if err := e.setupGit(base); err != nil {
			return err
		}
	}
	if err := e.show(app, func() error {
		text := fmt.Sprintf("added %s with staging and live\nnow push to it:\n  git remote add bosman %s\n  git push bosman main", app.Name, remote)
		if c.From != "" {
			text = fmt.Sprintf("added %s with staging and live", app.Name)
		}
		return e.say("%s", text)
	}); err != nil || from == nil {
		return err
	}
	return e.pushFrom(from, app.Name, base, remote)
}

type appRemoveCmd struct {
	Name    string `arg:"" help:"The app."`
	Confirm string `placeholder:"NAME" help:"The app's name again, instead of being asked."`
}

// Help gives examples.
func (appRemoveCmd) Help() string {
	return `Takes away the repository, releases, instances, databases and files. Backups
stay where they are.

Examples:
  bosman app remove rms
  bosman app remove rms --confirm rms`
}

// Run removes an app.
func (c *appRemoveCmd) Run(e *env) error {
	if c.Confirm == "" {
		instances, err := e.server().Instances(e.ctx, c.Name)
		if err != nil {
			return err
		}
		names := make([]string, len(instances))
		for n, i := range instances {
			names[n] = i.Name
		}
		what := fmt.Sprintf("%s goes: its repository, releases, and %s with their databases and files. Only backups stay.", c.Name, strings.Join(names, ", "))
		if err := e.confirm(what, c.Name, "--confirm "+c.Name); err != nil {
			return err
		}
		c.Confirm = c.Name
	}
	ok, err := e.server().RemoveApp(e.ctx, c.Name, c.Confirm)
	return e.noted(ok, err, "%s", ok.Note)
}
