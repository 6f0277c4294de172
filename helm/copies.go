package helm

import (
	"cmp"
	"context"

	"github.com/bosman-cd/bosman"
)

// Storage tells what an app's databases take on the servers.
type Storage interface {
	Storage(ctx context.Context, app string) (bosman.Storage, error)
	// Adopted says what cannot be done with the database of an instance that
	// Bosman did not make.
	Adopted(ctx context.Context, i bosman.Instance) bosman.AdoptedDatabase
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

// CopySource names the instance that testing instances of an app are copies of.
func (h *Helm) CopySource(ctx context.Context, app string) (string, error) {
	policy, err := h.Policy(ctx, app, bosman.KindTesting)
	if err != nil {
		return "", err
	}
	return cmp.Or(policy.Copy, string(bosman.KindStaging)), nil
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

// AdoptedOf says what cannot be done with the database of an instance, and how
// a person does it by hand; nil for a database that Bosman made.
func (h *Helm) AdoptedOf(ctx context.Context, a bosman.Actor, app, instance string) (*bosman.AdoptedDatabase, error) {
	i, err := h.Instance(ctx, a, app, instance)
	if err != nil {
		return nil, err
	}
	return h.adopted(ctx, i), nil
}

func (h *Helm) adopted(ctx context.Context, i bosman.Instance) *bosman.AdoptedDatabase {
	if !i.Database.Adopted() || h.Config.Storage == nil {
		return nil
	}
	found := h.Config.Storage.Adopted(ctx, i)
	return &found
}

// replaceable refuses to put something in the place of a database that Bosman
// did not make.
func (h *Helm) replaceable(ctx context.Context, i bosman.Instance) error {
	if !i.Database.Adopted() {
		return nil
	}
	byHand := ""
	if a := h.adopted(ctx, i); a != nil {
		byHand = a.ByHand
	}
	return bosman.NotOurs(i.Name, byHand)
}
