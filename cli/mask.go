package cli

import (
	"cmp"
	"fmt"
	"strings"

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
	return `Looks at the columns of an instance's databases as they are now: what the masks
of bosman.yaml replace in copies, what follows over foreign keys, and what looks
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
	return unmasked(all)
}

// unmasked is the error for what no copy may be made of; nil if all is well.
func unmasked(all []bosman.MaskReport) error {
	var wrong []string
	next := ""
	for _, r := range all {
		of, key := r.Instance, "database: mask:"
		if r.Database != "" {
			of, key = r.Instance+"'s database "+r.Database, "databases: "+r.Database+": mask:"
		}
		switch {
		case r.Error != "":
			wrong = append(wrong, r.Error)
			next = cmp.Or(next, "mend "+key+" in bosman.yaml")
		case len(r.Left) > 0 && !r.Off:
			wrong = append(wrong, fmt.Sprintf("%d columns look personal and would stay unmasked, so no copy is made of %s", len(r.Left), of))
			next = cmp.Or(next, "add the lines above to bosman.yaml under "+key+" or write keep for what may stay")
		}
	}
	if len(wrong) > 0 {
		return bosman.Invalid("%s", strings.Join(wrong, "; ")).WithNext(next)
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
		text := "bosman.yaml asks for no masks: copies of %s hold what it holds"
		if r.Database != "" {
			text = "bosman.yaml asks for no masks here: copies of this database of %s hold what it holds"
		}
		if err := e.say(text, r.Instance); err != nil {
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
