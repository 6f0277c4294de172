package cli

import (
	"fmt"

	"github.com/bosman-cd/bosman"
)

type backupCmd struct {
	List    backupListCmd    `cmd:"" default:"withargs" help:"List backups."`
	Make    backupMakeCmd    `cmd:"" help:"Make and verify a backup now."`
	Show    backupShowCmd    `cmd:"" help:"Show what a backup holds: tables, rows, files, roles."`
	Verify  backupVerifyCmd  `cmd:"" help:"Prove a backup by a restore."`
	Restore backupRestoreCmd `cmd:"" help:"Put a backup in place of an instance's database and files."`
	Fetch   backupFetchCmd   `cmd:"" help:"Take the files of a backup out, to restore by hand."`
	Remove  backupRemoveCmd  `cmd:"" help:"Remove a backup that nothing needs."`
	Import  backupImportCmd  `cmd:"" help:"Take up backups that lie in a target and are not known."`
	Health  backupHealthCmd  `cmd:"" help:"Say whether the backups can be relied on."`
	Points  backupPointsCmd  `cmd:"" help:"List the moments that the database can be recovered at."`
	Recover backupRecoverCmd `cmd:"" name:"recover-to" help:"Bring the database as it was at a moment beside the present one."`
}

// Help gives examples.
func (backupCmd) Help() string {
	return "Examples:\n  bosman backup list\n  bosman backup make live --wait\n  bosman backup show k12\n  bosman backup restore k12\n  bosman backup health"
}

type backupListCmd struct {
	inApp
	Instance string `help:"Only of this instance."`
	Max      int    `default:"30" help:"At most so many."`
}

// Help gives examples.
func (backupListCmd) Help() string {
	return "A backup that was never verified does not count.\n\nExamples:\n  bosman backup list --instance live"
}

// Run lists backups.
func (c *backupListCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Backups(e.ctx, app, c.Instance, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, b := range all {
			verified := e.ago(b.VerifiedAt)
			if b.VerifiedAt.IsZero() {
				verified = "no: " + cut(first(b.Error, "not yet"), 40)
			}
			rows = append(rows, []string{backupRef(b.Number), b.Instance, releaseRef(b.Release), first(b.Why, "by hand"), e.ago(b.CreatedAt), size(b.Content), size(b.Bytes), took(b.Took), verified, whereOf(b)})
		}
		return e.table([]string{"BACKUP", "INSTANCE", "RELEASE", "WHY", "WHEN", "HOLDS", "ADDED", "TOOK", "VERIFIED", "WHERE"}, rows, "there is no backup yet: bosman backup make live")
	})
}

type backupMakeCmd struct{ onInstance }

// Help gives examples.
func (backupMakeCmd) Help() string {
	return "Examples:\n  bosman backup make live --wait"
}

// Run makes a backup.
func (c *backupMakeCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Backups(e.ctx, app, c.Instance, 20)
	if err != nil {
		return err
	}
	if last, ok := bosman.CountedBackup(all); ok && !e.global.JSON {
		if _, err := fmt.Fprintf(e.stderr, "Last time (%s) it took %s and %s to verify, and added %s.\n", backupRef(last.Number), took(last.Took), took(last.VerifyTook), size(last.Bytes)); err != nil {
			return err
		}
	}
	return c.operate(e, "backup")
}

type backupRestoreCmd struct {
	inApp
	waiting
	Backup   string `arg:"" help:"k12"`
	Instance string `help:"Where to; the one it was made of when left out."`
	Migrate  bool   `help:"Run the release command on data of an older release."`
	Yes      bool   `short:"y" help:"Do not ask before data is replaced."`
}

// Help gives examples.
func (backupRestoreCmd) Help() string {
	return "The present database and files are kept: bosman kept list.\n\nExamples:\n  bosman backup restore k12 --wait\n  bosman backup restore k12 --instance staging --yes"
}

// Run restores.
func (c *backupRestoreCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	n, err := bosman.ParseRef(bosman.LetterBackup, c.Backup)
	if err != nil {
		return err
	}
	if !c.Yes {
		what, err := e.restoring(app, n, c.Instance)
		if err != nil {
			return err
		}
		if err := e.confirm(what, "yes", "--yes"); err != nil {
			return err
		}
	}
	op, err := e.server().Restore(e.ctx, app, n, c.Instance, c.Migrate)
	return e.asked(op, err, c.Wait)
}
