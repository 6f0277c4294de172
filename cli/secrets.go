package cli

import (
	"io"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/secret"
)

type secretsCmd struct {
	List   secretsListCmd   `cmd:"" default:"withargs" help:"List the names of secrets."`
	Set    secretsSetCmd    `cmd:"" help:"Set one; its value comes on standard input."`
	Import secretsImportCmd `cmd:"" help:"Set those of an .env file on standard input."`
	Remove secretsRemoveCmd `cmd:"" help:"Remove one."`
}

// Help gives examples.
func (secretsCmd) Help() string {
	return "Examples:\n  bosman secrets list\n  bosman secrets set SMTP_PASSWORD --scope kind:live\n  bosman secrets import --scope kind:staging < .env"
}

// scoped is the flag of where a secret holds.
type scoped struct {
	Scope string `required:"" placeholder:"SCOPE" help:"build, kind:live (or staging, testing, preview), or instance:NAME."`
}

type secretsListCmd struct{ inApp }

// Help gives examples.
func (secretsListCmd) Help() string {
	return "Values are never shown.\n\nExamples:\n  bosman secrets list"
}

// Run lists secrets.
func (c *secretsListCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Secrets(e.ctx, app)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, s := range all {
			rows = append(rows, []string{s.Scope, s.Name, e.ago(s.SetAt), s.SetBy})
		}
		return e.table([]string{"SCOPE", "NAME", "SET", "BY"}, rows, "no secret is set")
	})
}

type secretsSetCmd struct {
	inApp
	scoped
	Name string `arg:"" help:"Name of the variable."`
}

// Help gives examples.
func (secretsSetCmd) Help() string {
	return "The value is asked for on a terminal; it is never an argument.\n\nExamples:\n  bosman secrets set SMTP_PASSWORD --scope kind:live\n  pass smtp | bosman secrets set SMTP_PASSWORD --scope kind:live"
}

// Run sets one.
func (c *secretsSetCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	value, err := e.hidden("Value of " + c.Name)
	if err != nil {
		return err
	}
	ok, err := e.server().SetSecrets(e.ctx, app, c.Scope, map[string]string{c.Name: value})
	return e.noted(ok, err, "%s", ok.Note)
}

type secretsImportCmd struct {
	inApp
	scoped
}

// Help gives examples.
func (secretsImportCmd) Help() string {
	return "Examples:\n  bosman secrets import --scope kind:live < .env"
}

// Run sets all of a file.
func (c *secretsImportCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(e.stdin, 1<<20))
	if err != nil {
		return err
	}
	values, err := secret.ParseEnv(string(data))
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return bosman.Invalid("standard input holds no NAME=VALUE").WithKept("no secret was set").WithNext("bosman secrets import --scope " + c.Scope + " < .env")
	}
	ok, err := e.server().SetSecrets(e.ctx, app, c.Scope, values)
	return e.noted(ok, err, "%s", ok.Note)
}

type secretsRemoveCmd struct {
	inApp
	scoped
	Name string `arg:"" help:"Name of the variable."`
}

// Help gives examples.
func (secretsRemoveCmd) Help() string {
	return "Examples:\n  bosman secrets remove SMTP_PASSWORD --scope kind:live"
}

// Run removes one.
func (c *secretsRemoveCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	ok, err := e.server().RemoveSecret(e.ctx, app, c.Scope, c.Name)
	return e.noted(ok, err, "%s", ok.Note)
}
