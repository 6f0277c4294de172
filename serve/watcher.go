package serve

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/watch"
)

// gate is helm as deployments ask it.
type gate struct{ *helm.Helm }

// Judge says whether a deployment may begin.
func (g gate) Judge(ctx context.Context, op bosman.Operation) (deploy.Wait, error) {
	w, err := g.Helm.Judge(ctx, op)
	return deploy.Wait{For: w.For, Until: w.Until}, err
}

// Against says why from must not run on the schema and data of to.
func (g gate) Against(ctx context.Context, app string, from, to int) (deploy.Against, error) {
	step, err := g.Helm.SchemaStep(ctx, app, from, to)
	switch kind := bosman.KindOf(err); {
	case kind == bosman.KindUnavailable || kind == bosman.KindNotFound || kind == bosman.KindInvalid: // nobody can tell
		return deploy.Against{}, nil
	case err != nil:
		return deploy.Against{}, err
	}
	return deploy.Against{Why: step.Against(), Known: step.Known}, nil
}

// MergeResult gives a change merged with main as it is now.
func (g gate) MergeResult(ctx context.Context, op bosman.Operation, asked int) (deploy.MergeResult, error) {
	m, err := g.Helm.MergeResult(ctx, op, asked)
	return deploy.MergeResult(m), err
}

// watcher watches new releases: deploy.Watcher.
type watcher struct {
	instances *instances
	edge      *control.Client
	log       *slog.Logger
}

// Watch gives the verdict on a release that was switched to.
func (w watcher) Watch(ctx context.Context, what deploy.Watching) (bosman.WatchVerdict, error) {
	s := &sampler{watcher: w, what: what}
	before, err := s.before(ctx)
	if err != nil {
		w.log.Warn("the traffic before is not known", "app", what.Operation.App, "instance", what.Instance.Name, "err", err)
	}
	return watch.Loop(ctx, watch.Options{Until: what.Until, Before: before, Log: w.log}, s)
}

// sampler measures one release at work.
type sampler struct {
	watcher
	what deploy.Watching
}

func (s *sampler) releases(ctx context.Context) ([]control.ReleaseStats, error) {
	stats, err := s.edge.Stats(ctx, s.what.Operation.App, s.what.Instance.Name)
	if err != nil {
		return nil, err
	}
	for _, i := range stats.Instances {
		if i.App == s.what.Operation.App && i.Instance == s.what.Instance.Name {
			return i.Releases, nil
		}
	}
	return nil, nil
}

// before is the traffic under the release before.
func (s *sampler) before(ctx context.Context) (watch.Traffic, error) {
	all, err := s.releases(ctx)
	if err != nil {
		return watch.Traffic{}, err
	}
	for _, r := range all {
		if !r.Current && r.Release != s.what.Operation.Release {
			return watch.Traffic{Requests: r.Requests, Errors: r.Errors()}, nil
		}
	}
	return watch.Traffic{}, nil
}

// Sample gives what is known now.
func (s *sampler) Sample(ctx context.Context) (watch.Sample, error) {
	out := watch.Sample{At: time.Now()}
	all, err := s.releases(ctx)
	if err != nil {
		return out, err
	}
	for _, r := range all {
		if r.Current && r.Release == s.what.Operation.Release {
			out.Traffic = watch.Traffic{Requests: r.Requests, Errors: r.Errors()}
		}
	}
	if err := s.health(ctx, &out); err != nil {
		return out, err
	}
	problems, err := s.instances.records.store.Problems(ctx, s.what.Operation.App, false, 100)
	if err != nil {
		return out, err
	}
	for _, p := range problems {
		if p.FirstRelease == s.what.Operation.Release && !p.FirstAt.Before(s.what.Since.Add(-time.Minute)) && (p.Level == "error" || p.Level == "fatal") {
			out.Problems = append(out.Problems, watch.Problem{Title: p.Title, Events: int(p.Events), Users: int(p.Users)})
		}
	}
	return out, nil
}

// healthWait is how long the health check may take in one sample.
const healthWait = 3 * time.Second

func (s *sampler) health(ctx context.Context, out *watch.Sample) error {
	l := deploy.Launch{Instance: s.what.Instance, Release: s.what.Operation.Release, ID: s.what.ID, Part: deploy.PartWeb}
	spec, o, _, err := s.instances.spec(ctx, l)
	if err != nil || o.Manifest.Health == "" {
		return err
	}
	address, err := url.Parse(s.what.Instance.URL)
	if err != nil {
		return err
	}
	found, err := s.instances.sup.AwaitWell(ctx, spec, instance.Judgement{
		Health: o.Manifest.Health, Host: address.Hostname(), HTTPS: address.Scheme == "https", Timeout: healthWait, Each: healthWait,
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out.Answer, out.Exited, out.Health = found.Health, found.Exit, watch.HealthGood
	if err != nil {
		out.Health = watch.HealthFailing
	} else {
		out.Exited = ""
	}
	return nil
}
