package serve

import (
	"context"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/release"
	"github.com/bosman-cd/bosman/store"
)

// records is the memory of the stages over the store: each call is one
// transaction, with the events that follow from it.
type records struct {
	store    *store.Store
	releases *release.Store
	target   string // where new backups go
	now      func() time.Time
}

func (r *records) tell(ctx context.Context, s *store.Store, app string, kind bosman.EventKind, subject string) error {
	return s.AppendEvent(ctx, bosman.Event{App: app, Kind: kind, Subject: subject, At: r.now().UTC()})
}

// --- builds

// SaveBuild keeps the row of a build; an end is an event of its own, once.
func (r *records) SaveBuild(ctx context.Context, b bosman.Build) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		was, err := s.Build(ctx, b.App, b.Number)
		if err != nil {
			return err
		}
		if err := s.SaveBuild(ctx, b); err != nil {
			return err
		}
		kind := bosman.EventBuildUpdated
		if b.State.Final() && !was.State.Final() {
			kind = bosman.EventBuildEnded
		}
		return r.tell(ctx, s, b.App, kind, bosman.Ref(bosman.LetterBuild, b.Number))
	})
}

// FindRelease gives the newest unpruned release of an identity, with the
// report that judged it.
func (r *records) FindRelease(ctx context.Context, app, tree, definition string, trust bosman.Trust) (bosman.Release, *bosman.Report, error) {
	rel, err := r.store.ReleaseByIdentity(ctx, app, tree, definition, trust)
	if err != nil {
		return rel, nil, err
	}
	b, err := r.store.Build(ctx, app, rel.Build)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return rel, nil, nil
	}
	return rel, b.Report, err
}

// NextRelease gives a new release number.
func (r *records) NextRelease(ctx context.Context, app string) (int, error) {
	return r.store.Next(ctx, app, bosman.LetterRelease)
}

// SaveRelease keeps the row of a sealed release. What others marked on it
// (bad) stays.
func (r *records) SaveRelease(ctx context.Context, rel bosman.Release) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		was, err := s.Release(ctx, rel.App, rel.Number)
		switch bosman.KindOf(err) {
		case "":
			rel.Bad = was.Bad
		case bosman.KindNotFound:
		default:
			return err
		}
		if err := s.SaveRelease(ctx, rel); err != nil {
			return err
		}
		return r.tell(ctx, s, rel.App, bosman.EventReleaseSealed, bosman.Ref(bosman.LetterRelease, rel.Number))
	})
}

// NextQueued takes the oldest queued build.
func (r *records) NextQueued(ctx context.Context) (out *bosman.Build, err error) {
	err = r.store.InTx(ctx, func(s *store.Store) error {
		all, err := s.UnfinishedBuilds(ctx)
		if err != nil {
			return err
		}
		for _, b := range all {
			if b.State != bosman.BuildQueued {
				continue
			}
			b.State, b.StartedAt = bosman.BuildRunning, r.now().UTC()
			out = &b
			if err := s.SaveBuild(ctx, b); err != nil {
				return err
			}
			return r.tell(ctx, s, b.App, bosman.EventBuildUpdated, bosman.Ref(bosman.LetterBuild, b.Number))
		}
		return nil
	})
	return out, err
}

// Interrupted gives the builds that were running when Bosman ended.
func (r *records) Interrupted(ctx context.Context) ([]bosman.Build, error) {
	all, err := r.store.UnfinishedBuilds(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(b bosman.Build) bool { return b.State != bosman.BuildRunning }), nil
}

// --- operations

// Operation gives one row.
func (r *records) Operation(ctx context.Context, app string, n int) (bosman.Operation, error) {
	return r.store.Operation(ctx, app, n)
}

// Unfinished gives the operations that are not final, oldest first.
func (r *records) Unfinished(ctx context.Context) ([]bosman.Operation, error) {
	return r.store.UnfinishedOperations(ctx)
}

// edit changes an operation's row inside a transaction.
func (r *records) edit(ctx context.Context, s *store.Store, app string, n int, edit func(*bosman.Operation) bool) (bosman.Operation, bool, error) {
	op, err := s.Operation(ctx, app, n)
	if err != nil {
		return op, false, err
	}
	if edit == nil || !edit(&op) {
		return op, false, nil
	}
	return op, true, s.SaveOperation(ctx, op)
}

