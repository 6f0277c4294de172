package helm

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// Try puts a change on a testing instance: a fresh copy of staging's database
// and files, the change's release, running. The instance is made if need be.
func (h *Helm) Try(ctx context.Context, a bosman.Actor, app, ref, instance string) (bosman.Operation, error) {
	return h.try(ctx, a, app, ref, instance, false)
}

func (h *Helm) try(ctx context.Context, a bosman.Actor, app, ref, instance string, exact bool) (bosman.Operation, error) {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return bosman.Operation{}, err
	}
	i, err := h.testingInstance(ctx, a, app, instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if c.Trust == bosman.TrustStranger {
		return bosman.Operation{}, bosman.Forbidden("%s comes from the fork of %s; code of strangers gets no instance", changeRef(c.Number), c.Fork).
			WithKept(instance + " was left as it is").WithNext("read the commits and push them as a branch of your own")
	}
	r, err := h.releaseOfChange(ctx, c)
	if err != nil {
		return bosman.Operation{}, bosman.AsError(err).WithKept(instance + " was left as it is")
	}
	return h.ask(ctx, a, bosman.Operation{App: app, Instance: i.Name, Plan: bosman.PlanTry, Release: r.Number, From: i.Release, Change: c.Number, Exact: exact})
}

// Reset gives a testing instance a fresh copy again, with the newest release
// of the change it shows.
func (h *Helm) Reset(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.reset(ctx, a, app, instance, false)
}

func (h *Helm) reset(ctx context.Context, a bosman.Actor, app, instance string, exact bool) (bosman.Operation, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if i.Change == 0 {
		return bosman.Operation{}, bosman.Conflict("%s shows no change", instance).WithKept("it was left as it is").WithNext("bosman try CHANGE --on " + instance)
	}
	return h.try(ctx, a, app, changeRef(i.Change), instance, exact)
}

// releaseOfChange is the newest release made of the change's head.
func (h *Helm) releaseOfChange(ctx context.Context, c bosman.Change) (bosman.Release, error) {
	builds, err := h.Store.Builds(ctx, c.App, c.Number, 20)
	if err != nil {
		return bosman.Release{}, err
	}
	for _, b := range builds {
		if b.Head == c.Head && b.Release != 0 {
			return h.Store.Release(ctx, c.App, b.Release)
		}
	}
	switch {
	case len(c.Conflicts) > 0:
		return bosman.Release{}, bosman.Conflict("%s conflicts with main, so there is nothing to run", changeRef(c.Number)).WithNext("merge main into " + c.Branch + " and push")
	case len(builds) > 0 && !builds[0].State.Final():
		return bosman.Release{}, bosman.Conflict("%s still builds the release of %s", buildRef(builds[0].Number), changeRef(c.Number)).WithNext("try again in a moment")
	case len(builds) > 0:
		return bosman.Release{}, bosman.Conflict("%s made no release: %s", buildRef(builds[0].Number), builds[0].Reason).WithNext("push a fix, or bosman retry " + buildRef(builds[0].Number))
	}
	return bosman.Release{}, bosman.Conflict("%s was never built", changeRef(c.Number)).WithNext("bosman build " + c.Branch)
}

// testingInstance gives a testing or preview instance, making it if need be.
func (h *Helm) testingInstance(ctx context.Context, a bosman.Actor, app, name string) (bosman.Instance, error) {
	kind, err := KindOf(name)
	if err != nil {
		return bosman.Instance{}, err
	}
	if err := h.may(ctx, a, bosman.MayTry, app, kind); err != nil {
		return bosman.Instance{}, err
	}
	if kind != bosman.KindTesting && kind != bosman.KindPreview {
		return bosman.Instance{}, bosman.Invalid("%s is not for trying changes: it would lose its data", name).
			WithKept("it was left as it is").WithNext("name a testing instance: bosman try CHANGE --on testing-" + a.Person)
	}
	i, err := h.Store.Instance(ctx, app, name)
	if bosman.KindOf(err) != bosman.KindNotFound {
		return i, err
	}
	if _, err := h.Store.App(ctx, app); err != nil {
		return i, err
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		if i, err = h.newInstance(ctx, s, app, name, a.Person); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "made the instance " + name, Subject: name, Instance: name}, event(bosman.EventInstanceChanged, name))
	})
	return i, err
}

