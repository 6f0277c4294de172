package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/watch"
)

// After a revert that the watch asked for, the release before is watched by
// the same rules, without owning the instance: were the errors its
// successor's, or do they go on?
//
//	revert done ─► row in aftermaths ─► watched ─► said on the revert
//	                     ▲                 │
//	                     └─ killed: again ─┘   another release came: forgotten

// aftermathSetting holds the watches that go on, by "APP/d38".
const aftermathSetting = "aftermaths"

// aftermath is one of them.
type aftermath struct {
	App       string        `json:"app"`
	Operation int           `json:"operation"` // the revert
	Until     time.Time     `json:"until"`
	Then      watch.Rate    `json:"then"`             // under the release that was taken back
	Before    watch.Traffic `json:"before"`           // under the release before, before that
	Events    map[int]int64 `json:"events,omitempty"` // of the problems that the release taken back brought, at the revert
}

// aftermaths looks after them.
type aftermaths struct {
	*server
	mu sync.Mutex // of the setting
}

func (s *server) afterReverts(ctx context.Context) error {
	a := &aftermaths{server: s}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	going, err := a.load(ctx)
	if err != nil {
		return err
	}
	for key, m := range going {
		wg.Go(func() { a.follow(ctx, key, m) })
	}
	return s.store.FollowAs(ctx, "aftermaths", func(ctx context.Context, e bosman.Event) error {
		if e.Kind != bosman.EventOperationEnded {
			return nil
		}
		m, err := a.begin(ctx, e)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("what follows a revert is not watched", "app", e.App, "deployment", e.Subject, "err", err)
			return nil
		}
		if m != nil {
			wg.Go(func() { a.follow(ctx, e.App+"/"+e.Subject, *m) })
		}
		return err
	})
}

func (a *aftermaths) load(ctx context.Context) (map[string]aftermath, error) {
	text, err := a.store.Setting(ctx, aftermathSetting)
	going := map[string]aftermath{}
	if err != nil || text == "" {
		return going, err
	}
	return going, json.Unmarshal([]byte(text), &going)
}

// change edits the setting.
func (a *aftermaths) change(ctx context.Context, edit func(map[string]aftermath)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	going, err := a.load(ctx)
	if err != nil {
		return err
	}
	edit(going)
	text, err := json.Marshal(going)
	if err != nil {
		return err
	}
	return a.store.SetSetting(ctx, aftermathSetting, string(text))
}

// begin notes the watch after a revert that ended; nil for what is none, or
// was noted before.
func (a *aftermaths) begin(ctx context.Context, e bosman.Event) (*aftermath, error) {
	n, err := bosman.ParseRef(bosman.LetterOperation, e.Subject)
	if err != nil {
		return nil, err
	}
	op, err := a.store.Operation(ctx, e.App, n)
	if err != nil || op.Plan != bosman.PlanRevert || !op.Auto || op.State != bosman.OpDone {
		return nil, ignoreMissing(err)
	}
	i, err := a.store.Instance(ctx, op.App, op.Instance)
	if err != nil || i.Release != op.Release || bosman.WasWatchedAfter(op) {
		return nil, ignoreMissing(err)
	}
	policy, err := a.helm.Policy(ctx, op.App, i.Kind)
	if err != nil || policy.Watch.For <= 0 {
		return nil, err
	}
	m := aftermath{App: op.App, Operation: op.Number, Until: op.EndedAt.Add(policy.Watch.For), Events: map[int]int64{}}
	s := &sampler{watcher: a.watcher(), what: deploy.Watching{Operation: op, Instance: i}}
	stats, err := s.releases(ctx)
	if err != nil {
		a.log.Warn("the traffic before is not known", "app", op.App, "instance", i.Name, "err", err)
	}
	m.Then, m.Before = ratesBefore(stats, op)
	problems, err := a.broughtBy(ctx, op)
	for _, p := range problems {
		m.Events[p.Number] = p.Events
	}
	if err != nil {
		return nil, err
	}
	fresh := false
	err = a.change(ctx, func(going map[string]aftermath) {
		key := op.App + "/" + e.Subject
		if _, there := going[key]; !there {
			going[key], fresh = m, true
		}
	})
	if err != nil || !fresh {
		return nil, err
	}
	return &m, nil
}

func (s *server) watcher() watcher { return watcher{s.instances, s.edge, s.log} }

