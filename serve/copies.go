package serve

import (
	"context"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mariadb"
	"github.com/bosman-cd/bosman/database/postgres"
)

// How fresh golden copies are kept. One that takes a second to make is at most
// a minute behind; a big one is made again when a quarter of an hour has passed
// and something was written.
const (
	renewEvery   = time.Minute
	renewAtLeast = 15 * time.Minute
	renewShare   = 60 // of the time it takes to make one
)

// A copy is made in advance, where bosman.yaml does not say how many, if its
// database is smaller than this.
const poolBelow = 2 << 30

// renewals are the apps whose copies are to be looked at, and whose golden
// copies are to be made anew because staging was deployed to.
type renewals struct {
	mu   sync.Mutex
	due  map[string]bool // app → its golden copies are old now
	wake chan struct{}
}

func newRenewals() *renewals { return &renewals{due: map[string]bool{}, wake: make(chan struct{}, 1)} }

// want asks for a look at an app.
func (r *renewals) want(app string, golden bool) {
	r.mu.Lock()
	r.due[app] = r.due[app] || golden
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // somebody asked already
	}
}

func (r *renewals) take() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.due
	r.due = map[string]bool{}
	return due
}

// followCopies asks for new golden copies after each deployment of staging,
// and for a look at the copies made in advance whenever an operation ended.
func (s *server) followCopies(ctx context.Context) error {
	last, err := s.store.LastEvent(ctx)
	if err != nil {
		return err
	}
	return s.store.Follow(ctx, last, func(ctx context.Context, e bosman.Event) error {
		if e.Kind != bosman.EventOperationEnded {
			return nil
		}
		n, err := bosman.ParseRef(bosman.LetterOperation, e.Subject)
		if err != nil {
			return err
		}
		op, err := s.store.Operation(ctx, e.App, n)
		if bosman.KindOf(err) == bosman.KindNotFound {
			return nil // removed with its app
		}
		if err != nil {
			return err
		}
		i, err := s.store.Instance(ctx, e.App, op.Instance)
		if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
			return err
		}
		// A backup changes nothing, and its proof may have made a golden copy.
		s.databases.renewals.want(e.App, i.Kind == bosman.KindStaging && op.Plan != bosman.PlanBackup)
		return nil
	})
}

// keepCopies keeps the golden copies fresh and copies ready, one app after the
// other, with low priority.
func (s *server) keepCopies(ctx context.Context) error {
	t := time.NewTicker(renewEvery)
	defer t.Stop()
	for {
		due := map[string]bool{}
		select {
		case <-ctx.Done():
			return nil
		case <-s.databases.renewals.wake:
			due = s.databases.renewals.take()
		case <-t.C:
			apps, err := s.store.Apps(ctx)
			if err != nil {
				return err
			}
			for _, a := range apps {
				due[a.Name] = false
			}
		}
		for app, golden := range due {
			want, err := s.helm.Policy(ctx, app, bosman.KindTesting)
			if err == nil {
				err = s.databases.renew(ctx, app, golden, want.Pool)
			}
			if err != nil && ctx.Err() == nil && bosman.KindOf(err) != bosman.KindNotFound {
				s.log.Warn("golden copies could not be renewed; fresh copies are older or take longer", "app", app, "err", err)
			}
		}
	}
}

