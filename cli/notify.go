package cli

import (
	"strings"

	"github.com/bosman-cd/bosman/api/wire"
)

type notifyCmd struct {
	List   notifyListCmd   `cmd:"" default:"withargs" help:"List who is told what happens."`
	Add    notifyAddCmd    `cmd:"" help:"Tell a webhook or a chat."`
	Remove notifyRemoveCmd `cmd:"" help:"Tell it no more."`
}

// Help gives examples.
func (notifyCmd) Help() string {
	return "Examples:\n  bosman notify list\n  bosman notify add team-chat < address\n  bosman notify remove team-chat"
}

type notifyListCmd struct{}

// Help gives examples.
func (notifyListCmd) Help() string {
	return "Addresses may hold keys, so only their host or kind is shown.\n\nExamples:\n  bosman notify list --json"
}

// Run lists targets.
func (c *notifyListCmd) Run(e *env) error {
	all, err := e.server().Targets(e.ctx)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, t := range all {
			signed := "no"
			if t.Signed {
				signed = "yes"
			}
			rows = append(rows, []string{t.Name, t.To, first(t.App, "all"), first(strings.Join(t.Kinds, ", "), "all"), signed})
		}
		return e.table([]string{"NAME", "TO", "APP", "WHAT", "SIGNED"}, rows, "nobody is told what happens")
	})
}

type notifyAddCmd struct {
	Name    string   `arg:"" help:"What to call it."`
	App     string   `short:"a" placeholder:"APP" help:"Only about this app."`
	Kinds   []string `placeholder:"KIND" help:"Only these kinds of messages."`
	Private bool     `help:"Its address may be one of the local network."`
	Sign    bool     `help:"Sign what is sent; prints the secret once."`
}

// Help gives examples.
func (notifyAddCmd) Help() string {
	return `The address is asked for, or read from standard input, since it may hold a key:
https://… for a webhook; slack://…, discord://…, telegram://…, teams://… or
matrix://… for a chat.

Examples:
  bosman notify add team-chat < address
  bosman notify add dashboard --app rms --sign < address`
}

// Run adds a target.
func (c *notifyAddCmd) Run(e *env) error {
	address, err := e.hidden("Address of " + c.Name)
	if err != nil {
		return err
	}
	t, err := e.server().AddTarget(e.ctx, wire.Target{Name: c.Name, App: c.App, Kinds: c.Kinds, Private: c.Private, Signed: c.Sign}, strings.TrimSpace(address))
	if c.Sign {
		return e.noted(t, err, "%s", t.Text)
	}
	return e.noted(t, err, "%s is told what happens", c.Name)
}

type notifyRemoveCmd struct {
	Name string `arg:"" help:"Its name."`
}

// Help gives examples.
func (notifyRemoveCmd) Help() string { return "Examples:\n  bosman notify remove team-chat" }

// Run removes a target.
func (c *notifyRemoveCmd) Run(e *env) error {
	ok, err := e.server().RemoveTarget(e.ctx, c.Name)
	return e.noted(ok, err, "%s", ok.Note)
}
