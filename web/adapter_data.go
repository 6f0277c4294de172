package web

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/data"
)

func (a adapter) mayData(ctx context.Context, who bosman.Actor, app string) data.May {
	return data.May{
		Restore:    a.May(ctx, who, bosman.MayRestore, app, bosman.KindLive),
		Operate:    a.May(ctx, who, bosman.MayOperate, app, bosman.KindLive),
		Administer: a.May(ctx, who, bosman.MayAdminister, app, bosman.KindLive),
	}
}

// Data gives the databases, copies and backups of an app.
func (a adapter) Data(ctx context.Context, who bosman.Actor, app string) (data.View, error) {
	v := data.View{App: app, May: a.mayData(ctx, who, app)}
	var err error
	if v.Storage, err = a.DatabasesOf(ctx, who, app); err != nil {
		return v, err
	}
	if v.Backups, err = a.Backups(ctx, who, app, "", 100); err != nil {
		return v, err
	}
	if v.Health, err = a.BackupHealth(ctx, who, app); err != nil {
		return v, err
	}
	if v.Recovery, err = a.Recovery(ctx); err != nil {
		return v, err
	}
	if v.May.Administer {
		v.Reminds = v.Recovery.Reminders(a.w.cfg.Now(), bosman.StateOverdue)
	}
	if v.Moments, err = a.Moments(ctx, who, app); err != nil {
		return v, err
	}
	v.Kept, err = a.KeptCopies(ctx, who, app, "")
	return v, err
}

// OneBackup gives a backup with what it holds.
func (a adapter) OneBackup(ctx context.Context, who bosman.Actor, app string, n int) (data.BackupView, error) {
	c, err := a.BackupContents(ctx, who, app, n)
	return data.BackupView{Contents: c, May: a.mayData(ctx, who, app)}, err
}
