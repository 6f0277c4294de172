package cli

import (
	"strings"

	"github.com/bosman-cd/bosman"
)

// onInstance is the command line of restart, stop and start.
type onInstance struct {
	inApp
	waiting
	Instance string `arg:"" help:"Name of the instance."`
}

func (c *onInstance) operate(e *env, verb string) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	op, err := e.server().Operate(e.ctx, app, c.Instance, verb)
	return e.asked(op, err, c.Wait)
}

type restartCmd struct{ onInstance }

// Help gives examples.
func (restartCmd) Help() string {
	return "Examples:\n  bosman restart staging --wait"
}

// Run restarts.
func (c *restartCmd) Run(e *env) error { return c.operate(e, "restart") }

type stopCmd struct{ onInstance }

// Help gives examples.
func (stopCmd) Help() string {
	return "It stays stopped until it is started or deployed to.\n\nExamples:\n  bosman stop testing-anna"
}

// Run stops.
func (c *stopCmd) Run(e *env) error { return c.operate(e, "stop") }

type startCmd struct{ onInstance }

// Help gives examples.
func (startCmd) Help() string {
	return "Examples:\n  bosman start testing-anna --wait"
}

// Run starts.
func (c *startCmd) Run(e *env) error { return c.operate(e, "start") }

type opsCmd struct {
	inApp
	Instance string `arg:"" optional:"" help:"Only on this instance."`
	Max      int    `default:"20" help:"At most so many."`
}

// Help gives examples.
func (opsCmd) Help() string {
	return "Examples:\n  bosman deployments\n  bosman deployments live --max 50"
}

// Run lists operations.
func (c *opsCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Operations(e.ctx, app, c.Instance, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, o := range all {
			note := o.Waits
			if o.Error != nil {
				note = o.Error.Message
			}
			rows = append(rows, []string{opRef(o.Number), wish(o), string(o.State), o.By, e.ago(o.CreatedAt), spent(o.StartedAt, o.EndedAt), cut(note, 60)})
		}
		return e.table([]string{"DEPLOYMENT", "WHAT", "STATE", "BY", "WHEN", "TOOK", "NOTE"}, rows, "nothing was deployed yet")
	})
}

type cancelCmd struct {
	inApp
	What string `arg:"" help:"b12, or d37 while it waits."`
	Why  string `help:"The reason."`
}

// Help gives examples.
func (cancelCmd) Help() string {
	return "A deployment that began is not cancelled but taken back: bosman revert INSTANCE.\n\nExamples:\n  bosman cancel b12\n  bosman cancel d37"
}

// Run cancels.
func (c *cancelCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if n, err := bosman.ParseRef(bosman.LetterBuild, c.What); err == nil && strings.HasPrefix(c.What, "b") {
		ok, err := e.server().CancelBuild(e.ctx, app, n, c.Why)
		return e.noted(ok, err, "%s", ok.Note)
	}
	n, err := bosman.ParseRef(bosman.LetterOperation, c.What)
	if err != nil || !strings.HasPrefix(c.What, "d") {
		return bosman.Invalid("%q is neither a build nor a deployment", c.What).WithNext("give it as b12 or d37")
	}
	ok, err := e.server().CancelOperation(e.ctx, app, n)
	return e.noted(ok, err, "%s", ok.Note)
}
