package web

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/kit"
)

// sessionStore keeps sessions in the table sessions(token, data, expiry in
// unix milliseconds).
type sessionStore struct {
	db  *sql.DB
	now func() time.Time
}

func (s *sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	var data []byte
	err := s.db.QueryRowContext(ctx, `SELECT data FROM sessions WHERE token = ? AND expiry > ?`, token, s.now().UnixMilli()).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s *sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE expiry <= ?`, s.now().UnixMilli()); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO sessions (token, data, expiry) VALUES (?, ?, ?)
		ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry`, token, data, expiry.UnixMilli())
	return err
}

func (s *sessionStore) DeleteCtx(ctx context.Context, token string) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE token = ?`, token)
	return err
}

// Find, Commit and Delete are what scs asks of stores without contexts; it
// calls the ones with contexts.
func (s *sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit keeps a session.
func (s *sessionStore) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete forgets a session.
func (s *sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

const (
	personKey = "person"
	proofKey  = "proof" // of the password the session was begun with
)

// proof changes with the password, so that a new one ends all sessions.
func proof(p bosman.Person) string {
	sum := sha256.Sum256([]byte("session\x00" + p.PasswordHash))
	return hex.EncodeToString(sum[:12])
}

// Enter begins a session of a person, under a new token.
func (w *Web) Enter(r *http.Request, p bosman.Person) error { return w.enter(r.Context(), p) }

func (w *Web) enter(ctx context.Context, p bosman.Person) error {
	if err := w.sessions.RenewToken(ctx); err != nil {
		return err
	}
	w.sessions.Put(ctx, personKey, p.Name)
	w.sessions.Put(ctx, proofKey, proof(p))
	return nil
}

// Leave ends the session.
func (w *Web) Leave(r *http.Request) error { return w.sessions.Destroy(r.Context()) }

// actor is whose session it is, if they may still come in.
func (w *Web) actor(ctx context.Context, r *http.Request) (bosman.Actor, bool, error) {
	name := w.sessions.GetString(ctx, personKey)
	if name == "" {
		return bosman.Actor{}, false, nil
	}
	p, err := w.cfg.People.Person(ctx, name)
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return bosman.Actor{}, false, err
	}
	if err != nil || p.Disabled || proof(p) != w.sessions.GetString(ctx, proofKey) {
		return bosman.Actor{}, false, nil
	}
	return bosman.Actor{Person: p.Name, From: "web " + w.cfg.Addr(r)}, true, nil
}

// Identify says who is logged in with the cookie of a request that does not
// come through ServeHTTP, such as one to the API. A request that changes
// something must come from Bosman's own pages.
func (w *Web) Identify(r *http.Request) (bosman.Actor, bool) {
	c, err := r.Cookie(CookieName)
	if err != nil || http.NewCrossOriginProtection().Check(r) != nil {
		return bosman.Actor{}, false
	}
	ctx, err := w.sessions.Load(r.Context(), c.Value)
	if err != nil {
		w.cfg.Log.Error("a session was not read", "err", err)
		return bosman.Actor{}, false
	}
	a, ok, err := w.actor(ctx, r)
	if err != nil {
		w.cfg.Log.Error("a session's person was not read", "err", err)
		return bosman.Actor{}, false
	}
	return a, ok
}

// known lets only persons pass; others are led to the login page.
func (w *Web) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if kit.Actor(r.Context()).Person == "" {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.kit.Fail(rw, r, bosman.Forbidden("You are not logged in.").WithKept("nothing was changed").WithNext("log in and do it again"))
				return
			}
			http.Redirect(rw, r, "/login?next="+queryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		next.ServeHTTP(rw, r)
	})
}
