package helm

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
)

// previewName is the name of the preview that a change has of its own.
func previewName(change int) string { return string(bosman.KindPreview) + "-" + changeRef(change) }

// isPreview says whether Bosman made the instance for a change.
func isPreview(i bosman.Instance) bool {
	return i.Kind == bosman.KindPreview && i.Owner == bosman.System().Person
}

// PreviewsConcern says whether an event may change what previews an app should
// have.
func PreviewsConcern(k bosman.EventKind) bool {
	return slices.Contains([]bosman.EventKind{bosman.EventMainMoved, bosman.EventBuildEnded, bosman.EventChangeMerged, bosman.EventChangeClosed, bosman.EventOperationEnded}, k)
}

// TidyPreviews looks at the previews of all apps: which are missing, which
// sleep from now on, which go.
func (h *Helm) TidyPreviews(ctx context.Context) error {
	apps, err := h.Store.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := h.SettlePreviews(ctx, app.Name); err != nil && ctx.Err() == nil {
			h.Log.Warn("the previews of an app could not be looked after", "app", app.Name, "err", err)
		}
	}
	return nil
}

// SettlePreviews takes the previews away whose change is gone, puts to sleep
// those that nobody used for the time main's bosman.yaml gives, and makes or
// renews that of each open change of the team whose newest build is green, as
// long as no more than max are awake. Asked again it changes nothing.
func (h *Helm) SettlePreviews(ctx context.Context, app string) error {
	h.previews.Lock()
	defer h.previews.Unlock()
	m, err := h.Manifest(ctx, app)
	if bosman.KindOf(err) == bosman.KindInvalid || bosman.KindOf(err) == bosman.KindNotFound {
		return nil // main's build says what is wrong with it; or the app is gone
	}
	if err != nil {
		return err
	}
	policy := m.Instances[string(bosman.KindPreview)]
	open, err := h.Store.Changes(ctx, app, bosman.ChangeOpen, 0)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, c := range open {
		wanted[previewName(c.Number)] = policy != nil && c.Trust == bosman.TrustTeam
	}
	if err := h.removePreviews(ctx, app, wanted); err != nil || policy == nil {
		return err
	}
	idle, err := bosman.ParseDuration(policy.Idle)
	if err != nil {
		return err
	}
	if err := h.sleepIdle(ctx, app, idle, policy.Idle); err != nil {
		return err
	}
	if _, err := h.trim(ctx, app, "", policy.Max); err != nil {
		return err
	}
	source, err := h.Store.Instance(ctx, app, cmp.Or(policy.Copy, string(bosman.KindStaging)))
	if err != nil || source.Release == 0 {
		return ignoreMissing(err) // there is nothing to copy yet
	}
	for _, c := range slices.Backward(open) { // what moved last stays awake
		if wanted[previewName(c.Number)] {
			if err := h.preview(ctx, c, policy.Max, idle); err != nil {
				return err
			}
		}
	}
	return nil
}

// removePreviews takes the previews of Bosman's making away that nobody wants
// and nobody is at work on.
func (h *Helm) removePreviews(ctx context.Context, app string, wanted map[string]bool) error {
	all, err := h.previewsOf(ctx, app)
	if err != nil {
		return err
	}
	for _, p := range all {
		if isPreview(p.Instance) && !wanted[p.Name] && !p.busy {
			if err := h.RemoveInstance(ctx, bosman.System(), app, p.Name); err != nil && bosman.KindOf(err) != bosman.KindBusy {
				return err
			}
		}
	}
	return nil
}

type preview struct {
	bosman.Instance
	busy bool        // an operation is at work on it or waits for it
	next bosman.Plan // of the newest of those
}

// awake says whether it will run once the operations on it have ended.
func (p preview) awake() bool {
	switch p.next {
	case bosman.PlanTry, bosman.PlanStart:
		return true
	case bosman.PlanStop:
		return false
	default:
		return !p.Stopped && p.Release != 0
	}
}

// used is when somebody last had something of it.
func (p preview) used() time.Time {
	t := p.UsedAt
	for _, o := range []time.Time{p.UpdatedAt, p.CreatedAt} {
		if o.After(t) {
			t = o
		}
	}
	return t
}

