package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/internal/faults"
)

// maxArtifacts limits the report files kept of one step, in bytes.
const maxArtifacts = 64 << 20

// test runs all test steps on a throw-away layer over the release, also when
// one has failed, and reads their reports.
func (u *run) test(ctx context.Context) (err error) {
	if len(u.m.Test) == 0 {
		return nil
	}
	if err := u.throwAway(ctx); err != nil {
		return err
	}
	database := Provided{}
	if u.TestDatabase != nil {
		if database, err = u.TestDatabase.Provide(ctx, u.b, u.m); err != nil {
			return err
		}
		if database.Close != nil {
			defer func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				defer cancel()
				if cerr := database.Close(ctx); cerr != nil {
					u.log.Warn("the test database could not be removed", "error", cerr)
				}
			}()
		}
	}
	first := len(u.b.Steps) - len(u.m.Test)
	var reasons []string
	for i, s := range u.m.Test {
		err := u.testStep(ctx, s, &u.b.Steps[first+i], database)
		var failed *red
		if errors.As(err, &failed) {
			reasons = append(reasons, failed.reason)
		} else if err != nil {
			return err
		}
	}
	if err := u.markChanged(ctx); err != nil {
		return err
	}
	if len(reasons) > 0 {
		return &red{strings.Join(reasons, "; ")}
	}
	return nil
}

// markChanged marks in the report what lies on lines that the change touched.
func (u *run) markChanged(ctx context.Context) error {
	if u.b.Base == "" || u.b.Report == nil {
		return nil
	}
	lines, err := u.Source.ChangedLines(ctx, u.b.App, u.b.Base, u.b.Commit)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		u.b.Report.Problems = append(u.b.Report.Problems, "which lines the change touched could not be found out: "+bosman.AsError(err).Message)
		return nil
	}
	u.Reports.MarkChanged(u.b.Report, lines)
	return nil
}

func (u *run) testStep(ctx context.Context, s bosman.Step, at *bosman.BuildStep, database Provided) error {
	if err := faults.Point("build.before-test"); err != nil {
		return err
	}
	err := u.runStep(ctx, s, at, "", func(c *sandbox.Command) {
		u.place(c)
		c.Env = append(c.Env, database.Env...) // the later wins
		c.Binds = append(c.Binds, database.Sockets...)
	})
	var failed *red
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	if s.Reports == (bosman.Reports{}) {
		return err
	}
	report, rerr := u.collect(s)
	if rerr != nil {
		return rerr
	}
	mergeReport(&u.b, report, u.m.Root)
	note := testNote(report)
	if note != "" {
		if at.State == bosman.StepDone {
			at.State = bosman.StepFailed // it ended well, but its report says otherwise
			if s.AllowFailure {
				at.State = bosman.StepAllowed
			}
		}
		at.Note = note
		if at.State == bosman.StepFailed {
			err = &red{note}
		}
	}
	if serr := u.save(ctx); serr != nil {
		return serr
	}
	return err
}

// testNote says how many tests of a report failed and names the first; "" if
// none did.
func testNote(r *bosman.Report) string {
	passed, failed, _ := r.Count()
	if failed == 0 {
		return ""
	}
	i := slices.IndexFunc(r.Tests, func(t bosman.TestCase) bool {
		return t.State == bosman.TestFailed || t.State == bosman.TestErrored
	})
	t := r.Tests[i]
	name := t.Name
	if t.Suite != "" {
		name = t.Suite + "." + t.Name
	}
	message, _, _ := strings.Cut(strings.TrimSpace(t.Message), "\n")
	note := fmt.Sprintf("%d of %d tests failed, first %s", failed, passed+failed, name)
	if message != "" {
		note += ": " + clip(message, 200)
	}
	return note
}

