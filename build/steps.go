package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// make exports the tree, runs the build steps and seals the release.
func (u *run) make(ctx context.Context, identity bosman.Release) error {
	if err := u.Source.Export(ctx, u.b.App, u.b.Commit, u.tree()); err != nil {
		return err
	}
	if u.Sandbox.Root() {
		for _, dir := range []string{u.tree(), filepath.Join(u.work, "home")} {
			if err := give(dir, u.uid); err != nil {
				return u.host("the workspace could not be made", err)
			}
		}
	}
	if info, err := os.Stat(u.base()); err != nil || !info.IsDir() {
		return &red{fmt.Sprintf("%s: root: %q is not a folder of the repository", bosman.ManifestFile, u.m.Root)}
	}
	u.warnUncached()
	variants := map[string]map[string]string{}
	shared := map[string][]string{} // key → outputs
	previous := ""
	at := 0
	var outputs []string // of the steps so far, in the repository
	for i, s := range u.m.Build {
		first := at
		for _, out := range s.Outputs {
			outputs = append(outputs, path.Join(u.m.Root, out))
		}
		var before map[string]bool
		if cacheable(s) {
			var err error
			if before, err = listTree(u.tree(), outputs); err != nil {
				return u.host("the workspace could not be read", err)
			}
		}
		key, err := u.buildStep(ctx, s, &u.b.Steps[at], "", previous)
		if err != nil {
			return err
		}
		if key.cacheable {
			shared[key.hash] = s.Outputs
		}
		at++
		for _, v := range otherVariants(s) {
			if err := u.variantStep(ctx, s, i, &u.b.Steps[at], v, previous, variants); err != nil {
				return err
			}
			at++
		}
		if cacheable(s) && slices.ContainsFunc(u.b.Steps[first:at], func(st bosman.BuildStep) bool { return !st.Cached }) {
			if err := u.tidy(s, before, outputs); err != nil {
				return err
			}
		}
		previous = key.hash
	}
	u.precompile(ctx)
	for key, outputs := range shared {
		if err := u.cache().share(key, u.base(), outputs); err != nil {
			return u.host("the release could not share the cache", err)
		}
	}
	return u.seal(ctx, identity, variants)
}

func (u *run) cache() cache { return cache{filepath.Join(u.Data, "cache", u.b.App)} }

func (u *run) seal(ctx context.Context, rel bosman.Release, variants map[string]map[string]string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	n, err := u.number(ctx)
	if err != nil {
		return err
	}
	rel.Number = n
	rel, err = u.Releases.Seal(rel, u.tree(), variants, u.m)
	if bosman.KindOf(err) == bosman.KindInvalid {
		return &red{err.Error()}
	}
	if err != nil {
		return err
	}
	if err := faults.Point("build.sealed"); err != nil {
		return err
	}
	rel.Tests = bosman.TestsPending
	if err := u.Records.SaveRelease(ctx, rel); err != nil {
		return err
	}
	u.rel, u.b.Release = rel, rel.Number
	u.out.Say("sealed release %s (%.1f MB): it can be tried now", bosman.Ref(bosman.LetterRelease, n), float64(rel.Bytes)/1e6)
	return u.save(ctx)
}

// warnUncached says which steps name inputs in vain.
func (u *run) warnUncached() {
	open := ""
	for _, s := range u.m.Build {
		switch {
		case !cacheable(s):
			if open == "" {
				open = s.Name
			}
		case open != "":
			u.out.Say("%s comes from the cache only for the same tree, because %s, before it, does not name both inputs: and outputs:", s.Name, open)
		}
	}
}

// number gives the number of this build's release. It is written down before
// anything is sealed, so that the build, run again after a crash, finds what it
// had sealed.
func (u *run) number(ctx context.Context) (int, error) {
	file := filepath.Join(buildDir(u.Data, u.b.App, u.b.Number), "release")
	if data, err := os.ReadFile(file); err == nil {
		if n, err := bosman.ParseRef(bosman.LetterRelease, strings.TrimSpace(string(data))); err == nil {
			return n, nil
		}
	}
	n, err := u.Records.NextRelease(ctx, u.b.App)
	if err != nil {
		return 0, err
	}
	if err := atomicfile.Write(file, []byte(bosman.Ref(bosman.LetterRelease, n)+"\n"), 0o640); err != nil {
		return 0, u.host("the number of the release could not be kept", err)
	}
	return n, faults.Point("build.numbered")
}

