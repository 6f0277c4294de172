// Package data is the page of an app's data: its databases and what copies are
// made of, what was kept aside, and the backups. It must not know how they are
// made.
package data

import (
	"cmp"
	"context"
	_ "embed"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// CSS is the look of the page.
//
//go:embed page.css
var CSS string

// May is what the reader may do.
type May struct{ Restore, Operate, Administer bool }

// View is what the page shows.
type View struct {
	App      string
	Storage  bosman.Storage
	Kept     []bosman.KeptCopy
	Backups  []bosman.Backup
	Health   []bosman.BackupHealth
	Recovery bosman.Recovery
	Moments  *bosman.PointInTime // nil: the log of no database is kept
	Reminds  []string            // what an operator is to be reminded of, for those who can do something about it
	May      May
}

// BackupView is one backup.
type BackupView struct {
	Contents bosman.BackupContents
	May      May
}

// tables are the backup's, those with most rows first.
func (v BackupView) tables() []bosman.TableRows {
	out := make([]bosman.TableRows, 0, len(v.Contents.Rows))
	for _, name := range slices.Sorted(maps.Keys(v.Contents.Rows)) {
		out = append(out, bosman.TableRows{Table: name, Rows: v.Contents.Rows[name]})
	}
	slices.SortStableFunc(out, func(a, b bosman.TableRows) int { return cmp.Compare(b.Rows, a.Rows) })
	return out
}

// Reader gives what the pages show.
type Reader interface {
	Data(ctx context.Context, a bosman.Actor, app string) (View, error)
	OneBackup(ctx context.Context, a bosman.Actor, app string, n int) (BackupView, error)
}

// Verbs are what may be done.
type Verbs interface {
	VerifyBackup(ctx context.Context, a bosman.Actor, app string, n int, every bool) (bosman.Backup, error)
	RemoveBackup(ctx context.Context, a bosman.Actor, app string, n int) error
	RestoreKept(ctx context.Context, a bosman.Actor, app, instance, id string, anyRelease bool) (bosman.Operation, error)
	RemoveKept(ctx context.Context, a bosman.Actor, app, instance, id string) error
}

// Pages serves the pages.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

// Show is GET /APP/data.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := p.Reader.Data(ctx, kit.Actor(ctx), r.PathValue("app"))
	if err != nil {
		return err
	}
	title := texts.T(ctx, "Data")
	return p.Kit.Draw(w, r, layout.Frame{Title: title + " · " + v.App, App: v.App, Tab: "data", Crumbs: []layout.Crumb{{Name: title}}}, Page(v))
}

// Backup is GET /APP/backups/N.
func (p Pages) Backup(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	v, err := p.Reader.OneBackup(ctx, kit.Actor(ctx), app, n)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, layout.Frame{
		Title: ui.Backup(n) + " · " + app, App: app, Tab: "data",
		Crumbs: []layout.Crumb{{Name: texts.T(ctx, "Data"), Path: ui.Path(app, "data")}, {Name: ui.Backup(n)}},
	}, BackupPage(v))
}

// Act is POST /APP/backups/N/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	here := ui.Path(app, "backups", n)
	switch r.PathValue("verb") {
	case "verify":
		_, err := p.Verbs.VerifyBackup(ctx, kit.Actor(ctx), app, n, false)
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is being restored elsewhere and compared; this page shows what comes of it.", ui.Backup(n)), err)
	case "remove":
		if kit.Form(r, "confirm") != ui.Backup(n) {
			err := bosman.Invalid("removing %s loses it for good, and its name was not typed", ui.Backup(n)).WithKept("it is where it was").WithNext("type " + ui.Backup(n) + " to confirm")
			return p.Kit.Answer(w, r, here, "", err)
		}
		if err := p.Verbs.RemoveBackup(ctx, kit.Actor(ctx), app, n); err != nil {
			return p.Kit.Answer(w, r, here, "", err)
		}
		return p.Kit.Answer(w, r, ui.Path(app, "data"), texts.T(ctx, "%s is removed.", ui.Backup(n)), nil)
	}
	return bosman.NotFound("A backup cannot be asked for that.")
}

