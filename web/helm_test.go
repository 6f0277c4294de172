package web

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
	"github.com/bosman-cd/bosman/web/internal/story"
)

// stages take what helm asks for and do nothing.
type stages struct{}

func (stages) Begin(context.Context, bosman.Operation) error                       { return nil }
func (stages) TakenOver(context.Context, bosman.Operation, bosman.Operation) error { return nil }
func (stages) Wake()                                                               {}
func (stages) Page(path string) string                                             { return "http://localhost:8080" + path }
func (stages) RemoveApp(context.Context, string) error                             { return nil }
func (stages) Remove(context.Context, bosman.Instance) error                       { return nil }
func (stages) Run(context.Context, bosman.Instance, string, io.Reader, io.Writer, io.Writer) (int, error) {
	return 0, nil
}

func (stages) Compare(context.Context, bosman.App, []bosman.Change) (map[int]helm.Hazards, error) {
	return nil, nil
}

type operator struct{ stages }

func (operator) Cancel(context.Context, bosman.Operation, string) error { return nil }

type builder struct{ stages }

func (builder) Cancel(string, int, string) {}

// TestOverTheRealHelm puts the story into a real store and opens its pages
// over the real helm.
func TestOverTheRealHelm(t *testing.T) {
	need.Slow(t, "opens all pages over a database")
	need.Program(t, "git", "git")
	s := start(t, func(s *story.Story, cfg *Config) {
		ctx, dir := t.Context(), t.TempDir()
		st, err := store.Open(ctx, filepath.Join(dir, "bosman.db"))
		must(t, err)
		t.Cleanup(func() { must(t, st.Close()) })
		repos, err := source.New(ctx, filepath.Join(dir, "git"))
		must(t, err)
		box, err := secret.Open(filepath.Join(dir, "key"))
		must(t, err)
		h := helm.New(helm.Config{Store: st, Repos: repos, Box: box, Operator: operator{}, Builder: builder{}, Runtime: stages{}, Addresses: anywhere{}, Migrations: stages{}, Now: cfg.Now})
		for _, p := range s.Persons {
			must(t, st.SavePerson(ctx, p))
		}
		for _, app := range s.AppList {
			_, err := h.AddApp(ctx, bosman.System(), app.Name)
			must(t, err)
		}
		for _, i := range s.Inst {
			i.Operation, i.ErrorKey = 0, i.App+i.Name
			must(t, st.SaveInstance(ctx, i))
		}
		for _, c := range s.List {
			if c.State == bosman.ChangeMerged { // its commit is not in git
				c.State, c.Merged = bosman.ChangeClosed, ""
			}
			must(t, st.SaveChange(ctx, c.Change))
			for _, o := range c.Signoffs {
				must(t, st.AddSignoff(ctx, o))
			}
		}
		for _, b := range s.BuildList {
			must(t, st.SaveBuild(ctx, b))
		}
		for _, r := range s.ReleaseAll {
			must(t, st.SaveRelease(ctx, r))
		}
		for _, o := range s.Ops {
			must(t, st.SaveOperation(ctx, o))
		}
		for _, k := range s.BackupAll {
			must(t, st.SaveBackup(ctx, k))
		}
		for _, m := range s.MailAll {
			must(t, st.AddMail(ctx, m))
		}
		for _, p := range s.ProblemAll {
			must(t, st.SaveProblem(ctx, p))
		}
		cfg.Helm, cfg.People, cfg.Events, cfg.Sessions = h, st, st, st.DB()
	})
	v := s.as("piotr")
	for _, path := range append(append([]string{}, pages...), adminPages...) {
		if strings.Contains(path, "/mails/") { // the store numbers them itself
			continue
		}
		for _, complaint := range sound(v.page(path)) {
			t.Errorf("%s: %s", path, complaint)
		}
	}
	if page := text(v.page("/rms/changes/22")); !strings.Contains(page, "'+48 601 000 000' != '+49 601 000 000'") {
		t.Error("the failed test is not shown")
	}
	if a := v.post("/rms/changes/21/accept", url.Values{}); a.Code != http.StatusSeeOther {
		t.Errorf("accept: %d %s", a.Code, a.Body)
	}
	if page := text(v.page("/rms/changes/21")); !strings.Contains(page, "You accepted c21") || !strings.Contains(page, "piotr accepted it") {
		t.Errorf("the acceptance is not shown: %s", page)
	}
	if page := text(v.page("/rms/activity")); !strings.Contains(page, "accepted c21") {
		t.Error("the activity log does not tell it")
	}
	if a := s.as("zofia").post("/rms/changes/21/accept", url.Values{}); a.Code != http.StatusForbidden {
		t.Errorf("a viewer accepts: %d", a.Code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type anywhere struct{ stages }

func (anywhere) Instance(app, instance string, _ int) string {
	return "http://" + instance + "." + app + ".localhost:8080"
}
