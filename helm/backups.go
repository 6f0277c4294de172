package helm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/notify"
	"github.com/bosman-cd/bosman/store"
)

// Vaults is where backups lie.
type Vaults interface {
	// Verify begins to prove a backup; its row says what came of it. Of files
	// that earlier backups wrote it reads a sample, or all.
	Verify(ctx context.Context, b bosman.Backup, every bool) error
	// Remove removes a backup's content; what is gone already is no error.
	Remove(ctx context.Context, b bosman.Backup) error
	// Contents says what a backup holds.
	Contents(ctx context.Context, b bosman.Backup) (bosman.BackupContents, error)
	// Found lists the backups of an app in a target ("" is where new ones go).
	Found(ctx context.Context, app, target string) ([]bosman.Backup, error)
	// Home is where new backups go.
	Home() string
	// Moments gives the last moment of a schedule that is not after t, and the
	// next one after now.
	Moments(schedule, zone string, t, now time.Time) (last, next time.Time, err error)
}

// overdue is how long after its moment a backup must be there and count.
const overdue = 24 * time.Hour

// BackupHealth says of each instance of an app ("" for all) whose backups are
// kept whether they can be relied on.
func (h *Helm) BackupHealth(ctx context.Context, a bosman.Actor, app string) ([]bosman.BackupHealth, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	all, err := h.Store.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	var out []bosman.BackupHealth
	rules := map[string]backupRules{}
	for _, i := range all {
		r, known := rules[i.App]
		if !known {
			if r, err = h.backupRules(ctx, i.App); err != nil {
				return nil, err
			}
			rules[i.App] = r
		}
		b, kept, err := h.backupHealthBy(ctx, i, r)
		if err != nil {
			return nil, err
		}
		if kept {
			h.addTimeline(i, &b)
			out = append(out, b)
		}
	}
	return out, nil
}

// backupRules is what an app's manifests say of backups; reading it asks git.
type backupRules struct{ now, live *bosman.Manifest }

func (h *Helm) backupRules(ctx context.Context, app string) (r backupRules, err error) {
	if r.now, err = h.Manifest(ctx, app); err == nil {
		r.live, _, err = h.livePolicy(ctx, app)
	}
	return r, err
}

func (r backupRules) policy(kind bosman.InstanceKind) bosman.BackupPolicy {
	if kind == bosman.KindLive {
		return r.live.PolicyFor(kind).Backup
	}
	return r.now.PolicyFor(kind).Backup
}

func (h *Helm) backupHealth(ctx context.Context, i bosman.Instance) (b bosman.BackupHealth, kept bool, err error) {
	r, err := h.backupRules(ctx, i.App)
	if err != nil {
		return b, false, err
	}
	return h.backupHealthBy(ctx, i, r)
}

func (h *Helm) backupHealthBy(ctx context.Context, i bosman.Instance, r backupRules) (b bosman.BackupHealth, kept bool, err error) {
	policy := r.policy(i.Kind)
	if !policy.Kept() || i.Release == 0 || h.Vaults == nil {
		return b, false, nil
	}
	b = bosman.BackupHealth{App: i.App, Instance: i.Name, Where: h.Vaults.Home()}
	var due time.Time
	if schedule := policy.Schedule(i.Kind); schedule != "" {
		if due, b.Next, err = h.Vaults.Moments(schedule, r.now.Timezone, h.now().Add(-overdue), h.now()); err != nil {
			return b, true, err
		}
	}
	backups, err := h.Store.Backups(ctx, i.App, i.Name, 0)
	if err != nil {
		return b, true, err
	}
	b.Bad, b.BadBytes = bosman.BadBackups(backups)
	backups = bosman.PastBackups(backups, h.now())
	since, alone, err := h.backedUpSince(ctx, i)
	if err != nil {
		return b, true, err
	}
	if good, ok := bosman.CountedBackup(backups); ok {
		b.Newest, b.At = good.Number, good.CreatedAt
	}
	// The deployment that a failed backup was part of has failed with it; the
	// next one makes its own.
	backups = slices.DeleteFunc(backups, func(k bosman.Backup) bool { return k.Error != "" && k.Operation != 0 && !alone[k.Operation] })
	b.Trouble = bosman.BackupTrouble(backups, due, since)
	return b, true, nil
}