type stepKey struct {
	hash      string
	cacheable bool
}

func (u *run) key(ctx context.Context, s bosman.Step, variant, previous string) (stepKey, error) {
	k := keyed{
		Sandbox: u.Sandbox.Version(), Trust: u.b.Trust, Root: u.m.Root, Run: s.Run, Variant: variant,
		Env: u.stepEnv(s, variant), Secrets: s.Secrets, Outputs: s.Outputs, Previous: previous,
	}
	if cacheable(s) {
		lines, err := hashInputs(ctx, u.base(), s.Inputs)
		if err != nil {
			return stepKey{}, u.host("the inputs of the step could not be read", err)
		}
		k.Inputs = lines
	} else {
		k.Inputs = []string{"tree " + u.b.Tree}
	}
	hash, err := k.hash()
	return stepKey{hash, cacheable(s)}, err
}

func (u *run) stepEnv(s bosman.Step, variant string) map[string]string {
	if variant == "" {
		variant = bosman.DefaultVariant
	}
	return mergeEnv(u.m.Env, s.Env, s.Variants[variant])
}

// buildStep takes a step from the cache or runs it in the workspace.
func (u *run) buildStep(ctx context.Context, s bosman.Step, at *bosman.BuildStep, variant, previous string) (stepKey, error) {
	key, err := u.key(ctx, s, variant, previous)
	if err != nil {
		return key, err
	}
	if key.cacheable && u.cache().has(key.hash) {
		return key, u.fromCache(ctx, s, at, key.hash)
	}
	if err := u.runStep(ctx, s, at, variant, nil); err != nil {
		return key, err
	}
	if at.State == bosman.StepAllowed {
		return stepKey{hash: key.hash}, nil
	}
	for _, out := range s.Outputs {
		p, err := inTree(u.base(), out)
		if err != nil || !exists(p) {
			at.State, at.Note = bosman.StepFailed, fmt.Sprintf("it ended well but did not make %s, which its outputs: promise", out)
			return key, u.failed(ctx, s, at)
		}
	}
	if key.cacheable {
		if err := u.cache().keep(key.hash, u.base(), s.Outputs); err != nil {
			return key, u.host("the step's outputs could not be cached", err)
		}
	}
	return key, nil
}

func (u *run) fromCache(ctx context.Context, s bosman.Step, at *bosman.BuildStep, key string) error {
	at.StartedAt = time.Now().UTC()
	at.LogFrom = u.out.Size()
	if err := u.cache().restore(key, u.base(), s.Outputs, false); err != nil {
		return u.host("the step's outputs could not be taken from the cache", err)
	}
	if u.Sandbox.Root() {
		for _, out := range s.Outputs {
			if err := give(filepath.Join(u.base(), filepath.FromSlash(out)), u.uid); err != nil {
				return u.host("the step's outputs could not be taken from the cache", err)
			}
		}
	}
	if err := u.giveParents(s); err != nil {
		return err
	}
	u.out.Say("%s: nothing it depends on has changed: %s from the cache", title(at), strings.Join(s.Outputs, ", "))
	at.State, at.Cached, at.EndedAt, at.LogTo = bosman.StepDone, true, time.Now().UTC(), u.out.Size()
	return u.save(ctx)
}

// variantStep makes the outputs of a step once more, for another asset
// variant, and stores them apart. The default's outputs come back afterwards.
func (u *run) variantStep(ctx context.Context, s bosman.Step, index int, at *bosman.BuildStep, variant, previous string, made map[string]map[string]string) error {
	aside := filepath.Join(u.work, fmt.Sprintf("default-%d", index))
	apart := filepath.Join(u.work, fmt.Sprintf("variant-%d-%s", index, variant))
	if err := u.moveOutputs(s, u.base(), aside); err != nil {
		return err
	}
	if _, err := u.buildStep(ctx, s, at, variant, previous); err != nil {
		return err
	}
	if made[variant] == nil {
		made[variant] = map[string]string{}
	}
	if err := u.moveOutputs(s, u.base(), apart); err != nil {
		return err
	}
	for _, out := range s.Outputs {
		p := filepath.ToSlash(filepath.Join(u.m.Root, out))
		if host := filepath.Join(apart, filepath.FromSlash(out)); exists(host) {
			made[variant][p] = host
		}
	}
	if err := u.moveOutputs(s, aside, u.base()); err != nil {
		return err
	}
	return u.giveParents(s)
}

