package cli

import (
	"github.com/bosman-cd/bosman"
)

type maskCmd struct {
	Check maskCheckCmd `cmd:"" default:"withargs" help:"Show what is masked in copies and what is not."`
}

// Help gives examples.
func (maskCmd) Help() string { return "Examples:\n  bosman mask check" }

type maskCheckCmd struct {
	inApp
	Instance string `arg:"" default:"staging" help:"The instance that copies are made of."`
}

// Help gives examples.
func (maskCheckCmd) Help() string {
	return `Looks at the columns of an instance's database as it is now: what the masks of
bosman.yaml replace in copies, what follows over foreign keys, and what looks
personal by its name and would stay. It fails while something would stay.

Examples:
  bosman mask check
  bosman mask check live --app rms
  bosman mask check --json`
}

// Run shows it.
func (c *maskCheckCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Masks(e.ctx, app, c.Instance)
	if err != nil {
		return err
	}
	if err := e.show(all, func() error {
		if len(all) == 0 {
			return e.say("%s has no database", c.Instance)
		}
		for _, r := range all {
			if err := e.masks(r); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, r := range all {
		if r.Error != "" {
			return bosman.Invalid("%s", r.Error).WithNext("mend database: mask: in bosman.yaml")
		}
		if len(r.Left) > 0 && !r.Off {
			return bosman.Invalid("%d columns look personal and would stay unmasked, so no copy is made of %s", len(r.Left), r.Instance).
				WithNext("add the lines above to bosman.yaml, or write keep for what may stay")
		}
	}
	return nil
}

func (e *env) masks(r bosman.MaskReport) error {
	if r.Database != "" {
		if err := e.say("\ndatabase %s", r.Database); err != nil {
			return err
		}
	}
	if r.Off {
		if err := e.say("bosman.yaml asks for no masks: copies of %s hold what it holds", r.Instance); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, len(r.Masked)+len(r.Kept)+len(r.Left))
	for _, m := range r.Masked {
		note := ""
		if m.Via != "" {
			note = "follows " + m.Via
		}
		rows = append(rows, []string{m.Column, m.Kind, note})
	}
	for _, c := range r.Kept {
		rows = append(rows, []string{c, "keep", "somebody has looked at it"})
	}
	for _, f := range r.Left {
		rows = append(rows, []string{f.Column, "-", "looks like " + f.Type + "; add " + f.Suggest})
	}
	if err := e.table([]string{"COLUMN", "MASK", "NOTE"}, rows, "no column is masked, and none looks personal"); err != nil {
		return err
	}
	for _, file := range r.SQL {
		if err := e.say("then %s", file); err != nil {
			return err
		}
	}
	return nil
}
