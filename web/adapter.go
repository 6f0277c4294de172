package web

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/web/activity"
	"github.com/bosman-cd/bosman/web/changes"
	"github.com/bosman-cd/bosman/web/deployment"
	"github.com/bosman-cd/bosman/web/overview"
	"github.com/bosman-cd/bosman/web/people"
	"github.com/bosman-cd/bosman/web/problems"
	"github.com/bosman-cd/bosman/web/releases"
	"github.com/bosman-cd/bosman/web/ui"
)

// adapter gives pages their read-models, made of what helm knows; verbs that
// a page names as helm does are helm's own.
type adapter struct {
	Helm
	w *Web
}

// world is what frames show.
type world struct{ w *Web }

func (f world) LastEvent(ctx context.Context) (int64, error) { return f.w.cfg.Events.LastEvent(ctx) }

func (f world) May(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) bool {
	return f.w.cfg.Helm.May(ctx, a, v, app, kind)
}

// zoneFor is how long a zone is remembered: asking for it reads git.
const zoneFor = 30 * time.Second

type zoneOf struct {
	zone  *time.Location
	until time.Time
}

// Zone is the time zone of an app; UTC where its manifest cannot be read.
func (f world) Zone(ctx context.Context, app string) *time.Location {
	now := f.w.cfg.Now()
	f.w.mu.Lock()
	known, ok := f.w.zones[app]
	f.w.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.zone
	}
	zone := time.UTC
	if m, err := f.w.cfg.Helm.Manifest(ctx, app); err == nil && m != nil {
		if z, err := time.LoadLocation(m.Timezone); err == nil {
			zone = z
		}
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if len(f.w.zones) > 1000 { // names that are no apps
		clear(f.w.zones)
	}
	f.w.zones[app] = zoneOf{zone, now.Add(zoneFor)}
	return zone
}

// Overview gives the jobs table.
func (a adapter) Overview(ctx context.Context, who bosman.Actor, app string) (overview.View, error) {
	v := overview.View{Only: app, MayAdmin: a.May(ctx, who, bosman.MayAdminister, app, bosman.KindLive), Base: strings.TrimSuffix(a.w.cfg.Base, "/")}
	jobs, err := a.Status(ctx, who, app)
	if err != nil {
		return v, err
	}
	for _, j := range jobs {
		if n := len(v.Apps); n == 0 || v.Apps[n-1].Name != j.App {
			block := overview.App{Name: j.App}
			if err := a.counts(ctx, who, &block); err != nil {
				return v, err
			}
			v.Apps = append(v.Apps, block)
		}
		block := &v.Apps[len(v.Apps)-1]
		block.Rows = append(block.Rows, overview.Row{
			Name: j.Name, Kind: j.Kind, State: j.State, Note: j.Note, URL: j.URL, Weather: j.Weather, LastSuccess: j.LastSuccess,
			SuccessRef: j.SuccessRef, LastFailure: j.LastFailure, FailureRef: j.FailureRef, LastDuration: j.LastDuration,
			Running: j.Running, RunningRoad: j.RunningRoad, Release: j.Release, Commit: j.Commit, Title: j.Title, Change: j.Change,
			Since: j.Since, By: j.By, CopyFrom: j.CopyFrom, CopyAt: j.CopyAt, Held: j.Held,
		})
	}
	return v, nil
}

func (a adapter) counts(ctx context.Context, who bosman.Actor, block *overview.App) error {
	open, err := a.Changes(ctx, who, block.Name, false, 0)
	if err != nil {
		return err
	}
	found, err := a.Problems(ctx, who, block.Name, false, 100)
	if err != nil {
		return err
	}
	block.Open, block.Problems = len(open), len(found)
	block.Loosened, err = a.Loosened(ctx, block.Name)
	if bosman.KindOf(err) == bosman.KindInvalid {
		return nil // main's manifest is not readable: its build says so
	}
	if err != nil {
		return err
	}
	health, err := a.BackupHealth(ctx, who, block.Name)
	for _, h := range health {
		if why := h.Worst(); why != "" {
			block.Troubles = append(block.Troubles, why)
		}
	}
	return err
}

