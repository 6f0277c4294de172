package cli

type tryCmd struct {
	inApp
	waiting
	Change string `arg:"" help:"c12, a branch, or the URL of a pull request."`
	On     string `placeholder:"INSTANCE" help:"Testing instance; testing-YOU when left out."`
	Exact  bool   `help:"Copy staging as it is at this moment, however long that takes, not as it was a while ago."`
}

// Help gives examples.
func (tryCmd) Help() string {
	return `The instance gets a fresh copy of staging's database and files and runs the
change. It is made if there is none of that name. Where staging
is ahead of the change, its merge result with main is taken, and built first if
it was not yet; the step fit says so.

Examples:
  bosman try c12 --wait
  bosman try interview-dates --on testing-anna
  bosman try c12 --exact --wait`
}

// Run asks for it.
func (c *tryCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	on := c.On
	if on == "" {
		me, err := e.server().Me(e.ctx)
		if err != nil {
			return err
		}
		on = "testing-" + me.Person
	}
	op, err := e.server().Try(e.ctx, app, c.Change, on, c.Exact)
	if err := e.asked(op, err, c.Wait); err != nil || !c.Wait || e.global.JSON {
		return err
	}
	i, err := e.server().Instance(e.ctx, app, on)
	if err != nil {
		return err
	}
	return e.say("%s", i.URL)
}

type resetCmd struct {
	inApp
	waiting
	Instance string `arg:"" help:"A testing instance."`
	Exact    bool   `help:"Copy staging as it is at this moment, however long that takes, not as it was a while ago."`
}

// Help gives examples.
func (resetCmd) Help() string {
	return `The instance gets a fresh copy of staging's data and the newest release of
the change it shows. What it held is lost.

Examples:
  bosman reset testing-anna --wait
  bosman reset testing-anna --exact`
}

// Run asks for it.
func (c *resetCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	op, err := e.server().Reset(e.ctx, app, c.Instance, c.Exact)
	return e.asked(op, err, c.Wait)
}
