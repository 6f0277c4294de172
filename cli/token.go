package cli

import "github.com/bosman-cd/bosman"

type tokenCmd struct {
	List   tokenListCmd   `cmd:"" default:"withargs" help:"List tokens."`
	New    tokenNewCmd    `cmd:"" help:"Make a token."`
	Remove tokenRemoveCmd `cmd:"" help:"End a token."`
}

// Help gives examples.
func (tokenCmd) Help() string {
	return "Examples:\n  bosman people token new laptop\n  bosman people token list\n  bosman people token remove 1f2e3d"
}

type tokenListCmd struct {
	Of string `placeholder:"PERSON" help:"Whose; your own when left out."`
}

// Help gives examples.
func (tokenListCmd) Help() string { return "Examples:\n  bosman people token list --of anna" }

// Run lists tokens.
func (c *tokenListCmd) Run(e *env) error {
	of, err := e.person(c.Of)
	if err != nil {
		return err
	}
	all, err := e.server().Tokens(e.ctx, of)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, t := range all {
			rows = append(rows, []string{t.ID, t.Name, e.ago(t.CreatedAt), e.ago(t.UsedAt), e.ago(t.ExpiresAt)})
		}
		return e.table([]string{"TOKEN", "FOR", "MADE", "USED", "EXPIRES"}, rows, of+" has no token")
	})
}

type tokenNewCmd struct {
	Name string `arg:"" help:"What it is for: laptop, ci."`
	For  string `placeholder:"PERSON" help:"Whose; your own when left out."`
}

// Help gives examples.
func (tokenNewCmd) Help() string {
	return "Its text is shown once. Use it as BOSMAN_TOKEN, or as git's password.\n\nExamples:\n  bosman people token new laptop\n  export BOSMAN_TOKEN=$(bosman people token new ci --for robot)"
}

// Run makes a token.
func (c *tokenNewCmd) Run(e *env) error {
	of, err := e.person(c.For)
	if err != nil {
		return err
	}
	t, err := e.server().NewToken(e.ctx, of, c.Name)
	return e.noted(t, err, "%s", t.Text)
}

type tokenRemoveCmd struct {
	ID string `arg:"" help:"The token's id, from the list."`
}

// Help gives examples.
func (tokenRemoveCmd) Help() string { return "Examples:\n  bosman people token remove 1f2e3d" }

// Run ends a token.
func (c *tokenRemoveCmd) Run(e *env) error {
	ok, err := e.server().RemoveToken(e.ctx, c.ID)
	return e.noted(ok, err, "%s", ok.Note)
}

type confirmPolicyCmd struct {
	inApp
	Yes bool `short:"y" help:"Do not ask."`
}

// Help gives examples.
func (confirmPolicyCmd) Help() string {
	return "What main's bosman.yaml loosens of live's protection does not hold until an\nadministrator confirms it here.\n\nExamples:\n  bosman confirm-policy"
}

// Run shows what is loosened and confirms it.
func (c *confirmPolicyCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	p, err := e.server().Policy(e.ctx, app)
	if err != nil {
		return err
	}
	if len(p.Loosened) == 0 {
		return e.noted(p, nil, "main loosens nothing; there is nothing to confirm")
	}
	if !c.Yes {
		what := "main's " + bosman.ManifestFile + " loosens the protection of live:"
		for _, l := range p.Loosened {
			what += "\n  " + l
		}
		if err := e.confirm(what, "yes", "--yes"); err != nil {
			return err
		}
	}
	ok, err := e.server().ConfirmPolicy(e.ctx, app)
	return e.noted(ok, err, "%s", ok.Note)
}