// Board gives the changes of an app.
func (a adapter) Board(ctx context.Context, who bosman.Actor, app string, all bool) (changes.View, error) {
	v := changes.View{App: app, All: all, Base: a.w.cfg.Base, Stations: []string{"tests", "testing", "accepted", "merged", "staging", "live"}}
	if _, err := a.App(ctx, who, app); err != nil {
		return v, err
	}
	most := 0
	if all {
		most = 60 // each merged one asks git where it arrived
	}
	list, err := a.Changes(ctx, who, app, all, most)
	if err != nil {
		return v, err
	}
	for _, c := range list {
		v.Rows = append(v.Rows, changes.Row{
			Number: c.Number, Branch: c.Branch, Fork: c.Fork, Title: title(c.Change), Author: c.Author, State: c.State,
			Updated: c.UpdatedAt, Road: c.Road, Hazards: len(c.Hazards), Waits: waits(c),
		})
	}
	return v, nil
}

func title(c bosman.Change) string {
	if strings.TrimSpace(c.Title) == "" {
		return c.Branch
	}
	return c.Title
}

// waits says who or what an open change waits for.
func waits(c helm.ChangeView) string {
	if c.State != bosman.ChangeOpen {
		return ""
	}
	switch {
	case c.Trust == bosman.TrustStranger:
		return "somebody of the team to read it and take it over"
	case len(c.Conflicts) > 0:
		return "its author: it conflicts with main"
	case c.Blocked != "":
		return "its author: its migrations are blocked"
	case c.MergeWanted != "":
		return "its tests, then it merges by itself"
	case c.Build == nil:
		return "a build"
	}
	switch c.Build.State {
	case bosman.BuildQueued, bosman.BuildRunning:
		return "its tests"
	case bosman.BuildRed:
		return "its author: tests are red"
	case bosman.BuildError, bosman.BuildCancelled:
		return "a build"
	case bosman.BuildGreen:
	}
	for i := len(c.Signoffs) - 1; i >= 0; i-- {
		if s := c.Signoffs[i]; s.Commit == c.Head {
			if s.Verdict == bosman.SentBack {
				return "its author: " + s.Person + " sent it back"
			}
			return "somebody to merge it"
		}
	}
	if len(c.On) > 0 {
		return "a tester's yes or no"
	}
	return "a tester"
}

// Deployment gives one operation.
func (a adapter) Deployment(ctx context.Context, who bosman.Actor, app string, n int) (deployment.View, error) {
	op, err := a.Operation(ctx, who, app, n)
	if err != nil {
		return deployment.View{}, err
	}
	v := deployment.View{Op: op, Road: bosman.OperationRoad(op)}
	if v.Instance, err = a.Instance(ctx, who, app, op.Instance); err != nil {
		if bosman.KindOf(err) != bosman.KindNotFound {
			return v, err
		}
		v.Instance = bosman.Instance{App: app, Name: op.Instance} // removed since
	}
	list, err := a.Operations(ctx, who, app, op.Instance, 100)
	if err != nil {
		return v, err
	}
	for _, o := range list {
		if o.Reverts == n {
			v.TookBack = o.Number
		}
	}
	if op.Backup != 0 {
		backups, err := a.Backups(ctx, who, app, "", 200)
		if err != nil {
			return v, err
		}
		for _, b := range backups {
			if b.Number == op.Backup {
				v.Backup = &b
			}
		}
	}
	kind := v.Instance.Kind
	newest := op.Plan == bosman.PlanDeploy && (op.State == bosman.OpDone && v.Instance.Release == op.Release || op.State == bosman.OpRunning || op.State == bosman.OpWatching)
	v.MayRevert = newest && v.TookBack == 0 && (v.Instance.Previous != 0 || !op.Committed) && a.May(ctx, who, bosman.MayRevert, app, kind)
	v.MayCancel = op.State == bosman.OpQueued && a.May(ctx, who, bosman.MayDeploy, app, kind)
	path := a.w.cfg.Logs.Operation(app, n)
	v.Log, v.LogFrom, err = tail(path, 200, world{a.w}.Zone(ctx, app))
	v.Log = slices.DeleteFunc(v.Log, func(l ui.Line) bool { return !during(op, l.At) })
	v.HasLog = path != "" && (len(v.Log) > 0 || !op.State.Final() && !op.StartedAt.IsZero())
	return v, err
}