// ratesBefore reads how the release that a revert took back fared, and the one
// before it in its time.
func ratesBefore(stats []control.ReleaseStats, op bosman.Operation) (then watch.Rate, before watch.Traffic) {
	seen := false
	for _, r := range stats { // newest first
		switch {
		case r.Current:
		case r.Release == op.From:
			seen = true
			then.Errors += r.Errors()
			then.Over += r.Until.Sub(r.Since)
		case seen && r.Release == op.Release:
			return then, watch.Traffic{Requests: r.Requests, Errors: r.Errors()}
		}
	}
	return then, before
}

// broughtBy gives the problems that came with the release a revert took back.
func (a *aftermaths) broughtBy(ctx context.Context, op bosman.Operation) ([]bosman.Problem, error) {
	all, err := a.store.Problems(ctx, op.App, false, 100)
	var out []bosman.Problem
	for _, p := range all {
		if p.FirstRelease == op.From && (p.Level == "error" || p.Level == "fatal") {
			out = append(out, p)
		}
	}
	return out, err
}

// errFollowedUp ends a watch because something else runs by now.
var errFollowedUp = errors.New("another release came")

// follow watches to the end and says what came of it.
func (a *aftermaths) follow(ctx context.Context, key string, m aftermath) {
	err := a.watchOn(ctx, m)
	if ctx.Err() != nil {
		return // it goes on after the next start
	}
	if err != nil && !errors.Is(err, errFollowedUp) && bosman.KindOf(err) != bosman.KindNotFound {
		a.log.Error("what followed a revert could not be kept", "app", m.App, "deployment", opRefOf(m.Operation), "err", err)
	}
	if err := a.change(ctx, func(going map[string]aftermath) { delete(going, key) }); err != nil && ctx.Err() == nil {
		a.log.Error("the watch after a revert could not be ended", "app", m.App, "deployment", opRefOf(m.Operation), "err", err)
	}
}

func opRefOf(n int) string { return bosman.Ref(bosman.LetterOperation, n) }

func (a *aftermaths) watchOn(ctx context.Context, m aftermath) error {
	op, err := a.store.Operation(ctx, m.App, m.Operation)
	if err != nil {
		return err
	}
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &afterSampler{aftermaths: a, m: m, op: op, gone: func() { cancel(errFollowedUp) }}
	v, err := watch.Loop(wctx, watch.Options{Until: m.Until, Before: m.Before, Log: a.log}, s)
	if err != nil {
		return err
	}
	after := watch.JudgeAfter(bosman.Ref(bosman.LetterRelease, op.From), m.Then, watch.Rate{Errors: v.Errors, Over: s.over}, v)
	return a.helm.WatchedAfter(ctx, op, after.Known && !after.Fell, after.Text)
}

// afterSampler measures the release before at work again.
type afterSampler struct {
	*aftermaths
	m    aftermath
	op   bosman.Operation
	gone func()        // the instance runs something else
	over time.Duration // that the newest sample covers
}

// Sample gives what is known now.
func (s *afterSampler) Sample(ctx context.Context) (watch.Sample, error) {
	i, err := s.store.Instance(ctx, s.op.App, s.op.Instance)
	if bosman.KindOf(err) == bosman.KindNotFound || err == nil && (i.Release != s.op.Release || i.Stopped) {
		s.gone()
		return watch.Sample{}, fmt.Errorf("%s: %w", s.op.Instance, errFollowedUp)
	}
	if err != nil {
		return watch.Sample{}, err
	}
	inner := &sampler{watcher: s.watcher(), what: deploy.Watching{Operation: s.op, Instance: i, ID: i.ProcessID, Since: s.op.EndedAt, Until: s.m.Until}}
	out, err := inner.Sample(ctx)
	if err != nil {
		return out, err
	}
	s.over = time.Since(s.op.EndedAt)
	problems, err := s.broughtBy(ctx, s.op)
	for _, p := range problems {
		if more := p.Events - s.m.Events[p.Number]; p.LastRelease == s.op.Release && more > 0 {
			out.Problems = append(out.Problems, watch.Problem{Title: p.Title, Events: int(more), Users: int(p.Users)})
		}
	}
	return out, err
}

// ignoreMissing passes over what was removed meanwhile.
func ignoreMissing(err error) error {
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	return err
}
