package web

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/web/build"
	"github.com/bosman-cd/bosman/web/change"
	"github.com/bosman-cd/bosman/web/ui"
)

// Change gives one change with all that its page shows.
func (a adapter) Change(ctx context.Context, who bosman.Actor, app, ref string) (change.View, error) {
	c, err := a.ChangePage(ctx, who, app, ref)
	if err != nil {
		return change.View{}, err
	}
	c.Title = title(c.Change)
	v := change.View{Change: c.Change, Road: c.Road, Build: c.Build, Signoffs: c.Signoffs, Stale: c.Stale}
	v.May = change.May{
		Try:     a.May(ctx, who, bosman.MayTry, app, bosman.KindTesting),
		SignOff: a.May(ctx, who, bosman.MaySignOff, app, ""),
		Merge:   a.May(ctx, who, bosman.MayMerge, app, ""),
		Push:    a.May(ctx, who, bosman.MayPush, app, ""),
	}
	if v.Builds, err = a.Builds(ctx, who, app, c.Number, 20); err != nil {
		return v, err
	}
	v.NoMerge, v.NoTry = noMerge(c), noTry(c, v.Builds)
	if r, err := a.Rehearsal(ctx, who, app, ui.Change(c.Number)); err == nil {
		v.Rehearsal = &r
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return v, err
	}
	newest := 0
	for _, b := range v.Builds {
		if b.Head == c.Head && b.Release != 0 {
			newest = b.Release
			break
		}
	}
	for _, i := range c.On {
		mails, err := a.Mails(ctx, who, app, i.Name, 100)
		if err != nil {
			return v, err
		}
		v.On = append(v.On, change.On{
			Instance: i, Current: i.Release == newest, MayTry: v.May.Try,
			Mails: len(slices.DeleteFunc(mails, func(m bosman.Mail) bool { return m.At.Before(i.UpdatedAt) })),
		})
		if i.Name == mine(who) {
			v.Tried = i.Release == newest
		}
	}
	v.TryOn, v.CopyNote, err = a.tryOn(ctx, who, app)
	return v, err
}

// mine is the testing instance of a person.
func mine(who bosman.Actor) string { return "testing-" + who.Person }

// tryOn lists the instances a change may be tried on, the reader's own first,
// and says how fresh a copy would be.
func (a adapter) tryOn(ctx context.Context, who bosman.Actor, app string) ([]string, string, error) {
	list, err := a.Instances(ctx, who, app)
	if err != nil {
		return nil, "", err
	}
	names, note := []string{mine(who)}, "on an empty database: staging runs nothing yet"
	for _, i := range list {
		switch {
		case i.Kind == bosman.KindPreview && i.Owner == bosman.System().Person: // a change's own
		case (i.Kind == bosman.KindTesting || i.Kind == bosman.KindPreview) && i.Name != mine(who):
			names = append(names, i.Name)
		case i.Kind == bosman.KindStaging && i.Release != 0:
			note = "with a fresh copy of staging's data (" + ui.Release(i.Release) + ")"
		}
	}
	return names, note, nil
}

// noMerge says why a change cannot be merged now; helm judges again.
func noMerge(c helm.ChangeView) string {
	switch {
	case c.State != bosman.ChangeOpen:
		return "it is " + string(c.State)
	case len(c.Conflicts) > 0:
		return "it conflicts with main in " + strings.Join(c.Conflicts, ", ")
	case c.Blocked != "":
		return c.Blocked
	case c.Trust == bosman.TrustStranger:
		return "it comes from the fork of " + c.Fork + "; take its commits over into a branch of your own once you read them"
	case c.MergeWanted != "":
		return "it merges by itself once its tests are green (" + c.MergeWanted + " asked)"
	}
	for i := len(c.Signoffs) - 1; i >= 0; i-- {
		if s := c.Signoffs[i]; s.Commit == c.Head {
			if s.Verdict == bosman.SentBack {
				return s.Person + " sent it back; push a fix, or let a tester accept it"
			}
			break
		}
	}
	if c.Build != nil && c.Build.State == bosman.BuildRed && !c.Stale {
		return "its tests are red"
	}
	return ""
}

// noTry says why a change cannot be tried now.
func noTry(c helm.ChangeView, builds []bosman.Build) string {
	switch {
	case c.Trust == bosman.TrustStranger:
		return "code of strangers gets no instance"
	case len(c.Conflicts) > 0:
		return "it conflicts with main, so there is nothing to run"
	}
	for _, b := range builds {
		if b.Head == c.Head && b.Release != 0 {
			return ""
		}
	}
	if c.Build != nil && !c.Build.State.Final() {
		return ui.Build(c.Build.Number) + " is still making its release"
	}
	return "it was not built"
}

type buildReader struct{ adapter }

// stepLines is how many lines of each step's log a page shows.
const stepLines = 300

// Build gives one build with its logs.
func (a buildReader) Build(ctx context.Context, who bosman.Actor, app string, n int) (build.View, error) {
	b, err := a.BuildOf(ctx, who, app, n)
	if err != nil {
		return build.View{}, err
	}
	v := build.View{Build: b, Title: b.Branch, MayPush: a.May(ctx, who, bosman.MayPush, app, "")}
	if b.Change != 0 {
		if c, err := a.FindChange(ctx, who, app, ui.Change(b.Change)); err == nil {
			v.Title = title(c)
		} else if bosman.KindOf(err) != bosman.KindNotFound {
			return v, err
		}
	}
	path := a.w.cfg.Logs.Build(app, n)
	if !b.PrunedAt.IsZero() {
		path = "" // its log is gone, which the page says
	}
	if b.State.Final() && len(b.Steps) > 0 {
		for _, s := range b.Steps {
			l, err := stepLog(path, s, world{a.w}.Zone(ctx, app))
			if err != nil {
				return v, err
			}
			v.Logs = append(v.Logs, l)
		}
	} else if v.Tail, v.From, err = tail(path, stepLines, world{a.w}.Zone(ctx, app)); err != nil {
		return v, err
	}
	others, err := a.Builds(ctx, who, app, b.Change, 40)
	if err != nil {
		return v, err
	}
	for i := len(others) - 1; i >= 0; i-- {
		if o := others[i]; o.State.Final() && !o.StartedAt.IsZero() && !o.EndedAt.IsZero() {
			v.Runs = append(v.Runs, build.Duration{Number: o.Number, Seconds: o.EndedAt.Sub(o.StartedAt).Seconds(), Tone: ui.OfBuild(o.State)})
		}
	}
	return v, nil
}

// stepLog reads the end of what a step said.
func stepLog(path string, s bosman.BuildStep, zone *time.Location) (build.StepLog, error) {
	var out build.StepLog
	if path == "" || s.LogTo <= s.LogFrom {
		return out, nil
	}
	from := s.LogFrom
	if most := int64(stepLines * 200); s.LogTo-from > most {
		from, out.Cut = s.LogTo-most, true
	}
	for from < s.LogTo {
		lines, next, err := logfile.Read(path, from, stepLines)
		if err != nil || len(lines) == 0 {
			return out, err
		}
		for _, l := range lines {
			if l.Offset >= s.LogTo {
				break
			}
			out.Lines = append(out.Lines, ui.Line{At: l.At.In(zone), Source: l.Source, Text: l.Text})
		}
		from = next
	}
	if n := len(out.Lines); n > stepLines {
		out.Lines, out.Cut = out.Lines[n-stepLines:], true
	}
	return out, nil
}
