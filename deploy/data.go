package deploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/bosman-cd/bosman"
)

// backup dumps database and files, and restores the dump on trial: what was
// not verified does not count.
func (j *job) backup(ctx context.Context) error {
	policy, err := j.Gate.Policy(ctx, j.op.App, j.i.Kind)
	if err != nil {
		return err
	}
	why := "before " + opRef(j.op.Number)
	switch {
	case j.op.Plan == bosman.PlanBackup:
		if why = j.op.Why; why == "" {
			why = "by hand"
		}
	case j.i.Release == 0:
		j.run.Note(ctx, "there is nothing to back up yet")
		return nil
	case j.i.Kind != bosman.KindLive && policy.Backup == (bosman.BackupPolicy{}):
		j.run.Note(ctx, "%s keeps no backups", j.op.Instance)
		return nil
	}
	b, err := j.Records.NewBackup(ctx, bosman.Backup{
		App: j.op.App, Instance: j.op.Instance, Release: j.i.Release, Operation: j.op.Number,
		Why: why, By: j.op.By, CreatedAt: j.Now().UTC(),
	})
	if err != nil {
		return err
	}
	verify := j.op.Plan == bosman.PlanBackup || policy.Backup.Verify != "nightly"
	foreseen, err := j.Databases.Foresee(ctx, j.i, verify)
	if foreseen != "" {
		j.run.Note(ctx, "%s", foreseen)
	}
	if err != nil {
		return j.unmade(ctx, b, err)
	}
	if err := j.mark(ctx, MomentBackup); err != nil {
		return err
	}
	keeps := verify && j.op.Plan == bosman.PlanDeploy && j.i.Kind == bosman.KindLive
	made, err := j.Databases.Backup(ctx, j.i, b, verify && !keeps)
	kept := ""
	if err == nil && keeps {
		made, kept, err = j.keep(ctx, made)
	}
	if err == nil && verify && made.VerifiedAt.IsZero() {
		err = bosman.Failed("%s was made but could not be restored: %s", bosman.Ref(bosman.LetterBackup, b.Number), made.Error).
			WithNext("a backup that cannot be restored does not count; look at its log, then try again")
	}
	if err != nil {
		return j.unmade(ctx, b, err)
	}
	if err := j.Records.SaveBackup(ctx, made); err != nil {
		return err
	}
	if err := j.change(ctx, func(o *bosman.Operation) bool { o.Backup = made.Number; return true }); err != nil {
		return err
	}
	held := fmt.Sprintf("%d tables, %s rows", made.Tables, thousands(made.Rows))
	if made.VerifiedAt.IsZero() {
		j.run.Note(ctx, "%s: %s in %s (%s); it is verified at night", bosman.Ref(bosman.LetterBackup, made.Number), bytes(made.Bytes), short(made.Took), held)
	} else {
		j.run.Note(ctx, "%s: %s in %s, restored and compared: %s%s", bosman.Ref(bosman.LetterBackup, made.Number), bytes(made.Bytes), short(made.Took), held, kept)
	}
	return nil
}

// unmade notes in the row of a backup why there is none that counts.
func (j *job) unmade(ctx context.Context, b bosman.Backup, err error) error {
	if ctx.Err() != nil {
		return err
	}
	b.Error = bosman.AsError(err).Message
	if serr := j.Records.SaveBackup(ctx, b); serr != nil {
		return serr
	}
	return err
}

// migrate makes the database if there is none, asks the application which one
// it would use, and runs the release command once.
func (j *job) migrate(ctx context.Context) error {
	m, err := j.Records.Manifest(ctx, j.op.App, j.op.Release)
	if err != nil {
		return err
	}
	if err := j.ensure(ctx); err != nil {
		return err
	}
	l, err := j.launch(ctx)
	if err != nil {
		return err
	}
	policy, err := j.Gate.Policy(ctx, j.op.App, j.i.Kind)
	if err != nil {
		return err
	}
	seed := policy.Seed != "" && j.op.From == 0 && j.op.Plan == bosman.PlanDeploy
	if m.Release == "" && !seed {
		j.point(ctx, bosman.PointBefore)
		j.run.Note(ctx, "there is no release command")
		return nil
	}
	if err := j.Databases.Guard(ctx, l); err != nil {
		return err
	}
	var before string
	if known, err := j.run.Get(ctx, keySchema, &before); err != nil {
		return err
	} else if !known {
		if before, err = j.Databases.Schema(ctx, j.i); err != nil {
			return err
		}
		if err := j.run.Set(ctx, keySchema, before); err != nil {
			return err
		}
	}
	note := "there is no release command"
	if m.Release != "" {
		if err := j.quiet(ctx); err != nil {
			return err
		}
		j.point(ctx, bosman.PointBefore)
		if err := j.mark(ctx, MomentMigrate); err != nil {
			return err
		}
		ran, err := j.command(ctx, l, Command{Label: "release", Shell: m.Release}, before)
		if err != nil {
			return err
		}
		change, err := j.Databases.Changed(ctx, j.i, before)
		if err != nil {
			return err
		}
		if change, err = j.judged(ctx, change); err != nil {
			return err
		}
		if err := j.changed(ctx, change); err != nil {
			return err
		}
		note = fmt.Sprintf("the release command ran in %s; %s", short(ran.Took), said(change))
		if change.Destructive {
			note += "; a revert of the code alone may not work on it"
		}
		if change.Text+change.Harm != "" { // kept for the failure screen, should a later step fail
			if err := j.run.Set(ctx, keyHolds, said(change)); err != nil {
				return err
			}
		}
	}
	if seed {
		var done bool
		if _, err := j.run.Get(ctx, keySeeded, &done); err != nil {
			return err
		}
		if !done {
			ran, err := j.command(ctx, l, Command{Label: "seed", Shell: policy.Seed}, before)
			if err != nil {
				return err
			}
			if err := j.run.Set(ctx, keySeeded, true); err != nil {
				return err
			}
			note = join(note, "seeded in "+short(ran.Took))
		}
	}
	j.run.Note(ctx, "%s", note)
	return nil
}