// Change edits a row, with an event.
func (r *records) Change(ctx context.Context, app string, n int, kind bosman.EventKind, edit func(*bosman.Operation) bool) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		_, changed, err := r.edit(ctx, s, app, n, edit)
		if err != nil || !changed {
			return err
		}
		return r.tell(ctx, s, app, kind, bosman.Ref(bosman.LetterOperation, n))
	})
}

// Finish edits a row, gives the instance back and records the end.
func (r *records) Finish(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool, line bosman.Activity) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		op, changed, err := r.edit(ctx, s, app, n, edit)
		if err != nil {
			return err
		}
		if err := s.GiveBack(ctx, app, op.Instance, n); err != nil {
			return err
		}
		if !changed {
			return nil
		}
		line.At = r.now().UTC()
		if line.App == "" {
			line.App = app
		}
		if err := s.AppendActivity(ctx, line); err != nil {
			return err
		}
		if err := r.tell(ctx, s, app, bosman.EventInstanceChanged, op.Instance); err != nil {
			return err
		}
		return r.tell(ctx, s, app, bosman.EventOperationEnded, bosman.Ref(bosman.LetterOperation, n))
	})
}

// Take makes the operation the owner of its instance.
func (r *records) Take(ctx context.Context, app string, n int, edit func(*bosman.Operation, bosman.Instance) error) (int, error) {
	return r.own(ctx, app, n, edit, func(s *store.Store, op bosman.Operation) (int, error) {
		return s.Take(ctx, app, op.Instance, n)
	})
}

// TakeOver does so whoever owns it.
func (r *records) TakeOver(ctx context.Context, app string, n int, edit func(*bosman.Operation, bosman.Instance) error) (int, error) {
	return r.own(ctx, app, n, edit, func(s *store.Store, op bosman.Operation) (int, error) {
		fence, _, err := s.TakeOver(ctx, app, op.Instance, n)
		return fence, err
	})
}

func (r *records) own(ctx context.Context, app string, n int, edit func(*bosman.Operation, bosman.Instance) error, take func(*store.Store, bosman.Operation) (int, error)) (fence int, err error) {
	err = r.store.InTx(ctx, func(s *store.Store) error {
		op, err := s.Operation(ctx, app, n)
		if err != nil {
			return err
		}
		i, err := s.Instance(ctx, app, op.Instance)
		if err != nil {
			return err
		}
		if fence, err = take(s, op); err != nil {
			return err
		}
		if edit != nil {
			if err := edit(&op, i); err != nil {
				return err
			}
		}
		if err := s.SaveOperation(ctx, op); err != nil {
			return err
		}
		if err := r.tell(ctx, s, app, bosman.EventInstanceChanged, op.Instance); err != nil {
			return err
		}
		return r.tell(ctx, s, app, bosman.EventOperationStep, bosman.Ref(bosman.LetterOperation, n))
	})
	return fence, err
}

// GiveBack ends the ownership and edits the row.
func (r *records) GiveBack(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		op, _, err := r.edit(ctx, s, app, n, edit)
		if err != nil {
			return err
		}
		if err := s.GiveBack(ctx, app, op.Instance, n); err != nil {
			return err
		}
		if err := r.tell(ctx, s, app, bosman.EventInstanceChanged, op.Instance); err != nil {
			return err
		}
		return r.tell(ctx, s, app, bosman.EventOperationStep, bosman.Ref(bosman.LetterOperation, n))
	})
}

// --- instances

// Instance gives one row.
func (r *records) Instance(ctx context.Context, app, name string) (bosman.Instance, error) {
	return r.store.Instance(ctx, app, name)
}

// UpdateInstance edits the row of the operation's instance while it owns it.
func (r *records) UpdateInstance(ctx context.Context, op bosman.Operation, edit func(*bosman.Instance)) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		owner, err := s.Owner(ctx, op.App, op.Instance)
		if err != nil {
			return err
		}
		if owner != op.Number {
			return bosman.Conflict("%s does not own %s any more", bosman.Ref(bosman.LetterOperation, op.Number), op.Instance)
		}
		i, err := s.Instance(ctx, op.App, op.Instance)
		if err != nil {
			return err
		}
		edit(&i)
		if err := s.SaveInstance(ctx, i); err != nil {
			return err
		}
		return r.tell(ctx, s, op.App, bosman.EventInstanceChanged, op.Instance)
	})
}

