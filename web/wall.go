package web

import (
	"net/http"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/wall"
	"github.com/bosman-cd/bosman/web/kit"
)

// wall is GET /wall?app=&instance=&back=: it sends a person who may see an
// instance on to it, with a token that lets them in.
func (w *Web) wall(rw http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	a := kit.Actor(ctx)
	i, err := w.cfg.Helm.Instance(ctx, a, q.Get("app"), q.Get("instance"))
	if err != nil {
		return err
	}
	if w.cfg.Wall == nil || i.URL == "" {
		return bosman.NotFound("%s has no address.", i.Name)
	}
	text, err := wall.Sign(w.cfg.Wall, wall.NewEnter(i.App, i.Name, a.Person, w.cfg.Now(), w.sessions.Deadline(ctx)))
	if err != nil {
		return err
	}
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(rw, r, trimSlash(i.URL)+wall.EnterPath+"?token="+queryEscape(text)+"&back="+queryEscape(wall.Back(q.Get("back"))), http.StatusSeeOther)
	return nil
}

func trimSlash(s string) string {
	if n := len(s); n > 0 && s[n-1] == '/' {
		return s[:n-1]
	}
	return s
}