// command runs a command whose failure ends the operation, and says then what
// the schema holds.
func (j *job) command(ctx context.Context, l Launch, c Command, before string) (Ran, error) {
	ran, err := j.Instances.Run(ctx, l, c)
	if merr := errors.Join(j.mark(ctx, MomentMigrated), j.quietEnds(ctx)); merr != nil && err == nil {
		return ran, merr
	}
	if err != nil || ran.OK || ctx.Err() != nil {
		if err == nil {
			err = ctx.Err()
		}
		return ran, err
	}
	f := bosman.Failure{Exit: ran.Exit, LogTail: ran.Tail}
	change, err := j.Databases.Changed(ctx, j.i, before)
	if err != nil {
		f.Schema = "what the schema now holds is not known: " + bosman.AsError(err).Message
	} else {
		if change, err = j.judged(ctx, change); err != nil {
			return ran, err
		}
		f.Schema = said(change)
		if err := j.changed(ctx, change); err != nil {
			return ran, err
		}
	}
	if err := j.failed(ctx, f); err != nil {
		return ran, err
	}
	e := bosman.Failed("the %s command ended with %s after %s", c.Label, ran.Exit, short(ran.Took)).
		WithKept(serving(j.i) + "; " + f.Schema).
		WithNext("read the end of its output, fix it and push")
	return ran, e
}

func said(c SchemaChange) string {
	text := "the schema is as it was"
	if c.Text != "" {
		text = "the schema changed: " + c.Text
	}
	return join(text, c.Harm)
}

// ensure makes the database of an instance that has none.
func (j *job) ensure(ctx context.Context) error {
	if j.i.Database.Name != "" {
		return nil
	}
	if err := j.run.Set(ctx, keyMade, true); err != nil {
		return err
	}
	db, err := j.Databases.Ensure(ctx, j.i, j.op.Release)
	if err != nil || db.Name == "" {
		return err
	}
	if err := j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.Database = db }); err != nil {
		return err
	}
	j.i.Database = db
	return nil
}

// unmigrate takes away the database of a first deployment that failed. Any
// other is left: the old code goes on with it.
func (j *job) unmigrate(ctx context.Context) error {
	if err := j.putBack(ctx); err != nil {
		return err
	}
	var made bool
	if _, err := j.run.Get(ctx, keyMade, &made); err != nil || !made || j.i.Release != 0 {
		return err
	}
	if err := j.Databases.Drop(ctx, j.i); err != nil {
		return err
	}
	j.run.Note(ctx, "the new database is taken away")
	return j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.Database = bosman.Database{} })
}

// copy builds a fresh copy beside the instance's data while the old one still
// serves.
func (j *job) copy(ctx context.Context) error {
	from, err := j.source(ctx)
	if err != nil {
		return err
	}
	target, err := j.Records.Release(ctx, j.op.App, j.op.Release)
	if err != nil {
		return err
	}
	var asked error
	refused := false
	accept := func(release int) bool {
		ok, err := j.suits(ctx, release, target)
		if err != nil {
			asked = err
		}
		refused = refused || !ok
		return ok
	}
	p, err := j.Copies.Copy(ctx, j.i, from, CopyOptions{Operation: j.op.Number, Exact: j.op.Exact, Accept: accept})
	if asked != nil {
		return asked
	}
	if bosman.KindOf(err) == bosman.KindConflict && refused && j.op.Change != 0 {
		// It suited a moment ago: other data was copied meanwhile.
		return bosman.AsError(err).WithNext("try it again: its merge result with main as it is now is taken then")
	}
	if err != nil {
		return err
	}
	var merged MergeResult
	if _, err := j.run.Get(ctx, keyMerged, &merged); err != nil {
		return err
	}
	p.Copy.Merged = merged.Main
	if err := j.run.Set(ctx, keyPrepared, p); err != nil {
		return err
	}
	j.run.Note(ctx, "%s as of %s: %s", from.Name, p.Copy.TakenAt.UTC().Format("15:04:05 UTC"), p.Note)
	return nil
}

