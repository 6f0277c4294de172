package web

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/web/instance"
	"github.com/bosman-cd/bosman/web/ui"
)

type instanceReader struct{ adapter }

func (a adapter) rights(ctx context.Context, who bosman.Actor, i bosman.Instance) instance.May {
	may := func(v bosman.Verb) bool { return a.May(ctx, who, v, i.App, i.Kind) }
	return instance.May{
		Deploy: may(bosman.MayDeploy), Revert: may(bosman.MayRevert), Operate: may(bosman.MayOperate), Restore: may(bosman.MayRestore),
		Run: may(bosman.MayRun), Try: may(bosman.MayTry), Administer: may(bosman.MayAdminister),
	}
}

// Instance gives one instance with all that its page shows.
func (a instanceReader) Instance(ctx context.Context, who bosman.Actor, app, name string) (instance.View, error) {
	i, err := a.Helm.Instance(ctx, who, app, name)
	if err != nil {
		return instance.View{}, err
	}
	v := instance.View{Instance: i, May: a.rights(ctx, who, i)}
	if v.Adopted, err = a.AdoptedOf(ctx, who, app, name); err != nil {
		return v, err
	}
	if v.Held, err = a.Held(ctx, who, app, name); err != nil {
		return v, err
	}
	if err := a.moments(ctx, who, &v); err != nil {
		return v, err
	}
	if err := a.running(ctx, who, &v); err != nil {
		return v, err
	}
	if v.Operations, err = a.Operations(ctx, who, app, name, 15); err != nil {
		return v, err
	}
	if v.Backups, err = a.Backups(ctx, who, app, name, 15); err != nil {
		return v, err
	}
	if v.Mails, err = a.Mails(ctx, who, app, name, 20); err != nil {
		return v, err
	}
	found, err := a.Problems(ctx, who, app, false, 100)
	if err != nil {
		return v, err
	}
	for _, p := range found {
		if p.ResolvedAt.IsZero() && slices.Contains(p.Instances, name) {
			v.Problems++
		}
	}
	v.Log, v.LogFrom, err = tail(a.w.cfg.Logs.Instance(app, name), 150, world{a.w}.Zone(ctx, app))
	if err != nil {
		return v, err
	}
	v.Traffic, v.Step = a.traffic(ctx, app, name)
	return v, a.rules(ctx, &v)
}

// running adds what runs and what is at work on it.
func (a instanceReader) running(ctx context.Context, who bosman.Actor, v *instance.View) error {
	i := v.Instance
	if i.Release != 0 {
		list, err := a.Releases(ctx, who, i.App, 200)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Number == i.Release {
				v.Release = &r
			}
		}
		brought, err := a.brought(ctx, who, i.App, i.Release)
		if err != nil {
			return err
		}
		v.Title = brought[i.Release].title
	}
	if i.Operation != 0 {
		op, err := a.Operation(ctx, who, i.App, i.Operation)
		if err != nil {
			return err
		}
		v.Way = &instance.Way{Op: op, Road: bosman.OperationRoad(op)}
	}
	return nil
}

