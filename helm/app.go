package helm

import (
	"context"
	"slices"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/store"
)

// reserved are the first parts of paths that are not apps.
var reserved = []string{"activity", "api", "events", "git", "hooks", "login", "logout", "people", "search", "static", "wall"}

// AddApp adds an app with an empty repository and the instances staging and
// live, which hold nothing yet.
func (h *Helm) AddApp(ctx context.Context, a bosman.Actor, name string) (bosman.App, error) {
	if err := h.may(ctx, a, bosman.MayAdminister, name, ""); err != nil {
		return bosman.App{}, err
	}
	if err := bosman.CheckName("app", name); err != nil {
		return bosman.App{}, err
	}
	if slices.Contains(reserved, name) {
		return bosman.App{}, bosman.Invalid("%q is the address of a page of Bosman's", name).WithNext("choose another name")
	}
	app := bosman.App{Name: name, MainBranch: "main", CreatedAt: h.now(), CreatedBy: a.Person, PublicKey: access.RandomKey(16)}
	if _, err := h.Store.App(ctx, name); bosman.KindOf(err) != bosman.KindNotFound {
		if err == nil {
			err = bosman.Conflict("there is already an app %s", name).WithKept("it was left as it is").WithNext("bosman app list")
		}
		return app, err
	}
	if _, err := h.Repos.Create(ctx, name, app.MainBranch); err != nil {
		return app, err
	}
	return app, h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.AddApp(ctx, app); err != nil {
			return err
		}
		for _, kind := range []bosman.InstanceKind{bosman.KindStaging, bosman.KindLive} {
			if _, err := h.newInstance(ctx, s, name, string(kind), ""); err != nil {
				return err
			}
		}
		return h.note(ctx, s, a, bosman.Activity{App: name, What: "added the app " + name, Subject: name}, event(bosman.EventAppAdded, name))
	})
}

// RemoveApp stops an app's instances and forgets the app, its repository,
// releases and databases. Backups stay where they are. confirm must be its
// name.
func (h *Helm) RemoveApp(ctx context.Context, a bosman.Actor, name, confirm string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, name, ""); err != nil {
		return err
	}
	if _, err := h.Store.App(ctx, name); err != nil {
		return err
	}
	if confirm != name {
		return bosman.Invalid("removing %s takes away its repository, releases, databases and files; only backups stay", name).
			WithKept("nothing was removed").WithNext("say its name to confirm: bosman app remove " + name + " --confirm " + name)
	}
	instances, err := h.Store.Instances(ctx, name)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.Operation != 0 {
			return bosman.Busy("%s is at work on %s", opRef(i.Operation), i.Name).WithKept("nothing was removed").WithNext("wait until it ends")
		}
	}
	waiting, err := h.Store.UnfinishedOperations(ctx)
	if err != nil {
		return err
	}
	if err := h.cancelBuildsOf(ctx, name); err != nil {
		return err
	}
	for _, i := range instances {
		if err := h.Runtime.Remove(ctx, i); err != nil {
			return err
		}
	}
	if err := h.Runtime.RemoveApp(ctx, name); err != nil {
		return err
	}
	if err := h.Repos.Remove(name); err != nil {
		return err
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.RemoveApp(ctx, name); err != nil {
			return err
		}
		for _, i := range instances { // one of this name that comes later is another
			if err := s.SetSetting(ctx, removal(name, i.Name), ""); err != nil {
				return err
			}
		}
		return h.note(ctx, s, a, bosman.Activity{App: name, What: "removed the app " + name, Subject: name}, event(bosman.EventAppRemoved, name))
	})
	if err != nil {
		return err
	}
	for _, o := range waiting { // one that is not told sees it at its turn
		if o.App == name {
			if err := h.Operator.Cancel(ctx, o, name+" was removed"); err != nil {
				h.Log.Warn("what waited for an app that was removed was not told", "app", name, "deployment", o.Number, "err", err)
			}
		}
	}
	return nil
}

func (h *Helm) cancelBuildsOf(ctx context.Context, app string) error {
	all, err := h.Store.UnfinishedBuilds(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.App == app {
			if err := h.cancelBuild(ctx, bosman.System(), b, "the app is being removed"); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveInstance takes a testing or preview instance away, with its database
// and files.
func (h *Helm) RemoveInstance(ctx context.Context, a bosman.Actor, app, name string) error {
	i, err := h.Instance(ctx, a, app, name)
	if err != nil {
		return err
	}
	if err := h.may(ctx, a, bosman.MayTry, app, i.Kind); err != nil {
		return err
	}
	if i.Kind != bosman.KindTesting && i.Kind != bosman.KindPreview {
		return bosman.Invalid("%s is not a testing instance", name).WithKept("it was left as it is").WithNext("to remove the whole app: bosman app remove " + app)
	}
	if i.Operation != 0 {
		return bosman.Busy("%s is at work on %s", opRef(i.Operation), name).WithKept("it was left as it is").WithNext("wait until it ends")
	}
	return h.removeInstance(ctx, a, i)
}
