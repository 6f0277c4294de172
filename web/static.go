package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/activity"
	"github.com/bosman-cd/bosman/web/build"
	"github.com/bosman-cd/bosman/web/change"
	"github.com/bosman-cd/bosman/web/changes"
	"github.com/bosman-cd/bosman/web/data"
	"github.com/bosman-cd/bosman/web/deployment"
	"github.com/bosman-cd/bosman/web/instance"
	"github.com/bosman-cd/bosman/web/layout"
	"github.com/bosman-cd/bosman/web/login"
	"github.com/bosman-cd/bosman/web/overview"
	"github.com/bosman-cd/bosman/web/people"
	"github.com/bosman-cd/bosman/web/problems"
	"github.com/bosman-cd/bosman/web/releases"
	"github.com/bosman-cd/bosman/web/road"
)

//go:embed static
var staticFiles embed.FS

type asset struct {
	path, kind string
	body       []byte
}

type assetSet struct{ css, js, mark asset }

// assets gives what pages load; names change with the content.
var assets = sync.OnceValue(func() assetSet {
	css := strings.Join([]string{
		layout.CSS, road.CSS, overview.CSS, changes.CSS, change.CSS, build.CSS, instance.CSS,
		deployment.CSS, problems.CSS, people.CSS, activity.CSS, releases.CSS, data.CSS, login.CSS,
	}, "\n")
	return assetSet{
		css:  named("bosman", "css", "text/css; charset=utf-8", []byte(css)),
		js:   named("bosman", "js", "text/javascript; charset=utf-8", embedded("static/bosman.js")),
		mark: asset{path: "/static/mark.svg", kind: "image/svg+xml", body: embedded("static/mark.svg")},
	}
})

func embedded(name string) []byte {
	b, err := staticFiles.ReadFile(name)
	if err != nil {
		return nil // embedded at build time: a test reads them all
	}
	return b
}

func named(name, ext, kind string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{path: "/static/" + name + "." + hex.EncodeToString(sum[:6]) + "." + ext, kind: kind, body: body}
}

func (w *Web) static(rw http.ResponseWriter, r *http.Request) error {
	all := assets()
	for _, a := range []asset{all.css, all.js, all.mark} {
		if r.URL.Path != a.path {
			continue
		}
		h := rw.Header()
		h.Set("Content-Type", a.kind)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		if a.path == all.mark.path {
			h.Set("Cache-Control", "public, max-age=86400")
		}
		if _, err := rw.Write(a.body); err != nil {
			w.cfg.Log.Debug("an asset was not read to its end", "err", err)
		}
		return nil
	}
	return bosman.NotFound("There is no such file.")
}

func queryEscape(s string) string { return url.QueryEscape(s) }
