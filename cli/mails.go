package cli

import (
	"fmt"
	"strings"
)

type mailsCmd struct {
	inApp
	ID       int64  `arg:"" optional:"" help:"Show this message."`
	Instance string `help:"Only from this instance."`
	Max      int    `default:"30" help:"At most so many."`
}

// Help gives examples.
func (mailsCmd) Help() string {
	return "Mail of every instance but live is caught and never sent on.\n\nExamples:\n  bosman mails --instance testing-anna\n  bosman mails 17"
}

// Run lists or shows mail.
func (c *mailsCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if c.ID != 0 {
		m, err := e.server().Mail(e.ctx, app, c.ID)
		if err != nil {
			return err
		}
		return e.show(m, func() error {
			return e.say("from: %s\nto: %s\nsubject: %s\nwhen: %s from %s\n\n%s", m.From, strings.Join(m.To, ", "), m.Subject, e.ago(m.At), m.Instance, first(m.Text, m.HTML))
		})
	}
	all, err := e.server().Mails(e.ctx, app, c.Instance, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, m := range all {
			rows = append(rows, []string{fmt.Sprint(m.ID), m.Instance, cut(strings.Join(m.To, ", "), 40), cut(m.Subject, 50), e.ago(m.At)})
		}
		return e.table([]string{"MAIL", "FROM", "TO", "SUBJECT", "WHEN"}, rows, "no mail was caught")
	})
}