// Kept is POST /APP/kept/NAME/ID/VERB. Both take data away from where it is,
// so both ask for the instance's name.
func (p Pages) Kept(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name, id := r.Context(), r.PathValue("app"), r.PathValue("name"), r.PathValue("id")
	here := ui.Path(app, "data")
	if kit.Form(r, "confirm") != name {
		err := bosman.Invalid("the name of %s was not typed", name).WithKept("nothing was changed").WithNext("type " + name + " to confirm")
		return p.Kit.Answer(w, r, here, "", err)
	}
	switch r.PathValue("verb") {
	case "restore":
		op, err := p.Verbs.RestoreKept(ctx, kit.Actor(ctx), app, name, id, kit.Form(r, "any_release") != "")
		if err != nil {
			return p.Kit.Answer(w, r, here, "", err)
		}
		http.Redirect(w, r, ui.Path(app, "deployments", op.Number), http.StatusSeeOther)
		return nil
	case "remove":
		err := p.Verbs.RemoveKept(ctx, kit.Actor(ctx), app, name, id)
		return p.Kit.Answer(w, r, here, texts.T(ctx, "What was kept of %s is removed.", name), err)
	}
	return bosman.NotFound("Kept data cannot be asked for that.")
}

// of gives the stored databases with a role.
func (v View) of(roles ...bosman.StoredRole) []bosman.StoredDatabase {
	var out []bosman.StoredDatabase
	for _, r := range roles {
		for _, d := range v.Storage.Databases {
			if d.Role == r {
				out = append(out, d)
			}
		}
	}
	return out
}

// ready gives what fresh copies are made of, newest first.
func (v View) ready() []bosman.StoredDatabase {
	out := v.of(bosman.StoredGolden, bosman.StoredPool)
	slices.SortStableFunc(out, func(a, b bosman.StoredDatabase) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), b.Copy.TakenAt.Compare(a.Copy.TakenAt))
	})
	return out
}

// holds says what a server of Bosman's own is for.
func holds(ctx context.Context, s bosman.DatabaseServer) string {
	switch s.Name {
	case "main":
		return texts.T(ctx, "staging and live")
	case "scratch":
		return texts.T(ctx, "copies and builds")
	}
	return ""
}

// restored is the instance from whose backup the data of a database came; ""
// for a copy, whose origin is an instance.
func (v View) restored(d bosman.StoredDatabase) string {
	for _, other := range v.Storage.Databases {
		if other.Name == d.Copy.From {
			return other.Instance
		}
	}
	return ""
}

// troubles are the sentences on backups that are missing or failed.
func (v View) troubles() []bosman.BackupHealth {
	var out []bosman.BackupHealth
	for _, h := range v.Health {
		if h.Trouble != "" {
			out = append(out, h)
		}
	}
	return out
}

// log says why not every moment of the databases can be recovered, which is
// the same for all instances.
func (v View) log() string {
	for _, h := range v.Health {
		if h.Log != "" {
			return h.Log
		}
	}
	return ""
}

// span is the newest stretch of time that can be reached.
func (v View) span() (s bosman.TimeSpan, ok bool) {
	if v.Moments == nil || len(v.Moments.Spans) == 0 {
		return s, false
	}
	return v.Moments.Spans[len(v.Moments.Spans)-1], true
}

// keeps says whether the page has anything to say about moments.
func (v View) keeps() bool {
	return v.Moments != nil && (v.Moments.On || len(v.Moments.Spans) > 0)
}

// points are the newest restore points, newest first.
func (v View) points() []bosman.RestorePoint {
	const shown = 12
	all := slices.Clone(v.Moments.Points)
	slices.Reverse(all)
	return all[:min(len(all), shown)]
}

// next is the next backup by schedule; zero without one.
func (v View) next() (at time.Time, instance string) {
	for _, h := range v.Health {
		if !h.Next.IsZero() && (at.IsZero() || h.Next.Before(at)) {
			at, instance = h.Next, h.Instance
		}
	}
	return at, instance
}

// verified is the newest backup that was restored and compared.
func (v View) verified() *bosman.Backup {
	for i, b := range v.Backups {
		if !b.VerifiedAt.IsZero() && b.Error == "" {
			return &v.Backups[i]
		}
	}
	return nil
}

// sealed says whether all backups shown are encrypted.
func (v View) sealed() bool {
	for _, b := range v.Backups {
		if !b.Encrypted {
			return false
		}
	}
	return len(v.Backups) > 0
}