// during says whether a moment lies in an operation: its log may be that of the
// whole instance.
func during(op bosman.Operation, at time.Time) bool {
	return !op.StartedAt.IsZero() && !at.Before(op.StartedAt) && (op.EndedAt.IsZero() || !at.After(op.EndedAt))
}

// ProblemList gives an app's problems.
func (a adapter) ProblemList(ctx context.Context, who bosman.Actor, app string, resolved bool) (problems.List, error) {
	v := problems.List{App: app, Resolved: resolved}
	if _, err := a.App(ctx, who, app); err != nil {
		return v, err
	}
	list, err := a.Problems(ctx, who, app, resolved, 200)
	if err != nil {
		return v, err
	}
	for _, p := range list {
		if p.ResolvedAt.IsZero() != resolved {
			v.Problems = append(v.Problems, p)
		}
	}
	return v, nil
}

// ProblemPage gives one problem.
func (a adapter) ProblemPage(ctx context.Context, who bosman.Actor, app string, n int) (problems.View, error) {
	p, events, err := a.Problem(ctx, who, app, n)
	return problems.View{Problem: p, Events: events, MayResolve: a.May(ctx, who, bosman.MayPush, app, "")}, err
}

// ActivityPage gives some lines of the log.
func (a adapter) ActivityPage(ctx context.Context, who bosman.Actor, app string, before int64) (activity.View, error) {
	const most = 100
	v := activity.View{App: app, Later: before != 0}
	if app != "" {
		if _, err := a.App(ctx, who, app); err != nil {
			return v, err
		}
	}
	list, err := a.Activity(ctx, who, app, before, most)
	if len(list) == most {
		v.Older = list[most-1].ID
	}
	for _, l := range list {
		if l.App == "" || a.May(ctx, who, bosman.MaySee, l.App, "") {
			v.Lines = append(v.Lines, l)
		}
	}
	return v, err
}

// ReleaseList gives an app's releases.
func (a adapter) ReleaseList(ctx context.Context, who bosman.Actor, app string) (releases.View, error) {
	v := releases.View{App: app, MayDeploy: a.May(ctx, who, bosman.MayDeploy, app, bosman.KindLive)}
	if _, err := a.App(ctx, who, app); err != nil {
		return v, err
	}
	list, err := a.Releases(ctx, who, app, 100)
	if err != nil {
		return v, err
	}
	instances, err := a.Instances(ctx, who, app)
	if err != nil {
		return v, err
	}
	brought, err := a.brought(ctx, who, app, numbers(list)...)
	if err != nil {
		return v, err
	}
	for _, r := range list {
		row := releases.Row{Release: r, Title: brought[r.Number].title, Change: brought[r.Number].change}
		for _, i := range instances {
			if i.Release == r.Number {
				row.On = append(row.On, i.Name)
			}
		}
		v.Rows = append(v.Rows, row)
	}
	return v, nil
}

type bringing struct {
	title  string
	change int
}

