package cli

import (
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
	"github.com/bosman-cd/bosman/api/wire"
)

type logCmd struct {
	inApp
	What   string `arg:"" help:"b12, d37, or the name of an instance."`
	Follow bool   `short:"f" help:"Go on while it grows."`
	Lines  int    `short:"n" default:"-1" help:"Begin so many lines before the end; an instance's log begins 200 before."`
	Times  bool   `short:"t" help:"Show the time of each line."`
}

// Help gives examples.
func (logCmd) Help() string {
	return `The log of a build ends with how it went, and so does the exit code with -f.

Examples:
  bosman log b412
  bosman log d37 -f
  bosman log live -f -n 20
  bosman log staging --json | jq -r .text`
}

// Run prints the log.
func (c *logCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	o := client.LogOptions{Follow: c.Follow, Tail: max(c.Lines, 0)}
	if n, err := bosman.ParseRef(bosman.LetterBuild, c.What); err == nil && strings.HasPrefix(c.What, "b") {
		return c.build(e, app, n, o)
	}
	if n, err := bosman.ParseRef(bosman.LetterOperation, c.What); err == nil && strings.HasPrefix(c.What, "d") {
		return c.operation(e, app, n, o)
	}
	if c.Lines < 0 {
		o.Tail = 200
	}
	return e.server().InstanceLog(e.ctx, app, c.What, o, c.print(e))
}

func (c *logCmd) print(e *env) func(wire.LogLine) error {
	return func(l wire.LogLine) error {
		if e.global.JSON {
			return e.compact(l)
		}
		text := l.Source + " | " + l.Text
		if c.Times {
			text = l.At.Local().Format("2006-01-02 15:04:05.000 ") + text
		}
		return e.say("%s", text)
	}
}

func (c *logCmd) build(e *env, app string, n int, o client.LogOptions) error {
	if err := e.server().BuildLog(e.ctx, app, n, o, c.print(e)); err != nil {
		return err
	}
	b, err := e.server().BuildOf(e.ctx, app, n)
	if err != nil {
		return err
	}
	if !e.global.JSON {
		if !b.PrunedAt.IsZero() {
			if err := e.say("its log and reports were removed %s", e.ago(b.PrunedAt)); err != nil {
				return err
			}
		}
		if err := e.say("%s", buildLine(b)); err != nil {
			return err
		}
	}
	if c.Follow && b.State != bosman.BuildGreen {
		return exitError{ExitFailed}
	}
	return nil
}

// operation prints the steps of an operation and what the instance logged
// meanwhile.
func (c *logCmd) operation(e *env, app string, n int, o client.LogOptions) error {
	op, err := e.server().Operation(e.ctx, app, n)
	if err != nil {
		return err
	}
	if c.Follow && !op.State.Final() {
		return e.until(op, nil, true, true)
	}
	if !e.global.JSON {
		if err := e.progress().draw(opRef(n)+": "+wish(op)+", asked by "+op.By+" "+e.ago(op.CreatedAt), opLines(op)); err != nil {
			return err
		}
	}
	if err := e.server().OperationLog(e.ctx, app, n, o, c.print(e)); err != nil {
		return err
	}
	if e.global.JSON || !op.State.Final() {
		return nil
	}
	if err := e.ended(op); err != nil || !c.Follow {
		return err
	}
	return verdict(op)
}
