package serve

import (
	"context"
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance/cron"
	"github.com/bosman-cd/bosman/store"
)

// backupWork proves, schedules, finds and removes backups: helm.Vaults.
type backupWork struct {
	*server
	asked chan proving
	mu    sync.Mutex
	under map[string]bool // what is being proven or waits for it
}

// proving is a backup that is to be proven.
type proving struct {
	backup bosman.Backup
	every  bool
}

func newBackupWork(s *server) *backupWork {
	return &backupWork{server: s, asked: make(chan proving, 1000), under: map[string]bool{}}
}

func backupKey(b bosman.Backup) string {
	return b.App + " " + bosman.Ref(bosman.LetterBackup, b.Number)
}

// Home is where new backups go.
func (w *backupWork) Home() string { return w.vaults.home }

// Verify begins to prove a backup.
func (w *backupWork) Verify(_ context.Context, b bosman.Backup, every bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.under[backupKey(b)] {
		return nil // its row will say
	}
	select {
	case w.asked <- proving{b, every}:
		w.under[backupKey(b)] = true
		return nil
	default:
		return bosman.Busy("too many backups wait to be verified").WithNext("try again later")
	}
}

// prove proves what was asked for, one after the other, until ctx ends.
func (w *backupWork) prove(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-w.asked:
			err := w.proveOne(ctx, p)
			w.mu.Lock()
			delete(w.under, backupKey(p.backup))
			w.mu.Unlock()
			if err != nil && ctx.Err() == nil {
				w.log.Error("a backup could not be verified", "app", p.backup.App, "backup", bosman.Ref(bosman.LetterBackup, p.backup.Number), "err", err)
			}
		}
	}
}

