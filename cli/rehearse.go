package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

type rehearseCmd struct {
	inApp
	Ref    string `arg:"" name:"release" help:"r12, or a change: then the release of its newest build."`
	Again  bool   `help:"Rehearse it again."`
	Wait   bool   `short:"w" help:"Wait for the end; the exit code tells how it went."`
	Accept bool   `help:"As administrator: let it pass although its rehearsal failed, or never came to its database."`
	Why    string `help:"The reason, with --accept."`
}

// Help gives examples.
func (rehearseCmd) Help() string {
	return `The release command runs on a throw-away copy of staging's database: what it
changes, how long it takes, what it locks. Changes with migrations are rehearsed
by themselves once their build is green.

Examples:
  bosman rehearse c12
  bosman rehearse r136 --again --wait
  bosman rehearse r136 --accept --why "it migrates nothing"`
}

// Run shows a rehearsal, or asks for one.
func (c *rehearseCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if c.Accept {
		ok, err := e.server().AcceptRehearsal(e.ctx, app, c.Ref, c.Why)
		return e.noted(ok, err, "%s", ok.Note)
	}
	r, err := e.server().Rehearsal(e.ctx, app, c.Ref)
	if c.Again || bosman.KindOf(err) == bosman.KindNotFound && strings.HasPrefix(c.Ref, "r") {
		ok, err := e.server().Rehearse(e.ctx, app, c.Ref)
		if err != nil || !c.Wait {
			return e.noted(ok, err, "%s", ok.Note)
		}
		r.State = bosman.RehearsalRunning
	} else if err != nil {
		return err
	}
	for c.Wait && (r.State == bosman.RehearsalRunning || r.State == "") {
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
		if r, err = e.server().Rehearsal(e.ctx, app, c.Ref); err != nil {
			return err
		}
	}
	if err := e.show(r, func() error { return e.say("%s", strings.TrimRight(rehearsalText(r), "\n")) }); err != nil {
		return err
	}
	if c.Wait && r.State == bosman.RehearsalFailed {
		return bosman.Failed("%s failed on a copy of staging's data: %s", bosman.Ref(bosman.LetterRelease, r.Release), r.Reason)
	}
	return nil
}

// rehearsalLine says in a line how a rehearsal went.
func rehearsalLine(r bosman.Rehearsal) string {
	ref := bosman.Ref(bosman.LetterRelease, r.Release)
	switch {
	case r.State == bosman.RehearsalRunning:
		return ref + " is being rehearsed on a copy of staging's data"
	case r.State == bosman.RehearsalFailed && r.Accepted != "":
		return "! " + ref + " fails on a copy of staging's data, let pass by " + r.Accepted
	case r.State == bosman.RehearsalFailed:
		return "✕ " + ref + " fails on a copy of staging's data: " + r.Reason
	case r.State == bosman.RehearsalSkipped:
		return ref + " was not rehearsed: " + r.Reason
	case r.Strayed() != "":
		return "! " + ref + ": " + r.Strayed()
	}
	schema := r.Schema
	if schema == "" {
		schema = "the schema did not change"
	}
	return fmt.Sprintf("✓ %s rehearsed on a copy of staging's data in %s: %s", ref, span(r.Took), schema)
}

func span(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// rehearsalText says all of it.
func rehearsalText(r bosman.Rehearsal) string {
	var b strings.Builder
	b.WriteString(rehearsalLine(r) + "\n")
	if !r.Copy.TakenAt.IsZero() {
		fmt.Fprintf(&b, "on data of %s with %s, taken %s\n", r.Copy.From, bosman.Ref(bosman.LetterRelease, r.Copy.Release), r.Copy.TakenAt.Format("2006-01-02 15:04:05 MST"))
	}
	for _, s := range r.Statements {
		mark := ""
		if s.Failed {
			mark = "✕ "
		}
		fmt.Fprintf(&b, "  %8s  %s%s\n", span(s.Took), mark, cut(strings.Join(strings.Fields(s.SQL), " "), 120))
		if s.Error != "" {
			fmt.Fprintf(&b, "  %8s  this statement failed: %s\n", "", s.Error)
		}
	}
	if r.Others > 0 {
		fmt.Fprintf(&b, "  %8s  %d steps that read or write rows\n", span(r.OthersTook), r.Others)
	}
	for _, l := range r.Locks {
		what := "nobody waits"
		if l.Stops != "" {
			what = l.Stops + " wait"
		}
		fmt.Fprintf(&b, "  %8s  %s on %s: %s\n", span(l.For), l.Mode, l.Table, what)
	}
	for _, d := range r.Dangers {
		fmt.Fprintf(&b, "! %s: %s\n", d.Kind, d.Text)
	}
	if tried := r.Tried(); tried != "" && r.Strayed() == "" {
		fmt.Fprintf(&b, "! it %s\n", tried)
	}
	if r.Blind != "" {
		fmt.Fprintf(&b, "%s\n", r.Blind)
	}
	if !r.Closed && (r.State == bosman.RehearsalPassed || r.State == bosman.RehearsalFailed) {
		b.WriteString("its network was open: connections elsewhere were not seen\n")
	}
	if r.Accepted != "" {
		fmt.Fprintf(&b, "let pass by %s\n", r.Accepted)
	}
	if r.State == bosman.RehearsalFailed && r.Output != "" {
		b.WriteString("its output ends with:\n  " + strings.ReplaceAll(r.Output, "\n", "\n  ") + "\n")
	}
	return b.String()
}
