package client

import (
	"context"
	"net/http"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// BackupHealth says whether backups can be relied on; app "" is all apps.
func (c *Client) BackupHealth(ctx context.Context, app string) ([]bosman.BackupHealth, error) {
	return get[[]bosman.BackupHealth](ctx, c, at("backups", "health"), "app", app)
}

// BackupContents says what a backup holds.
func (c *Client) BackupContents(ctx context.Context, app string, n int) (bosman.BackupContents, error) {
	return get[bosman.BackupContents](ctx, c, at("apps", app, "backups", n))
}

// VerifyBackup begins to prove a backup.
func (c *Client) VerifyBackup(ctx context.Context, app string, n int, every bool) (bosman.Backup, error) {
	return post[bosman.Backup](ctx, c, at("apps", app, "backups", n, "verify"), m{"every": every})
}

// RemoveBackup removes a backup that nothing needs.
func (c *Client) RemoveBackup(ctx context.Context, app string, n int) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("apps", app, "backups", n), nil, &out)
}

// ImportBackups takes up backups that lie in a target; "" is where new ones go.
func (c *Client) ImportBackups(ctx context.Context, app, target string) ([]bosman.Backup, error) {
	return post[[]bosman.Backup](ctx, c, at("apps", app, "backups", "import"), m{"target": target})
}