// rules adds the window and the tasks of the manifest.
func (a instanceReader) rules(ctx context.Context, v *instance.View) error {
	m, err := a.Manifest(ctx, v.Instance.App)
	if err != nil {
		if bosman.KindOf(err) == bosman.KindInvalid {
			return nil // main's manifest is not readable: its build says so
		}
		return err
	}
	for name, command := range m.Tasks {
		v.Tasks = append(v.Tasks, instance.Task{Name: name, Command: command})
	}
	slices.SortFunc(v.Tasks, func(x, y instance.Task) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	if v.Instance.Kind != bosman.KindLive {
		return nil
	}
	policy, err := a.Policy(ctx, v.Instance.App, v.Instance.Kind)
	if err != nil {
		return err
	}
	zone := world{a.w}.Zone(ctx, v.Instance.App)
	window, err := bosman.ParseWindow(policy.Deploy.Window, zone)
	if err != nil {
		return nil //nolint:nilerr // deploying says what is wrong with it
	}
	if policy.Deploy.Window != "" {
		v.Window, v.Open = window.String(), window.Open(a.w.cfg.Now())
	}
	return nil
}

// traffic gives the requests of the last 15 minutes in steps of 10 s; nil
// where there are no numbers.
func (a adapter) traffic(ctx context.Context, app, name string) ([]instance.Point, time.Duration) {
	const step, steps = 10 * time.Second, 90
	if a.w.cfg.Stats == nil {
		return nil, step
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := a.w.cfg.Stats.Stats(ctx, app, name)
	if err != nil {
		a.w.cfg.Log.Debug("no traffic numbers", "app", app, "instance", name, "err", err)
		return nil, step
	}
	for _, i := range s.Instances {
		if i.App != app || i.Instance != name || len(i.Seconds) == 0 {
			continue
		}
		end := s.Now.Truncate(step).Add(step)
		start := end.Add(-steps * step)
		out := make([]instance.Point, steps)
		for n := range out {
			out[n].At = start.Add(time.Duration(n) * step)
		}
		for _, sec := range i.Seconds {
			n := int(time.Unix(sec.At, 0).Sub(start) / step)
			if n < 0 || n >= steps {
				continue
			}
			out[n].Requests += sec.Requests
			out[n].Errors += sec.Errors
			if out[n].Release == 0 || sec.Release > out[n].Release {
				out[n].Release = sec.Release
			}
		}
		return out, step
	}
	return nil, step
}

// PlanDeploy says what a deployment would do.
func (a instanceReader) PlanDeploy(ctx context.Context, who bosman.Actor, app, name string, release int) (instance.Plan, error) {
	i, err := a.Helm.Instance(ctx, who, app, name)
	if err != nil {
		return instance.Plan{}, err
	}
	p := instance.Plan{Instance: i, May: a.rights(ctx, who, i), Chosen: release}
	if !p.May.Deploy {
		return p, bosman.Forbidden("%s may not deploy to %s.", who.Person, name).WithKept(name + " was left as it is").WithNext("ask an administrator for that right")
	}
	if i.Kind != bosman.KindLive && i.Kind != bosman.KindStaging {
		return p, bosman.Invalid("%s takes changes, not deployments.", name).WithNext("open the change and try it on " + name)
	}
	policy, err := a.Policy(ctx, app, i.Kind)
	if err != nil {
		return p, err
	}
	p.Window, p.Need, p.Backup = policy.Deploy.Window, policy.Deploy.AtHand, i.Release != 0
	if policy.Watch.For > 0 {
		p.Watch = fmt.Sprintf("It is watched for %s.", ui.Dur(policy.Watch.For))
		if policy.Watch.Revert {
			p.Watch = fmt.Sprintf("It is watched for %s and reverted by itself if it does badly.", ui.Dur(policy.Watch.For))
		}
	}
	m, err := a.Manifest(ctx, app)
	if err != nil {
		return p, err
	}
	p.Health = m.Health != ""
	there, err := a.AtHand(ctx)
	if err != nil {
		return p, err
	}
	for _, t := range there {
		p.AtHand = append(p.AtHand, t.Name)
	}
	return p, a.choices(ctx, who, &p)
}

// choices adds the releases that may be deployed, newest first, and judges
// each as helm would.
func (a instanceReader) choices(ctx context.Context, who bosman.Actor, p *instance.Plan) error {
	i := p.Instance
	list, err := a.Releases(ctx, who, i.App, 30)
	if err != nil {
		return err
	}
	brought, err := a.brought(ctx, who, i.App, numbers(list)...)
	if err != nil {
		return err
	}
	staging, err := a.Operations(ctx, who, i.App, string(bosman.KindStaging), 200)
	if err != nil {
		return err
	}
	ran := map[int]bool{}
	for _, o := range staging {
		ran[o.Release] = ran[o.Release] || o.Committed
	}
	for _, r := range list {
		if r.Trust == bosman.TrustStranger || !r.PrunedAt.IsZero() || i.Kind == bosman.KindLive && !ran[r.Number] && r.Number != i.Release && r.Number != p.Chosen {
			continue
		}
		if len(p.Choices) == 12 {
			break
		}
		c := instance.Choice{Release: r, Title: brought[r.Number].title, Here: r.Number == i.Release, Ran: ran[r.Number]}
		wait, err := a.Judge(ctx, bosman.Operation{App: i.App, Instance: i.Name, Plan: bosman.PlanDeploy, Release: r.Number, From: i.Release, By: who.Person})
		if err != nil {
			if bosman.KindOf(err) == bosman.KindInternal {
				return err
			}
			c.No = bosman.AsError(err).Message
		} else if p.Wait == "" {
			p.Wait = wait.For
		}
		p.Choices = append(p.Choices, c)
	}
	chosen := slices.IndexFunc(p.Choices, func(c instance.Choice) bool { return c.Release.Number == p.Chosen && !c.Here })
	if chosen < 0 {
		// An older release than what runs is for the person to choose.
		chosen = slices.IndexFunc(p.Choices, func(c instance.Choice) bool { return c.Release.Number > i.Release && c.No == "" })
	}
	p.Chosen = 0
	if chosen >= 0 {
		p.Chosen = p.Choices[chosen].Release.Number
	}
	return nil
}

// moments says since when an instance's database can be had at any moment.
func (a instanceReader) moments(ctx context.Context, who bosman.Actor, v *instance.View) error {
	i := v.Instance
	if i.Kind != bosman.KindLive && i.Kind != bosman.KindStaging || i.Database.Engine != bosman.EnginePostgres || i.Database.Adopted() {
		return nil
	}
	m, err := a.Moments(ctx, who, i.App)
	if err != nil || m == nil || len(m.Spans) == 0 {
		return err
	}
	v.Since, v.Stored = m.Spans[len(m.Spans)-1].From, m.Shipped
	return nil
}

// PlanRevert says what a revert would do.
func (a instanceReader) PlanRevert(ctx context.Context, who bosman.Actor, app, name string) (instance.Back, error) {
	i, err := a.Helm.Instance(ctx, who, app, name)
	if err != nil {
		return instance.Back{}, err
	}
	b := instance.Back{Instance: i, May: a.rights(ctx, who, i)}
	if !b.May.Revert {
		return b, bosman.Forbidden("%s may not revert %s.", who.Person, name).WithKept(name + " was left as it is").WithNext("ask an administrator for that right")
	}
	if b.Plan, err = a.Helm.PlanRevert(ctx, who, app, name); err != nil {
		return b, err
	}
	if b.Plan.Release == 0 {
		b.No = "There is no release to go back to. Deploy another one instead."
		return b, nil
	}
	if b.Plan.Reverts != 0 {
		op, err := a.Operation(ctx, who, app, b.Plan.Reverts)
		if err != nil {
			return b, err
		}
		b.Running = !op.State.Final()
	}
	if b.Plan.Backup != 0 {
		all, err := a.Backups(ctx, who, app, name, 500)
		if err != nil {
			return b, err
		}
		for _, k := range all {
			if k.Number == b.Plan.Backup {
				b.Backup = &k
			}
		}
	}
	brought, err := a.brought(ctx, who, app, b.Plan.Release)
	b.Title = brought[b.Plan.Release].title
	return b, err
}

// PlanRestore says what restoring a backup would do.
func (a instanceReader) PlanRestore(ctx context.Context, who bosman.Actor, app, name string, backup int) (instance.Restore, error) {
	i, err := a.Helm.Instance(ctx, who, app, name)
	if err != nil {
		return instance.Restore{}, err
	}
	if !a.rights(ctx, who, i).Restore {
		return instance.Restore{}, bosman.Forbidden("%s may not restore backups on %s.", who.Person, name).WithKept(name + " was left as it is").WithNext("ask an administrator for that right")
	}
	if found, err := a.AdoptedOf(ctx, who, app, name); err != nil {
		return instance.Restore{}, err
	} else if found != nil {
		return instance.Restore{}, bosman.NotOurs(name, found.ByHand)
	}
	all, err := a.Backups(ctx, who, app, name, 500)
	if err != nil {
		return instance.Restore{}, err
	}
	for _, k := range all {
		if k.Number == backup {
			return instance.Restore{Instance: i, Backup: k}, nil
		}
	}
	return instance.Restore{}, bosman.NotFound("%s has no backup %s.", name, ui.Backup(backup))
}

// RevertInstance takes an instance back.
func (a adapter) RevertInstance(ctx context.Context, who bosman.Actor, app, name string, w instance.Wish) (bosman.Operation, error) {
	return a.Revert(ctx, who, helm.RevertRequest{App: app, Instance: name, Restore: w.Restore, ConfirmLoss: w.ConfirmLoss, Why: w.Why, Override: w.Override})
}

// DeployRelease sends a release to an instance.
func (a adapter) DeployRelease(ctx context.Context, who bosman.Actor, app, name string, release int, why, override string) (bosman.Operation, error) {
	return a.Deploy(ctx, who, helm.DeployRequest{App: app, Instance: name, Release: release, Why: why, Override: override})
}

const (
	taskFor    = 60 * time.Second
	taskOutput = 256 << 10
)

// RunTask runs a named command of the manifest and gives what it said, its
// end if that is long.
func (a adapter) RunTask(ctx context.Context, who bosman.Actor, app, name, task string) (int, string, error) {
	m, err := a.Manifest(ctx, app)
	if err != nil {
		return 0, "", err
	}
	command, ok := m.Tasks[task]
	if !ok {
		return 0, "", bosman.Invalid("there is no task %q", task).WithKept("nothing was run").WithNext("bosman.yaml lists tasks")
	}
	ctx, cancel := context.WithTimeout(ctx, taskFor)
	defer cancel()
	out := &ending{}
	exit, err := a.RunCommand(ctx, who, app, name, command, bytes.NewReader(nil), out, out)
	if err != nil && ctx.Err() != nil {
		return 0, "", bosman.Failed("%s took longer than a minute and was stopped", task).WithNext("run it in a terminal: bosman run " + name + " " + task)
	}
	return exit, out.String(), err
}

// ending keeps the last bytes written to it.
type ending struct{ b []byte }

func (e *ending) Write(p []byte) (int, error) {
	e.b = append(e.b, p...)
	if len(e.b) > 2*taskOutput {
		e.b = append(e.b[:0], e.b[len(e.b)-taskOutput:]...)
	}
	return len(p), nil
}

func (e *ending) String() string {
	b := e.b
	if len(b) > taskOutput {
		b = b[len(b)-taskOutput:]
	}
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
