package helm

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// Apps lists the apps the actor may see.
func (h *Helm) Apps(ctx context.Context, a bosman.Actor) ([]bosman.App, error) {
	all, err := h.Store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, app := range all {
		if h.may(ctx, a, bosman.MaySee, app.Name, "") == nil {
			out = append(out, app)
		}
	}
	return out, nil
}

// App gives one app.
func (h *Helm) App(ctx context.Context, a bosman.Actor, app string) (bosman.App, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.App{}, err
	}
	return h.Store.App(ctx, app)
}

// Instance gives one instance.
func (h *Helm) Instance(ctx context.Context, a bosman.Actor, app, name string) (bosman.Instance, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Instance{}, err
	}
	return h.Store.Instance(ctx, app, name)
}

// Instances lists an app's instances, live first.
func (h *Helm) Instances(ctx context.Context, a bosman.Actor, app string) ([]bosman.Instance, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Instances(ctx, app)
}

// BuildOf gives one build with its report.
func (h *Helm) BuildOf(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Build, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Build{}, err
	}
	return h.Store.Build(ctx, app, n)
}

// Builds lists builds without reports, newest first; change < 0 means all, 0
// those of main.
func (h *Helm) Builds(ctx context.Context, a bosman.Actor, app string, change, max int) ([]bosman.Build, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Builds(ctx, app, change, max)
}

// CommitTitle gives the first line of a commit's message.
func (h *Helm) CommitTitle(ctx context.Context, a bosman.Actor, app, commit string) (string, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return "", err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return "", err
	}
	c, err := repo.Commit(ctx, commit)
	return c.Subject, err
}

// Releases lists releases, newest first.
func (h *Helm) Releases(ctx context.Context, a bosman.Actor, app string, max int) ([]bosman.Release, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Releases(ctx, app, max)
}

// Operation gives one operation.
func (h *Helm) Operation(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Operation, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Operation{}, err
	}
	return h.Store.Operation(ctx, app, n)
}

// Operations lists operations on an instance ("" for all), newest first.
func (h *Helm) Operations(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Operation, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Operations(ctx, app, instance, max)
}

// Backups lists the backups of an instance ("" for all), newest first.
func (h *Helm) Backups(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Backup, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Backups(ctx, app, instance, max)
}

// Activity lists who changed what, newest first; app "" means all that the
// actor may see, before 0 from the newest.
func (h *Helm) Activity(ctx context.Context, a bosman.Actor, app string, before int64, max int) ([]bosman.Activity, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Activity(ctx, app, before, max)
}

// Problems lists an app's problems, latest first.
func (h *Helm) Problems(ctx context.Context, a bosman.Actor, app string, resolved bool, max int) ([]bosman.Problem, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Problems(ctx, app, resolved, max)
}

// Problem gives one problem and its newest events.
func (h *Helm) Problem(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Problem, []bosman.ErrorEvent, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Problem{}, nil, err
	}
	p, err := h.Store.Problem(ctx, app, n)
	if err != nil {
		return p, nil, err
	}
	events, err := h.Store.ErrorEvents(ctx, app, n, 50)
	return p, events, err
}

// ResolveProblem says that a problem is mended, or (undo) that it is not.
func (h *Helm) ResolveProblem(ctx context.Context, a bosman.Actor, app string, n int, resolved bool) error {
	if err := h.may(ctx, a, bosman.MayPush, app, ""); err != nil {
		return err
	}
	p, err := h.Store.Problem(ctx, app, n)
	if err != nil {
		return err
	}
	what := "reopened "
	p.ResolvedAt, p.ResolvedBy = time.Time{}, ""
	if resolved {
		what, p.ResolvedAt, p.ResolvedBy, p.Regressed = "resolved ", h.now(), a.Person, false
	}
	ref := bosman.Ref(bosman.LetterProblem, n)
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveProblem(ctx, p); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: what + ref + " (" + p.Title + ")", Subject: ref}, event(bosman.EventProblemEvent, ref))
	})
}

// Mails lists the mail caught from an instance, newest first.
func (h *Helm) Mails(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Mail, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return h.Store.Mails(ctx, app, instance, max)
}

// Mail gives one caught message.
func (h *Helm) Mail(ctx context.Context, a bosman.Actor, app string, id int64) (bosman.Mail, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Mail{}, err
	}
	return h.Store.Mail(ctx, app, id)
}

