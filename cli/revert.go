package cli

import (
	"fmt"

	"github.com/bosman-cd/bosman"
)

type revertCmd struct {
	inApp
	waiting
	Instance string `arg:"" help:"live, staging or another."`
	Database string `default:"keep" enum:"keep,restore" help:"keep: the database stays as it is; restore: the backup made before the deployment takes its place."`
	Why      string `help:"The reason, for the activity log."`
	Yes      bool   `short:"y" help:"Do not ask before data is replaced."`
}

// Help gives examples.
func (revertCmd) Help() string {
	return `Needs no window, approval or backup; it takes over from a running deployment.

Examples:
  bosman revert live --why "orders fail" --wait
  bosman revert live --database restore`
}

// Run reverts.
func (c *revertCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	restore := c.Database == "restore"
	if restore && !c.Yes {
		what, err := c.replaced(e, app)
		if err != nil {
			return err
		}
		if err := e.confirm(what, "yes", "--yes"); err != nil {
			return err
		}
	}
	op, err := e.server().Revert(e.ctx, app, c.Instance, restore, c.Why)
	return e.asked(op, err, c.Wait)
}

// replaced says what a restore would replace.
func (c *revertCmd) replaced(e *env, app string) (string, error) {
	i, err := e.server().Instance(e.ctx, app, c.Instance)
	if err != nil {
		return "", err
	}
	ops, err := e.server().Operations(e.ctx, app, c.Instance, 50)
	if err != nil {
		return "", err
	}
	for _, o := range ops {
		if o.Plan == bosman.PlanDeploy && o.Release == i.Release && o.Committed && o.Backup != 0 {
			return e.restoring(app, o.Backup, c.Instance)
		}
	}
	return fmt.Sprintf("The database and files of %s will be replaced by the backup made before %s.", c.Instance, releaseRef(i.Release)), nil
}

// restoring says what restoring a backup replaces.
func (e *env) restoring(app string, n int, instance string) (string, error) {
	all, err := e.server().Backups(e.ctx, app, "", 1000)
	if err != nil {
		return "", err
	}
	for _, b := range all {
		if b.Number == n {
			return fmt.Sprintf("The database and files of %s will be replaced by %s: %s, made %s (%s), %d rows in %d tables, %s.\nWhatever was entered since then will be gone from %s; the present data is kept as a backup.",
				first(instance, b.Instance), backupRef(n), first(b.Why, "by hand"), e.ago(b.CreatedAt), b.CreatedAt.Local().Format("2006-01-02 15:04"), b.Rows, b.Tables, size(b.Bytes), first(instance, b.Instance)), nil
		}
	}
	return "", bosman.NotFound("%s has no backup %s", app, backupRef(n)).WithKept("nothing was changed").WithNext("bosman backup list")
}
