package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// roadText is a road on one line: ✓ tests → ◐ testing anna → ….
func roadText(road bosman.Road, plain bool) string {
	stops := make([]string, len(road))
	for n, st := range road {
		stops[n] = station(st, plain)
	}
	if plain {
		return strings.Join(stops, ", ")
	}
	return strings.Join(stops, " → ")
}

func station(st bosman.Station, plain bool) string {
	text := st.State.Mark() + " " + st.Name
	if plain {
		text = st.Name + " " + string(st.State)
	}
	switch {
	case st.Name == "testing" && st.Note != "":
		text += " " + st.Note
	case st.Name == "tests" && st.State == bosman.StationFailed, st.Name == "merged" && st.State == bosman.StationFailed:
		text += " (" + cut(st.Note, 40) + ")"
	case st.Name == "accepted" && st.Who != "":
		text += " " + st.Who
	}
	return text
}

// waiting says what the --wait flag does.
type waiting struct {
	Wait bool `short:"w" help:"Wait until it ends, showing each step; the exit code says how it went."`
}

// progress shows the steps of something as they go: redrawn on a terminal,
// each end of a step as a line elsewhere.
type progress struct {
	w     io.Writer
	live  bool
	width int // of the terminal
	drawn int // lines on the terminal
	said  map[string]bool
	now   func() time.Time
}

func (e *env) progress() *progress {
	width, live := terminal(e.stdout)
	p := &progress{w: e.stdout, width: width, live: live && e.getenv("TERM") != "dumb", said: map[string]bool{}, now: e.now}
	if e.global.JSON {
		p.w, p.live = io.Discard, false
	}
	return p
}

// line is one step as shown.
type line struct {
	state      bosman.StepState
	name, note string
	from, to   time.Time
}

func (l line) text(now time.Time) string {
	var d time.Duration
	if !l.from.IsZero() {
		if end := l.to; !end.IsZero() {
			d = end.Sub(l.from)
		} else {
			d = now.Sub(l.from)
		}
	}
	mark := map[bosman.StepState]string{
		bosman.StepWaiting: "◌", bosman.StepRunning: "◐", bosman.StepDone: "✓", bosman.StepFailed: "✕",
		bosman.StepAllowed: "✕", bosman.StepSkipped: "–", bosman.StepUndone: "↩",
	}[l.state]
	text := mark + " " + l.name
	switch {
	case l.state == bosman.StepRunning:
		text += " …"
	case d >= 50*time.Millisecond:
		text += " " + took(d)
	}
	if l.note != "" {
		text += ": " + l.note
	}
	return text
}