// Job is a row of the jobs table: an instance, or the builds of changes.
type Job struct {
	App          string               `json:"app"`
	Name         string               `json:"name"` // live, staging, testing-anna, changes
	Kind         bosman.InstanceKind  `json:"kind"` // "" for the builds of changes
	State        bosman.InstanceState `json:"state"`
	Note         string               `json:"note,omitempty"`
	URL          string               `json:"url,omitempty"`
	Weather      bosman.Weather       `json:"weather"`
	LastSuccess  time.Time            `json:"last_success"`
	SuccessRef   string               `json:"success_ref,omitempty"` // d725 or b12
	LastFailure  time.Time            `json:"last_failure"`
	FailureRef   string               `json:"failure_ref,omitempty"`
	LastDuration time.Duration        `json:"last_duration_ns"`
	Running      string               `json:"running,omitempty"` // d37 or b12 at work now
	RunningRoad  bosman.Road          `json:"running_road,omitempty"`
	Release      int                  `json:"release"`
	Commit       string               `json:"commit,omitempty"`
	Title        string               `json:"title,omitempty"` // what runs: the change's title
	Change       int                  `json:"change,omitempty"`
	Since        time.Time            `json:"since"`
	By           string               `json:"by,omitempty"`
	CopyFrom     string               `json:"copy_from,omitempty"`
	CopyAt       time.Time            `json:"copy_at"`
	Held         *bosman.Held         `json:"held,omitempty"` // why it does not follow main
}

// run is what a jobs row counts: a build or an operation.
type run struct {
	ref        string
	good       bool
	began, end time.Time
}

func (j *Job) count(runs []run) {
	for n, r := range runs { // newest first
		if n < 5 {
			j.Weather.Of++
			if r.good {
				j.Weather.Good++
			}
		}
		if n == 0 {
			j.LastDuration = r.end.Sub(r.began)
		}
		if r.good && j.SuccessRef == "" {
			j.SuccessRef, j.LastSuccess = r.ref, r.end
		}
		if !r.good && j.FailureRef == "" {
			j.FailureRef, j.LastFailure = r.ref, r.end
		}
	}
}

// Status gives the jobs table of an app ("" for all): its instances, then the
// builds of its changes.
func (h *Helm) Status(ctx context.Context, a bosman.Actor, app string) ([]Job, error) {
	apps, err := h.Apps(ctx, a)
	if err != nil {
		return nil, err
	}
	if app != "" {
		if _, err := h.App(ctx, a, app); err != nil {
			return nil, err
		}
	}
	var out []Job
	for _, noun := range apps {
		if app != "" && noun.Name != app {
			continue
		}
		instances, err := h.Store.Instances(ctx, noun.Name)
		if err != nil {
			return nil, err
		}
		for _, i := range instances {
			j, err := h.instanceJob(ctx, i)
			if err != nil {
				return nil, err
			}
			out = append(out, j)
		}
		j, err := h.changesJob(ctx, noun.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, nil
}

func (h *Helm) instanceJob(ctx context.Context, i bosman.Instance) (Job, error) {
	j := Job{App: i.App, Name: i.Name, Kind: i.Kind, State: i.State, Note: i.Note, URL: i.URL, Release: i.Release, Change: i.Change, Since: i.UpdatedAt, By: i.UpdatedBy, CopyFrom: i.Copy.From, CopyAt: i.Copy.TakenAt}
	ops, err := h.Store.Operations(ctx, i.App, i.Name, 50)
	if err != nil {
		return j, err
	}
	var runs []run
	for _, o := range ops {
		if o.Plan != bosman.PlanDeploy && o.Plan != bosman.PlanTry && o.Plan != bosman.PlanRevert {
			continue
		}
		switch o.State {
		case bosman.OpDone, bosman.OpFailed, bosman.OpReverted:
			end := o.EndedAt
			runs = append(runs, run{ref: opRef(o.Number), good: o.State == bosman.OpDone, began: o.StartedAt, end: end})
		case bosman.OpRunning, bosman.OpWatching:
			j.Running, j.RunningRoad = opRef(o.Number), bosman.OperationRoad(o)
		case bosman.OpQueued, bosman.OpSuperseded, bosman.OpCancelled:
		}
	}
	j.count(runs)
	if j.Held, err = h.held(ctx, i); err != nil {
		return j, err
	}
	if i.Release != 0 {
		r, err := h.Store.Release(ctx, i.App, i.Release)
		if err != nil {
			return j, err
		}
		j.Commit = r.Commit
		if b, err := h.Store.Build(ctx, i.App, r.Build); err == nil && b.Change != 0 {
			if c, err := h.Store.Change(ctx, i.App, b.Change); err == nil {
				j.Title = c.Title
			}
		}
		if j.Title == "" {
			if repo, err := h.Repos.Open(i.App); err == nil {
				if c, err := repo.Commit(ctx, r.Commit); err == nil {
					j.Title = c.Subject
				}
			}
		}
	}
	return j, nil
}

func (h *Helm) changesJob(ctx context.Context, app string) (Job, error) {
	j := Job{App: app, Name: "changes"}
	builds, err := h.Store.Builds(ctx, app, -1, 100)
	if err != nil {
		return j, err
	}
	var runs []run
	for _, b := range builds {
		if b.Change == 0 {
			continue
		}
		switch b.State {
		case bosman.BuildGreen, bosman.BuildRed, bosman.BuildError:
			runs = append(runs, run{ref: buildRef(b.Number), good: b.State == bosman.BuildGreen, began: b.StartedAt, end: b.EndedAt})
		case bosman.BuildRunning:
			j.Running = buildRef(b.Number)
		case bosman.BuildQueued, bosman.BuildCancelled:
		}
	}
	j.count(runs)
	return j, nil
}
