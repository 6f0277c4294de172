package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Runner runs builds. Its fields are set once; TestDatabase and Log may be nil.
type Runner struct {
	Data         string // DATA: work/, cache/ and builds/ below it are the runner's
	Source       Source
	Manifests    Manifests
	Reports      Reports
	Records      Records
	Secrets      Secrets
	TestDatabase TestDatabase
	Releases     Releases
	Sandbox      Sandbox
	LogCap       int64 // bytes of a build's log; 64 MB when 0
	Log          *slog.Logger
}

// LogPath is the log file of a build: lines `unix_ms source text\n`.
func LogPath(data, app string, n int) string {
	return filepath.Join(buildDir(data, app, n), "log")
}

// ArtifactsDir holds the reports of a build's steps, a folder for each step.
func ArtifactsDir(data, app string, n int) string {
	return filepath.Join(buildDir(data, app, n), "artifacts")
}

func buildDir(data, app string, n int) string {
	return filepath.Join(data, "builds", app, bosman.Ref(bosman.LetterBuild, n))
}

// red is the error of a build whose own steps failed.
type red struct{ reason string }

func (r *red) Error() string { return r.reason }

// run is one build under way.
type run struct {
	*Runner
	b       bosman.Build
	m       *bosman.Manifest
	uid     int
	slot    int
	work    string // DATA/work/APP/bN, removed at the end
	out     *Log
	log     *slog.Logger
	secrets map[string]string
	mask    *masker
	rel     bosman.Release
	overlay *sandbox.Overlay
	tests   string // folder the test steps run in, without an overlay
}

func (u *run) tree() string { return filepath.Join(u.work, "tree") }

// base is the app's folder in the tree.
func (u *run) base() string { return filepath.Join(u.tree(), filepath.FromSlash(u.m.Root)) }

// Run runs b to its final state and gives it; slot (0 to 99) is the caller's,
// one for each build at a time. A ctx that ends with a *Cancelled cause cancels
// the build; one that ends otherwise interrupts it: ErrInterrupted, and the
// build is not final. Running a build again, after a crash too, starts it anew
// and cleans up what was left. Other errors: the build's end could not be saved.
func (r *Runner) Run(ctx context.Context, b bosman.Build, slot int) (bosman.Build, error) {
	u := &run{
		Runner: r, b: b, slot: slot, uid: sandbox.UID(slot, b.Trust),
		work: filepath.Join(r.Data, "work", b.App, bosman.Ref(bosman.LetterBuild, b.Number)),
	}
	u.log = slog.New(slog.DiscardHandler)
	if r.Log != nil {
		u.log = r.Log
	}
	u.log = u.log.With("app", b.App, "build", b.Number)
	again := exists(LogPath(r.Data, b.App, b.Number))
	u.b.State, u.b.Steps, u.b.Report, u.b.Reason = bosman.BuildRunning, nil, nil, ""
	if u.b.StartedAt.IsZero() {
		u.b.StartedAt = time.Now().UTC()
	}
	err := u.prepare(again)
	if err == nil {
		err = u.guarded(ctx)
	}
	return u.finish(ctx, err)
}

// guarded keeps a defect met in one build from ending all of Bosman.
func (u *run) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			u.log.Error("the build met a defect", "panic", p, "stack", string(debug.Stack()))
			err = bosman.Internal("the build met a defect of Bosman").Because(fmt.Errorf("%v", p))
		}
	}()
	return u.pipeline(ctx)
}

// prepare makes the folders and the log, and removes what an earlier attempt left.
func (u *run) prepare(again bool) error {
	if again {
		if n := sandbox.KillMarked(u.mark()); n > 0 {
			u.log.Warn("killed what an interrupted build left", "processes", n)
		}
	}
	if err := os.RemoveAll(u.work); err != nil {
		return u.host("the workspace could not be removed", err)
	}
	if again {
		if err := os.RemoveAll(ArtifactsDir(u.Data, u.b.App, u.b.Number)); err != nil {
			return u.host("the artifacts could not be removed", err)
		}
	}
	for _, dir := range []string{u.tree(), filepath.Join(u.work, "home", ".cache"), filepath.Join(u.work, "home", ".npm")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return u.host("the workspace could not be made", err)
		}
	}
	out, err := openLog(LogPath(u.Data, u.b.App, u.b.Number), u.LogCap)
	if err != nil {
		return u.host("the log could not be opened", err)
	}
	u.out = out
	if again {
		u.out.Say("Bosman was stopped; the build begins again")
	}
	return nil
}

// mark is found in the environment of every process of this build. DATA is part
// of it: several Bosmans may share a machine.
func (u *run) mark() string {
	sum := sha256.Sum256([]byte(u.Data))
	return hex.EncodeToString(sum[:4]) + "/" + u.b.App + "/" + bosman.Ref(bosman.LetterBuild, u.b.Number)
}

// host words a failure of the machine.
func (u *run) host(what string, err error) error {
	if full(u.Data, err) {
		return diskFull(err)
	}
	var known *bosman.Error
	if errors.As(err, &known) {
		return err
	}
	return bosman.Unavailable("%s", what).Because(err)
}

