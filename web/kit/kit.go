// Package kit is what the handlers of pages share: who asks, drawing a page in
// its frame, messages that outlive a redirect, and errors as calm pages. It
// must not know any single page.
package kit

import (
	"bytes"
	"context"
	"encoding/gob"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/alexedwards/scs/v2"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// World is what the frame of a page shows besides the page.
type World interface {
	Zone(ctx context.Context, app string) *time.Location
	LastEvent(ctx context.Context) (int64, error)
	May(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) bool
}

// Kit serves pages. All fields are required.
type Kit struct {
	World    World
	Sessions *scs.SessionManager
	Log      *slog.Logger
	Now      func() time.Time
	CSS, JS  string
}

type flash struct{ Say, Message, Kept, Next, Kind, Cause string }

func init() { gob.Register(flash{}) }

const flashKey = "flash"

type actorKey struct{}

// WithActor makes a context in which actor asks.
func WithActor(ctx context.Context, a bosman.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// Actor is who asks; the zero Actor for strangers.
func Actor(ctx context.Context) bosman.Actor {
	a, _ := ctx.Value(actorKey{}).(bosman.Actor)
	return a
}

// Func answers a request or says why it cannot.
type Func func(w http.ResponseWriter, r *http.Request) error

// Handle makes a handler of a Func: its errors become pages.
func (k *Kit) Handle(f Func) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			k.Fail(w, r, err)
		}
	})
}

// Draw answers with a page in its frame.
func (k *Kit) Draw(w http.ResponseWriter, r *http.Request, f layout.Frame, body templ.Component) error {
	return k.draw(w, r, http.StatusOK, f, body)
}

// DrawStatus is Draw with another status than 200.
func (k *Kit) DrawStatus(w http.ResponseWriter, r *http.Request, status int, f layout.Frame, body templ.Component) error {
	return k.draw(w, r, status, f, body)
}

func (k *Kit) draw(w http.ResponseWriter, r *http.Request, status int, f layout.Frame, body templ.Component) error {
	ctx := r.Context()
	f.Person, f.CSS, f.JS = Actor(ctx).Person, k.CSS, k.JS
	if f.Person != "" && r.Header.Get("X-Bosman-Live") == "" {
		f.Flash = k.takeFlash(ctx)
	}
	if f.Person != "" && f.Events == "" && status == http.StatusOK {
		last, err := k.World.LastEvent(ctx)
		if err != nil {
			return err
		}
		f.Events = "/events?from=" + strconv.FormatInt(last, 10)
		if f.App != "" {
			f.Events += "&app=" + f.App
		}
	}
	zone := time.UTC
	if f.App != "" {
		zone = k.World.Zone(ctx, f.App)
	}
	ctx = ui.WithNow(ctx, k.Now().In(zone))
	var b bytes.Buffer
	if err := layout.Page(f).Render(templ.WithChildren(ctx, body), &b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := b.WriteTo(w)
	if err != nil {
		k.Log.Debug("a page was not read to its end", "err", err)
	}
	return nil
}

// Fail answers with the page of an error.
func (k *Kit) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e := bosman.AsError(err)
	ctx := r.Context()
	status, title := Status(e.Kind), texts.T(ctx, "This did not work")
	switch e.Kind {
	case bosman.KindNotFound:
		title = texts.T(ctx, "There is no such page")
	case bosman.KindForbidden:
		title = texts.T(ctx, "Not allowed")
	case bosman.KindInternal:
		k.Log.Error("a page failed", "path", r.URL.Path, "err", err)
		if r.Context().Err() != nil {
			return // the reader left
		}
		e = bosman.Internal("Something went wrong inside Bosman.").WithKept("nothing was changed by this page").WithNext("try again; its log says more")
	case bosman.KindInvalid, bosman.KindConflict, bosman.KindBusy, bosman.KindFailed, bosman.KindUnavailable:
	}
	if derr := k.draw(w, r, status, layout.Frame{Title: title, Crumbs: []layout.Crumb{{Name: title}}}, layout.Wrong(title, e, back(r))); derr != nil {
		k.Log.Error("the page of an error failed", "path", r.URL.Path, "err", derr)
		http.Error(w, "Bosman: "+e.Message, status)
	}
}

// back is the page above.
func back(r *http.Request) string {
	p := strings.TrimSuffix(r.URL.Path, "/")
	if n := strings.LastIndexByte(p, '/'); n > 0 {
		parts := strings.Split(p[1:], "/")
		return ui.Path(parts[0])
	}
	return "/"
}

// Status is the HTTP status of a kind of error.
func Status(k bosman.ErrorKind) int {
	switch k {
	case bosman.KindInvalid:
		return http.StatusBadRequest
	case bosman.KindNotFound:
		return http.StatusNotFound
	case bosman.KindForbidden:
		return http.StatusForbidden
	case bosman.KindConflict, bosman.KindBusy:
		return http.StatusConflict
	case bosman.KindFailed:
		return http.StatusUnprocessableEntity
	case bosman.KindUnavailable:
		return http.StatusServiceUnavailable
	case bosman.KindInternal:
	}
	return http.StatusInternalServerError
}

// Answer ends a POST: it goes on to the page at path, which says what was
// done or why not. What nobody may do or what does not exist is an error page.
func (k *Kit) Answer(w http.ResponseWriter, r *http.Request, path, say string, err error) error {
	switch bosman.KindOf(err) {
	case "":
		k.Say(r, say)
	case bosman.KindForbidden, bosman.KindNotFound, bosman.KindInternal:
		return err
	case bosman.KindInvalid, bosman.KindConflict, bosman.KindBusy, bosman.KindFailed, bosman.KindUnavailable:
		e := bosman.AsError(err)
		f := flash{Message: e.Message, Kept: e.Kept, Next: e.Next, Kind: string(e.Kind)}
		if e.Cause != nil {
			f.Cause = e.Cause.Error()
		}
		k.Sessions.Put(r.Context(), flashKey, f)
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// Say leaves a message for the next page.
func (k *Kit) Say(r *http.Request, say string) {
	if say != "" {
		k.Sessions.Put(r.Context(), flashKey, flash{Say: say})
	}
}

func (k *Kit) takeFlash(ctx context.Context) *layout.Flash {
	if !k.Sessions.Exists(ctx, flashKey) {
		return nil
	}
	f, ok := k.Sessions.Pop(ctx, flashKey).(flash)
	if !ok {
		return nil
	}
	out := &layout.Flash{Say: f.Say}
	if f.Message != "" {
		out.Error = &bosman.Error{Kind: bosman.ErrorKind(f.Kind), Message: f.Message, Kept: f.Kept, Next: f.Next}
		if f.Cause != "" {
			out.Error.Cause = bosman.Failed("%s", f.Cause)
		}
	}
	return out
}

// Number reads a number of the path: {n}.
func Number(r *http.Request) (int, error) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n <= 0 {
		return 0, bosman.NotFound("There is nothing numbered %q here.", r.PathValue("n")).WithNext("look for it with the search above")
	}
	return n, nil
}

// Form reads a field of the form, without spaces around it.
func Form(r *http.Request, name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