// backedUpSince says since when an instance has had data of its own, and which
// operations were only to back it up.
func (h *Helm) backedUpSince(ctx context.Context, i bosman.Instance) (since time.Time, alone map[int]bool, err error) {
	ops, err := h.Store.Operations(ctx, i.App, i.Name, 0)
	since, alone = h.now(), map[int]bool{}
	for _, o := range ops {
		if o.Committed && !o.StartedAt.IsZero() && o.StartedAt.Before(since) {
			since = o.StartedAt
		}
		if o.Plan == bosman.PlanBackup {
			alone[o.Number] = true
		}
	}
	return since, alone, err
}

// judgeBackups says whether live's backups let it be deployed.
func (h *Helm) judgeBackups(ctx context.Context, i bosman.Instance) error {
	b, _, err := h.backupHealth(ctx, i)
	if err != nil || b.Trouble == "" {
		return err
	}
	return bosman.Conflict("the backups of %s cannot be relied on: %s", i.Name, b.Trouble).
		WithNext("make one that counts: bosman backup make " + i.Name + ` --wait; an administrator may pass this rule: --override "reason"`)
}

// ScheduledBackup makes a backup of an instance at its moment.
func (h *Helm) ScheduledBackup(ctx context.Context, app, instance string) (bosman.Operation, error) {
	i, err := h.Store.Instance(ctx, app, instance)
	if err != nil || i.Release == 0 {
		return bosman.Operation{}, err
	}
	return h.ask(ctx, bosman.System(), bosman.Operation{App: app, Instance: instance, Plan: bosman.PlanBackup, Release: i.Release, From: i.Release, Why: "by schedule"})
}

// backupOf gives a backup, if the actor may do something to its instance.
func (h *Helm) backupOf(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, n int) (bosman.Backup, error) {
	b, err := h.Store.Backup(ctx, app, n)
	if err != nil {
		return b, err
	}
	kind, err := KindOf(b.Instance)
	if err != nil {
		return b, err
	}
	return b, h.may(ctx, a, v, app, kind)
}

// BackupContents says what a backup holds.
func (h *Helm) BackupContents(ctx context.Context, a bosman.Actor, app string, n int) (bosman.BackupContents, error) {
	b, err := h.backupOf(ctx, a, bosman.MaySee, app, n)
	if err != nil {
		return bosman.BackupContents{}, err
	}
	return h.Vaults.Contents(ctx, b)
}

// VerifyBackup begins to prove a backup by a restore; its row says what came
// of it.
func (h *Helm) VerifyBackup(ctx context.Context, a bosman.Actor, app string, n int, every bool) (bosman.Backup, error) {
	b, err := h.backupOf(ctx, a, bosman.MayOperate, app, n)
	if err != nil {
		return b, err
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "verify " + bosman.Ref(bosman.LetterBackup, n), Subject: bosman.Ref(bosman.LetterBackup, n), Instance: b.Instance})
	})
	if err != nil {
		return b, err
	}
	return b, h.Vaults.Verify(ctx, b, every)
}

// RemoveBackup removes a backup, unless a way back or a restore needs it or it
// is the newest that counts.
func (h *Helm) RemoveBackup(ctx context.Context, a bosman.Actor, app string, n int) error {
	b, err := h.backupOf(ctx, a, bosman.MayAdminister, app, n)
	if err != nil {
		return err
	}
	all, err := h.Store.Backups(ctx, app, b.Instance, 0)
	if err != nil {
		return err
	}
	needed, err := h.NeededBackups(ctx, app)
	if err != nil {
		return err
	}
	ref := bosman.Ref(bosman.LetterBackup, n)
	if good, ok := bosman.CountedBackup(bosman.PastBackups(all, h.now())); ok && good.Number == n {
		return bosman.Conflict("%s is the newest backup of %s that counts", ref, b.Instance).WithKept("it stays").WithNext("make another first: bosman backup make " + b.Instance + " --wait")
	}
	if by := needed[n]; by != "" {
		return bosman.Conflict("%s needs %s", by, ref).WithKept("it stays").WithNext("wait until it is over, or until a newer deployment settled")
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "remove " + ref + " of " + b.Instance, Subject: ref, Instance: b.Instance}, event(bosman.EventBackupMade, ref))
	})
	if err != nil {
		return err
	}
	return h.dropBackup(ctx, b)
}

// dropBackup removes content, then the row, which from the beginning says that
// the backup does not count any more.
func (h *Helm) dropBackup(ctx context.Context, b bosman.Backup) error {
	b.VerifiedAt, b.Error = time.Time{}, bosman.RemovalBegan
	if err := h.Store.SaveBackup(ctx, b); err != nil {
		return err
	}
	if err := h.Vaults.Remove(ctx, b); err != nil {
		return err
	}
	err := h.Store.RemoveBackup(ctx, b.App, b.Number)
	return ignoreMissing(err)
}