// previewsOf gives an app's previews, the least recently used first.
func (h *Helm) previewsOf(ctx context.Context, app string) ([]preview, error) {
	all, err := h.Store.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	unfinished, err := h.Store.UnfinishedOperations(ctx)
	if err != nil {
		return nil, err
	}
	var out []preview
	for _, i := range all {
		if i.Kind != bosman.KindPreview {
			continue
		}
		p := preview{Instance: i, busy: i.Operation != 0}
		for _, o := range unfinished {
			if o.App == app && o.Instance == i.Name {
				p.busy, p.next = true, o.Plan
			}
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b preview) int { return a.used().Compare(b.used()) })
	return out, nil
}

func (h *Helm) sleepIdle(ctx context.Context, app string, idle time.Duration, words string) error {
	all, err := h.previewsOf(ctx, app)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.awake() && !p.busy && h.now().Sub(p.used()) >= idle {
			if err := h.sleep(ctx, p.Instance, "nobody used it for "+words); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Helm) sleep(ctx context.Context, i bosman.Instance, why string) error {
	_, err := h.ask(ctx, bosman.System(), bosman.Operation{App: i.App, Instance: i.Name, Plan: bosman.PlanStop, Release: i.Release, From: i.Release, Auto: true, Why: why})
	return err
}

// trim puts the least recently used previews to sleep until no more than most
// are awake besides the named one; false while those that could are all busy.
func (h *Helm) trim(ctx context.Context, app, name string, most int) (bool, error) {
	all, err := h.previewsOf(ctx, app)
	if err != nil {
		return false, err
	}
	over := -most
	for _, p := range all {
		if p.Name != name && p.awake() {
			over++
		}
	}
	for _, p := range all {
		if over > 0 && p.Name != name && p.awake() && !p.busy {
			if err := h.sleep(ctx, p.Instance, "others are wanted, and no more than max of bosman.yaml are awake"); err != nil {
				return false, err
			}
			over--
		}
	}
	return over <= 0, nil
}

// preview puts the newest green build of a change on its preview, once. What
// would sleep by now is not made.
func (h *Helm) preview(ctx context.Context, c bosman.Change, most int, idle time.Duration) error {
	b, err := h.Store.LatestBuild(ctx, c.App, c.Number)
	if err != nil || b.Head != c.Head || b.State != bosman.BuildGreen || b.Release == 0 || b.Unconcerned() {
		return ignoreMissing(err)
	}
	if moved := h.now().Sub(c.UpdatedAt); moved >= idle && h.now().Sub(b.EndedAt) >= idle {
		return nil
	}
	name := previewName(c.Number)
	ops, err := h.Store.Operations(ctx, c.App, name, 0)
	if err != nil {
		return err
	}
	for _, o := range ops {
		if o.Plan == bosman.PlanTry && o.Change == c.Number && o.Release == b.Release && o.State != bosman.OpSuperseded && o.State != bosman.OpCancelled {
			return nil // it came, is on its way, or failed; what people did since is theirs
		}
	}
	room, err := h.trim(ctx, c.App, name, most-1)
	if err != nil || !room {
		return err // it is looked at again when one of the others ends
	}
	i, err := h.testingInstance(ctx, bosman.System(), c.App, name)
	if err != nil {
		return err
	}
	_, err = h.ask(ctx, bosman.System(), bosman.Operation{App: c.App, Instance: name, Plan: bosman.PlanTry, Release: b.Release, From: i.Release, Change: c.Number, Auto: true, Why: "the preview of " + changeRef(c.Number)})
	return err
}

// Wake starts an instance that sleeps, because somebody asked for it. It
// returns at once; asked again while it starts it does nothing.
func (h *Helm) Wake(ctx context.Context, app, name string) error {
	h.previews.Lock()
	defer h.previews.Unlock()
	i, err := h.Store.Instance(ctx, app, name)
	if err != nil || !i.Asleep {
		return err
	}
	all, err := h.previewsOf(ctx, app)
	if err != nil || slices.ContainsFunc(all, func(p preview) bool { return p.Name == name && p.busy }) {
		return err
	}
	policy, err := h.Policy(ctx, app, bosman.KindPreview)
	if err != nil {
		return err
	}
	if policy.Max > 0 {
		if room, err := h.trim(ctx, app, name, policy.Max-1); err != nil || !room {
			return err
		}
	}
	if err := h.Store.MarkUsed(ctx, app, name, h.now()); err != nil {
		return err
	}
	_, err = h.ask(ctx, bosman.System(), bosman.Operation{App: app, Instance: name, Plan: bosman.PlanStart, Release: i.Release, From: i.Release, Auto: true, Why: "somebody asked for it"})
	return err
}