// brought says what releases brought, by number: the title of the change each
// was first built for.
func (a adapter) brought(ctx context.Context, who bosman.Actor, app string, releases ...int) (map[int]bringing, error) {
	builds, err := a.Builds(ctx, who, app, -1, 500)
	if err != nil {
		return nil, err
	}
	out, titles := map[int]bringing{}, map[int]string{}
	for _, b := range builds { // newest first: the first build of a release stays
		if !slices.Contains(releases, b.Release) || b.Release == 0 {
			continue
		}
		if b.Change == 0 {
			if out[b.Release].title == "" {
				subject, err := a.CommitTitle(ctx, who, app, b.Commit)
				if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
					return nil, err
				}
				out[b.Release] = bringing{title: cmp.Or(subject, b.Branch)}
			}
			continue
		}
		if _, known := titles[b.Change]; !known {
			c, err := a.FindChange(ctx, who, app, ui.Change(b.Change))
			if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
				return nil, err
			}
			titles[b.Change] = title(c)
		}
		out[b.Release] = bringing{title: titles[b.Change], change: b.Change}
	}
	return out, nil
}

func numbers(list []bosman.Release) []int {
	out := make([]int, len(list))
	for n, r := range list {
		out[n] = r.Number
	}
	return out
}

// Everybody gives all people.
func (a adapter) Everybody(ctx context.Context, who bosman.Actor) (people.List, error) {
	v := people.List{Me: who.Person, MayAdmin: a.May(ctx, who, bosman.MayAdminister, "", "")}
	var err error
	v.People, err = a.People(ctx, who)
	return v, err
}

// Somebody gives one person.
func (a adapter) Somebody(ctx context.Context, who bosman.Actor, name string) (people.View, error) {
	v := people.View{Me: who.Person == name, MayAdmin: a.May(ctx, who, bosman.MayAdminister, "", "")}
	all, err := a.People(ctx, who)
	if err != nil {
		return v, err
	}
	for _, p := range all {
		if p.Name == name {
			v.Person = p
		}
	}
	if v.Person.Name == "" {
		return v, bosman.NotFound("There is no person %q.", name).WithNext("bosman people lists everybody")
	}
	if v.Me || v.MayAdmin {
		if v.Tokens, err = a.Tokens(ctx, who, name); err != nil {
			return v, err
		}
	}
	apps, err := a.Apps(ctx, who)
	for _, app := range apps {
		v.Apps = append(v.Apps, app.Name)
	}
	return v, err
}

// ChangePassword changes a password; one's own only with the present one.
func (a adapter) ChangePassword(ctx context.Context, who bosman.Actor, name, old, password string) error {
	if who.Person == name {
		done, wait := a.w.limit.Try("password", name)
		if wait > 0 {
			return bosman.Busy("Too many attempts.").WithKept("the password was not changed").WithNext("wait a quarter of an hour")
		}
		_, err := a.Login(ctx, name, old)
		done(err == nil)
		if bosman.KindOf(err) == bosman.KindForbidden {
			return bosman.Invalid("The present password is not right.").WithKept("the password was not changed")
		}
		if err != nil {
			return err
		}
	}
	if err := a.SetPassword(ctx, who, name, password); err != nil || who.Person != name {
		return err
	}
	p, err := a.w.cfg.People.Person(ctx, name) // the other sessions end, this one goes on
	if err != nil {
		return err
	}
	return a.w.enter(ctx, p)
}

// Login gives the person of a name and a password.
func (a adapter) Login(ctx context.Context, name, password string) (bosman.Person, error) {
	return access.Login(ctx, a.w.cfg.People, name, password)
}

// NobodyYet says whether nobody can log in with a password.
func (a adapter) NobodyYet(ctx context.Context) (bool, error) {
	all, err := a.w.cfg.People.People(ctx)
	for _, p := range all {
		if p.PasswordHash != "" && !p.Disabled {
			return false, err
		}
	}
	return true, err
}

// MergeChange merges, with a reason whatever its rehearsal says, and says what
// that did.
func (a adapter) MergeChange(ctx context.Context, who bosman.Actor, app, ref, override string) (string, error) {
	if override != "" {
		m, err := a.MergeAnyway(ctx, who, app, ref, override)
		return m.Note, err
	}
	m, err := a.Merge(ctx, who, app, ref)
	return m.Note, err
}