// NeededBackups gives the backups that must stay, each with what needs it.
func (h *Helm) NeededBackups(ctx context.Context, app string) (map[int]string, error) {
	all, err := h.Store.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, i := range all {
		ops, err := h.Store.Operations(ctx, app, i.Name, 0)
		if err != nil {
			return nil, err
		}
		back := false
		for _, o := range ops {
			if o.Backup == 0 {
				continue
			}
			if !o.State.Final() {
				out[o.Backup] = opRef(o.Number)
			}
			if !back && o.Plan == bosman.PlanDeploy && o.Committed {
				back, out[o.Backup] = true, "the way back of "+i.Name
			}
		}
	}
	return out, nil
}

// PruneBackups removes the backups of an app that need not stay, and says how
// many.
func (h *Helm) PruneBackups(ctx context.Context, app string) (removed int, err error) {
	instances, err := h.Store.Instances(ctx, app)
	if err != nil {
		return 0, err
	}
	needed, err := h.NeededBackups(ctx, app)
	if err != nil {
		return 0, err
	}
	for _, i := range instances {
		policy, err := h.Policy(ctx, app, i.Kind)
		if err != nil {
			return removed, err
		}
		all, err := h.Store.Backups(ctx, app, i.Name, 0)
		if err != nil {
			return removed, err
		}
		for _, b := range bosman.SurplusBackups(all, policy.Backup, h.now(), func(b bosman.Backup) bool { return needed[b.Number] != "" }) {
			if err := h.dropBackup(ctx, b); err != nil {
				return removed, fmt.Errorf("remove %s: %w", bosman.Ref(bosman.LetterBackup, b.Number), err)
			}
			removed++
		}
	}
	return removed, nil
}

// maxImported is the highest number that a backup keeps when it is taken up.
const maxImported = 1_000_000

// ImportBackups takes up the backups of an app that lie in a target and that
// no row is known of: those of a server that was lost. It gives the new rows.
func (h *Helm) ImportBackups(ctx context.Context, a bosman.Actor, app, target string) ([]bosman.Backup, error) {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return nil, err
	}
	if _, err := h.Store.App(ctx, app); err != nil {
		return nil, err
	}
	found, err := h.Vaults.Found(ctx, app, target)
	if err != nil {
		return nil, err
	}
	var out []bosman.Backup
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		out = nil
		all, err := s.Backups(ctx, app, "", 0)
		if err != nil {
			return err
		}
		taken, known := map[int]bool{}, map[string]bool{}
		for _, b := range all {
			taken[b.Number], known[b.Where+"\x00"+b.Name] = true, true
		}
		for _, b := range found {
			if known[b.Where+"\x00"+b.Name] {
				continue
			}
			if b.Number > maxImported {
				b.Number = 0
			}
			for top := 0; b.Number == 0 || taken[b.Number] || top < b.Number; { // later numbers must not meet it
				if top, err = s.Next(ctx, app, bosman.LetterBackup); err != nil {
					return err
				}
				if b.Number == 0 || taken[b.Number] {
					b.Number = top
				}
			}
			taken[b.Number] = true
			if err := s.SaveBackup(ctx, b); err != nil {
				return err
			}
			out = append(out, b)
		}
		if len(out) == 0 {
			return nil
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: fmt.Sprintf("take up %d backups found in %s", len(out), found[0].Where), Subject: app}, event(bosman.EventBackupMade, bosman.Ref(bosman.LetterBackup, out[0].Number)))
	})
	return out, err
}

// backupMessage tells that the backups of an instance cannot be relied on.
func (h *Helm) backupMessage(ctx context.Context, m notify.Message, e bosman.Event) (notify.Message, bool, error) {
	i, err := h.Store.Instance(ctx, e.App, e.Subject)
	if err != nil {
		return m, false, ignoreMissing(err)
	}
	b, _, err := h.backupHealth(ctx, i)
	h.addTimeline(i, &b)
	if err != nil || b.Worst() == "" {
		return m, false, err
	}
	m.Kind, m.Instance, m.Title = "backup.failed", i.Name, fmt.Sprintf("%s: the backups of %s cannot be relied on", e.App, i.Name)
	m.Text = b.Worst()
	m.URL = h.Addresses.Page(fmt.Sprintf("/%s/%s", e.App, i.Name))
	return m, true, nil
}
