package cli

import (
	"sort"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

type peopleCmd struct {
	List     peopleListCmd     `cmd:"" default:"withargs" help:"List people."`
	Add      peopleAddCmd      `cmd:"" help:"Add somebody."`
	Password peoplePasswordCmd `cmd:"" help:"Set a password."`
	Disable  peopleDisableCmd  `cmd:"" help:"Shut somebody out."`
	Enable   peopleEnableCmd   `cmd:"" help:"Let somebody in again."`
	Token    tokenCmd          `cmd:"" help:"Make, list and remove tokens."`
	AtHand   atHandCmd         `cmd:"" help:"Say how long you are there to help."`
}

// Help gives examples.
func (peopleCmd) Help() string {
	return "Examples:\n  bosman people\n  bosman people add anna --role tester\n  bosman people token new laptop\n  bosman people at-hand 4h"
}

type peopleListCmd struct{}

// Help gives examples.
func (peopleListCmd) Help() string { return "Examples:\n  bosman people list --json" }

// Run lists people.
func (c *peopleListCmd) Run(e *env) error {
	all, err := e.server().People(e.ctx)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, p := range all {
			var on []string
			for app, role := range p.AppRoles {
				on = append(on, string(role)+" on "+app)
			}
			sort.Strings(on)
			note := ""
			switch {
			case p.Disabled:
				note = "shut out"
			case p.AtHandUntil.After(e.now()):
				note = "at hand until " + p.AtHandUntil.Local().Format("Mon 15:04")
			}
			rows = append(rows, []string{p.Name, string(p.Role), strings.Join(on, ", "), p.Email, note})
		}
		return e.table([]string{"PERSON", "ROLE", "BUT", "E-MAIL", "NOTE"}, rows, "nobody is known yet")
	})
}

type peopleAddCmd struct {
	Name          string `arg:"" help:"Lower-case letters, digits and dashes."`
	Role          string `required:"" enum:"viewer,developer,tester,admin" help:"viewer, developer, tester or admin."`
	Email         string `help:"E-mail address."`
	PasswordStdin bool   `help:"Read a password from standard input; without one they log in by token or on this machine."`
}

// Help gives examples.
func (peopleAddCmd) Help() string {
	return "Examples:\n  bosman people add anna --role tester --email anna@example.org\n  pwgen 20 1 | bosman people add anna --role tester --password-stdin"
}

// Run adds a person.
func (c *peopleAddCmd) Run(e *env) error {
	password := ""
	if c.PasswordStdin {
		var err error
		if password, err = e.hidden("Password of " + c.Name); err != nil {
			return err
		}
	}
	ok, err := e.server().AddPerson(e.ctx, c.Name, c.Email, bosman.Role(c.Role), password)
	return e.noted(ok, err, "%s", ok.Note)
}

type peoplePasswordCmd struct {
	Name string `arg:"" optional:"" help:"Whose; your own when left out."`
}

// Help gives examples.
func (peoplePasswordCmd) Help() string {
	return "The password is asked for, or read from standard input.\n\nExamples:\n  bosman people password\n  bosman people password anna < new-password"
}

// Run sets a password.
func (c *peoplePasswordCmd) Run(e *env) error {
	name, err := e.person(c.Name)
	if err != nil {
		return err
	}
	password, err := e.hidden("New password of " + name)
	if err != nil {
		return err
	}
	ok, err := e.server().SetPassword(e.ctx, name, password)
	return e.noted(ok, err, "%s", ok.Note)
}

// person gives the person meant: oneself when nobody is named.
func (e *env) person(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	me, err := e.server().Me(e.ctx)
	return me.Person, err
}

type peopleDisableCmd struct {
	Name string `arg:"" help:"Whom."`
}

// Help gives examples.
func (peopleDisableCmd) Help() string { return "Examples:\n  bosman people disable jan" }

// Run shuts a person out.
func (c *peopleDisableCmd) Run(e *env) error {
	ok, err := e.server().Disable(e.ctx, c.Name, true)
	return e.noted(ok, err, "%s", ok.Note)
}

type peopleEnableCmd struct {
	Name string `arg:"" help:"Whom."`
}

// Help gives examples.
func (peopleEnableCmd) Help() string { return "Examples:\n  bosman people enable jan" }

// Run lets a person in again.
func (c *peopleEnableCmd) Run(e *env) error {
	ok, err := e.server().Disable(e.ctx, c.Name, false)
	return e.noted(ok, err, "%s", ok.Note)
}

type atHandCmd struct {
	For *time.Duration `arg:"" optional:"" help:"How long: 4h; 0s ends it. Without it: who is at hand."`
}

// Help gives examples.
func (atHandCmd) Help() string {
	return "Live is deployed only while enough people are at hand, if bosman.yaml asks for it.\n\nExamples:\n  bosman people at-hand\n  bosman people at-hand 4h\n  bosman people at-hand 0s"
}

// Run sets or lists it.
func (c *atHandCmd) Run(e *env) error {
	if c.For != nil {
		ok, err := e.server().SetAtHand(e.ctx, e.now().Add(*c.For))
		return e.noted(ok, err, "%s", ok.Note)
	}
	all, err := e.server().AtHand(e.ctx)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, p := range all {
			rows = append(rows, []string{p.Name, p.AtHandUntil.Local().Format("Mon 15:04")})
		}
		return e.table([]string{"PERSON", "UNTIL"}, rows, "nobody is at hand")
	})
}

type allowCmd struct {
	Name string `arg:"" help:"Whom."`
	Role string `arg:"" enum:"viewer,developer,tester,admin" help:"viewer, developer, tester or admin."`
	On   string `placeholder:"APP" help:"Only on this app."`
}

// Help gives examples.
func (allowCmd) Help() string {
	return "Examples:\n  bosman allow anna tester\n  bosman allow piotr tester --on rms"
}

// Run gives a role.
func (c *allowCmd) Run(e *env) error {
	ok, err := e.server().Allow(e.ctx, c.Name, bosman.Role(c.Role), c.On)
	return e.noted(ok, err, "%s", ok.Note)
}
