package serve

import (
	"context"
	"errors"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance/cron"
	"github.com/bosman-cd/bosman/notify"
	"github.com/bosman-cd/bosman/store"
)

// --- telling people

// letters keeps what is to be told: notify.Outbox.
type letters struct{ store *store.Store }

const letterKind = "message"

// Add keeps a message.
func (l letters) Add(ctx context.Context, e notify.Entry) error {
	return l.store.Owe(ctx, store.Owed{Kind: letterKind, CoalesceKey: e.Key, Data: e.Data, At: e.At.UTC(), NextAt: e.At.UTC()})
}

// Due gives what is to be told now.
func (l letters) Due(ctx context.Context, now time.Time, limit int) ([]notify.Entry, error) {
	all, err := l.store.Due(ctx, letterKind, now, limit)
	out := make([]notify.Entry, len(all))
	for i, o := range all {
		out[i] = notify.Entry{ID: o.ID, Key: o.CoalesceKey, Data: o.Data, At: o.At, Tries: o.Tries}
	}
	return out, err
}

func (l letters) row(e notify.Entry) store.Owed {
	return store.Owed{Kind: letterKind, CoalesceKey: e.Key, At: e.At}
}

// Done takes out what was told.
func (l letters) Done(ctx context.Context, e notify.Entry) error {
	return l.store.Paid(ctx, l.row(e))
}

// Retry notes a failed attempt.
func (l letters) Retry(ctx context.Context, e notify.Entry, next time.Time, reason string) error {
	row := l.row(e)
	row.Tries = e.Tries + 1
	return l.store.Postpone(ctx, row, next, reason)
}

// tellPeople puts what happens into the outbox and delivers it.
func (s *server) tellPeople(ctx context.Context) error {
	n, err := notify.New(notify.Config{Outbox: letters{s.store}, Targets: s.helm, Log: s.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	err = s.store.FollowAs(ctx, "notify", func(ctx context.Context, e bosman.Event) error {
		m, ok, err := s.helm.MessageOf(ctx, e)
		if err != nil || !ok {
			return err
		}
		if err := n.Send(ctx, m); err != nil {
			return err
		}
		n.Wake()
		return nil
	})
	cancel()
	return errors.Join(err, <-done)
}

// --- cron

// crontab is the journal of cron runs: cron.Journal.
type crontab struct{ store *store.Store }

// Claim gives true once for each moment of each entry.
func (c crontab) Claim(ctx context.Context, app, instance, name string, moment time.Time) (bool, error) {
	return c.store.ClaimCron(ctx, store.CronRun{App: app, Instance: instance, Name: name, Moment: moment.UTC(), Outcome: string(cron.Started), StartedAt: time.Now().UTC()})
}

// Record keeps what became of a moment.
func (c crontab) Record(ctx context.Context, r cron.Run) error {
	return c.store.SaveCron(ctx, store.CronRun{
		App: r.App, Instance: r.Instance, Name: r.Name, Moment: r.Moment.UTC(), Outcome: string(r.Outcome), Note: r.Note,
		StartedAt: r.StartedAt.UTC(), EndedAt: r.EndedAt.UTC(),
	})
}

const cronSeen = "cron-seen"

// Seen is the last moment up to which all was looked at.
func (c crontab) Seen(ctx context.Context) (time.Time, error) {
	text, err := c.store.Setting(ctx, cronSeen)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, text)
}

// See moves it on.
func (c crontab) See(ctx context.Context, t time.Time) error {
	return c.store.SetSetting(ctx, cronSeen, t.UTC().Format(time.RFC3339))
}

// cronEntries are the cron entries of instances that run them: live, and
// others where the policy says so: copies do not act on the world.
func (s *server) cronEntries(ctx context.Context) ([]cron.Entry, error) {
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []cron.Entry
	for _, i := range all {
		if i.Release == 0 || i.Stopped || i.ProcessID == "" {
			continue
		}
		spec, o, _, err := s.instances.spec(ctx, deploy.Launch{Instance: i, Release: i.Release, ID: i.ProcessID, Part: deploy.PartWeb})
		if err != nil {
			s.log.Warn("the cron entries of an instance cannot be read", "app", i.App, "instance", i.Name, "err", err)
			continue
		}
		if i.Kind != bosman.KindLive && !o.Manifest.PolicyFor(i.Kind).Workers {
			continue
		}
		zone, err := time.LoadLocation(o.Manifest.Timezone)
		if err != nil {
			return nil, err
		}
		for name, c := range o.Manifest.Cron {
			schedule, err := cron.Parse(c.At, zone)
			if err != nil {
				return nil, err
			}
			out = append(out, cron.Entry{App: i.App, Instance: i.Name, Name: name, Schedule: schedule, Shell: c.Run, Spec: spec})
		}
	}
	return out, nil
}

func (s *server) runCron(ctx context.Context) error {
	return (&cron.Runner{Journal: crontab{s.store}, Commander: s.instances.sup, Entries: s.cronEntries, Log: s.log}).Run(ctx)
}

// --- pruning

// How much stays: what reverts need always does.
const (
	keepReleases = 20
	keepCache    = 14 * 24 * time.Hour
	pruneEvery   = time.Hour
)

// prune takes away old releases, step results, logs and reports of builds and
// surplus backups, now and then.
func (s *server) prune(ctx context.Context) error {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		apps, err := s.store.Apps(ctx)
		if err != nil {
			return err
		}
		for _, app := range apps {
			if err := s.pruneApp(ctx, app.Name); err != nil && ctx.Err() == nil {
				s.log.Warn("old files were not all removed", "app", app.Name, "err", err)
			}
		}
		if err := s.sweepWork(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("old workspaces were not all removed", "err", err)
		}
	}
}

func (s *server) pruneApp(ctx context.Context, app string) error {
	needed, err := s.needed(ctx, app)
	if err != nil {
		return err
	}
	gone, err := s.records.releases.Prune(app, func(r bosman.Release) bool { return needed[r.Number] })
	if err != nil {
		return err
	}
	for _, r := range gone {
		row, err := s.store.Release(ctx, app, r.Number)
		if err != nil {
			return err
		}
		row.PrunedAt = time.Now().UTC()
		if err := s.store.SaveRelease(ctx, row); err != nil {
			return err
		}
	}
	if _, err := build.PruneCache(s.path("cache"), app, time.Now().Add(-keepCache)); err != nil {
		return err
	}
	if err := s.pruneBuilds(ctx, app, needed, time.Now()); err != nil {
		return err
	}
	if err := s.pruneKeptCopies(ctx, app); err != nil {
		return err
	}
	_, err = s.helm.PruneBackups(ctx, app)
	return err
}

// needed are the releases that run, that a revert needs, that an operation is
// about to bring, and the newest ones.
func (s *server) needed(ctx context.Context, app string) (map[int]bool, error) {
	out := map[int]bool{}
	newest, err := s.store.Releases(ctx, app, keepReleases)
	if err != nil {
		return nil, err
	}
	for _, r := range newest {
		out[r.Number] = true
	}
	instances, err := s.store.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		out[i.Release], out[i.Previous] = true, true
		ops, err := s.store.Operations(ctx, app, i.Name, 5)
		if err != nil {
			return nil, err
		}
		for _, o := range ops {
			out[o.Release], out[o.From] = true, true
		}
	}
	return out, nil
}

var _ notify.Targets = (*helm.Helm)(nil)
