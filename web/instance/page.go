// Package instance is the page of one instance: what runs, its health and
// history, traffic, mail, backups and log, and the verbs that act on it. It
// must not know how they are done.
package instance

import (
	"context"
	_ "embed"
	"net/http"
	"strconv"
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

// May is what the reader may do with this instance.
type May struct{ Deploy, Revert, Operate, Restore, Run, Try, Administer bool }

// Point is the traffic of some seconds.
type Point struct {
	At       time.Time
	Requests int64
	Errors   int64 // answered 5xx, or not at all
	Release  int   // that answered
}

// View is what the page shows.
type View struct {
	Instance   bosman.Instance
	Release    *bosman.Release // that runs; nil when none
	Title      string          // what it brought
	Way        *Way            // the operation at work on it now
	Operations []bosman.Operation
	Backups    []bosman.Backup
	Mails      []bosman.Mail
	Traffic    []Point // at even distances, oldest first; nil without numbers
	Step       time.Duration
	Log        []ui.Line
	LogFrom    int64
	Tasks      []Task
	May        May
	Window     string // "" when always open
	Open       bool   // the window, now
	Problems   int
	Held       *bosman.Held            // why it does not follow main
	Adopted    *bosman.AdoptedDatabase // nil for a database that Bosman made
	Since      time.Time               // its database can be had as it was at any moment since; zero if it cannot
	Stored     time.Time               // up to here
}

// Way is an operation under way and its road.
type Way struct {
	Op   bosman.Operation
	Road bosman.Road
}

// Task is a named command of the manifest.
type Task struct{ Name, Command string }

// Choice is a release that may be deployed.
type Choice struct {
	Release bosman.Release
	Title   string
	Here    bool   // runs here now
	Ran     bool   // ran on staging
	No      string // why not, "" if it may go
}

// Plan is what a deployment would do.
type Plan struct {
	Instance bosman.Instance
	Choices  []Choice
	Chosen   int
	Window   string
	Wait     string // what it would wait for; "" if it begins at once
	AtHand   []string
	Need     int // people who must be at hand
	Backup   bool
	Health   bool   // the app has a health check
	Watch    string // "10 min, then it reverts by itself if it does badly"
	May      May
	Changes  []string // what the chosen release brings
}

// Back is what a revert would do.
type Back struct {
	Instance bosman.Instance
	Plan     bosman.RevertPlan
	Title    string         // of the release to go back to
	Backup   *bosman.Backup // that a restore takes
	Running  bool           // the deployment it takes back is still at work
	May      May
	No       string
}

// restores says whether the data goes back with the code unless a person
// chooses otherwise.
func (b Back) restores() bool {
	return b.Plan.Policy == bosman.RevertRestore || b.Plan.Refused != "" && b.mayRestore()
}

func (b Back) mayRestore() bool { return b.Plan.Backup != 0 && b.May.Restore && !b.Plan.Adopted }

// stuck says that this reader has no way back: the code alone must not go, and
// the data may not be taken by them, or is not there.
func (b Back) stuck() bool { return b.Plan.Refused != "" && !b.May.Administer && !b.mayRestore() }

// closed says why the data of the backup is not offered though it may be
// wanted; "" when it is, or nobody will want it.
func (b Back) closed(ctx context.Context) string {
	switch {
	case b.mayRestore() || b.Plan.Adopted || b.Plan.Policy == bosman.RevertCode:
		return ""
	case b.Plan.Backup == 0 && b.stuck():
		return texts.T(ctx, "There is no backup to take the data of. An administrator may let the code go back alone all the same; else deploy a release that is mended.")
	case b.Plan.Backup == 0:
		return texts.T(ctx, "There is no backup to take the data of.")
	case !b.May.Restore:
		return texts.T(ctx, "To take the data of %s needs the right to restore.", ui.Backup(b.Plan.Backup))
	}
	return ""
}

// loses says whether a restore takes away what somebody wrote, or may.
func (b Back) loses() bool { return !b.Plan.Written.None() }

// Restore is what restoring a backup would do.
type Restore struct {
	Instance bosman.Instance
	Backup   bosman.Backup
}

// Wish is what a person wants of a revert.
type Wish struct {
	Restore     bool // the data goes back with the code
	ConfirmLoss bool // of what was written since
	Why         string
	Override    string // an administrator's reason to go below the rollback floor
}

// Reader gives what the pages show.
type Reader interface {
	Instance(ctx context.Context, a bosman.Actor, app, name string) (View, error)
	PlanDeploy(ctx context.Context, a bosman.Actor, app, name string, release int) (Plan, error)
	PlanRevert(ctx context.Context, a bosman.Actor, app, name string) (Back, error)
	PlanRestore(ctx context.Context, a bosman.Actor, app, name string, backup int) (Restore, error)
	Mail(ctx context.Context, a bosman.Actor, app string, id int64) (bosman.Mail, error)
}

// Verbs are what may be done.
type Verbs interface {
	DeployRelease(ctx context.Context, a bosman.Actor, app, instance string, release int, why, override string) (bosman.Operation, error)
	RevertInstance(ctx context.Context, a bosman.Actor, app, instance string, back Wish) (bosman.Operation, error)
	Restart(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Stop(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Start(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	MakeBackup(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	RestoreBackup(ctx context.Context, a bosman.Actor, app string, backup int, instance string) (bosman.Operation, error)
	Reset(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	RemoveInstance(ctx context.Context, a bosman.Actor, app, name string) error
	RunTask(ctx context.Context, a bosman.Actor, app, instance, task string) (exit int, output string, err error)
}

// Pages serves the pages.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Verbs  Verbs
}

func (p Pages) frame(app, name string, more ...layout.Crumb) layout.Frame {
	return layout.Frame{
		Title: name + " · " + app, App: app, Tab: "overview",
		Crumbs: append([]layout.Crumb{{Name: name, Path: ui.Path(app, "instances", name)}}, more...),
	}
}

// Show is GET /APP/instances/NAME.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	v, err := p.Reader.Instance(ctx, kit.Actor(ctx), app, name)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, p.frame(app, name), Page(v))
}

// Deploy is GET /APP/instances/NAME/deploy.
func (p Pages) Deploy(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	release := 0
	if s := r.URL.Query().Get("release"); s != "" {
		var err error
		if release, err = bosman.ParseRef(bosman.LetterRelease, s); err != nil {
			return err
		}
	}
	v, err := p.Reader.PlanDeploy(ctx, kit.Actor(ctx), app, name, release)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, p.frame(app, name, layout.Crumb{Name: texts.T(ctx, "Deploy")}), DeployPage(v))
}

// Revert is GET /APP/instances/NAME/revert.
func (p Pages) Revert(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	v, err := p.Reader.PlanRevert(ctx, kit.Actor(ctx), app, name)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, p.frame(app, name, layout.Crumb{Name: texts.T(ctx, "Revert")}), RevertPage(v))
}

// Restore is GET /APP/instances/NAME/restore?backup=k12.
func (p Pages) Restore(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	n, err := bosman.ParseRef(bosman.LetterBackup, r.URL.Query().Get("backup"))
	if err != nil {
		return err
	}
	v, err := p.Reader.PlanRestore(ctx, kit.Actor(ctx), app, name, n)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, p.frame(app, name, layout.Crumb{Name: texts.T(ctx, "Restore")}), RestorePage(v))
}

// Act is POST /APP/instances/NAME/VERB.
func (p Pages) Act(w http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	a, here := kit.Actor(ctx), ui.Path(app, "instances", name)
	var op bosman.Operation
	var err error
	verb := r.PathValue("verb")
	switch verb {
	case "deploy":
		op, err = p.deploy(r, a, app, name)
	case "revert":
		op, err = p.revert(r, a, app, name)
	case "restart":
		op, err = p.Verbs.Restart(ctx, a, app, name)
	case "stop":
		op, err = p.Verbs.Stop(ctx, a, app, name)
	case "start":
		op, err = p.Verbs.Start(ctx, a, app, name)
	case "backup":
		op, err = p.Verbs.MakeBackup(ctx, a, app, name)
	case "fresh":
		op, err = p.Verbs.Reset(ctx, a, app, name)
	case "restore":
		op, err = p.restore(r, a, app, name)
	case "remove":
		// Whoever closes the page ends no removal half-way.
		err = p.Verbs.RemoveInstance(context.WithoutCancel(ctx), a, app, name)
		if err == nil {
			here = ui.Path(app)
		}
		return p.Kit.Answer(w, r, here, texts.T(ctx, "%s is removed, with its database and files.", name), err)
	case "run":
		return p.run(w, r, a, app, name)
	default:
		return bosman.NotFound("An instance cannot be asked for that.")
	}
	if err != nil {
		if verb == "deploy" || verb == "revert" {
			here = ui.Path(app, "instances", name, verb)
		}
		return p.Kit.Answer(w, r, here, "", err)
	}
	http.Redirect(w, r, ui.Path(app, "deployments", op.Number), http.StatusSeeOther)
	return nil
}

func (p Pages) deploy(r *http.Request, a bosman.Actor, app, name string) (bosman.Operation, error) {
	release, err := bosman.ParseRef(bosman.LetterRelease, kit.Form(r, "release"))
	if err != nil {
		return bosman.Operation{}, bosman.Invalid("no release was chosen").WithKept(name + " was left as it is").WithNext("choose one of the list")
	}
	return p.Verbs.DeployRelease(r.Context(), a, app, name, release, kit.Form(r, "why"), kit.Form(r, "override"))
}

// revert loses what was written since only where the instance's name was typed.
func (p Pages) revert(r *http.Request, a bosman.Actor, app, name string) (bosman.Operation, error) {
	w := Wish{Restore: kit.Form(r, "database") == "restore", ConfirmLoss: kit.Form(r, "confirm") == name, Why: kit.Form(r, "why")}
	if !w.Restore {
		w.Override = kit.Form(r, "override")
	}
	return p.Verbs.RevertInstance(r.Context(), a, app, name, w)
}

// restore asks for the instance's name: what was written since leaves the site.
func (p Pages) restore(r *http.Request, a bosman.Actor, app, name string) (bosman.Operation, error) {
	n, err := bosman.ParseRef(bosman.LetterBackup, kit.Form(r, "backup"))
	if err != nil {
		return bosman.Operation{}, err
	}
	if kit.Form(r, "confirm") != name {
		return bosman.Operation{}, bosman.Invalid("restoring replaces the data of %s, and its name was not typed", name).
			WithKept(name + " was left as it is").WithNext("type " + name + " to confirm")
	}
	return p.Verbs.RestoreBackup(r.Context(), a, app, n, name)
}

func (p Pages) run(w http.ResponseWriter, r *http.Request, a bosman.Actor, app, name string) error {
	ctx := r.Context()
	task := kit.Form(r, "task")
	exit, output, err := p.Verbs.RunTask(ctx, a, app, name, task)
	if err != nil {
		return p.Kit.Answer(w, r, ui.Path(app, "instances", name), "", err)
	}
	return p.Kit.Draw(w, r, p.frame(app, name, layout.Crumb{Name: task}), TaskPage(app, name, task, exit, output))
}

// Mail is GET /APP/mails/ID.
func (p Pages) Mail(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	m, err := p.mail(r)
	if err != nil {
		return err
	}
	return p.Kit.Draw(w, r, p.frame(app, m.Instance, layout.Crumb{Name: texts.T(ctx, "Mail")}), MailPage(m))
}

// MailHTML is GET /APP/mails/ID/html: the message as it was sent, without
// scripts, forms, or anything fetched from elsewhere.
func (p Pages) MailHTML(w http.ResponseWriter, r *http.Request) error {
	m, err := p.mail(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	if _, err := w.Write([]byte(m.HTML)); err != nil {
		p.Kit.Log.Debug("a message was not read to its end", "err", err)
	}
	return nil
}

func (p Pages) mail(r *http.Request) (bosman.Mail, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return bosman.Mail{}, bosman.NotFound("There is no such message.")
	}
	return p.Reader.Mail(r.Context(), kit.Actor(r.Context()), r.PathValue("app"), id)
}