// draw shows the steps as they are now.
func (p *progress) draw(title string, lines []line) error {
	var b strings.Builder
	if p.live {
		if p.drawn > 0 {
			fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
		}
		b.WriteString(cut(title, p.width) + "\n")
		for _, l := range lines { // a line that wraps would not be drawn over
			b.WriteString(cut("  "+strings.ReplaceAll(l.text(p.now()), "\n", " "), p.width) + "\n")
		}
		p.drawn = len(lines) + 1
		_, err := io.WriteString(p.w, b.String())
		return err
	}
	if !p.said[title] {
		p.said[title] = true
		b.WriteString(title + "\n")
	}
	for _, l := range lines {
		key := l.name + "\x00" + string(l.state)
		if p.said[key] || l.state == bosman.StepWaiting || l.state == bosman.StepRunning {
			continue
		}
		p.said[key] = true
		b.WriteString("  " + l.text(p.now()) + "\n")
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// wish says what an operation is to do.
func wish(o bosman.Operation) string {
	switch o.Plan {
	case bosman.PlanDeploy:
		return fmt.Sprintf("deploy %s to %s", releaseRef(o.Release), o.Instance)
	case bosman.PlanRevert:
		return fmt.Sprintf("take %s back to %s", o.Instance, releaseRef(o.Release))
	case bosman.PlanTry:
		return fmt.Sprintf("try %s on %s", changeRef(o.Change), o.Instance)
	case bosman.PlanRestore:
		if o.Backup == 0 {
			return "put back what was kept of " + o.Instance
		}
		return fmt.Sprintf("restore %s on %s", backupRef(o.Backup), o.Instance)
	case bosman.PlanBackup:
		return "back up " + o.Instance
	case bosman.PlanRestart, bosman.PlanStop, bosman.PlanStart:
	}
	return string(o.Plan) + " " + o.Instance
}

func opLines(o bosman.Operation) []line {
	out := make([]line, 0, len(o.Steps))
	for _, s := range o.Steps {
		out = append(out, line{s.State, s.Name, s.Note, s.StartedAt, s.EndedAt})
	}
	return out
}

// asked shows an operation that was asked for, and waits for it if wanted.
func (e *env) asked(o bosman.Operation, err error, wait bool) error {
	return e.until(o, err, wait, false)
}

// until is asked; settled also waits until it is not watched any more.
func (e *env) until(o bosman.Operation, err error, wait, settled bool) error {
	if err != nil {
		return err
	}
	if !wait && !settled {
		return e.show(o, func() error {
			if o.Waits != "" {
				return e.say("%s: %s; waits: %s", opRef(o.Number), wish(o), o.Waits)
			}
			return e.say("%s: %s; follow it with: bosman log %s -f", opRef(o.Number), wish(o), opRef(o.Number))
		})
	}
	p := e.progress()
	var broken error
	o, err = e.server().WaitOperation(e.ctx, o.App, o.Number, settled, func(o bosman.Operation) {
		title := opRef(o.Number) + ": " + wish(o)
		if o.State == bosman.OpQueued && o.Waits != "" {
			title += "; waits: " + o.Waits
		}
		if broken == nil {
			broken = p.draw(title, opLines(o))
		}
	})
	if err == nil {
		err = broken
	}
	if err != nil {
		return err
	}
	if err := e.show(o, func() error { return e.ended(o) }); err != nil {
		return err
	}
	return verdict(o)
}

// ended says how an operation ended.
func (e *env) ended(o bosman.Operation) error {
	ref := opRef(o.Number)
	switch o.State {
	case bosman.OpDone:
		return e.say("%s is done in %s", ref, took(o.EndedAt.Sub(o.StartedAt)))
	case bosman.OpWatching:
		return e.say("%s has switched %s to %s and watches it; to take it back: bosman revert %s", ref, o.Instance, releaseRef(o.Release), o.Instance)
	case bosman.OpFailed, bosman.OpReverted, bosman.OpCancelled, bosman.OpSuperseded, bosman.OpQueued, bosman.OpRunning:
	}
	if o.Error == nil {
		e.complain(ref+" is "+string(o.State), "", "")
		return nil
	}
	what := ref + " " + string(o.State) + ": " + o.Error.Message
	if o.Error.Cause != nil {
		what += ": " + o.Error.Cause.Error()
	}
	kept := o.Error.Kept
	if o.Failure != nil {
		if o.Failure.Health != "" {
			what += "\nhealth check: " + o.Failure.Health
		}
		if o.Failure.Exit != "" {
			what += "\nprocess: " + o.Failure.Exit
		}
		if o.Failure.LogTail != "" {
			what += "\n" + strings.TrimRight(o.Failure.LogTail, "\n")
		}
		kept = first(kept, o.Failure.Serving)
	}
	e.complain(what, kept, first(o.Error.Next, "bosman log "+ref))
	return nil
}

// verdict is the exit code of an operation.
func verdict(o bosman.Operation) error {
	switch o.State {
	case bosman.OpDone, bosman.OpWatching:
		return nil
	case bosman.OpFailed, bosman.OpReverted, bosman.OpCancelled, bosman.OpSuperseded, bosman.OpQueued, bosman.OpRunning:
	}
	return exitError{ExitFailed}
}

// queued shows a build that was asked for, and waits for it if wanted.
func (e *env) queued(b bosman.Build, err error, wait bool) error {
	if err != nil {
		return err
	}
	if !wait {
		return e.show(b, func() error {
			return e.say("%s builds %s; follow it with: bosman log %s -f", buildRef(b.Number), b.Branch, buildRef(b.Number))
		})
	}
	b, err = e.followBuild(b)
	if err != nil {
		return err
	}
	if err := e.show(b, func() error { return e.say("%s", buildLine(b)) }); err != nil {
		return err
	}
	if b.State != bosman.BuildGreen {
		return exitError{ExitFailed}
	}
	return nil
}

func (e *env) followBuild(b bosman.Build) (bosman.Build, error) {
	p := e.progress()
	var broken error
	b, err := e.server().WaitBuild(e.ctx, b.App, b.Number, func(b bosman.Build) {
		lines := make([]line, 0, len(b.Steps))
		for _, s := range b.Steps {
			name := s.Name
			if s.Variant != "" && s.Variant != bosman.DefaultVariant {
				name += " (" + s.Variant + ")"
			}
			note := s.Note
			if s.Cached {
				note = first(note, "from the cache")
			}
			lines = append(lines, line{s.State, name, note, s.StartedAt, s.EndedAt})
		}
		if broken == nil {
			broken = p.draw(buildRef(b.Number)+" builds "+b.Branch, lines)
		}
	})
	if err == nil {
		err = broken
	}
	return b, err
}

func buildLine(b bosman.Build) string {
	text := buildRef(b.Number) + " is " + string(b.State)
	if d := b.EndedAt.Sub(b.StartedAt); b.State.Final() && d > 0 {
		text += " after " + took(d)
	}
	if passed, failed, _ := b.Report.Count(); passed+failed > 0 {
		text += fmt.Sprintf(", %d tests passed", passed)
		if failed > 0 {
			text += fmt.Sprintf(", %d failed", failed)
		}
	}
	if b.State == bosman.BuildGreen && b.Release != 0 {
		text += ", release " + releaseRef(b.Release)
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}