// DeployRequest says what to deploy where and why.
type DeployRequest struct {
	App, Instance string
	Release       int // 0: what staging runs (for live), or main's newest green one
	Why           string
	Override      string // an administrator's reason to pass a rule
}

// Deploy sends a release to an instance. Rules are judged now, so that a
// person hears at once, and again when the operation begins.
func (h *Helm) Deploy(ctx context.Context, a bosman.Actor, req DeployRequest) (bosman.Operation, error) {
	i, err := h.Instance(ctx, a, req.App, req.Instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if i.Kind == bosman.KindTesting || i.Kind == bosman.KindPreview {
		return bosman.Operation{}, bosman.Invalid("%s takes changes, not deployments", i.Name).WithNext("bosman try CHANGE --on " + i.Name)
	}
	if req.Override != "" {
		if err := h.may(ctx, a, bosman.MayAdminister, req.App, i.Kind); err != nil {
			return bosman.Operation{}, err
		}
	}
	if req.Release == 0 {
		if req.Release, err = h.nextRelease(ctx, i); err != nil {
			return bosman.Operation{}, err
		}
	}
	op := bosman.Operation{App: req.App, Instance: req.Instance, Plan: bosman.PlanDeploy, Release: req.Release, From: i.Release, By: a.Person, Why: req.Why, Override: req.Override}
	wait, err := h.Judge(ctx, op)
	if err != nil {
		return op, err
	}
	op.Waits = wait.For
	return h.ask(ctx, a, op)
}

// nextRelease is what a deployment without a number means.
func (h *Helm) nextRelease(ctx context.Context, i bosman.Instance) (int, error) {
	policy, err := h.Policy(ctx, i.App, i.Kind)
	if err != nil {
		return 0, err
	}
	if after := policy.Deploy.After; i.Kind == bosman.KindLive && after != "" {
		from, err := h.Store.Instance(ctx, i.App, after)
		if err != nil {
			return 0, err
		}
		if from.Release == 0 {
			return 0, bosman.Conflict("%s runs nothing yet, so there is nothing for %s", after, i.Name).WithKept(i.Name + " was left as it is").WithNext("push to main and wait until " + after + " runs it")
		}
		return from.Release, nil
	}
	app, err := h.Store.App(ctx, i.App)
	if err != nil {
		return 0, err
	}
	f, err := h.followed(ctx, app)
	if err != nil {
		return 0, err
	}
	if i.Kind == bosman.KindStaging && f.head != "" {
		r, err := h.releaseOf(ctx, app, f)
		if err != nil || r.Number != 0 && r.Tests == bosman.TestsGreen && r.Bad == "" {
			return r.Number, err
		}
	}
	all, err := h.Store.Releases(ctx, i.App, 0)
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		if b, err := h.Store.Build(ctx, i.App, r.Build); err == nil && b.Change == 0 && r.Tests == bosman.TestsGreen && r.Bad == "" {
			return r.Number, nil
		}
	}
	return 0, bosman.Conflict("%s has no green release of main yet", i.App).WithKept(i.Name + " was left as it is").WithNext("push to main and wait for its build")
}

// Restart restarts an instance's processes, one set beside the other.
func (h *Helm) Restart(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.simple(ctx, a, app, instance, bosman.PlanRestart, bosman.MayOperate)
}

// Stop stops an instance until it is started or deployed to again.
func (h *Helm) Stop(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.simple(ctx, a, app, instance, bosman.PlanStop, bosman.MayOperate)
}

