// Package story is a helm with the data of a good week: for the tests of pages
// and for looking at them. It is not part of the product.
package story

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/helm"
)

// Story answers as helm does. Calls lists the verbs asked for.
type Story struct {
	Now        time.Time
	AppList    []bosman.App
	Jobs       []helm.Job
	List       []helm.ChangeView
	BuildList  []bosman.Build
	ReleaseAll []bosman.Release
	Inst       []bosman.Instance
	Ops        []bosman.Operation
	BackupAll  []bosman.Backup
	MailAll    []bosman.Mail
	ProblemAll []bosman.Problem
	EventAll   []bosman.ErrorEvent
	Lines      []bosman.Activity
	Persons    []bosman.Person
	TokenAll   []bosman.Token
	M          *bosman.Manifest
	Stored     bosman.Storage
	Timeline   *bosman.PointInTime
	KeptAll    []bosman.KeptCopy
	Health     []bosman.BackupHealth
	Custody    bosman.Recovery
	Loose      []string
	Rehearsals map[string]bosman.Rehearsal       // by change: "c23"
	Plans      map[string]bosman.RevertPlan      // by instance
	Theirs     map[string]bosman.AdoptedDatabase // databases that Bosman did not make, by instance of rms
	WaitFor    string
	Err        error // what verbs answer, if set

	mu    sync.Mutex
	Calls []string
}

// Called gives the verbs asked for so far.
func (s *Story) Called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.Calls)
}

func (s *Story) call(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Calls = append(s.Calls, fmt.Sprintf(format, args...))
	return s.Err
}

func (s *Story) check(a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) error {
	for _, p := range s.Persons {
		if p.Name == a.Person {
			return access.Check(p, v, app, kind)
		}
	}
	return bosman.Forbidden("%q is nobody Bosman knows", a.Person)
}

func (s *Story) kind(name string) bosman.InstanceKind {
	k, err := helm.KindOf(name)
	if err != nil {
		return ""
	}
	return k
}

// May says whether a person may do something.
func (s *Story) May(_ context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) bool {
	return s.check(a, v, app, kind) == nil
}

// Apps lists apps.
func (s *Story) Apps(_ context.Context, a bosman.Actor) ([]bosman.App, error) {
	var out []bosman.App
	for _, app := range s.AppList {
		if s.check(a, bosman.MaySee, app.Name, "") == nil {
			out = append(out, app)
		}
	}
	return out, nil
}

// App gives one app.
func (s *Story) App(_ context.Context, a bosman.Actor, app string) (bosman.App, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.App{}, err
	}
	return find(s.AppList, "app "+app, func(x bosman.App) bool { return x.Name == app })
}

func find[T any](all []T, what string, is func(T) bool) (T, error) {
	for _, x := range all {
		if is(x) {
			return x, nil
		}
	}
	var none T
	return none, bosman.NotFound("there is no %s", what)
}

func filter[T any](all []T, is func(T) bool) []T {
	var out []T
	for _, x := range all {
		if is(x) {
			out = append(out, x)
		}
	}
	return out
}

// Status gives the jobs table.
func (s *Story) Status(ctx context.Context, a bosman.Actor, app string) ([]helm.Job, error) {
	if app != "" {
		if _, err := s.App(ctx, a, app); err != nil {
			return nil, err
		}
	}
	return filter(s.Jobs, func(j helm.Job) bool {
		return (app == "" || j.App == app) && s.check(a, bosman.MaySee, j.App, "") == nil
	}), nil
}

// Manifest gives the manifest.
func (s *Story) Manifest(context.Context, string) (*bosman.Manifest, error) { return s.M, nil }

// Policy gives the policy of a kind.
func (s *Story) Policy(_ context.Context, _ string, kind bosman.InstanceKind) (*bosman.Policy, error) {
	return s.M.PolicyFor(kind), nil
}

// Loosened gives what nobody confirmed.
func (s *Story) Loosened(context.Context, string) ([]string, error) { return s.Loose, nil }

// Judge judges as helm does, for bad and red releases.
func (s *Story) Judge(_ context.Context, op bosman.Operation) (helm.Wait, error) {
	for _, r := range s.ReleaseAll {
		if r.Number != op.Release {
			continue
		}
		if r.Bad != "" {
			return helm.Wait{}, bosman.Conflict("r%d is marked bad: %s", r.Number, r.Bad)
		}
		if r.Tests != bosman.TestsGreen {
			return helm.Wait{}, bosman.Conflict("the tests of r%d are %s", r.Number, r.Tests)
		}
	}
	return helm.Wait{For: s.WaitFor}, nil
}

// Changes lists changes.
func (s *Story) Changes(_ context.Context, a bosman.Actor, app string, all bool, _ int) ([]helm.ChangeView, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.List, func(c helm.ChangeView) bool { return c.App == app && (all || c.State == bosman.ChangeOpen) }), nil
}

// ChangePage gives one change.
func (s *Story) ChangePage(_ context.Context, a bosman.Actor, app, ref string) (helm.ChangeView, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return helm.ChangeView{}, err
	}
	c, err := find(s.List, "change "+ref, func(c helm.ChangeView) bool {
		return c.App == app && (ref == fmt.Sprintf("c%d", c.Number) || ref == c.Branch)
	})
	if r, ok := s.Rehearsals[fmt.Sprintf("c%d", c.Number)]; ok && err == nil {
		c.Rehearsal = &r
	}
	return c, err
}

