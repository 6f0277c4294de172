package cli

import (
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
)

type revertCmd struct {
	inApp
	waiting
	Instance string `arg:"" help:"live, staging or another."`
	Database string `default:"keep" enum:"keep,restore" help:"keep: the database stays as it is; restore: the data from before the deployment takes its place."`
	Why      string `help:"The reason, for the activity log."`
	Explain  bool   `aliases:"dry-run" help:"Only say what a revert would do."`
	Yes      bool   `short:"y" aliases:"confirm-loss" help:"Do not ask before data is replaced: what was written since may be taken out (also --confirm-loss)."`
	Override string `placeholder:"REASON" help:"As administrator: go back with the code alone below the rollback floor."`
}

// Help gives examples.
func (revertCmd) Help() string {
	return `Needs no window, approval or backup; it takes over from a running deployment.
With --database restore the data from before the deployment takes the place of
the present data, which is kept (bosman kept list).

Examples:
  bosman revert live --explain
  bosman revert live --why "orders fail" --wait
  bosman revert live --database restore
  bosman revert live --database restore --confirm-loss --wait`
}

// Run reverts.
func (c *revertCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if c.Explain {
		p, err := e.server().PlanRevert(e.ctx, app, c.Instance)
		if err != nil {
			return err
		}
		return e.show(p, func() error { return e.say("%s", e.explain(p)) })
	}
	restore := c.Database == "restore"
	if restore && !c.Yes {
		p, err := e.server().PlanRevert(e.ctx, app, c.Instance)
		if err != nil {
			return err
		}
		if err := e.confirm(e.explain(p)+"\n"+e.replaced(p), "yes", "--confirm-loss (or --yes)"); err != nil {
			return err
		}
	}
	op, err := e.server().Revert(e.ctx, app, c.Instance, client.Revert{Restore: restore, ConfirmLoss: restore, Why: c.Why, Override: c.Override})
	return e.asked(op, err, c.Wait)
}

// explain says what a revert would do, a line for each thing to know.
func (e *env) explain(p bosman.RevertPlan) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case p.Release == 0:
		return fmt.Sprintf("%s runs %s and has no release to go back to; deploy another one instead: bosman deploy %s --release rN", p.Instance, releaseRef(p.From), p.Instance)
	case p.Release == p.From:
		say("%s stays on %s; %s is taken back.", p.Instance, releaseRef(p.From), opRef(p.Reverts))
	default:
		say("%s goes from %s back to %s; %s is taken back.", p.Instance, releaseRef(p.From), releaseRef(p.Release), opRef(p.Reverts))
	}
	say("%s: %s.", p.Policy, p.Why)
	if p.Schema != "" {
		say("The migrations: %s.", p.Schema)
	}
	if p.ProvenBy != 0 {
		say("%s on %s: %s.", map[bool]string{true: "Proven by", false: "Tried by"}[p.Proof != bosman.ProofFailed]+" "+opRef(p.ProvenBy), p.ProvenOn, p.ProofNote)
	}
	if p.Refused != "" {
		say("The code alone does not go back: %s.", p.Refused)
	}
	switch {
	case p.Adopted:
		say("The database is not Bosman's: a revert takes back the code alone.")
		for _, lost := range p.Lost {
			say("  no %s", lost)
		}
		if p.Backup != 0 && p.ByHand != "" {
			say("To put the data of %s back, %s", backupRef(p.Backup), p.ByHand)
		}
	case p.Backup == 0:
		say("There is no backup from before it to restore.")
	case p.Kept:
		say("With --database restore a kept copy (%s) takes the place, in about %s.", size(p.KeptBytes), took(p.Expected))
	case p.Expected != 0:
		say("With --database restore %s is restored, which took %s on trial%s.", backupRef(p.Backup), took(p.Expected), because(p.KeptNote))
	default:
		say("With --database restore %s is restored%s.", backupRef(p.Backup), because(p.KeptNote))
	}
	if q := p.Point; q != nil && p.Schema != "" {
		say("%s is the database right before the migrations (%s), with what was written after the backup: bosman backup recover-to %s --point %s puts it beside; bosman kept restore, after the revert, in its place.",
			q.Name, q.At.Local().Format(exact), p.Instance, q.Name)
	}
	return strings.Join(lines, "\n")
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return "; there is no kept copy: " + why
}

// replaced says what a restore takes out.
func (e *env) replaced(p bosman.RevertPlan) string {
	text := fmt.Sprintf("The database and files of %s will be replaced", p.Instance)
	if !p.BackupAt.IsZero() {
		text += fmt.Sprintf(" by those of %s (%s)", e.ago(p.BackupAt), p.BackupAt.Local().Format("2006-01-02 15:04"))
	}
	return text + ": " + p.Written.String() + ". The present data is kept."
}

// restoring says what restoring a backup replaces.
func (e *env) restoring(app string, n int, instance string) (string, error) {
	all, err := e.server().Backups(e.ctx, app, "", 1000)
	if err != nil {
		return "", err
	}
	for _, b := range all {
		if b.Number == n {
			return fmt.Sprintf("The database and files of %s will be replaced by %s, the data of %s: %s, made %s (%s), %d rows in %d tables, %s.\nWhatever was entered since then will be gone from %s; the present data is kept: bosman kept list.",
				first(instance, b.Instance), backupRef(n), releaseRef(b.Release), first(b.Why, "by hand"), e.ago(b.CreatedAt), b.CreatedAt.Local().Format("2006-01-02 15:04"), b.Rows, b.Tables, size(b.Bytes), first(instance, b.Instance)), nil
		}
	}
	return "", bosman.NotFound("%s has no backup %s", app, backupRef(n)).WithKept("nothing was changed").WithNext("bosman backup list")
}
