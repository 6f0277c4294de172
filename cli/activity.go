package cli

import "github.com/bosman-cd/bosman"

type activityCmd struct {
	App string `short:"a" placeholder:"APP" help:"Only of this app."`
	Max int    `default:"30" help:"At most so many lines."`
}

// Help gives examples.
func (activityCmd) Help() string {
	return `Examples:
  bosman activity
  bosman activity --app rms --max 100`
}

// Run lists the activity log, newest first.
func (c *activityCmd) Run(e *env) error {
	all, err := e.server().Activity(e.ctx, first(c.App, e.getenv("BOSMAN_APP")), 0, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, a := range all {
			rows = append(rows, e.activityRow(a))
		}
		return e.table([]string{"WHEN", "WHO", "FROM", "APP", "WHAT"}, rows, "nothing happened yet")
	})
}

func (e *env) activityRow(a bosman.Activity) []string {
	what := a.What
	if a.Why != "" {
		what += " (" + cut(a.Why, 60) + ")"
	}
	return []string{e.ago(a.At), a.Who, a.From, first(a.App, "-"), what}
}