// giveParents gives the folders above the outputs of a step, which may have
// been made for them, to the user of the steps.
func (u *run) giveParents(s bosman.Step) error {
	if !u.Sandbox.Root() {
		return nil
	}
	for _, out := range s.Outputs {
		for dir := path.Dir(path.Clean(out)); dir != "."; dir = path.Dir(dir) {
			p, err := inTree(u.base(), dir)
			if err == nil {
				err = os.Lchown(p, u.uid, u.uid)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return u.host("the folders of the step's outputs could not be given to the steps", err)
			}
		}
	}
	return nil
}

func (u *run) moveOutputs(s bosman.Step, from, to string) error {
	for _, out := range s.Outputs {
		a, err := inTree(from, out)
		if err != nil {
			return &red{fmt.Sprintf("step %s: outputs: %v", s.Name, err)}
		}
		b, err := inTree(to, out)
		if err != nil {
			return &red{fmt.Sprintf("step %s: outputs: %v", s.Name, err)}
		}
		if !exists(a) {
			continue // an allowed failure made nothing
		}
		if err := errors.Join(os.RemoveAll(b), os.MkdirAll(filepath.Dir(b), 0o755), os.Rename(a, b)); err != nil {
			return u.host("the outputs of a variant could not be moved", err)
		}
	}
	return nil
}

// title names a step for people and as the source of its lines.
func title(s *bosman.BuildStep) string {
	if s.Variant != "" {
		return s.Name + ":" + s.Variant
	}
	return s.Name
}

// command fills in what all commands of this build share.
func (u *run) command(env map[string]string, text string) (sandbox.Command, error) {
	tools := filepath.Join(u.Data, "cache", u.b.App, fmt.Sprintf("tool-%s-%d", u.b.Trust, u.slot))
	for _, dir := range []string{"cache", "npm"} {
		dir = filepath.Join(tools, dir)
		if exists(dir) {
			continue
		}
		err := os.MkdirAll(dir, 0o755)
		if err == nil && u.Sandbox.Root() {
			err = os.Lchown(dir, u.uid, u.uid)
		}
		if err != nil {
			return sandbox.Command{}, u.host("the caches of the tools could not be made", err)
		}
	}
	now := time.Now()
	if err := os.Chtimes(tools, now, now); err != nil { // used: PruneCache keeps it
		return sandbox.Command{}, u.host("the caches of the tools could not be made", err)
	}
	if u.Sandbox.Root() {
		if err := give(filepath.Join(u.work, "home"), u.uid); err != nil {
			return sandbox.Command{}, u.host("the home folder of the step could not be made", err)
		}
	}
	own := map[string]string{
		"BOSMAN": "1", "BOSMAN_APP": u.b.App, "BOSMAN_BUILD": bosman.Ref(bosman.LetterBuild, u.b.Number),
		"BOSMAN_BRANCH": u.b.Branch, "BOSMAN_COMMIT": u.b.Commit,
		"SECRET_KEY": "only-for-builds-and-tests-not-a-secret", // settings that insist on one load
	}
	if u.b.Change > 0 {
		own["BOSMAN_CHANGE"] = bosman.Ref(bosman.LetterChange, u.b.Change)
	}
	return sandbox.Command{
		Run: text, Tree: u.tree(), Root: u.m.Root, Home: filepath.Join(u.work, "home"), Tools: tools,
		Env: envList(mergeEnv(own, env)), Trust: u.b.Trust, UID: u.uid, Mark: u.mark(),
	}, nil
}

