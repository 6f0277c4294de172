package helm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/manifest"
	"github.com/bosman-cd/bosman/store"
)

// policies remembers the manifest of each app's main; what holds for
// instances comes from there.
type policies struct {
	mu    sync.Mutex
	byApp map[string]policyOf
}

type policyOf struct {
	commit string // of main
	read   string // the commit whose manifest holds: main's, or the last one that could be read
	m      *bosman.Manifest
}

func (p *policies) forget(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byApp, app)
}

// Manifest gives the manifest that main holds now. One that cannot be read
// makes main's build red and nothing else: what was read last goes on to hold,
// so that what runs can be looked after and reverted.
func (h *Helm) Manifest(ctx context.Context, app string) (*bosman.Manifest, error) {
	p, err := h.manifestOf(ctx, app)
	return p.m, err
}

// readManifest is the setting that holds the last commit of main whose
// manifest could be read.
func readManifest(app string) string { return "manifest:" + app }

func (h *Helm) manifestOf(ctx context.Context, app string) (policyOf, error) {
	noun, err := h.Store.App(ctx, app)
	if err != nil {
		return policyOf{}, err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return policyOf{}, err
	}
	commit, err := repo.Resolve(ctx, "refs/heads/"+noun.MainBranch)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return policyOf{m: &bosman.Manifest{}}, nil
	}
	if err != nil {
		return policyOf{}, err
	}
	h.policies.mu.Lock()
	known := h.policies.byApp[app]
	h.policies.mu.Unlock()
	if known.commit == commit {
		return known, nil
	}
	p := policyOf{commit: commit, read: commit}
	data, err := repo.ReadFile(ctx, commit, bosman.ManifestFile)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return policyOf{m: &bosman.Manifest{}}, nil
	}
	if err != nil {
		return policyOf{}, err
	}
	var wrong error
	if p.m, wrong = manifest.Parse(data, bosman.ManifestFile); wrong != nil {
		if p.read, err = h.Store.Setting(ctx, readManifest(app)); err != nil {
			return policyOf{}, err
		}
		if p.read == "" {
			return policyOf{}, wrong
		}
		if data, err = repo.ReadFile(ctx, p.read, bosman.ManifestFile); err != nil {
			return policyOf{}, err
		}
		if p.m, err = manifest.Parse(data, bosman.ManifestFile); err != nil {
			return policyOf{}, err
		}
	} else if err := h.Store.SetSetting(ctx, readManifest(app), commit); err != nil {
		return policyOf{}, err
	}
	h.policies.mu.Lock()
	defer h.policies.mu.Unlock()
	if h.policies.byApp == nil {
		h.policies.byApp = map[string]policyOf{}
	}
	h.policies.byApp[app] = p
	return p, nil
}

// Policy gives what main says of instances of a kind. What loosens live's
// protection does not hold until an administrator confirms it.
func (h *Helm) Policy(ctx context.Context, app string, kind bosman.InstanceKind) (*bosman.Policy, error) {
	m, err := h.Manifest(ctx, app)
	if err != nil {
		return nil, err
	}
	if kind != bosman.KindLive {
		return m.PolicyFor(kind), nil
	}
	confirmed, _, err := h.livePolicy(ctx, app)
	if err != nil {
		return nil, err
	}
	return confirmed.PolicyFor(kind), nil
}

// Loosened gives what main's manifest would loosen of live's protection and
// nobody confirmed yet, one sentence each.
func (h *Helm) Loosened(ctx context.Context, app string) ([]string, error) {
	_, loosened, err := h.livePolicy(ctx, app)
	return loosened, err
}

func confirmedPolicy(app string) string { return "policy:" + app }

