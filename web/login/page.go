// Package login is the way in and out: a name and a password, counted so that
// nobody guesses. It must not know how passwords are kept.
package login

import (
	"context"
	_ "embed"
	"net/http"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/texts"
)

// CSS is the look of the page.
//
//go:embed page.css
var CSS string

// View is what the page shows.
type View struct {
	Name  string
	Next  string // path to go on to
	Error *bosman.Error
	First bool // nobody can log in yet
}

// Reader knows people.
type Reader interface {
	Login(ctx context.Context, name, password string) (bosman.Person, error)
	NobodyYet(ctx context.Context) (bool, error)
}

// Door begins and ends sessions.
type Door interface {
	Enter(r *http.Request, p bosman.Person) error
	Leave(r *http.Request) error
}

// Pages serves the page.
type Pages struct {
	Kit    *kit.Kit
	Reader Reader
	Door   Door
	Limit  *access.Limit
	Addr   func(*http.Request) string // who asks
}

// Show is GET /login.
func (p Pages) Show(w http.ResponseWriter, r *http.Request) error {
	next := Local(r.URL.Query().Get("next"))
	if kit.Actor(r.Context()).Person != "" {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	return p.draw(w, r, http.StatusOK, View{Next: next})
}

func (p Pages) draw(w http.ResponseWriter, r *http.Request, status int, v View) error {
	ctx := r.Context()
	first, err := p.Reader.NobodyYet(ctx)
	if err != nil {
		return err
	}
	v.First = first
	return p.Kit.DrawStatus(w, r, status, layout.Frame{Title: texts.T(ctx, "Log in")}, Page(v))
}

// Enter is POST /login.
func (p Pages) Enter(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	name, next := kit.Form(r, "name"), Local(r.PostFormValue("next"))
	v := View{Name: name, Next: next}
	done, wait := p.Limit.Try(p.Addr(r), name)
	if wait > 0 {
		v.Error = bosman.Busy("%s", texts.T(ctx, "Too many attempts.")).WithNext(texts.T(ctx, "wait %d minutes and try again", int(wait.Minutes())+1))
		w.Header().Set("Retry-After", seconds(wait))
		return p.draw(w, r, http.StatusTooManyRequests, v)
	}
	free := p.Limit.Slot()
	person, err := p.Reader.Login(ctx, name, r.PostFormValue("password"))
	free()
	done(err == nil)
	if bosman.KindOf(err) == bosman.KindForbidden {
		v.Error = bosman.Forbidden("%s", texts.T(ctx, "The name or the password is not right."))
		return p.draw(w, r, http.StatusUnauthorized, v)
	}
	if err != nil {
		return err
	}
	if err := p.Door.Enter(r, person); err != nil {
		return err
	}
	if strings.HasPrefix(next, "/wall?") {
		// It goes on to another host; a form's redirects must not leave this one.
		w.Header().Set("Refresh", "0; url="+next)
		return p.Kit.Draw(w, r, layout.Frame{Title: texts.T(ctx, "Logged in")}, On(next))
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

// Leave is POST /logout.
func (p Pages) Leave(w http.ResponseWriter, r *http.Request) error {
	if err := p.Door.Leave(r); err != nil {
		return err
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}
