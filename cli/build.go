package cli

import (
	"github.com/bosman-cd/bosman"
)

type buildCmd struct {
	inApp
	waiting
	Branch string `arg:"" help:"A branch, c12, or main."`
}

// Help gives examples.
func (buildCmd) Help() string {
	return `Builds what main would be after the merge, also when it was built before.

Examples:
  bosman build interview-dates
  bosman build main --wait`
}

// Run queues a build.
func (c *buildCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	b, err := e.server().Build(e.ctx, app, c.Branch)
	return e.queued(b, err, c.Wait)
}

type retryCmd struct {
	inApp
	waiting
	Build string `arg:"" help:"b12"`
}

// Help gives examples.
func (retryCmd) Help() string {
	return `Examples:
  bosman retry b12
  bosman retry b12 --wait`
}

// Run queues the same build again.
func (c *retryCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	n, err := bosman.ParseRef(bosman.LetterBuild, c.Build)
	if err != nil {
		return err
	}
	b, err := e.server().Retry(e.ctx, app, n)
	return e.queued(b, err, c.Wait)
}

type buildsCmd struct {
	inApp
	Change string `help:"Only of this change: c12."`
	Main   bool   `help:"Only of main."`
	Max    int    `default:"20" help:"At most so many."`
}

// Help gives examples.
func (buildsCmd) Help() string {
	return `Examples:
  bosman builds
  bosman builds --change c12
  bosman builds --main --json`
}

// Run lists builds.
func (c *buildsCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	change := -1
	if c.Main {
		change = 0
	}
	if c.Change != "" {
		if change, err = bosman.ParseRef(bosman.LetterChange, c.Change); err != nil {
			return err
		}
	}
	all, err := e.server().Builds(e.ctx, app, change, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, b := range all {
			rows = append(rows, []string{buildRef(b.Number), string(b.State), cut(b.Branch, 28), changeRef(b.Change), releaseRef(b.Release), e.ago(b.CreatedAt), spent(b.StartedAt, b.EndedAt), cut(b.Reason, 60)})
		}
		return e.table([]string{"BUILD", "STATE", "BRANCH", "CHANGE", "RELEASE", "WHEN", "TOOK", "WHY"}, rows, "nothing was built yet; push a branch")
	})
}