// Start starts a stopped instance.
func (h *Helm) Start(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.simple(ctx, a, app, instance, bosman.PlanStart, bosman.MayOperate)
}

// MakeBackup makes and verifies a backup of an instance now.
func (h *Helm) MakeBackup(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.simple(ctx, a, app, instance, bosman.PlanBackup, bosman.MayOperate)
}

func (h *Helm) simple(ctx context.Context, a bosman.Actor, app, instance string, plan bosman.Plan, v bosman.Verb) (bosman.Operation, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return bosman.Operation{}, err
	}
	if err := h.may(ctx, a, v, app, i.Kind); err != nil {
		return bosman.Operation{}, err
	}
	if i.Release == 0 {
		return bosman.Operation{}, bosman.Conflict("%s runs nothing yet", instance).WithNext("deploy to it first")
	}
	return h.ask(ctx, a, bosman.Operation{App: app, Instance: instance, Plan: plan, Release: i.Release, From: i.Release})
}

// wish says what an operation is to do, for the activity log.
func wish(op bosman.Operation) string {
	release := releaseRef(op.Release)
	switch op.Plan {
	case bosman.PlanDeploy:
		return "deploy " + release + " to " + op.Instance
	case bosman.PlanRevert:
		if op.Backup != 0 {
			return "go back to " + release + " with the data of " + bosman.Ref(bosman.LetterBackup, op.Backup) + " on " + op.Instance
		}
		return "go back to " + release + " on " + op.Instance
	case bosman.PlanTry:
		if op.Exact {
			return "try " + changeRef(op.Change) + " (" + release + ") on " + op.Instance + " with the data of that moment"
		}
		return "try " + changeRef(op.Change) + " (" + release + ") on " + op.Instance
	case bosman.PlanRestore:
		if op.Backup == 0 && op.WayBack != nil {
			return "put back the kept " + op.WayBack.Kept + " on " + op.Instance
		}
		return "restore " + bosman.Ref(bosman.LetterBackup, op.Backup) + " on " + op.Instance
	case bosman.PlanBackup:
		return "back up " + op.Instance
	case bosman.PlanRestart, bosman.PlanStop, bosman.PlanStart:
	}
	return string(op.Plan) + " " + op.Instance
}

// ask writes the row of an operation, then starts it. One that brings a release
// takes the place of some that have not begun: see takesPlaceOf.
func (h *Helm) ask(ctx context.Context, a bosman.Actor, op bosman.Operation) (bosman.Operation, error) {
	var replaced []bosman.Operation
	err := h.Store.InTx(ctx, func(s *store.Store) error {
		n, err := s.Next(ctx, op.App, bosman.LetterOperation)
		if err != nil {
			return err
		}
		op.Number, op.State, op.CreatedAt = n, bosman.OpQueued, h.now()
		if op.By == "" {
			op.By = a.Person
		}
		if replaced, err = h.supersede(ctx, s, op); err != nil {
			return err
		}
		if err := forgetRemoval(ctx, s, op.App, op.Instance); err != nil {
			return err
		}
		if err := s.SaveOperation(ctx, op); err != nil {
			return err
		}
		why := op.Why
		for _, r := range replaced {
			if !r.Auto {
				why = strings.TrimPrefix(why+"; in place of "+opRef(r.Number), "; ")
			}
		}
		if op.Override != "" {
			why = strings.TrimPrefix(why+"; override: "+op.Override, "; ")
		}
		return h.note(ctx, s, a, bosman.Activity{App: op.App, What: fmt.Sprintf("asked as %s to %s", opRef(n), wish(op)), Subject: opRef(n), Instance: op.Instance, Why: why}, event(bosman.EventOperationQueued, opRef(n)))
	})
	if err != nil {
		return op, err
	}
	for _, r := range replaced {
		if err := h.Operator.Cancel(ctx, r, "superseded by "+opRef(op.Number)); err != nil {
			h.Log.Warn("a superseded operation was not told", "app", r.App, "deployment", r.Number, "err", err)
		}
	}
	if err := h.Operator.Begin(ctx, op); err != nil {
		return op, bosman.AsError(err).WithKept(opRef(op.Number) + " is written down and begins by itself as soon as it can").
			WithNext("bosman cancel " + opRef(op.Number) + " if it should not")
	}
	return op, nil
}