// throwAway prepares the layer the tests run on: an overlay where the host can,
// else a copy.
func (u *run) throwAway(ctx context.Context) error {
	tree := u.Releases.Tree(u.rel.App, u.rel.Number)
	o := sandbox.Overlay{
		Lower: tree, Upper: filepath.Join(u.work, "over", "upper"), Work: filepath.Join(u.work, "over", "work"), Mount: filepath.Join(u.work, "over", "app"),
	}
	if u.Sandbox.CanOverlay(o) {
		err := u.Sandbox.Prepare(ctx, o, u.uid)
		if err == nil {
			u.overlay = &o
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		u.log.Warn("no overlay: the tests get a copy of the release", "error", err)
	}
	u.tests = filepath.Join(u.work, "tests")
	err := copyTree(tree, u.tests, false)
	if err == nil && u.Sandbox.Root() {
		err = give(u.tests, u.uid)
	}
	if err != nil {
		return u.host("the release could not be copied for the tests", err)
	}
	for _, s := range u.m.Test { // reports that lie in the repository are not this build's
		old, err := globFiles(filepath.Join(u.tests, filepath.FromSlash(u.m.Root)), reportGlobs(s.Reports))
		for _, name := range old {
			err = errors.Join(err, os.Remove(filepath.Join(u.tests, filepath.FromSlash(path.Join(u.m.Root, name)))))
		}
		if err != nil {
			return u.host("old reports could not be removed", err)
		}
	}
	return nil
}

// place points c at the layer of the tests.
func (u *run) place(c *sandbox.Command) {
	c.Overlay = u.overlay
	if u.overlay == nil {
		c.Tree = u.tests
	}
}

func reportGlobs(r bosman.Reports) []string {
	var globs []string
	for _, g := range []string{r.JUnit, r.Coverage, r.Lint} {
		if g != "" {
			globs = append(globs, g)
		}
	}
	return globs
}

// collect copies the reports that a step left to the build's artifacts and
// reads them. Links are not followed: the step may have made them.
func (u *run) collect(s bosman.Step) (*bosman.Report, error) {
	from := u.tests
	if u.overlay != nil {
		from = u.overlay.Upper
	}
	from = filepath.Join(from, filepath.FromSlash(u.m.Root))
	to := filepath.Join(ArtifactsDir(u.Data, u.b.App, u.b.Number), safeName(s.Name))
	if err := os.MkdirAll(to, 0o750); err != nil {
		return nil, u.host("the reports could not be kept", err)
	}
	names, err := globFiles(from, reportGlobs(s.Reports))
	if err != nil {
		return nil, u.host("the reports could not be found", err)
	}
	left := int64(maxArtifacts)
	var tooMuch []string
	for _, name := range names {
		host := filepath.Join(from, filepath.FromSlash(name))
		if u.overlay != nil && u.overlay.Untouched(host) {
			continue // lies in the repository
		}
		n, err := keepReport(host, filepath.Join(to, filepath.FromSlash(name)), left)
		if errors.Is(err, errTooBig) {
			tooMuch = append(tooMuch, fmt.Sprintf("%s is too big: reports of a step may have %d MB", name, maxArtifacts>>20))
			continue
		}
		if err != nil {
			return nil, u.host("the reports could not be kept", err)
		}
		left -= n
	}
	report := u.Reports.Read(to, s.Reports)
	report.Problems = append(report.Problems, tooMuch...)
	return report, nil
}

var errTooBig = errors.New("too big")

func keepReport(from, to string, max int64) (n int64, err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return 0, nil // a link
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	if info.Size() > max {
		return 0, errTooBig
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}

func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == 0 || r == '.' || r == ' ' {
			return '-'
		}
		return r
	}, s)
}

// mergeReport adds the report of a step to the build's. root is the app's
// folder: paths of a build's report are the repository's.
func mergeReport(b *bosman.Build, r *bosman.Report, root string) {
	full := func(p string) string { // tools give paths from where they run, or from /app
		if strings.HasPrefix(p, path.Clean(root)+"/") {
			return p
		}
		return path.Join(root, p)
	}
	for i := range r.Findings {
		r.Findings[i].Path = full(r.Findings[i].Path)
	}
	if r.Coverage != nil {
		for i := range r.Coverage.Files {
			r.Coverage.Files[i].Path = full(r.Coverage.Files[i].Path)
		}
	}
	if b.Report == nil {
		b.Report = &bosman.Report{}
	}
	all := b.Report
	bad := func(t bosman.TestCase) bool { return t.State == bosman.TestFailed || t.State == bosman.TestErrored }
	all.Tests = append(all.Tests, r.Tests...)
	slices.SortStableFunc(all.Tests, func(x, y bosman.TestCase) int {
		switch {
		case bad(x) == bad(y):
			return 0
		case bad(x):
			return -1
		}
		return 1
	})
	all.Findings = append(all.Findings, r.Findings...)
	all.Problems = append(all.Problems, r.Problems...)
	switch {
	case r.Coverage == nil:
	case all.Coverage == nil:
		all.Coverage = r.Coverage
	default: // two measurements: of different parts, as a rule
		sum := *all.Coverage
		sum.Lines += r.Coverage.Lines
		sum.Covered += r.Coverage.Covered
		sum.Changed += r.Coverage.Changed
		sum.ChangedOK += r.Coverage.ChangedOK
		sum.Files = slices.Concat(sum.Files, r.Coverage.Files)
		all.Coverage = &sum
	}
}

// after runs the after: steps that fit the verdict. They are logged and change
// nothing.
func (u *run) after(ctx context.Context) {
	if u.m == nil {
		return
	}
	when, status := "success", "success"
	if u.b.State == bosman.BuildRed {
		when, status = "failure", "failure"
	}
	for _, a := range u.m.After {
		if ctx.Err() != nil || a.When != "always" && a.When != when {
			continue
		}
		if err := u.afterStep(ctx, a, status); err != nil && ctx.Err() == nil {
			u.out.Say("after: %v", err)
		}
	}
}

func (u *run) afterStep(ctx context.Context, a bosman.After, status string) error {
	cmd, err := u.command(mergeEnv(u.m.Env, map[string]string{"BOSMAN_STATUS": status, "BOSMAN_REASON": u.b.Reason}), a.Run)
	if err != nil {
		return err
	}
	if u.rel.Number > 0 {
		if u.overlay == nil && u.tests == "" {
			if err := u.throwAway(ctx); err != nil {
				return err
			}
		}
		u.place(&cmd)
	}
	out := u.out.output("after", u.mask)
	cmd.Out, cmd.Timeout = out, 5*time.Minute
	u.out.Say("after: %s", u.mask.mask(a.Run))
	exit, err := u.Sandbox.Run(ctx, cmd)
	out.finish()
	if err == nil && (exit.Code != 0 || exit.TimedOut) {
		u.out.Say("after: %s", whyFailed(bosman.Step{Name: "after", Timeout: cmd.Timeout}, exit, out.end))
	}
	return err
}
