package cli

import (
	"github.com/bosman-cd/bosman"
)

type mergeCmd struct {
	inApp
	waiting
	Change string `arg:"" help:"c12, a branch, or the URL of a pull request."`
}

// Help gives examples.
func (mergeCmd) Help() string {
	return `Moves main to the merge result that was tested. When main moved since the
tests, the new merge result is built first and merged by itself once green.

Examples:
  bosman merge c12
  bosman merge interview-dates --wait`
}

// Run merges.
func (c *mergeCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	m, err := e.server().Merge(e.ctx, app, c.Change)
	if err != nil {
		return err
	}
	if m.Build == 0 || !c.Wait {
		return e.noted(m, nil, "%s", m.Note)
	}
	b, err := e.followBuild(bosman.Build{App: app, Number: m.Build, Branch: c.Change})
	if err != nil {
		return err
	}
	v, err := e.server().WaitChange(e.ctx, app, c.Change)
	if err != nil {
		return err
	}
	if v.State == bosman.ChangeMerged {
		m.Commit, m.Release, m.Build = v.Merged, b.Release, 0
		return e.noted(m, nil, "main is now %s; staging follows with %s", bosman.Short(v.Merged), releaseRef(b.Release))
	}
	if err := e.noted(m, nil, "%s; %s was not merged", buildLine(b), c.Change); err != nil {
		return err
	}
	return exitError{ExitFailed}
}
