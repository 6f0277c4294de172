package cli

import (
	"github.com/bosman-cd/bosman"
)

type mergeCmd struct {
	inApp
	waiting
	Change   string `arg:"" help:"c12, a branch, or the URL of a pull request."`
	Override string `placeholder:"REASON" help:"As administrator: merge although its migrations fail on a copy of staging's data, with a reason on record."`
}

// Help gives examples.
func (mergeCmd) Help() string {
	return `Moves main to the merge result that was tested. When main moved since the
tests, the new merge result is built first and merged by itself once green.
What its migrations do is rehearsed on a copy of staging's data before; while
that goes on the merge waits, and when it fails nothing is merged.

Examples:
  bosman merge c12
  bosman merge interview-dates --wait
  bosman merge c12 --override "staging's data are older than live's"`
}

// Run merges.
func (c *mergeCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	m, err := e.server().Merge(e.ctx, app, c.Change, c.Override)
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
	line := buildLine(b)
	if why := v.Rehearsal.Stops(); why != "" {
		line = "✕ " + why
	}
	if err := e.noted(m, nil, "%s; %s was not merged", line, c.Change); err != nil {
		return err
	}
	return exitError{ExitFailed}
}