// renew makes new golden copies of an app's staging where they are due, and
// has as many copies ready as wanted; 0 is as many as are cheap.
func (d *databases) renew(ctx context.Context, app string, now bool, pool int) error {
	all, err := d.records.store.Instances(ctx, app)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Kind != bosman.KindStaging || i.Release == 0 {
			continue
		}
		if err := d.lend(ctx, i); err != nil {
			return err
		}
		k, err := d.keeper(ctx, bosman.Instance{App: app, Kind: bosman.KindTesting}, i.Database.Engine)
		if err != nil {
			return err
		}
		if err := d.stock(ctx, k, i); err != nil {
			return err
		}
		if r, ok := k.Engine.(database.Refresher); ok {
			if err := refreshIfDue(ctx, r, i, now); err != nil {
				return err
			}
			if p, ok := k.Engine.(database.Pooler); ok {
				if err := d.fill(ctx, p, r, i, pool); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// refreshIfDue makes a new generation at once, or when the newest is stale and
// old enough for what it costs.
func refreshIfDue(ctx context.Context, r database.Refresher, i bosman.Instance, now bool) error {
	all, err := r.Goldens(ctx, i.Database)
	if err != nil {
		return err
	}
	if len(all) > 0 { // without one, testers wait for it
		ctx = database.Low(ctx)
		g := all[0].Copy
		if !now && g.Release == i.Release {
			if time.Since(g.TakenAt) < max(renewEvery, min(renewAtLeast, renewShare*g.Took)) {
				return nil
			}
			if stale, err := r.Stale(ctx, i.Database); err != nil || !stale {
				return err
			}
		}
	}
	_, err = r.Refresh(ctx, i.Database, i.Release)
	return err
}

// fill has copies ready, and remembers why there are fewer than wanted.
func (d *databases) fill(ctx context.Context, p database.Pooler, r database.Refresher, i bosman.Instance, want int) error {
	if want <= 0 {
		all, err := r.Goldens(ctx, i.Database)
		if err != nil {
			return err
		}
		want = 0
		if len(all) > 0 && (all[0].Copy.Bytes < poolBelow || d.sharesBlocks()) {
			want = 1
		}
	}
	got, err := p.Fill(ctx, i.Database, want)
	if bosman.KindOf(err) == bosman.KindBusy {
		return nil
	}
	d.mu.Lock()
	was := d.poolWhy[i.App]
	d.poolWhy[i.App] = got.Why
	d.mu.Unlock()
	if got.Why != "" && was == "" {
		d.log.Warn("no copies are made in advance; the next ones take longer", "app", i.App, "why", got.Why)
	}
	return err
}

// sharesBlocks says whether copies take hardly any room.
func (d *databases) sharesBlocks() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.clusters[scratchCluster]
	return c != nil && c.Strategy().Name == postgres.StrategyClone
}

// dropCopies takes away an app's golden copies and those made in advance.
func (d *databases) dropCopies(ctx context.Context, app string) error {
	d.mu.Lock()
	scratch, mariaDB := d.clusters[scratchCluster], d.mariaDBs[scratchCluster]
	d.mu.Unlock()
	var all []database.Engine
	if scratch != nil {
		one, err := postgres.NewEngine(app, scratch)
		if err != nil {
			return err
		}
		further, err := d.further(app)
		if err != nil {
			return err
		}
		all = append(all, one.With(further...))
	}
	if mariaDB != nil {
		one, err := mariadb.NewEngine(app, mariaDB)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	for _, e := range all {
		list, err := e.List(ctx)
		if err != nil {
			return err
		}
		for _, x := range list {
			if x.Golden || x.Pool {
				if err := e.Drop(ctx, x.Database); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// keptFor is how long what a fresh copy replaced in a testing instance stays.
const keptFor = 7 * 24 * time.Hour

// pruneKeptCopies takes away what testing instances replaced a week ago.
func (s *server) pruneKeptCopies(ctx context.Context, app string) error {
	all, err := s.store.Instances(ctx, app)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Kind != bosman.KindTesting && i.Kind != bosman.KindPreview || i.Release == 0 {
			continue
		}
		k, err := s.databases.keeper(ctx, i, i.Database.Engine)
		if err != nil {
			return err
		}
		kept, err := k.Kept(ctx, i.Name, s.databases.filesOf(i))
		if err != nil {
			return err
		}
		for _, old := range kept {
			if time.Since(old.At) < keptFor {
				continue
			}
			if err := k.Drop(ctx, old.Snapshot); err != nil {
				return err
			}
		}
	}
	return nil
}
