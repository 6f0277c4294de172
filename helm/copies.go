package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// Storage tells what an app's databases take on the servers.
type Storage interface {
	Storage(ctx context.Context, app string) (bosman.Storage, error)
}

// TryExact is Try with the source's data of this moment, however long that
// takes, instead of a copy prepared earlier.
func (h *Helm) TryExact(ctx context.Context, a bosman.Actor, app, ref, instance string) (bosman.Operation, error) {
	return h.try(ctx, a, app, ref, instance, true)
}

// ResetExact is Reset with the source's data of this moment.
func (h *Helm) ResetExact(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return h.reset(ctx, a, app, instance, true)
}

// DatabasesOf lists the databases of an app with their sizes, for whoever may
// see the app.
func (h *Helm) DatabasesOf(ctx context.Context, a bosman.Actor, app string) (bosman.Storage, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Storage{}, err
	}
	if _, err := h.Store.App(ctx, app); err != nil {
		return bosman.Storage{}, err
	}
	var s bosman.Storage
	if h.Config.Storage != nil {
		var err error
		if s, err = h.Config.Storage.Storage(ctx, app); err != nil {
			return s, err
		}
	}
	if s.Databases == nil {
		s.Databases = []bosman.StoredDatabase{}
	}
	if s.Servers == nil {
		s.Servers = []bosman.DatabaseServer{}
	}
	return s, nil
}
