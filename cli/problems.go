package cli

import (
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

type problemsCmd struct {
	List    problemsListCmd    `cmd:"" default:"withargs" help:"List problems."`
	Show    problemsShowCmd    `cmd:"" help:"Show one with its newest report."`
	Resolve problemsResolveCmd `cmd:"" help:"Say that a problem is mended."`
}

// Help gives examples.
func (problemsCmd) Help() string {
	return "Examples:\n  bosman problems\n  bosman problems show p7\n  bosman problems resolve p7"
}

type problemsListCmd struct {
	inApp
	All bool `help:"Also resolved ones."`
	Max int  `default:"30" help:"At most so many."`
}

// Help gives examples.
func (problemsListCmd) Help() string { return "Examples:\n  bosman problems list --all" }

// Run lists problems.
func (c *problemsListCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Problems(e.ctx, app, c.All, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, p := range all {
			state := "open"
			switch {
			case !p.ResolvedAt.IsZero():
				state = "resolved"
			case p.Regressed:
				state = "came back"
			}
			rows = append(rows, []string{problemRef(p.Number), state, cut(p.Title, 50), cut(p.Culprit, 30), fmt.Sprint(p.Events), strings.Join(p.Instances, ","), releaseRef(p.FirstRelease), e.ago(p.LastAt)})
		}
		return e.table([]string{"PROBLEM", "STATE", "WHAT", "WHERE", "EVENTS", "ON", "SINCE", "LAST"}, rows, "no problem is open")
	})
}

func problemRef(n int) string { return bosman.Ref(bosman.LetterProblem, n) }

type problemsShowCmd struct {
	inApp
	Problem string `arg:"" help:"p7"`
}

// Help gives examples.
func (problemsShowCmd) Help() string { return "Examples:\n  bosman problems show p7" }

// Run shows one.
func (c *problemsShowCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	n, err := bosman.ParseRef(bosman.LetterProblem, c.Problem)
	if err != nil {
		return err
	}
	p, err := e.server().Problem(e.ctx, app, n)
	if err != nil {
		return err
	}
	return e.show(p, func() error { return e.problem(p) })
}

func (e *env) problem(p wire.ProblemView) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", problemRef(p.Number), p.Title)
	fmt.Fprintf(&b, "%d events, %d people, on %s, since %s, last %s\n", p.Events, p.Users, strings.Join(p.Instances, ", "), releaseRef(p.FirstRelease), e.ago(p.LastAt))
	if !p.ResolvedAt.IsZero() {
		fmt.Fprintf(&b, "resolved by %s %s\n", p.ResolvedBy, e.ago(p.ResolvedAt))
	}
	if len(p.Reports) > 0 {
		r := p.Reports[0]
		if r.URL != "" {
			fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL)
		}
		for _, f := range r.Frames {
			mark := " "
			if f.InApp {
				mark = ">"
			}
			fmt.Fprintf(&b, " %s %s:%d %s\n", mark, first(f.File, f.Module), f.Line, f.Function)
			if f.InApp && f.Context != "" {
				fmt.Fprintf(&b, "      %s\n", strings.TrimSpace(f.Context))
			}
		}
		fmt.Fprintf(&b, "%s: %s\n", first(r.Type, r.Level), r.Message)
	}
	return e.say("%s", strings.TrimRight(b.String(), "\n"))
}

type problemsResolveCmd struct {
	inApp
	Problem string `arg:"" help:"p7"`
	Undo    bool   `help:"It is not mended after all."`
}

// Help gives examples.
func (problemsResolveCmd) Help() string {
	return "It opens again by itself when it comes back in a later release.\n\nExamples:\n  bosman problems resolve p7\n  bosman problems resolve p7 --undo"
}

// Run resolves one.
func (c *problemsResolveCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	n, err := bosman.ParseRef(bosman.LetterProblem, c.Problem)
	if err != nil {
		return err
	}
	ok, err := e.server().Resolve(e.ctx, app, n, !c.Undo)
	return e.noted(ok, err, "%s", ok.Note)
}
