package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bosman-cd/bosman"
)

type keptCmd struct {
	List    keptListCmd    `cmd:"" default:"withargs" help:"List what restores and fresh copies replaced."`
	Restore keptRestoreCmd `cmd:"" help:"Put it back in its place."`
	Remove  keptRemoveCmd  `cmd:"" help:"Drop it for good."`
}

// Help gives examples.
func (keptCmd) Help() string {
	return "Examples:\n  bosman kept list\n  bosman kept restore live 20261123t090000000 --wait\n  bosman kept remove live 20261123t090000000"
}

type keptListCmd struct {
	inApp
	Instance string `help:"Only of this instance."`
}

// Help gives examples.
func (keptListCmd) Help() string {
	return "Whatever a restore or a fresh copy replaces is kept; the way back of a\ndeployment stays until the next one has settled.\n\nExamples:\n  bosman kept list\n  bosman kept list --instance live --json"
}

// Run lists.
func (c *keptListCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Kept(e.ctx, app, c.Instance)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, k := range all {
			id, what, when := k.ID, "was replaced", e.ago(k.At)
			if k.Operation != 0 {
				id, what, when = "-", "way back of "+opRef(k.Operation), "-"
			}
			if !k.AsOf.IsZero() {
				what, when = "recovered", "as of "+k.AsOf.Local().Format("2006-01-02 15:04:05")
			}
			release, files := "-", "-"
			if k.Release != 0 {
				release = releaseRef(k.Release)
			}
			if k.Files != "" {
				files = filepath.Base(k.Files)
			}
			rows = append(rows, []string{k.Instance, id, what, when, release, size(k.Bytes), first(k.Database, "-"), files})
		}
		return e.table([]string{"INSTANCE", "ID", "WHAT", "WHEN", "RELEASE", "SIZE", "DATABASE", "FILES"}, rows, "nothing was replaced yet")
	})
}

// keptOne names what was replaced.
type keptOne struct {
	inApp
	Instance string `arg:"" help:"The instance it is of."`
	ID       string `arg:"" help:"As bosman kept list shows it."`
	Yes      bool   `short:"y" help:"Do not ask."`
}

// find gives it, so that what is said before the question is true.
func (c *keptOne) find(e *env, app string) (bosman.KeptCopy, error) {
	all, err := e.server().Kept(e.ctx, app, c.Instance)
	if err != nil {
		return bosman.KeptCopy{}, err
	}
	for _, k := range all {
		if k.ID == c.ID && k.ID != "" {
			return k, nil
		}
	}
	return bosman.KeptCopy{}, bosman.NotFound("nothing of %s was kept as %q", c.Instance, c.ID).WithKept("nothing was changed").WithNext("bosman kept list")
}

// confirm asks, unless told not to. loss has places for the instance, the
// moment and the size.
func (c *keptOne) confirm(e *env, app, loss string) error {
	if c.Yes {
		return nil
	}
	k, err := c.find(e, app)
	if err != nil {
		return err
	}
	if !k.AsOf.IsZero() {
		k.At, loss = k.AsOf, strings.NewReplacer("was replaced", "was recovered as of").Replace(loss)
	}
	return e.confirm(fmt.Sprintf(loss, c.Instance, k.At.Local().Format("2006-01-02 15:04:05"), size(k.Bytes)), "yes", "--yes")
}

type keptRestoreCmd struct {
	keptOne
	waiting
	Plan       bool `aliases:"explain,dry-run" help:"Only say what it would do."`
	AnyRelease bool `help:"Also if it is of another release than the one that runs, or nobody knows of which."`
}

// Help gives examples.
func (keptRestoreCmd) Help() string {
	return "The present database and files are kept in turn. Data of another release than\nthe one that runs is put in place with --any-release only.\n\nExamples:\n  bosman kept restore live 20261123t090000000 --plan\n  bosman kept restore live 20261123t090000000 --wait"
}

// Run puts it back.
func (c *keptRestoreCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if c.Plan || !c.Yes {
		p, err := e.server().PlanKept(e.ctx, app, c.Instance, c.ID)
		if err != nil {
			return err
		}
		if c.Plan {
			return e.show(p, func() error { return e.say("%s", e.keptPlan(p)) })
		}
		if p.Copy.Against == "" || c.AnyRelease { // else it is refused anyway
			if err := e.confirm(e.keptPlan(p), "yes", "--yes"); err != nil {
				return err
			}
		}
	}
	op, err := e.server().RestoreKept(e.ctx, app, c.Instance, c.ID, c.AnyRelease)
	return e.asked(op, err, c.Wait)
}

// keptPlan says what a restore of a kept copy replaces, a line for each thing
// to know.
func (e *env) keptPlan(p bosman.KeptPlan) string {
	k, what, when := p.Copy, "database and files", "what they were until"
	if !k.AsOf.IsZero() {
		what, when = "database", "what it was at"
	}
	lines := []string{fmt.Sprintf("The %s of %s will be replaced by %s %s (%s, %s).", what, k.Instance, when, k.Moment().Local().Format("2006-01-02 15:04:05"), e.ago(k.Moment()), size(k.Bytes))}
	if k.Against != "" {
		lines = append(lines, "It may not fit: "+k.Against+".")
	} else {
		lines = append(lines, fmt.Sprintf("It holds the data of %s, which %s runs.", releaseRef(k.Release), k.Instance))
	}
	if p.Since != 0 {
		lines = append(lines, fmt.Sprintf("Of what is newer than it, counted since %s: %s.", opRef(p.Since), p.Written))
	}
	return strings.Join(append(lines, "The present data is kept: bosman kept list."), "\n")
}

type keptRemoveCmd struct{ keptOne }

// Help gives examples.
func (keptRemoveCmd) Help() string {
	return "What it held and no backup holds is gone then.\n\nExamples:\n  bosman kept remove live 20261123t090000000 --yes"
}

// Run drops it.
func (c *keptRemoveCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if err := c.confirm(e, app, "The data of %s that was replaced %s (%s) will be gone for good."); err != nil {
		return err
	}
	ok, err := e.server().RemoveKept(e.ctx, app, c.Instance, c.ID)
	return e.noted(ok, err, "%s", ok.Note)
}
