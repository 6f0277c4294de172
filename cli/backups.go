package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// whereOf says where a backup lies.
func whereOf(b bosman.Backup) string {
	where := first(b.Where, b.Dir)
	if b.Encrypted {
		where += " (sealed)"
	}
	return where
}

type onBackup struct {
	inApp
	Backup string `arg:"" help:"k12"`
}

func (c *onBackup) named(e *env) (app string, n int, err error) {
	if app, err = e.app(c.App); err != nil {
		return app, 0, err
	}
	n, err = bosman.ParseRef(bosman.LetterBackup, c.Backup)
	return app, n, err
}

type backupShowCmd struct{ onBackup }

// Help gives examples.
func (backupShowCmd) Help() string { return "Examples:\n  bosman backup show k12" }

// Run shows what a backup holds.
func (c *backupShowCmd) Run(e *env) error {
	app, n, err := c.named(e)
	if err != nil {
		return err
	}
	v, err := e.server().BackupContents(e.ctx, app, n)
	if err != nil {
		return err
	}
	return e.show(v, func() error { return e.contents(v) })
}

func (e *env) contents(v bosman.BackupContents) error {
	b := v.Backup
	proven := "no, it does not count yet"
	if !b.VerifiedAt.IsZero() {
		proven = e.ago(b.VerifiedAt) + " in " + took(b.VerifyTook)
	}
	if b.Error != "" {
		proven = "no: " + b.Error
	}
	lines := [][2]string{
		{"Backup", fmt.Sprintf("%s of %s, %s, %s", backupRef(b.Number), b.Instance, releaseRef(b.Release), first(b.Why, "by hand"))},
		{"As of", v.TakenAt.UTC().Format("2006-01-02 15:04:05 UTC")},
		{"Lies in", whereOf(b) + ", " + strconv.Itoa(v.Objects) + " objects"},
		{"Size", fmt.Sprintf("holds %s, added %s, took %s", size(b.Content), size(b.Bytes), took(b.Took))},
		{"Restored", proven},
		{"Files", fmt.Sprintf("%d, %s, of which %s were new", v.Files, size(v.FileBytes), size(v.NewBytes))},
	}
	if v.Engine != "" {
		lines = append(lines, [2]string{"Database", v.Engine + " " + v.Version})
	}
	if v.Lacks != "" {
		lines = append(lines, [2]string{"Lacks", v.Lacks})
	}
	for _, x := range slices.Sorted(maps.Keys(v.Extensions)) {
		lines = append(lines, [2]string{"Extension", x + " " + v.Extensions[x]})
	}
	for _, r := range v.Roles {
		lines = append(lines, [2]string{"Role", r})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Settings)) {
		lines = append(lines, [2]string{"Setting", name + " = " + v.Settings[name]})
	}
	for _, what := range v.Apart {
		lines = append(lines, [2]string{"Not in it", what + ": a restore does not bring it back"})
	}
	for _, l := range lines {
		if err := e.say("%-10s %s", l[0], l[1]); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, len(v.Rows))
	for _, t := range slices.Sorted(maps.Keys(v.Rows)) {
		rows = append(rows, []string{t, strconv.FormatInt(v.Rows[t], 10)})
	}
	return e.table([]string{"TABLE", "ROWS"}, rows, "it holds no tables")
}

type backupVerifyCmd struct {
	onBackup
	Every bool `help:"Read also all files that earlier backups wrote, not a sample of them."`
	Wait  bool `help:"Wait until it ended; the exit code says how."`
}

// Help gives examples.
func (backupVerifyCmd) Help() string {
	return `The backup is read where it lies and restored into a scratch database, which is
compared and dropped. Of uploaded files all that this backup wrote and a sample
of what earlier ones wrote are read.

Examples:
  bosman backup verify k12 --wait
  bosman backup verify k12 --every`
}