// suits says whether the data of a release can be used by target: only if its
// commit is part of target's history, else the schema may be newer than the
// code. A release that was made again of the same tree has several commits,
// and any of them will do.
func (j *job) suits(ctx context.Context, release int, target bosman.Release) (bool, error) {
	r, err := j.Records.Release(ctx, j.op.App, release)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.Number == target.Number {
		return true, nil
	}
	olds, err := j.Records.Commits(ctx, r)
	if err != nil {
		return false, err
	}
	news, err := j.Records.Commits(ctx, target)
	if err != nil {
		return false, err
	}
	for _, older := range olds {
		for _, newer := range news {
			if ok, err := j.Source.IsAncestor(ctx, j.op.App, older, newer); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// restore builds the content of a backup beside the instance's data.
func (j *job) restore(ctx context.Context) error {
	p, quick, err := j.takeKept(ctx)
	if err != nil {
		return err
	}
	if quick {
		if err := j.run.Set(ctx, keyPrepared, p); err != nil {
			return err
		}
		j.run.Note(ctx, "the kept copy takes the place: %s", p.Note)
		return nil
	}
	if j.op.Plan == bosman.PlanRestore && j.op.Backup == 0 {
		return bosman.NotFound("what should be put back is not there any more").WithNext("choose another: bosman kept list")
	}
	if j.op.Backup == 0 {
		j.run.Note(ctx, "the database stays as it is: what was written since the deployment is kept")
		return nil
	}
	b, err := j.Records.Backup(ctx, j.op.App, j.op.Backup)
	if err != nil {
		return err
	}
	if b.VerifiedAt.IsZero() && j.op.Plan == bosman.PlanRestore {
		return bosman.Conflict("%s was never verified", bosman.Ref(bosman.LetterBackup, b.Number)).WithNext("take another: bosman backup list")
	}
	p, err = j.Copies.Restore(ctx, j.i, b, j.op.Number)
	if err != nil {
		return err
	}
	if err := j.run.Set(ctx, keyPrepared, p); err != nil {
		return err
	}
	j.run.Note(ctx, "no kept copy, so %s of %s is restored beside: %s", bosman.Ref(bosman.LetterBackup, b.Number), b.CreatedAt.UTC().Format("2006-01-02 15:04 UTC"), p.Note)
	return nil
}

// discard drops what was built beside and did not take the place.
func (j *job) discard(ctx context.Context) error {
	var p Prepared
	if ok, err := j.run.Get(ctx, keyPrepared, &p); err != nil || !ok {
		return err
	}
	return j.Copies.Discard(ctx, j.i, p)
}

// swap puts the prepared data in place; what was there is kept.
func (j *job) swap(ctx context.Context) error {
	j.point(ctx, bosman.PointBefore)
	var p Prepared
	if ok, err := j.run.Get(ctx, keyPrepared, &p); err != nil || !ok {
		return err
	}
	bare := j.i.Database.Name == ""
	if known, err := j.run.Get(ctx, keyBare, &bare); err != nil {
		return err
	} else if !known {
		if err := errors.Join(j.run.Set(ctx, keyWas, j.i.Database), j.run.Set(ctx, keyBare, bare)); err != nil {
			return err
		}
	}
	kept, err := j.Copies.Swap(ctx, j.i, p)
	if err != nil {
		return err
	}
	if err := j.run.Set(ctx, keyKept, kept); err != nil {
		return err
	}
	if p.Database.Name != "" && p.Database != j.i.Database { // the first one, or on another server than before
		if err := j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.Database = p.Database }); err != nil {
			return err
		}
	}
	if kept != "" {
		j.run.Note(ctx, "in place; what it replaced is kept as %s", kept)
	} else {
		j.run.Note(ctx, "in place; it replaced nothing of its own")
	}
	return nil
}

// unswap puts back what swap replaced.
func (j *job) unswap(ctx context.Context) error {
	var p Prepared
	var kept string
	var bare bool
	if ok, err := j.run.Get(ctx, keyPrepared, &p); err != nil || !ok {
		return err
	}
	begun, err := j.run.Get(ctx, keyBare, &bare)
	if err != nil || !begun {
		return err // it never came to a swap
	}
	if _, err := j.run.Get(ctx, keyKept, &kept); err != nil {
		return err
	}
	if err := j.Copies.Unswap(ctx, j.i, p, kept); err != nil {
		return err
	}
	if bare {
		return j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.Database = bosman.Database{} })
	}
	var was bosman.Database
	if known, err := j.run.Get(ctx, keyWas, &was); err != nil || !known || was == j.i.Database {
		return err
	}
	return j.Records.UpdateInstance(ctx, j.op, func(i *bosman.Instance) { i.Database = was })
}

func bytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// thousands writes 3204 as 3,204.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// remigrate brings restored data to the release that runs, if that was asked.
func (j *job) remigrate(ctx context.Context) error {
	if j.op.WayBack == nil || !j.op.WayBack.Migrate {
		j.run.Note(ctx, "the data is not migrated")
		return nil
	}
	return j.migrate(ctx)
}