// runStep runs the command of a step and saves how it went. With in, the
// command is changed before it runs (to the tree of the tests). The error is
// a *red when the step failed and may not.
func (u *run) runStep(ctx context.Context, s bosman.Step, at *bosman.BuildStep, variant string, in func(*sandbox.Command)) error {
	at.State, at.StartedAt = bosman.StepRunning, time.Now().UTC()
	at.LogFrom = u.out.Size()
	if err := u.save(ctx); err != nil {
		return err
	}
	env := u.stepEnv(s, variant)
	for _, name := range s.Secrets {
		if v, ok := u.secrets[name]; ok {
			env[name] = v
		}
	}
	cmd, err := u.command(env, s.Run)
	if err != nil {
		return err
	}
	out := u.out.output(title(at), u.mask)
	cmd.Out, cmd.Timeout = out, s.Timeout
	if in != nil {
		in(&cmd)
	}
	u.out.Say("%s: %s", title(at), u.mask.mask(s.Run))
	exit, err := u.Sandbox.Run(ctx, cmd)
	_, at.LogTo = out.finish()
	at.EndedAt, at.Exit = time.Now().UTC(), exit.Code
	if err != nil {
		at.State = bosman.StepFailed
		if bosman.KindOf(err) == bosman.KindForbidden {
			at.Note = err.Error()
		}
		return err
	}
	if out.dropped > 0 {
		at.Note = fmt.Sprintf("its log was cut: %d bytes dropped", out.dropped)
	}
	if exit.Code == 0 && !exit.TimedOut {
		at.State = bosman.StepDone
		return u.save(ctx)
	}
	if full(u.work, nil) {
		at.State, at.Note = bosman.StepFailed, "the disk is full"
		return diskFull(nil)
	}
	at.State = bosman.StepFailed
	at.Note = strings.TrimPrefix(at.Note+"; "+whyFailed(s, exit, out.end), "; ")
	if missing := u.unset(s); len(missing) > 0 {
		at.Note += "; not set: " + strings.Join(missing, ", ") + " (bosman secrets set)"
	}
	return u.failed(ctx, s, at)
}

// unset gives the secrets a step asks for that it did not get.
func (u *run) unset(s bosman.Step) []string {
	return slices.DeleteFunc(slices.Clone(s.Secrets), func(name string) bool {
		_, ok := u.secrets[name]
		return ok
	})
}

// failed saves a failed step; it gives a *red unless the step may fail.
func (u *run) failed(ctx context.Context, s bosman.Step, at *bosman.BuildStep) error {
	u.out.Say("%s: %s", title(at), at.Note)
	at.LogTo = u.out.Size()
	if s.AllowFailure {
		at.State = bosman.StepAllowed
		return u.save(ctx)
	}
	if err := u.save(ctx); err != nil {
		return err
	}
	return &red{fmt.Sprintf("step %s failed: %s", title(at), at.Note)}
}

// whyFailed says in one sentence why a command failed.
func whyFailed(s bosman.Step, exit sandbox.Exit, end []string) string {
	if exit.TimedOut {
		limit := s.Timeout
		if limit <= 0 {
			limit = bosman.DefaultStepTimeout
		}
		return fmt.Sprintf("step %s ran longer than %s and was stopped", s.Name, shortDuration(limit))
	}
	if exit.Code == 127 {
		if p := sandbox.MissingProgram(end); p != "" {
			return howToGet(p)
		}
	}
	if exit.Code > 128 && exit.Code < 128+65 {
		return fmt.Sprintf("killed by signal %d", exit.Code-128)
	}
	last := ""
	for _, line := range slices.Backward(end) {
		if last = strings.TrimSpace(line); last != "" {
			break
		}
	}
	why := fmt.Sprintf("exit status %d", exit.Code)
	if last != "" {
		why += ": " + clip(last, 200)
	}
	return why
}

// howToGet says that program p is missing and how a step can have it.
func howToGet(p string) string {
	if strings.ContainsRune(p, '/') {
		return fmt.Sprintf("%s is missing: no step made it, or outputs: does not name it", p)
	}
	return fmt.Sprintf("the program %s is missing: install it on the build machine (apt-get install %s), "+
		"or install it in a build: step and call it by its path, such as .venv/bin/%s or npx %s", p, p, p, p)
}

func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