// pipeline is the whole road; nil means green.
func (u *run) pipeline(ctx context.Context) error {
	u.out.Say("build %s of %s at %s", bosman.Ref(bosman.LetterBuild, u.b.Number), u.b.Branch, bosman.Short(u.b.Commit))
	if why := u.Sandbox.Degraded(); why != "" {
		u.out.Say("steps run without a sandbox: %s", why)
	}
	if err := u.readManifest(ctx); err != nil {
		return err
	}
	u.listSteps()
	identity := bosman.Release{
		App: u.b.App, Commit: u.b.Commit, Tree: u.b.Tree, Trust: u.b.Trust, Build: u.b.Number, Tests: bosman.TestsPending,
		Definition: definition(u.m, u.Sandbox.Version()),
	}
	old, report, err := u.Records.FindRelease(ctx, u.b.App, u.b.Tree, identity.Definition, u.b.Trust)
	switch {
	case err == nil && u.present(old):
		u.reuse(old)
		if old.Tests == bosman.TestsGreen {
			u.skipAll("release "+bosman.Ref(bosman.LetterRelease, old.Number)+" was tested before", true)
			u.b.Report = report
			u.out.Say("its tests are green: nothing to do")
			return nil
		}
	case err == nil || bosman.KindOf(err) == bosman.KindNotFound:
		if err := u.make(ctx, identity); err != nil {
			return err
		}
	default:
		return err
	}
	return u.test(ctx)
}

func (u *run) present(rel bosman.Release) bool {
	if _, err := u.Releases.Load(rel.App, rel.Number); err != nil {
		u.out.Say("release %s of the same tree is no longer on this machine: building it again", bosman.Ref(bosman.LetterRelease, rel.Number))
		return false
	}
	return true
}

func (u *run) reuse(old bosman.Release) {
	u.rel, u.b.Release, u.b.Reused = old, old.Number, old.Build != u.b.Number
	u.out.Say("release %s was made from the same tree by %s: reused",
		bosman.Ref(bosman.LetterRelease, old.Number), bosman.Ref(bosman.LetterBuild, old.Build))
	for i := range u.b.Steps {
		if s := &u.b.Steps[i]; !s.Test {
			s.State, s.Cached, s.Note = bosman.StepDone, true, "part of "+bosman.Ref(bosman.LetterRelease, old.Number)
		}
	}
}

func (u *run) readManifest(ctx context.Context) error {
	data, err := u.Source.ReadFile(ctx, u.b.App, u.b.Commit, bosman.ManifestFile)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return &red{"the repository has no " + bosman.ManifestFile + "; run bosman init to write one"}
	}
	if err != nil {
		return err
	}
	m, err := u.Manifests.Parse(data)
	if err != nil {
		e := bosman.AsError(err)
		lines := strings.Split(e.Message, "\n")
		for _, line := range lines {
			u.out.Say("%s", line)
		}
		if lines[0] == e.Message && e.Next != "" {
			lines[0] += "; " + e.Next
		}
		return &red{lines[0]}
	}
	if m.Root == "" {
		m.Root = "."
	}
	if !filepath.IsLocal(filepath.FromSlash(m.Root)) {
		return &red{fmt.Sprintf("%s: root: %q does not lie in the repository", bosman.ManifestFile, m.Root)}
	}
	u.m = m
	return u.readSecrets(ctx)
}

func (u *run) readSecrets(ctx context.Context) error {
	var names []string
	for _, s := range slices.Concat(u.m.Build, u.m.Test) {
		names = append(names, s.Secrets...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil
	}
	if u.b.Trust != bosman.TrustTeam {
		u.out.Say("the code of a stranger gets no secrets: %v are not set", names)
		return nil
	}
	values, err := u.Secrets.ForBuild(ctx, u.b.App, names)
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, ok := values[n]; !ok {
			u.out.Say("the secret %s, which a step asks for, is not set: the step runs without it", n)
		}
	}
	u.secrets, u.mask = values, newMasker(values)
	for _, n := range u.mask.open {
		u.out.Say("the secret %s is too short or too common to be masked", n)
	}
	return nil
}

// definition hashes what a release depends on besides its tree and trust.
func definition(m *bosman.Manifest, sandboxVersion string) string {
	var secrets []string
	for _, s := range m.Build {
		secrets = append(secrets, s.Secrets...)
	}
	data, err := json.Marshal([]any{sandboxVersion, m.Root, m.Env, m.Build, secrets, m.Data, m.Static, m.Templates})
	if err != nil {
		data = fmt.Appendf(nil, "%v %+v", sandboxVersion, m.Build) // cannot happen: plain data
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:40]
}

