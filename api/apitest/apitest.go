// Package apitest is the API over a real store, helm and git, for the tests of
// the API, its client and the command line. Operations and builds are only
// recorded; the tests say how they end. It is for tests only.
package apitest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// Rig is the API at work. It believes "Bearer NAME": ola is an administrator,
// anna a tester, piotr a developer, jan a viewer, and ewa a viewer of rms only.
type Rig struct {
	Helm    *helm.Helm
	Handler http.Handler
	Server  *httptest.Server
	dir     string
	t       *testing.T
}

type parts struct{ t *testing.T }

func (parts) Begin(context.Context, bosman.Operation) error                       { return nil }
func (parts) TakenOver(context.Context, bosman.Operation, bosman.Operation) error { return nil }
func (parts) Cancel(context.Context, bosman.Operation, string) error              { return nil }
func (parts) Remove(context.Context, bosman.Instance) error                       { return nil }
func (parts) RemoveApp(context.Context, string) error                             { return nil }
func (parts) Instance(app, instance string, _ int) string {
	return "http://" + instance + "." + app + ".localhost"
}
func (parts) Page(path string) string { return "http://localhost" + path }
func (parts) Compare(context.Context, bosman.App, []bosman.Change) (map[int]helm.Hazards, error) {
	return nil, nil
}

// Run says what it was asked, echoes its input and fails as told.
func (parts) Run(ctx context.Context, _ bosman.Instance, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if command == "out of reach" {
		return 0, bosman.Unavailable("the host does not answer").WithKept("nothing ran")
	}
	if command == "hang" {
		_, err := io.WriteString(stdout, "hanging\n")
		<-ctx.Done()
		return 0, errors.Join(err, ctx.Err())
	}
	if _, err := io.WriteString(stderr, "ran "+command+"\n"); err != nil {
		return 0, err
	}
	if command == "cat" {
		_, err := io.Copy(stdout, stdin)
		return 0, err
	}
	return 3, nil
}

type builder struct{}

func (builder) Wake()                      {}
func (builder) Cancel(string, int, string) {}

// Build is the path of a build's log.
func (r *Rig) Build(app string, n int) string { return filepath.Join(r.dir, app+bosman.Ref('b', n)) }

// Instance is the path of an instance's log.
func (r *Rig) Instance(app, i string) string { return filepath.Join(r.dir, app+i) }

// Operation has no log of its own.
func (r *Rig) Operation(string, int) string { return "" }

// New starts the API with the app rms, whose staging runs r1.
func New(t *testing.T) *Rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	st, err := store.Open(ctx, filepath.Join(dir, "bosman.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	repos, err := source.New(ctx, filepath.Join(dir, "git"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	p := parts{t}
	r := &Rig{t: t, dir: dir, Helm: helm.New(helm.Config{Store: st, Repos: repos, Box: box, Operator: p, Builder: builder{}, Runtime: p, Addresses: p, Migrations: p, Custody: keeper{&bosman.Recovery{}}})}
	for name, role := range map[string]bosman.Role{"ola": bosman.RoleAdmin, "anna": bosman.RoleTester, "piotr": bosman.RoleDeveloper, "jan": bosman.RoleViewer} {
		if err := st.SavePerson(ctx, bosman.Person{Name: name, Role: role, PasswordHash: "SECRET-HASH"}); err != nil {
			t.Fatal(err)
		}
	}
	// Somebody who sees one app only.
	if err := st.SavePerson(ctx, bosman.Person{Name: "ewa", AppRoles: map[string]bosman.Role{"rms": bosman.RoleViewer}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Helm.AddApp(ctx, bosman.Actor{Person: "ola"}, "rms"); err != nil {
		t.Fatal(err)
	}
	// An instance that runs something and has a database with a password.
	i, err := st.Instance(ctx, "rms", "staging")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SaveRelease(ctx, bosman.Release{App: "rms", Number: 1, Tests: bosman.TestsGreen, Trust: bosman.TrustTeam, Commit: "abc"}); err != nil {
		t.Fatal(err)
	}
	i.Release, i.State = 1, bosman.InstanceRunning
	i.Database = bosman.Database{Engine: "postgres", Name: "db", Password: "SECRET-PASSWORD"}
	if err := st.SaveInstance(ctx, i); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.Handler = api.New(api.Config{
		Log: log, Helm: r.Helm, Logs: r, URL: "http://localhost:8080", Identify: identify,
		GitToken: func(_ context.Context, a bosman.Actor) (string, time.Time, error) {
			return "bos_for_" + a.Person, time.Now(), nil
		},
	})
	r.Server = httptest.NewServer(r.Handler)
	t.Cleanup(r.Server.Close)
	return r
}

// identify believes "Bearer NAME".
func identify(r *http.Request) (bosman.Actor, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if c, err := r.Cookie("session"); err == nil && !ok {
		name, ok = c.Value, true
	}
	if !ok {
		return bosman.Actor{}, bosman.Forbidden("nobody is logged in")
	}
	return bosman.Actor{Person: name, From: "test"}, nil
}

// Log adds lines to a log.
func (r *Rig) Log(path string, texts ...string) {
	r.t.Helper()
	w := logfile.New(path, logfile.Options{})
	for _, text := range texts {
		if err := w.Line("web.1", text); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
}
