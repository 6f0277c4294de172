package serve

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres/archive"
)

// lostLog finds the end of the log that reaches furthest in the target; ok is
// false if none does; some says that there is one, perhaps sealed with a key
// that is not known yet.
func (r *recovery) lostLog(ctx context.Context) (end archive.Point, ok, some bool, err error) {
	k := &archive.Keeper{Vault: func(context.Context) (database.Vault, error) { return r.vault, nil }}
	all, err := k.Catalogue(ctx)
	for _, s := range all {
		some = some || len(s.Segments) > 0
		if p, there := s.End(); there && p.At.After(end.At) {
			end, ok = p, true
		}
	}
	return end, ok, some, err
}

const toTheSecond = "2006-01-02 15:04:05 MST"

// offerLog says how far the databases can be brought, and how. It asks for
// nothing: what was brought back serves without it.
func (r *recovery) offerLog(ctx context.Context) error {
	end, ok, _, err := r.lostLog(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return r.say("\n✕ whether the log of the databases reaches further is not known: %s", bosman.AsError(err).Message)
	}
	if !ok {
		return nil
	}
	all, err := r.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		at, brought := r.p.Moments[i.App+"/"+i.Name]
		if !brought || !end.At.After(at) || i.Database.Engine != bosman.EnginePostgres {
			continue
		}
		if err := r.say(`
%s of %s could be brought to %s; its backup is of %s (%s before).
The log in the target holds what was written between. Once Bosman runs:

    bosman backup recover-to %s --app %s --point %s --wait
    bosman kept restore %s --app %s ID     (the ID that the first one says)

Until then it serves the backup's data. What is written to it meanwhile is kept aside by the second command.`,
			i.Name, i.App, end.At.Format(toTheSecond), at.Format(toTheSecond), end.At.Sub(at).Round(time.Second), i.Name, i.App, end.Name, i.Name, i.App); err != nil {
			return err
		}
	}
	return nil
}

// brought notes the moment of the data that an instance has.
func (r *recovery) brought(i bosman.Instance, at time.Time) {
	if r.p.Moments == nil {
		r.p.Moments = map[string]time.Time{}
	}
	r.p.Moments[i.App+"/"+i.Name] = at.UTC()
}

// listLog says how far the databases can be brought.
func (r *recovery) listLog(ctx context.Context) error {
	end, ok, some, err := r.lostLog(ctx)
	if err != nil || !some {
		return err
	}
	if !ok {
		return r.say("the log of the databases was kept; how far it reaches is said once the state is brought back")
	}
	return r.say("the log of the databases reaches %s", end.At.Format(toTheSecond))
}
