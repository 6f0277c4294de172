package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// VerifyBody says how thoroughly a backup is proven; it may be left out.
type VerifyBody struct {
	Every bool `json:"every,omitempty" doc:"read also all files that earlier backups wrote, not a sample of them"`
}

// ImportBody says where backups are looked for; it may be left out.
type ImportBody struct {
	Target string `json:"target,omitempty" doc:"a folder of the server or s3://BUCKET/PREFIX; where new backups go when empty"`
}

// backups are the verbs about backups besides making and restoring them.
func (s *server) backups() {
	const tag = "operations"
	add(s, route{"GET", "/backups/health", "backup-health", tag, "Whether the backups that are kept can be relied on"}, func(ctx context.Context, in *struct {
		App string `query:"app" doc:"only of this app"`
	},
	) ([]bosman.BackupHealth, error) {
		return list(s.Helm.BackupHealth(ctx, actor(ctx), in.App))
	})
	add(s, route{"GET", "/apps/{app}/backups/{n}", "get-backup", tag, "What a backup holds"}, func(ctx context.Context, in *Numbered) (bosman.BackupContents, error) {
		return s.Helm.BackupContents(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"POST", "/apps/{app}/backups/{n}/verify", "verify-backup", tag, "Begin to prove a backup by a restore; the list says what came of it"}, func(ctx context.Context, in *struct {
		Numbered
		Body *VerifyBody
	},
	) (bosman.Backup, error) {
		return s.Helm.VerifyBackup(ctx, actor(ctx), in.App, in.N, or(in.Body).Every)
	})
	add(s, route{"DELETE", "/apps/{app}/backups/{n}", "remove-backup", tag, "Remove a backup that nothing needs"}, func(ctx context.Context, in *Numbered) (wire.Ok, error) {
		return wire.Ok{Note: "removed " + bosman.Ref(bosman.LetterBackup, in.N)}, s.Helm.RemoveBackup(ctx, actor(ctx), in.App, in.N)
	})
	add(s, route{"POST", "/apps/{app}/backups/import", "import-backups", tag, "Take up backups that lie in a target and are not known"}, func(ctx context.Context, in *struct {
		InApp
		Body *ImportBody
	},
	) ([]bosman.Backup, error) {
		return list(s.Helm.ImportBackups(ctx, actor(ctx), in.App, or(in.Body).Target))
	})
}