func (w *backupWork) proveOne(ctx context.Context, p proving) error {
	b, err := w.store.Backup(ctx, p.backup.App, p.backup.Number)
	if err != nil {
		return err
	}
	at, err := w.vaults.place(ctx, b)
	if err != nil {
		return err
	}
	k, err := w.databases.keeperOf(ctx, b, at)
	if err == nil {
		err = w.databases.verify(ctx, k, at, &b, p.every)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if kind := bosman.KindOf(err); kind == bosman.KindUnavailable || kind == bosman.KindBusy {
		return err // that says nothing about the backup: what was proven stays so
	}
	if err != nil {
		b.Error, b.VerifiedAt = bosman.AsError(err).Message, time.Time{}
	}
	return errors.Join(err, w.keep(ctx, b))
}

// keep notes what a proof came to. A backup that was removed meanwhile does
// not come back.
func (w *backupWork) keep(ctx context.Context, b bosman.Backup) error {
	return w.store.InTx(ctx, func(s *store.Store) error {
		now, err := s.Backup(ctx, b.App, b.Number)
		if bosman.KindOf(err) == bosman.KindNotFound || now.Error == bosman.RemovalBegan {
			return nil
		}
		if err != nil {
			return err
		}
		now.VerifiedAt, now.VerifyTook, now.Error = b.VerifiedAt, b.VerifyTook, b.Error
		if err := s.SaveBackup(ctx, now); err != nil {
			return err
		}
		return w.records.tell(ctx, s, b.App, bosman.EventBackupMade, bosman.Ref(bosman.LetterBackup, b.Number))
	})
}

// keeperOf gives the keeper that can restore a backup: its instance may be
// gone, its manifest says what it needs.
func (d *databases) keeperOf(ctx context.Context, b bosman.Backup, at database.Place) (*database.Keeper, error) {
	m, err := database.ReadManifest(ctx, at)
	if err != nil {
		return nil, err
	}
	kind, err := helm.KindOf(b.Instance)
	if err != nil {
		return nil, err
	}
	engine := ""
	if m.Database != nil {
		engine = m.Database.Engine
	}
	if err := d.noteFurther(b.App, furtherIn(m)); err != nil {
		return nil, err
	}
	return d.keeper(ctx, bosman.Instance{App: b.App, Name: b.Instance, Kind: kind}, engine)
}

// Remove removes a backup's content, and what no other one needs.
func (w *backupWork) Remove(ctx context.Context, b bosman.Backup) error {
	at, err := w.vaults.place(ctx, b)
	if err != nil {
		return err
	}
	defer w.vaults.lock(b.App)()
	if err := database.Remove(ctx, at); err != nil || at.Vault == nil {
		return err
	}
	return w.collect(ctx, at.Vault, b.App)
}

// underWay is how long an object that no backup names stays: another server
// may be writing one.
const underWay = 6 * time.Hour

// collect takes out what no backup names; that it could not is told in the
// log only: it costs room and nothing else.
func (w *backupWork) collect(ctx context.Context, v database.Vault, app string) error {
	n, bytes, err := database.Collect(ctx, v, app, underWay)
	if err != nil && ctx.Err() == nil {
		w.log.Warn("what no backup needs any more could not be removed", "app", app, "err", err)
		return nil
	}
	if n > 0 {
		w.log.Info("what no backup needed any more was removed", "app", app, "objects", n, "bytes", bytes)
	}
	return err
}

// Contents says what a backup holds.
func (w *backupWork) Contents(ctx context.Context, b bosman.Backup) (bosman.BackupContents, error) {
	c := bosman.BackupContents{Backup: b, Rows: map[string]int64{}, Extensions: map[string]string{}, Roles: []string{}}
	at, err := w.vaults.place(ctx, b)
	if err != nil {
		return c, err
	}
	m, err := database.ReadManifest(ctx, at)
	if err != nil {
		return c, err
	}
	c.TakenAt, c.Objects = m.CreatedAt, len(m.Contents)+1
	if d := m.Database; d != nil {
		c.Engine, c.Version, c.TakenAt, c.Lacks = d.Engine, d.Version, d.TakenAt, d.Lacks
		for t, n := range d.Rows {
			c.Rows[t] = n
		}
		for x := range d.Extensions {
			c.Extensions[x] = d.ExtensionVersions[x]
		}
		c.Roles = append(c.Roles, d.Roles...)
		c.Settings, c.Apart = d.Settings, d.Apart
	}
	if f := m.Files; f != nil {
		c.Files, c.FileBytes, c.NewBytes, c.Objects = f.Files, f.Bytes, f.NewBytes, c.Objects+len(f.Packs)
	}
	return c, nil
}

// Fetch implements helm.Fetcher.
func (w *backupWork) Fetch(ctx context.Context, b bosman.Backup) (string, func() error, error) {
	at, err := w.vaults.place(ctx, b)
	if err != nil {
		return "", nil, err
	}
	k, err := w.databases.keeperOf(ctx, b, at)
	if err != nil {
		return "", nil, err
	}
	return k.Fetch(ctx, at)
}

// Found lists the backups of an app in a target.
func (w *backupWork) Found(ctx context.Context, app, target string) ([]bosman.Backup, error) {
	if target == "" {
		target = w.vaults.home
	} else if filepath.IsAbs(target) {
		target = filepath.Clean(target)
	}
	s, err := w.vaults.store(ctx, target)
	if err != nil {
		return nil, err
	}
	names, err := database.Stored(ctx, s, app)
	if err != nil {
		return nil, err
	}
	var out []bosman.Backup
	var strange error // sealed for somebody else
	for _, name := range names {
		at := database.Place{Vault: s, Name: name}
		m, err := database.ReadManifest(ctx, at)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // removed meanwhile
		}
		if kind := bosman.KindOf(err); kind == bosman.KindFailed || kind == bosman.KindForbidden || kind == bosman.KindInvalid { // the others are no worse for it
			if kind == bosman.KindForbidden {
				strange = err
			}
			out = append(out, unreadable(app, target, name, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.App != app || path.Base(path.Dir(name)) != m.Instance {
			out = append(out, unreadable(app, target, name, bosman.Failed("%s says that it is a backup of %s on %s", name, m.App, m.Instance)))
			continue
		}
		b := bosman.Backup{
			App: m.App, Number: m.Number, Instance: m.Instance, Release: m.Release, Why: m.Why, By: m.By, Where: target, Name: name,
			CreatedAt: m.CreatedAt, Took: m.Took,
		}
		describe(&b, m)
		b.VerifiedAt, err = database.ProvenAt(ctx, at, m)
		if kind := bosman.KindOf(err); kind == bosman.KindFailed || kind == bosman.KindForbidden {
			w.log.Warn("the proof of a backup cannot be read; it has to be verified again", "app", app, "backup", name, "err", err)
		} else if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	if strange != nil && !slices.ContainsFunc(out, func(b bosman.Backup) bool { return b.Error == "" }) {
		return nil, strange
	}
	return out, nil
}

// unreadable is the row of a backup whose manifest cannot be read: what its
// name says.
func unreadable(app, target, name string, why error) bosman.Backup {
	stamp, ref, _ := strings.Cut(path.Base(name), "-")
	b := bosman.Backup{App: app, Instance: path.Base(path.Dir(name)), Where: target, Name: name, Encrypted: true, Error: bosman.AsError(why).Message}
	b.CreatedAt, _ = database.ParseStamp(stamp)
	if n, err := bosman.ParseRef(bosman.LetterBackup, ref); err == nil {
		b.Number = n
	}
	return b
}

// Moments gives the last moment of a schedule before t and the next after now.
func (w *backupWork) Moments(schedule, zone string, t, now time.Time) (last, next time.Time, err error) {
	z, err := time.LoadLocation(zone)
	if err != nil {
		return last, next, err
	}
	s, err := cron.Parse(schedule, z)
	if err != nil {
		return last, next, err
	}
	return lastMoment(s, t), s.Next(now), nil
}

// lastMoment is the newest moment not after t, looked for in wider and wider
// spans, up to 40 days; zero if there is none.
func lastMoment(s cron.Schedule, t time.Time) time.Time {
	for _, span := range []time.Duration{25 * time.Hour, 8 * 24 * time.Hour, 40 * 24 * time.Hour} {
		if all := s.Moments(t.Add(-span), t, 1<<20); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return time.Time{}
}

// lookEvery is how often the schedules of backups are looked at.
const lookEvery = time.Minute

// missedUpTo is how long after its moment a backup is still made: Bosman may
// have been down.
const missedUpTo = 20 * time.Hour

// schedule makes backups at their moments, proves by night those that were
// made without, and says when backups cannot be relied on, until ctx ends.
func (w *backupWork) schedule(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			w.log.Error("the schedules of backups could not be looked at", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// cronBackup is the name under which the moments of backups are claimed.
const cronBackup = "bosman:backup"

func (w *backupWork) look(ctx context.Context, now time.Time) error {
	all, err := w.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range all {
		errs = append(errs, w.lookAt(ctx, i, now))
	}
	return errors.Join(errs...)
}

func (w *backupWork) lookAt(ctx context.Context, i bosman.Instance, now time.Time) error {
	if i.Release == 0 {
		return nil
	}
	policy, err := w.helm.Policy(ctx, i.App, i.Kind)
	if err != nil || !policy.Backup.Kept() {
		return err
	}
	schedule := policy.Backup.Schedule(i.Kind)
	if schedule == "" {
		return w.tell(ctx, i)
	}
	m, err := w.helm.Manifest(ctx, i.App)
	if err != nil {
		return err
	}
	last, _, err := w.Moments(schedule, m.Timezone, now, now)
	if err != nil {
		return err
	}
	if !last.IsZero() && now.Sub(last) < missedUpTo && last.After(i.CreatedAt) {
		mine, err := w.store.ClaimCron(ctx, store.CronRun{
			App: i.App, Instance: i.Name, Name: cronBackup, Moment: last.UTC(), Outcome: string(cron.Started), StartedAt: now.UTC(),
		})
		if err != nil {
			return err
		}
		if mine {
			if err := w.nightly(ctx, i); err != nil {
				return err
			}
		}
	}
	return w.tell(ctx, i)
}

// nightly asks for a backup, and proves the newest one that was not proven
// when it was made.
func (w *backupWork) nightly(ctx context.Context, i bosman.Instance) error {
	if _, err := w.helm.ScheduledBackup(ctx, i.App, i.Name); err != nil {
		return err
	}
	all, err := w.store.Backups(ctx, i.App, i.Name, 0)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.VerifiedAt.IsZero() && b.Error == "" && b.Checksum != "" {
			return w.Verify(ctx, b, false)
		}
	}
	return nil
}

func troubleSetting(i bosman.Instance) string { return "backup-trouble:" + i.App + ":" + i.Name }

// tell says once, in an event, that backups cannot be relied on.
func (w *backupWork) tell(ctx context.Context, i bosman.Instance) error {
	all, err := w.helm.BackupHealth(ctx, bosman.System(), i.App)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Instance != i.Name {
			continue
		}
		known, err := w.store.Setting(ctx, troubleSetting(i))
		if err != nil || known == b.Worst() {
			return err
		}
		if why := b.Worst(); why != "" {
			w.log.Error("the backups of an instance cannot be relied on", "app", i.App, "instance", i.Name, "why", why)
		}
		return w.store.InTx(ctx, func(s *store.Store) error {
			if err := s.SetSetting(ctx, troubleSetting(i), b.Worst()); err != nil {
				return err
			}
			return s.AppendEvent(ctx, bosman.Event{App: i.App, Kind: bosman.EventBackupTrouble, Subject: i.Name, At: time.Now().UTC()})
		})
	}
	return nil
}

var _ helm.Vaults = (*backupWork)(nil)
