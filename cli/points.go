package cli

import (
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

type backupPointsCmd struct{ inApp }

// Help gives examples.
func (backupPointsCmd) Help() string {
	return `Every moment in the spans that are shown can be recovered at, and each restore
point. Each deployment to live has two: APP-d37-before, right before its
migrations, and APP-d37, at its switch. After a fire last-TIME is the end of the
lost server's log. bosman serve --point-in-time switches it on, for PostgreSQL
databases of staging and live.

Examples:
  bosman backup points
  bosman backup points --json | jq -r '.points[].name'`
}

// Run lists the moments.
func (c *backupPointsCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	p, err := e.server().PointInTime(e.ctx, app)
	if err != nil {
		return err
	}
	return e.show(p, func() error { return e.points(p) })
}

// exact is how moments are shown: in the zone of whoever looks.
const exact = "2006-01-02 15:04:05 MST"

func (e *env) points(p bosman.PointInTime) error {
	for _, s := range p.Spans {
		if err := e.say("every moment from %s to %s", s.From.Local().Format(exact), s.To.Local().Format(exact)); err != nil {
			return err
		}
	}
	switch {
	case !p.On && len(p.Spans) == 0:
		return e.say("point-in-time recovery is off: the log of the databases is not kept, and no moment can be reached; switch it on: bosman serve --point-in-time 7")
	case !p.On:
		if err := e.say("point-in-time recovery is off: what is written now is not kept; switch it on again: bosman serve --point-in-time 7"); err != nil {
			return err
		}
	case len(p.Spans) == 0:
		if err := e.say("no moment can be reached yet: the first base backup is being made"); err != nil {
			return err
		}
	default:
		stored := ""
		if !p.Shipped.IsZero() {
			stored = ", stored up to " + e.ago(p.Shipped)
		}
		if err := e.say("the last %d days stay; %s in the target%s, base backup proven %s", p.Days, size(p.Bytes), stored, e.ago(p.Base)); err != nil {
			return err
		}
	}
	if p.Trouble != "" {
		if _, err := fmt.Fprintln(e.stderr, "! "+p.Trouble); err != nil {
			return err
		}
	}
	if r := p.Recovery; r != nil {
		if err := e.say("%s", e.recovered(*r)); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, len(p.Points))
	for _, t := range p.Points {
		state := "yes"
		if !t.Reachable {
			state = "no"
		}
		rows = append(rows, []string{t.Name, t.At.Local().Format(exact), e.ago(t.At), t.What, state})
	}
	return e.table([]string{"POINT", "MOMENT", "WHEN", "WHAT", "REACHABLE"}, rows, "there is no restore point yet")
}

// recovered says in a sentence how a recovery went.
func (e *env) recovered(r bosman.PointRecovery) string {
	of := fmt.Sprintf("%s/%s as of %s", r.App, r.Instance, r.Moment.At.Local().Format(exact))
	switch r.State {
	case bosman.RecoveryDone:
		return fmt.Sprintf("%s was recovered in %s: bosman kept restore %s %s", of, took(r.EndedAt.Sub(r.BegunAt)), r.Instance, r.Kept)
	case bosman.RecoveryFailed:
		return of + " could not be recovered: " + r.Error.Message
	case bosman.RecoveryRunning:
	}
	return of + " is being recovered: " + r.Note
}

type backupRecoverCmd struct {
	inApp
	Instance string `arg:"" help:"live or staging."`
	At       string `placeholder:"TIME" xor:"moment" help:"2026-11-23 10:12:30, or 10:12:30 of today, in this machine's zone; or with a zone: 2026-11-23T09:12:30Z."`
	Point    string `placeholder:"NAME" xor:"moment" help:"A restore point, as bosman backup points lists it."`
	Plan     bool   `help:"Only say what it would take."`
	Wait     bool   `help:"Wait until it ended; the exit code says how."`
}

// Help gives examples.
func (backupRecoverCmd) Help() string {
	return `The database of that moment is recovered on a server of its own and put beside
the present one, which stays as it is, until it is put in its place as "bosman
kept" does it. Uploaded files stay those of now.

Examples:
  bosman backup recover-to live --at "2026-11-23 10:12:30" --wait
  bosman backup recover-to live --at 10:12:30 --plan
  bosman backup recover-to live --point rms-d37-before --wait`
}

// Run recovers.
func (c *backupRecoverCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	w := bosman.Moment{Point: c.Point}
	if c.At != "" {
		if w.At, err = parseMoment(c.At, e.now()); err != nil {
			return err
		}
	}
	plan, err := e.server().PlanRecovery(e.ctx, app, c.Instance, w)
	if err != nil {
		return err
	}
	if c.Plan {
		return e.show(plan, func() error { return e.say("%s", planned(plan)) })
	}
	if !e.global.JSON {
		if _, err := fmt.Fprintln(e.stderr, planned(plan)); err != nil {
			return err
		}
	}
	r, err := e.server().RecoverTo(e.ctx, app, c.Instance, w)
	if err != nil {
		return err
	}
	if c.Wait {
		if r, err = e.untilRecovered(app, r); err != nil {
			return err
		}
	}
	return e.noted(r, nil, "%s", e.recovered(r))
}

func planned(p bosman.RecoveryPlan) string {
	text := fmt.Sprintf("From the base backup of %s and %d segments of the log: %s from the target, about %s of the %s that are free here while it runs",
		p.Base.Local().Format(exact), p.Segments, size(p.Fetch), size(p.Needs), size(p.Free))
	if p.Expected > 0 {
		text += "; the last one took " + took(p.Expected)
	}
	return text + "."
}

// untilRecovered waits for the end of a recovery, saying what it does.
func (e *env) untilRecovered(app string, r bosman.PointRecovery) (bosman.PointRecovery, error) {
	said := ""
	for {
		p, err := e.server().PointInTime(e.ctx, app)
		if err != nil {
			return r, err
		}
		if p.Recovery == nil || !p.Recovery.BegunAt.Equal(r.BegunAt) {
			return r, bosman.Unavailable("nobody knows how the recovery went: another one was begun").WithNext("bosman kept list")
		}
		r = *p.Recovery
		switch r.State {
		case bosman.RecoveryDone:
			return r, nil
		case bosman.RecoveryFailed:
			return r, r.Error
		case bosman.RecoveryRunning:
		}
		if r.Note != said && !e.global.JSON {
			said = r.Note
			if _, err := fmt.Fprintln(e.stderr, said); err != nil {
				return r, err
			}
		}
		select {
		case <-e.ctx.Done():
			return r, e.ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// parseMoment reads a moment as a person writes it; without a date it is of
// the day of now.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t.UTC(), nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location()).UTC(), nil
		}
	}
	return time.Time{}, bosman.Invalid("%q is no moment", text).WithKept("nothing was changed").WithNext(`write it like "2026-11-23 10:12:30"`)
}
