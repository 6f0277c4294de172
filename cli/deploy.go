package cli

import (
	"github.com/bosman-cd/bosman"
)

type deployCmd struct {
	inApp
	waiting
	Instance string `arg:"" help:"live or staging."`
	Release  string `placeholder:"r136" help:"Release; for live what staging runs when left out, else main's newest green one."`
	Settled  bool   `help:"Wait also until the new release was watched and is found well."`
	Why      string `help:"The reason, for the activity log."`
	Override string `placeholder:"REASON" help:"As administrator: pass the rules that forbid it, with a reason on record."`
}

// Help gives examples.
func (deployCmd) Help() string {
	return `Backs up, migrates, starts the new processes beside the old, checks them, then
switches without dropping a request. If a step fails, the old ones go on.

Examples:
  bosman deploy live --wait
  bosman deploy live --release r136 --why "the fix for p7"
  bosman deploy live --settled
  bosman deploy staging --release r130`
}

// Run deploys.
func (c *deployCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	release := 0
	if c.Release != "" {
		if release, err = bosman.ParseRef(bosman.LetterRelease, c.Release); err != nil {
			return err
		}
	}
	op, err := e.server().Deploy(e.ctx, app, c.Instance, release, c.Why, c.Override)
	return e.until(op, err, c.Wait, c.Settled)
}