// livePolicy gives the manifest whose policy holds for live.
func (h *Helm) livePolicy(ctx context.Context, app string) (*bosman.Manifest, []string, error) {
	now, err := h.Manifest(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	commit, err := h.Store.Setting(ctx, confirmedPolicy(app))
	if err != nil || commit == "" {
		return now, nil, err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return nil, nil, err
	}
	data, err := repo.ReadFile(ctx, commit, bosman.ManifestFile)
	if err != nil {
		return nil, nil, err
	}
	old, err := manifest.Parse(data, bosman.ManifestFile)
	if err != nil {
		return nil, nil, err
	}
	loosened := manifest.Loosens(old, now)
	if len(loosened) > 0 {
		return old, loosened, nil
	}
	return now, nil, nil
}

// advancePolicy lets main's policy for live hold where it loosens nothing.
// The first one holds as it is: there is nothing live to protect yet.
func (h *Helm) advancePolicy(ctx context.Context, app string) error {
	loosened, err := h.Loosened(ctx, app)
	if err != nil || len(loosened) > 0 {
		return err
	}
	p, err := h.manifestOf(ctx, app)
	if err != nil || p.read == "" {
		return err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return err
	}
	if err := repo.Keep(ctx, p.read); err != nil {
		return err
	}
	return h.Store.SetSetting(ctx, confirmedPolicy(app), p.read)
}

// ConfirmPolicy makes main's policy for live hold, also where it loosens its
// protection.
func (h *Helm) ConfirmPolicy(ctx context.Context, a bosman.Actor, app string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, app, bosman.KindLive); err != nil {
		return err
	}
	loosened, err := h.Loosened(ctx, app)
	if err != nil {
		return err
	}
	return h.setPolicy(ctx, a, app, fmt.Sprint(loosened))
}

func (h *Helm) setPolicy(ctx context.Context, a bosman.Actor, app, why string) error {
	p, err := h.manifestOf(ctx, app)
	if err != nil {
		return err
	}
	if p.read == "" {
		return bosman.Conflict("main of %s has no %s to confirm", app, bosman.ManifestFile).WithKept("the policy for live stays as it is").WithNext("push one")
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SetSetting(ctx, confirmedPolicy(app), p.read); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "confirmed the policy for live as of " + bosman.Short(p.read), Subject: "live", Instance: "live", Why: why}, event(bosman.EventInstanceChanged, "live"))
	})
}

// Wait says what a deployment waits for and until when. The zero Wait means
// that it may begin.
type Wait struct {
	For   string
	Until time.Time // zero: until somebody acts
}

// Judge says whether an operation may begin now: an error if it must not, a
// Wait if it must not yet. Only deployments are judged; a revert needs no
// more than the right to revert, which was looked at when it was asked for.
func (h *Helm) Judge(ctx context.Context, op bosman.Operation) (Wait, error) {
	if op.Plan != bosman.PlanDeploy {
		return Wait{}, nil
	}
	i, err := h.Store.Instance(ctx, op.App, op.Instance)
	if err != nil {
		return Wait{}, err
	}
	kept := i.Name + " was left as it is"
	if op.By != bosman.System().Person {
		if err := h.may(ctx, bosman.Actor{Person: op.By}, bosman.MayDeploy, op.App, i.Kind); err != nil {
			return Wait{}, bosman.AsError(err).WithKept(kept)
		}
	} else if i.Kind == bosman.KindLive {
		return Wait{}, bosman.Forbidden("nothing is deployed to live by itself").WithKept(kept)
	}
	if err := h.judgeRelease(ctx, op, i); err != nil {
		return Wait{}, bosman.AsError(err).WithKept(kept)
	}
	w, err := h.judgeRehearsal(ctx, op, i)
	if err != nil {
		return Wait{}, bosman.AsError(err).WithKept(kept)
	}
	if guard, ok := h.Migrations.(LiveGuard); ok && w.For == "" && i.Kind == bosman.KindLive {
		// An override passes rules; whose database it is is none.
		if w.For, err = guard.BeforeLive(ctx, op, i); err != nil {
			return Wait{}, bosman.AsError(err).WithKept(kept)
		}
	}
	if w.For != "" {
		return w, nil
	}
	policy, err := h.Policy(ctx, op.App, i.Kind)
	if err != nil {
		return Wait{}, err
	}
	if op.Override != "" || i.Kind != bosman.KindLive {
		return Wait{}, nil
	}
	if err := h.judgeBackups(ctx, i); err != nil {
		return Wait{}, bosman.AsError(err).WithKept(kept)
	}
	return h.judgeTime(ctx, op, policy)
}