// Run verifies.
func (c *backupVerifyCmd) Run(e *env) error {
	app, n, err := c.named(e)
	if err != nil {
		return err
	}
	begun := time.Now()
	b, err := e.server().VerifyBackup(e.ctx, app, n, c.Every)
	if err != nil || !c.Wait {
		return e.noted(b, err, "%s is being verified: bosman backup list", backupRef(n))
	}
	was := b
	for {
		v, err := e.server().BackupContents(e.ctx, app, n)
		if err != nil && bosman.KindOf(err) != bosman.KindFailed && bosman.KindOf(err) != bosman.KindForbidden {
			return err
		}
		if err == nil {
			b = v.Backup
		} else if b, err = e.backup(app, n); err != nil {
			return err
		}
		switch {
		case b.VerifiedAt.After(was.VerifiedAt):
			return e.noted(b, nil, "%s was restored and compared in %s", backupRef(n), took(b.VerifyTook))
		case b.Error != "" && (b.Error != was.Error || time.Since(begun) > 5*time.Minute):
			return bosman.Failed("%s does not count: %s", backupRef(n), b.Error).WithNext("take another: bosman backup list")
		}
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// backup finds the row of a backup.
func (e *env) backup(app string, n int) (bosman.Backup, error) {
	all, err := e.server().Backups(e.ctx, app, "", 1000)
	for _, b := range all {
		if b.Number == n {
			return b, err
		}
	}
	if err == nil {
		err = bosman.NotFound("%s has no backup %s", app, backupRef(n))
	}
	return bosman.Backup{}, err
}

type backupRemoveCmd struct {
	onBackup
	Yes bool `short:"y" help:"Do not ask."`
}

// Help gives examples.
func (backupRemoveCmd) Help() string {
	return "The newest backup that counts stays, and so does what a way back needs.\n\nExamples:\n  bosman backup remove k12"
}

// Run removes a backup.
func (c *backupRemoveCmd) Run(e *env) error {
	app, n, err := c.named(e)
	if err != nil {
		return err
	}
	if !c.Yes {
		b, err := e.backup(app, n)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%s of %s, made %s, is removed for good.", backupRef(n), b.Instance, e.ago(b.CreatedAt))
		if err := e.confirm(what, "yes", "--yes"); err != nil {
			return err
		}
	}
	ok, err := e.server().RemoveBackup(e.ctx, app, n)
	return e.noted(ok, err, "%s", ok.Note)
}

type backupImportCmd struct {
	inApp
	Target string `arg:"" optional:"" help:"A folder of the server or s3://BUCKET/PREFIX; where new backups go when left out."`
}

// Help gives examples.
func (backupImportCmd) Help() string {
	return `For a server that took the place of a lost one. Backups are only listed, and
stay where they lie; those that were proven before count.

Examples:
  bosman backup import
  bosman backup import /mnt/old-backups
  bosman backup import s3://backups/bosman`
}

// Run imports.
func (c *backupImportCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().ImportBackups(e.ctx, app, c.Target)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, b := range all {
			rows = append(rows, []string{backupRef(b.Number), b.Instance, e.ago(b.CreatedAt), size(b.Content), e.ago(b.VerifiedAt)})
		}
		return e.table([]string{"BACKUP", "INSTANCE", "WHEN", "HOLDS", "VERIFIED"}, rows, "there is no backup that was not known")
	})
}

type backupHealthCmd struct{ inApp }

// Help gives examples.
func (backupHealthCmd) Help() string {
	return "With an exit code that scripts can use: 0 when all can be relied on.\n\nExamples:\n  bosman backup health"
}

// Run says how backups fare.
func (c *backupHealthCmd) Run(e *env) error {
	all, err := e.server().BackupHealth(e.ctx, first(c.App, e.getenv("BOSMAN_APP")))
	if err != nil {
		return err
	}
	var bad []string
	err = e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, b := range all {
			newest := "none"
			if b.Newest != 0 {
				newest = backupRef(b.Newest) + " " + e.ago(b.At)
			}
			state := first(b.Worst(), "well")
			if len(b.Bad) > 0 {
				state += "; " + badBackups(b)
			}
			rows = append(rows, []string{b.App, b.Instance, newest, e.ago(b.Next), b.Where, state})
		}
		return e.table([]string{"APP", "INSTANCE", "NEWEST THAT COUNTS", "NEXT", "WHERE", "STATE"}, rows, "no instance keeps backups: set instances.live.backup in bosman.yaml")
	})
	for _, b := range all {
		if b.Worst() != "" {
			bad = append(bad, b.App+"/"+b.Instance)
		}
	}
	if err == nil && len(bad) > 0 {
		err = bosman.Failed("the backups of %s cannot be relied on", strings.Join(bad, ", ")).WithNext("make one that counts: bosman backup make live --wait; or see what can be reached: bosman backup points")
	}
	return err
}

// backupWarnings prints a line for each instance whose backups cannot be
// relied on; a server that cannot be asked is passed over.
func (e *env) backupWarnings(app string) error {
	all, err := e.server().BackupHealth(e.ctx, app)
	if err != nil {
		return nil //nolint:nilerr // it is only an extra line
	}
	for _, b := range all {
		if why := b.Worst(); why != "" {
			if _, err := fmt.Fprintf(e.stderr, "! the backups of %s/%s cannot be relied on: %s\n", b.App, b.Instance, why); err != nil {
				return err
			}
		}
		if len(b.Bad) > 0 {
			if _, err := fmt.Fprintf(e.stderr, "! of %s/%s %s: prove them again with bosman backup verify, or remove them with bosman backup remove\n", b.App, b.Instance, badBackups(b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// badBackups says which backups do not count and stay all the same.
func badBackups(b bosman.BackupHealth) string {
	refs := make([]string, 0, len(b.Bad))
	for _, n := range b.Bad {
		refs = append(refs, backupRef(n))
	}
	return fmt.Sprintf("%s do not count and stay until removed (%s)", strings.Join(refs, ", "), size(b.BadBytes))
}
