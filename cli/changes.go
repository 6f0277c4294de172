package cli

import (
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

type changesCmd struct {
	inApp
	Ref string `arg:"" optional:"" name:"change" help:"Show only this one, in full: c12, a branch, or the URL of a pull request."`
	All bool   `help:"Also merged and closed ones."`
	Max int    `default:"50" help:"At most so many."`
}

// Help gives examples.
func (changesCmd) Help() string {
	return `Examples:
  bosman changes
  bosman changes c12
  bosman changes interview-dates --json`
}

// Run lists changes or shows one.
func (c *changesCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if c.Ref != "" {
		v, err := e.server().Change(e.ctx, app, c.Ref)
		if err != nil {
			return err
		}
		return e.show(v, func() error { return e.change(v) })
	}
	views, err := e.server().Changes(e.ctx, app, c.All, c.Max)
	if err != nil {
		return err
	}
	return e.show(views, func() error {
		rows := make([][]string, 0, len(views))
		for _, v := range views {
			rows = append(rows, []string{changeRef(v.Number), cut(v.Branch, 28), cut(v.Title, 40), roadText(v.Road, e.global.Plain)})
		}
		return e.table([]string{"CHANGE", "BRANCH", "TITLE", "ROAD"}, rows, "no change is on its way; push a branch and it becomes one")
	})
}

// change shows all of one change.
func (e *env) change(v wire.ChangeView) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", changeRef(v.Number), v.Branch, v.Title)
	fmt.Fprintf(&b, "%s by %s at %s, %s\n", v.State, first(v.Author, v.PushedBy, "nobody known"), bosman.Short(v.Head), e.ago(v.UpdatedAt))
	fmt.Fprintf(&b, "%s\n", roadText(v.Road, e.global.Plain))
	if v.Build != nil {
		fmt.Fprintf(&b, "%s\n", buildLine(*v.Build))
		if v.Build.Report != nil {
			for n, t := range v.Build.Report.Tests {
				if t.State != bosman.TestFailed && t.State != bosman.TestErrored || n >= 20 {
					break
				}
				fmt.Fprintf(&b, "  ✕ %s %s: %s\n", t.Suite, t.Name, cut(t.Message, 100))
			}
		}
	}
	if v.Stale {
		b.WriteString("main moved since; the merge result is built again before the merge\n")
	}
	for _, f := range v.Conflicts {
		fmt.Fprintf(&b, "✕ conflicts with main in %s\n", f)
	}
	if v.Rehearsal != nil {
		fmt.Fprintf(&b, "%s\n", rehearsalLine(*v.Rehearsal))
	}
	for _, h := range v.Hazards {
		fmt.Fprintf(&b, "! %s\n", h)
	}
	for _, why := range []string{v.Blocked, v.Rehearsal.Stops()} {
		if why != "" {
			fmt.Fprintf(&b, "✕ not to be merged: %s\n", why)
		}
	}
	for _, s := range v.Signoffs {
		fmt.Fprintf(&b, "%s by %s at %s, %s", s.Verdict, s.Person, bosman.Short(s.Commit), e.ago(s.At))
		if s.Why != "" {
			fmt.Fprintf(&b, ": %s", s.Why)
		}
		b.WriteString("\n")
	}
	for _, i := range v.On {
		fmt.Fprintf(&b, "on %s: %s %s\n", i.Name, i.State, i.URL)
	}
	return e.say("%s", strings.TrimRight(b.String(), "\n"))
}
