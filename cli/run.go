package cli

import (
	"io"
	"strings"

	"github.com/bosman-cd/bosman"
)

type runCmd struct {
	inApp
	Instance string   `arg:"" help:"Name of the instance."`
	Command  []string `arg:"" passthrough:"" help:"A command after --, or the name of a task."`
	Input    bool     `short:"i" name:"input" help:"Give it what comes on standard input."`
}

// Help gives examples.
func (runCmd) Help() string {
	return `Runs with the instance's release, environment, database and files. The exit
code is the command's own. One word that names a task of bosman.yaml runs it.

Examples:
  bosman run staging -- python3 manage.py showmigrations
  bosman run -i staging shell < report.py
  bosman run live -- sh -c 'du -sh media'`
}

// Run runs the command.
func (c *runCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	words, literal := c.Command, false
	if len(words) > 0 && words[0] == "--" {
		words, literal = words[1:], true
	}
	if len(words) == 0 {
		return bosman.Invalid("there is no command").WithNext("bosman run " + c.Instance + " -- COMMAND")
	}
	command, task := shellWords(words), ""
	if len(words) == 1 && !literal {
		tasks, err := e.server().Tasks(e.ctx, app)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.Name == words[0] {
				task = t.Name
			}
		}
	}
	var stdin io.Reader
	if c.Input {
		stdin = e.stdin
	}
	exit, err := e.server().Run(e.ctx, app, c.Instance, command, task, stdin, e.stdout, e.stderr)
	if err == nil && exit != 0 {
		return exitError{exit}
	}
	return err
}

// shellWords joins words so that a shell reads them as they are. A single
// word is a command line already.
func shellWords(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	out := make([]string, len(words))
	for n, w := range words {
		out[n] = w
		if w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+", r)
		}) {
			out[n] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

type tasksCmd struct{ inApp }

// Help gives examples.
func (tasksCmd) Help() string {
	return "Examples:\n  bosman tasks\n  bosman run staging shell"
}

// Run lists tasks.
func (c *tasksCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Tasks(e.ctx, app)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, t := range all {
			rows = append(rows, []string{t.Name, t.Run})
		}
		return e.table([]string{"TASK", "RUNS"}, rows, "bosman.yaml names no tasks")
	})
}