// listSteps fills Build.Steps, all waiting.
func (u *run) listSteps() {
	for _, s := range u.m.Build {
		u.b.Steps = append(u.b.Steps, bosman.BuildStep{Name: s.Name, State: bosman.StepWaiting})
		for _, v := range otherVariants(s) {
			u.b.Steps = append(u.b.Steps, bosman.BuildStep{Name: s.Name, Variant: v, State: bosman.StepWaiting})
		}
	}
	for _, s := range u.m.Test {
		u.b.Steps = append(u.b.Steps, bosman.BuildStep{Name: s.Name, Test: true, State: bosman.StepWaiting})
	}
}

func otherVariants(s bosman.Step) []string {
	var names []string
	for v := range s.Variants {
		if v != bosman.DefaultVariant {
			names = append(names, v)
		}
	}
	slices.Sort(names)
	return names
}

func (u *run) skipAll(note string, done bool) {
	for i := range u.b.Steps {
		s := &u.b.Steps[i]
		if s.State != bosman.StepWaiting && s.State != bosman.StepRunning {
			continue
		}
		s.State, s.Note = bosman.StepSkipped, note
		if done {
			s.State, s.Cached = bosman.StepDone, true
		}
	}
}

func (u *run) save(ctx context.Context) error {
	if err := u.Records.SaveBuild(ctx, u.b); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return bosman.Unavailable("the state of the build could not be saved").Because(err)
	}
	return faults.Point("build.saved")
}

// finish turns err into the final state, runs the after steps, cleans up and
// saves.
func (u *run) finish(ctx context.Context, err error) (bosman.Build, error) {
	u.judge(ctx, err)
	if u.b.State == bosman.BuildRunning {
		u.clean()
		return u.b, ErrInterrupted
	}
	u.skipAll("", false)
	if u.out != nil {
		u.out.Say("%s", verdictLine(u.b))
	}
	if u.b.State == bosman.BuildGreen || u.b.State == bosman.BuildRed {
		u.after(ctx)
	}
	if err := u.markRelease(ctx); err != nil {
		u.log.Error("the release's tests could not be saved", "error", err)
		u.b.State, u.b.Reason = bosman.BuildError, bosman.AsError(err).Error()
	}
	u.clean()
	u.b.EndedAt = time.Now().UTC()
	return u.b, u.saveFinal(ctx)
}

// judge sets state and reason; the state stays running if the build was
// interrupted.
func (u *run) judge(ctx context.Context, err error) {
	if logErr := u.logErr(); err == nil && logErr != nil {
		err = u.host("the log of the build could not be written", logErr)
	}
	var failed *red
	var cancelled *Cancelled
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &cancelled):
		u.b.State, u.b.Reason = bosman.BuildCancelled, cancelled.Error()
	case err == nil: // also when Bosman is being stopped: the work is done
		u.b.State = bosman.BuildGreen
	case errors.As(err, &failed):
		u.b.State, u.b.Reason = bosman.BuildRed, failed.reason
	case ctx.Err() != nil:
		u.b.State = bosman.BuildRunning
	default:
		u.b.State, u.b.Reason = bosman.BuildError, bosman.AsError(u.host("the build could not be run", err)).Error()
	}
}

func (u *run) logErr() error {
	if u.out == nil {
		return nil
	}
	return u.out.Err()
}

func verdictLine(b bosman.Build) string {
	line := string(b.State)
	if b.Reason != "" {
		line += ": " + b.Reason
	}
	return fmt.Sprintf("%s (%.1f s)", line, time.Since(b.StartedAt).Seconds())
}

// markRelease saves what the tests say of the release. A reused release that
// was tested before stays as it was judged, unless its tests ran again.
func (u *run) markRelease(ctx context.Context) error {
	if u.rel.Number == 0 || u.rel.Tests == bosman.TestsGreen {
		return nil
	}
	switch u.b.State {
	case bosman.BuildGreen:
		u.rel.Tests = bosman.TestsGreen
	case bosman.BuildRed:
		u.rel.Tests = bosman.TestsRed
	default:
		return nil // nothing is known
	}
	return u.retry(ctx, func(ctx context.Context) error { return u.Records.SaveRelease(ctx, u.rel) })
}

func (u *run) saveFinal(ctx context.Context) error {
	return u.retry(ctx, func(ctx context.Context) error { return u.Records.SaveBuild(ctx, u.b) })
}

// retry tries to save the end of a build for some seconds, also when the build
// was cancelled: what is not saved would be run again.
func (u *run) retry(ctx context.Context, save func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx)
	var err error
	for pause := 50 * time.Millisecond; pause < 4*time.Second; pause *= 2 {
		if err = save(ctx); err == nil {
			return nil
		}
		u.log.Warn("the end of the build could not be saved yet", "error", err)
		time.Sleep(pause)
	}
	return bosman.Unavailable("the end of build %s could not be saved", bosman.Ref(bosman.LetterBuild, u.b.Number)).Because(err)
}

func (u *run) clean() {
	if err := os.RemoveAll(u.work); err != nil {
		u.log.Warn("the workspace could not be removed", "error", err)
	}
	if u.out == nil {
		return
	}
	if err := u.out.Close(); err != nil {
		u.log.Warn("the log could not be written to its end", "error", err)
	}
}
