package cli

type appConnectCmd struct {
	Name   string `arg:"" help:"The app."`
	GitHub string `name:"github" required:"" placeholder:"OWNER/NAME" help:"Its repository at GitHub."`
	API    string `name:"api-url" placeholder:"URL" help:"Of the forge's API, where it is not the usual one."`
	Clone  string `name:"clone-url" placeholder:"URL" help:"Where to fetch from, where it is not the usual address."`
}

// Help gives examples.
func (appConnectCmd) Help() string {
	return `A token that may read the repository and write commit statuses is asked for, or
read from standard input. Prints what to enter for the forge's webhook.

Examples:
  bosman app connect rms --github team/rms < token`
}

// Run connects an app to a forge.
func (c *appConnectCmd) Run(e *env) error {
	token, err := e.hidden("Token for " + c.GitHub)
	if err != nil {
		return err
	}
	done, err := e.server().Connect(e.ctx, c.Name, "github", c.GitHub, token, c.Clone, c.API)
	return e.noted(done, err, "connected %s to %s\nadd a webhook there:\n  address: %s\n  content: application/json\n  secret:  %s (shown once)", c.Name, c.GitHub, done.Hook, done.Secret)
}