func (h *Helm) judgeRelease(ctx context.Context, op bosman.Operation, i bosman.Instance) error {
	r, err := h.Store.Release(ctx, op.App, op.Release)
	if err != nil {
		return err
	}
	name := releaseRef(r.Number)
	override := "an administrator may pass this rule: bosman deploy " + i.Name + " --release " + name + ` --override "reason"`
	switch {
	case r.Trust == bosman.TrustStranger:
		return bosman.Forbidden("%s was built from a stranger's code and is never deployed", name)
	case !r.PrunedAt.IsZero():
		return bosman.Conflict("the files of %s were pruned", name).WithNext("build its commit again: bosman build " + bosman.Short(r.Commit))
	case op.Override != "":
		return nil
	case r.Bad != "":
		return bosman.Conflict("%s is marked bad: %s", name, r.Bad).WithNext("deploy a release that mends it, or " + override)
	case r.Tests == bosman.TestsPending:
		return bosman.Conflict("the tests of %s have not ended", name).WithNext("wait for them; " + override)
	case r.Tests == bosman.TestsRed:
		return bosman.Conflict("the tests of %s are red", name).WithNext("push a fix; " + override)
	}
	policy, err := h.Policy(ctx, op.App, i.Kind)
	if err != nil || i.Kind != bosman.KindLive || policy.Deploy.After == "" {
		return err
	}
	ran, err := h.ranOn(ctx, op.App, policy.Deploy.After, op.Release)
	if err != nil {
		return err
	}
	if !ran {
		return bosman.Conflict("%s never ran on %s", name, policy.Deploy.After).WithNext("deploy it there first: bosman deploy " + policy.Deploy.After + " --release " + name + "; " + override)
	}
	return nil
}

// ranOn says whether a release was switched to on an instance.
func (h *Helm) ranOn(ctx context.Context, app, instance string, release int) (bool, error) {
	ops, err := h.Store.Operations(ctx, app, instance, 0)
	if err != nil {
		return false, err
	}
	for _, o := range ops {
		if o.Release == release && o.Committed && (o.Plan == bosman.PlanDeploy || o.Plan == bosman.PlanRevert) {
			return true, nil
		}
	}
	return false, nil
}

func (h *Helm) judgeTime(ctx context.Context, op bosman.Operation, policy *bosman.Policy) (Wait, error) {
	m, err := h.Manifest(ctx, op.App)
	if err != nil {
		return Wait{}, err
	}
	zone, err := time.LoadLocation(m.Timezone)
	if err != nil {
		return Wait{}, err
	}
	window, err := bosman.ParseWindow(policy.Deploy.Window, zone)
	if err != nil {
		return Wait{}, err
	}
	now := h.now()
	if !window.Open(now) {
		next := window.Next(now)
		return Wait{For: fmt.Sprintf("the deploy window (%s) opens %s", window, next.In(zone).Format("Mon 2 Jan 15:04 MST")), Until: next}, nil
	}
	if policy.Deploy.AtHand > 0 {
		there, err := h.AtHand(ctx)
		if err != nil {
			return Wait{}, err
		}
		if len(there) < policy.Deploy.AtHand {
			return Wait{For: fmt.Sprintf("%d of %d people are at hand: bosman people at-hand", len(there), policy.Deploy.AtHand)}, nil
		}
	}
	return Wait{}, nil
}
