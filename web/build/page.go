// Package build is the page of one build: its steps, failed tests first, and
// its log, live. It must not know how builds are run.
package build

import (
	"context"
	_ "embed"
	"net/http"
	"slices"
	"strconv"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// CSS is the look of the page and of reports.
//
//go:embed page.css
var CSS string

// StepLog is what the log holds of one step.
type StepLog struct {
	Lines []ui.Line
	Cut   bool // only the end is shown
}

// View is what the page shows.
type View struct {
	Build   bosman.Build
	Title   string    // of the change, or main's branch
	Logs    []StepLog // by step
	Tail    []ui.Line // the end of the log while it runs
	From    int64     // where the log goes on
	MayPush bool
	Runs    []Duration // earlier builds of the same branch, oldest first
}

// Duration is how long one build took.
type Duration struct {
	Number  int
	Seconds float64
	Tone    ui.Tone
}

// Reader gives what the page shows.
type Reader interface {
	Build(ctx context.Context, a bosman.Actor, app string, n int) (View, error)
}

// Verbs are what may be done from the page.
type Verbs interface {
	Retry(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Build, error)
	CancelBuild(ctx context.Context, a bosman.Actor, app string, n int, why string) error
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Show is GET /APP/builds/N.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	v, err := p.Reader.Build(ctx, kit.Actor(ctx), app, n)
	if err != nil {
		return err
	}
	crumbs := []layout.Crumb{{Name: texts.T(ctx, "Changes"), Path: ui.Path(app, "changes")}}
	if v.Build.Change != 0 {
		crumbs = append(crumbs, layout.Crumb{Name: ui.Change(v.Build.Change), Path: ui.Path(app, "changes", v.Build.Change)})
	}
	ref := ui.Build(n)
	return p.Kit.Draw(w, r, layout.Frame{Title: ref + " " + string(v.Build.State) + " · " + app, App: app, Tab: "changes", Crumbs: append(crumbs, layout.Crumb{Name: ref})}, Page(v))
}

// Act is POST /APP/builds/N/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	here := ui.Path(app, "builds", n)
	switch r.PathValue("verb") {
	case "retry":
		b, err := p.Verbs.Retry(ctx, kit.Actor(ctx), app, n)
		if err == nil {
			here = ui.Path(app, "builds", b.Number)
		}
		return p.Kit.Answer(w, r, here, texts.T(ctx, "Queued as %s.", ui.Build(b.Number)), err)
	case "cancel":
		err := p.Verbs.CancelBuild(ctx, kit.Actor(ctx), app, n, kit.Form(r, "why"))
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is being cancelled.", ui.Build(n)), err)
	}
	return bosman.NotFound("A build cannot be asked for that.")
}

// Failed lists the tests that failed.
func Failed(r *bosman.Report) []bosman.TestCase {
	if r == nil {
		return nil
	}
	var out []bosman.TestCase
	for _, t := range r.Tests {
		if t.State == bosman.TestFailed || t.State == bosman.TestErrored {
			out = append(out, t)
		}
	}
	return out
}

// Findings lists findings, those on changed lines first.
func Findings(r *bosman.Report) []bosman.Finding {
	if r == nil {
		return nil
	}
	out := slices.Clone(r.Findings)
	slices.SortStableFunc(out, func(a, b bosman.Finding) int {
		switch {
		case a.Changed == b.Changed:
			return 0
		case a.Changed:
			return -1
		}
		return 1
	})
	return out
}

func place(f bosman.Finding) string {
	s := f.Path
	if f.Line > 0 {
		s += ":" + strconv.Itoa(f.Line)
	}
	return s
}

func percent(part, of int) string {
	if of == 0 {
		return "–"
	}
	return strconv.Itoa(part*100/of) + " %"
}

// most is how many lines of a list are shown.
const most = 60

func first[T any](all []T) []T { return all[:min(len(all), most)] }

// Why is the reason of a build in the three parts of a failure.
func Why(b bosman.Build) *bosman.Error {
	e := bosman.Failed("%s", b.Reason)
	switch b.State {
	case bosman.BuildRed:
		e.Kept, e.Next = "main and all instances run on as before", "push a fix; it is built again by itself"
	case bosman.BuildError:
		e.Kept, e.Next = "the change is not to blame and was not judged", "build it again; if it stays so, look at the server: bosman doctor"
	case bosman.BuildCancelled:
		e.Next = "build it again if it is still wanted"
	case bosman.BuildQueued, bosman.BuildRunning, bosman.BuildGreen:
	}
	return e
}

func stepWord(s bosman.BuildStep) string {
	if s.State == bosman.StepFailed && s.Exit != 0 {
		return "failed with exit status " + strconv.Itoa(s.Exit)
	}
	return string(s.State)
}

const barMax = 56

func barSize(r Duration, all []Duration) float64 {
	most := 1.0
	for _, o := range all {
		most = max(most, o.Seconds)
	}
	return max(2, r.Seconds/most*barMax)
}

func barHeight(r Duration, all []Duration) string {
	return strconv.FormatFloat(barSize(r, all), 'f', 1, 64)
}

func barTop(r Duration, all []Duration) string {
	return strconv.FormatFloat(60-barSize(r, all), 'f', 1, 64)
}