// observed keeps what an instance was seen to do, unless an operation owns it.
func (r *records) observed(ctx context.Context, seen bosman.Instance, state bosman.InstanceState, note string) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		i, err := s.Instance(ctx, seen.App, seen.Name)
		if err != nil || i.Operation != 0 || i.ProcessID != seen.ProcessID || i.Stopped != seen.Stopped {
			return err
		}
		i.State, i.Note = state, note
		if err := s.SaveInstance(ctx, i); err != nil {
			return err
		}
		return r.tell(ctx, s, i.App, bosman.EventInstanceChanged, i.Name)
	})
}

// Before gives the release an instance ran before the given one.
func (r *records) Before(ctx context.Context, app, instance string, rel int) (int, error) {
	ops, err := r.store.Operations(ctx, app, instance, 0)
	if err != nil {
		return 0, err
	}
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy && o.Release == rel && o.Committed && o.From != rel {
			return o.From, nil
		}
	}
	return 0, nil
}

// --- backups and releases

// NewBackup gives a backup its number and name, the same for the same
// operation.
func (r *records) NewBackup(ctx context.Context, b bosman.Backup) (bosman.Backup, error) {
	err := r.store.InTx(ctx, func(s *store.Store) error {
		all, err := s.Backups(ctx, b.App, b.Instance, 0)
		if err != nil {
			return err
		}
		for _, known := range all {
			if known.Operation == b.Operation && b.Operation != 0 {
				b = known
				return nil
			}
		}
		if b.Number, err = s.Next(ctx, b.App, bosman.LetterBackup); err != nil {
			return err
		}
		if b.CreatedAt.IsZero() {
			b.CreatedAt = r.now().UTC()
		}
		b.Where, b.Name = r.target, database.NameIn(b.App, b.Instance, b.Number, b.CreatedAt)
		return s.SaveBackup(ctx, b)
	})
	return b, err
}

// SaveBackup keeps the row of a backup.
func (r *records) SaveBackup(ctx context.Context, b bosman.Backup) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveBackup(ctx, b); err != nil {
			return err
		}
		return r.tell(ctx, s, b.App, bosman.EventBackupMade, bosman.Ref(bosman.LetterBackup, b.Number))
	})
}

// Backup gives one row.
func (r *records) Backup(ctx context.Context, app string, n int) (bosman.Backup, error) {
	return r.store.Backup(ctx, app, n)
}

// Release gives a release whose files are there.
func (r *records) Release(ctx context.Context, app string, n int) (bosman.Release, error) {
	rel, err := r.store.Release(ctx, app, n)
	if err == nil && !rel.PrunedAt.IsZero() {
		return rel, bosman.NotFound("the files of %s were pruned", bosman.Ref(bosman.LetterRelease, n)).WithNext("build its commit again")
	}
	return rel, err
}

// Commits gives the commits of which builds made a release or found it made.
func (r *records) Commits(ctx context.Context, rel bosman.Release) ([]string, error) {
	out := []string{rel.Commit}
	all, err := r.store.BuildsOfRelease(ctx, rel.App, rel.Number)
	for _, b := range all {
		if !slices.Contains(out, b.Commit) {
			out = append(out, b.Commit)
		}
	}
	return out, err
}

// Manifest is the bosman.yaml of a release.
func (r *records) Manifest(ctx context.Context, app string, n int) (*bosman.Manifest, error) {
	rel, err := r.Release(ctx, app, n)
	if err != nil {
		return nil, err
	}
	return r.releases.Manifest(rel)
}

// MarkBad marks a release that was reverted.
func (r *records) MarkBad(ctx context.Context, app string, n int, why string) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		rel, err := s.Release(ctx, app, n)
		if err != nil || rel.Bad == why {
			return err
		}
		rel.Bad = why
		if err := s.SaveRelease(ctx, rel); err != nil {
			return err
		}
		return r.tell(ctx, s, app, bosman.EventReleaseMarked, bosman.Ref(bosman.LetterRelease, n))
	})
}

var _ deploy.Records = (*records)(nil)