// FindChange gives one change.
func (s *Story) FindChange(ctx context.Context, a bosman.Actor, app, ref string) (bosman.Change, error) {
	c, err := s.ChangePage(ctx, a, app, ref)
	return c.Change, err
}

// BuildOf gives one build.
func (s *Story) BuildOf(_ context.Context, a bosman.Actor, app string, n int) (bosman.Build, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Build{}, err
	}
	return find(s.BuildList, fmt.Sprintf("build b%d", n), func(b bosman.Build) bool { return b.App == app && b.Number == n })
}

// Builds lists builds, newest first.
func (s *Story) Builds(_ context.Context, a bosman.Actor, app string, change, _ int) ([]bosman.Build, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.BuildList, func(b bosman.Build) bool { return b.App == app && (change < 0 || b.Change == change) }), nil
}

// CommitTitle gives the first line of a commit's message; builds of main all
// have the same one.
func (s *Story) CommitTitle(_ context.Context, a bosman.Actor, app, _ string) (string, error) {
	return "Merge cv-upload (c20)", s.check(a, bosman.MaySee, app, "")
}

// Releases lists releases, newest first.
func (s *Story) Releases(_ context.Context, a bosman.Actor, app string, _ int) ([]bosman.Release, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.ReleaseAll, func(r bosman.Release) bool { return r.App == app }), nil
}

// Instance gives one instance.
func (s *Story) Instance(_ context.Context, a bosman.Actor, app, name string) (bosman.Instance, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Instance{}, err
	}
	return find(s.Inst, "instance "+name, func(i bosman.Instance) bool { return i.App == app && i.Name == name })
}

// Instances lists instances.
func (s *Story) Instances(_ context.Context, a bosman.Actor, app string) ([]bosman.Instance, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.Inst, func(i bosman.Instance) bool { return i.App == app }), nil
}

// Held says why an instance does not follow main.
func (s *Story) Held(ctx context.Context, a bosman.Actor, app, name string) (*bosman.Held, error) {
	if _, err := s.Instance(ctx, a, app, name); err != nil {
		return nil, err
	}
	for _, j := range s.Jobs {
		if j.App == app && j.Name == name {
			return j.Held, nil
		}
	}
	return nil, nil
}

// Operation gives one operation.
func (s *Story) Operation(_ context.Context, a bosman.Actor, app string, n int) (bosman.Operation, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Operation{}, err
	}
	return find(s.Ops, fmt.Sprintf("operation d%d", n), func(o bosman.Operation) bool { return o.App == app && o.Number == n })
}

// Operations lists operations, newest first.
func (s *Story) Operations(_ context.Context, a bosman.Actor, app, instance string, _ int) ([]bosman.Operation, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.Ops, func(o bosman.Operation) bool { return o.App == app && (instance == "" || o.Instance == instance) }), nil
}

// Backups lists backups.
func (s *Story) Backups(_ context.Context, a bosman.Actor, app, instance string, _ int) ([]bosman.Backup, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.BackupAll, func(b bosman.Backup) bool { return b.App == app && (instance == "" || b.Instance == instance) }), nil
}

// Mails lists mail.
func (s *Story) Mails(_ context.Context, a bosman.Actor, app, instance string, _ int) ([]bosman.Mail, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.MailAll, func(m bosman.Mail) bool { return m.App == app && m.Instance == instance }), nil
}

// Mail gives one message.
func (s *Story) Mail(_ context.Context, a bosman.Actor, app string, id int64) (bosman.Mail, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Mail{}, err
	}
	return find(s.MailAll, "message", func(m bosman.Mail) bool { return m.App == app && m.ID == id })
}

// Problems lists problems.
func (s *Story) Problems(_ context.Context, a bosman.Actor, app string, resolved bool, _ int) ([]bosman.Problem, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	return filter(s.ProblemAll, func(p bosman.Problem) bool { return p.App == app && p.ResolvedAt.IsZero() != resolved }), nil
}

// Problem gives one problem.
func (s *Story) Problem(_ context.Context, a bosman.Actor, app string, n int) (bosman.Problem, []bosman.ErrorEvent, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Problem{}, nil, err
	}
	p, err := find(s.ProblemAll, fmt.Sprintf("problem p%d", n), func(p bosman.Problem) bool { return p.App == app && p.Number == n })
	return p, filter(s.EventAll, func(e bosman.ErrorEvent) bool { return e.App == app && e.Problem == n }), err
}

// Activity lists the log.
func (s *Story) Activity(_ context.Context, a bosman.Actor, app string, before int64, max int) ([]bosman.Activity, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	out := filter(s.Lines, func(l bosman.Activity) bool { return (app == "" || l.App == app) && (before == 0 || l.ID < before) })
	return out[:min(len(out), max)], nil
}

// People lists everybody.
func (s *Story) People(context.Context, bosman.Actor) ([]bosman.Person, error) { return s.Persons, nil }

// Tokens lists tokens.
func (s *Story) Tokens(_ context.Context, a bosman.Actor, person string) ([]bosman.Token, error) {
	if a.Person != person {
		if err := s.check(a, bosman.MayAdminister, "", ""); err != nil {
			return nil, err
		}
	}
	return filter(s.TokenAll, func(t bosman.Token) bool { return t.Person == person }), nil
}

// AtHand lists who is at hand.
func (s *Story) AtHand(context.Context) ([]bosman.Person, error) {
	return filter(s.Persons, func(p bosman.Person) bool { return p.AtHandUntil.After(s.Now) }), nil
}