// takesPlaceOf says whether op, which is asked for now, makes one that waits for
// the same instance needless: the newest wins. What a person asked for gives
// way to a person only: a deployment that waits for the window in the morning
// must not undo the newer one that went ahead of it at night.
func takesPlaceOf(op, waits bosman.Operation) bool {
	if op.Auto {
		return waits.Auto && (op.Plan == bosman.PlanDeploy || op.Plan == bosman.PlanTry)
	}
	return !waits.Auto && op.Plan == bosman.PlanDeploy && waits.Plan == bosman.PlanDeploy
}

// supersede marks the operations that op takes the place of.
func (h *Helm) supersede(ctx context.Context, s *store.Store, op bosman.Operation) ([]bosman.Operation, error) {
	all, err := s.UnfinishedOperations(ctx)
	if err != nil {
		return nil, err
	}
	var out []bosman.Operation
	for _, o := range all {
		if o.App != op.App || o.Instance != op.Instance || o.State != bosman.OpQueued || !takesPlaceOf(op, o) {
			continue
		}
		o.State, o.EndedAt, o.Waits = bosman.OpSuperseded, h.now(), ""
		if err := s.SaveOperation(ctx, o); err != nil {
			return nil, err
		}
		if err := h.tell(ctx, s, o.App, event(bosman.EventOperationEnded, opRef(o.Number))); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// CancelOperation ends an operation that still waits.
func (h *Helm) CancelOperation(ctx context.Context, a bosman.Actor, app string, n int) error {
	op, err := h.Store.Operation(ctx, app, n)
	if err != nil {
		return err
	}
	i, err := h.Instance(ctx, a, app, op.Instance)
	if err != nil {
		return err
	}
	if err := h.may(ctx, a, bosman.MayDeploy, app, i.Kind); err != nil {
		return err
	}
	if op.State != bosman.OpQueued {
		return bosman.Conflict("%s is %s and is not cancelled any more", opRef(n), op.State).WithNext("to take it back: bosman revert " + op.Instance)
	}
	if err := h.Operator.Cancel(ctx, op, "cancelled by "+a.Person); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "cancelled " + opRef(n), Subject: opRef(n), Instance: op.Instance})
	})
}

// RunCommand runs a command in an instance, with its release, environment and
// data; it gives the command's exit code.
func (h *Helm) RunCommand(ctx context.Context, a bosman.Actor, app, instance, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return 0, err
	}
	if err := h.may(ctx, a, bosman.MayRun, app, i.Kind); err != nil {
		return 0, err
	}
	if i.Release == 0 {
		return 0, bosman.Conflict("%s runs nothing yet", instance).WithNext("deploy to it first")
	}
	if strings.TrimSpace(command) == "" {
		return 0, bosman.Invalid("there is no command").WithNext("bosman run " + instance + " -- python3 manage.py check")
	}
	if err := h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "ran a command in " + instance, Subject: instance, Instance: instance, Why: command})
	}); err != nil {
		return 0, err
	}
	return h.Runtime.Run(ctx, i, command, stdin, stdout, stderr)
}

// operationEnded sends on what waited for an instance: main's release that
// came while staging was busy.
func (h *Helm) operationEnded(ctx context.Context, app string, n int) error {
	op, err := h.Store.Operation(ctx, app, n)
	if err != nil {
		return err
	}
	if kind, err := KindOf(op.Instance); err != nil || kind != bosman.KindStaging || op.State == bosman.OpSuperseded {
		return err
	}
	return h.followMain(ctx, app)
}
