package cli

type acceptCmd struct {
	inApp
	Change string `arg:"" help:"c12, a branch, or the URL of a pull request."`
	Why    string `help:"What you looked at."`
}

// Help gives examples.
func (acceptCmd) Help() string {
	return `Examples:
  bosman accept c12
  bosman accept c12 --why "sorted lists in Firefox and Chrome"`
}

// Run accepts.
func (c *acceptCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	ok, err := e.server().Accept(e.ctx, app, c.Change, c.Why)
	return e.noted(ok, err, "%s; to bring it to main: bosman merge %s", ok.Note, c.Change)
}

type sendBackCmd struct {
	inApp
	Change string `arg:"" help:"c12, a branch, or the URL of a pull request."`
	Why    string `required:"" help:"What is wrong; its author reads it."`
}

// Help gives examples.
func (sendBackCmd) Help() string {
	return `The change cannot be merged until a new push, or until somebody accepts it.

Examples:
  bosman send-back c12 --why "the list is empty for Gdańsk"`
}

// Run sends back.
func (c *sendBackCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	ok, err := e.server().SendBack(e.ctx, app, c.Change, c.Why)
	return e.noted(ok, err, "%s", ok.Note)
}

type closeCmd struct {
	inApp
	Change string `arg:"" help:"c12, a branch, or the URL of a pull request."`
}

// Help gives examples.
func (closeCmd) Help() string {
	return `The branch stays; a push to it opens the change again.

Examples:
  bosman close c12`
}

// Run closes.
func (c *closeCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	ok, err := e.server().CloseChange(e.ctx, app, c.Change)
	return e.noted(ok, err, "%s", ok.Note)
}
