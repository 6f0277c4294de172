package detect

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/manifest"
)

func detect(t *testing.T, files map[string]string) (Plan, *bosman.Manifest) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	p, err := Detect(fsys)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse([]byte(p.Manifest), "bosman.yaml")
	if err != nil {
		t.Fatalf("the manifest it wrote is refused:\n%v\n%s", err, p.Manifest)
	}
	return p, m
}

func says(t *testing.T, what string, list []string, text string) {
	t.Helper()
	if !strings.Contains(strings.Join(list, "\n"), text) {
		t.Errorf("%s do not say %q: %q", what, text, list)
	}
}

const manage = `#!/usr/bin/env python
import os, sys
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings.dev')
`

func TestDjango(t *testing.T) {
	p, m := detect(t, map[string]string{
		"manage.py":                   manage,
		"shop/wsgi.py":                "os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings.production\")\n",
		"shop/settings/__init__.py":   "",
		"shop/settings/dev.py":        "from .base import *",
		"shop/settings/test.py":       "from .base import *",
		"shop/settings/production.py": "from .base import *\n",
		"shop/settings/base.py":       "STATIC_URL = 'static/'\nSTATIC_ROOT = os.path.join(BASE_DIR, 'var', 'collected')\nMEDIA_ROOT = BASE_DIR / 'uploads'\nWSGI_APPLICATION = 'shop.wsgi.application'\nDATABASES = {'default': dj_database_url.config()}\n",
		"shop/urls.py":                "urlpatterns = [path('status/', x), path('healthz', h), path(\"\", home)]",
		"requirements.txt":            "Django\npsycopg2\ngunicorn\n",
		"requirements-dev.txt":        "pytest\n",
		"package.json":                `{"scripts": {"build": "webpack --mode production"}}`,
		"package-lock.json":           "{}",
		"setup.cfg":                   "[flake8]\nmax-line-length=100\n",
		".env.example":                "SECRET_KEY=x\nSTRIPE_KEY=\nDB_NAME=\n",
		"node_modules/x/manage.py":    "no",
		"Procfile":                    "release: python manage.py migrate && python manage.py seed: it\nworker: celery -A shop worker\nweb: python manage.py migrate && gunicorn shop.wsgi --log-file -\n",
	})
	if p.Stack != "django" || m.Env["DJANGO_SETTINGS_MODULE"] != "shop.settings.production" {
		t.Errorf("stack %q, env %v", p.Stack, m.Env)
	}
	if len(m.Build) != 3 || m.Build[0].Run != "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt -r requirements-dev.txt" ||
		m.Build[1].Run != "npm ci && npm run build" || m.Build[2].Run != ".venv/bin/python manage.py collectstatic --noinput" {
		t.Errorf("build %+v", m.Build)
	}
	if len(m.Test) != 2 || !strings.HasPrefix(m.Test[0].Run, "DJANGO_SETTINGS_MODULE=shop.settings.test .venv/bin/python manage.py test") {
		t.Errorf("test %+v", m.Test)
	}
	if got := m.Processes["web"].Run; got != ". .venv/bin/activate && exec gunicorn shop.wsgi --log-file -" {
		t.Errorf("web %q", got)
	}
	if m.Processes["worker"].Run == "" || m.Release != ". .venv/bin/activate && python manage.py migrate && python manage.py seed: it" {
		t.Errorf("worker %+v, release %q", m.Processes, m.Release)
	}
	if m.Health != "/healthz" || m.Database.Engine != "postgres" || m.Static["/static/"] != "collected/" || len(m.Data) != 1 || m.Data[0] != "uploads" {
		t.Errorf("health %q, database %q, static %v, data %v", m.Health, m.Database.Engine, m.Static, m.Data)
	}
	says(t, "warnings", p.Warnings, "wsgi.py uses the settings shop.settings.production and manage.py shop.settings.dev")
	says(t, "assumptions", p.Assumptions, "STRIPE_KEY.")
	if manifest.GuardCommand(m) == "" {
		t.Error("the application cannot be asked for its database")
	}
}

func TestDjangoOneFolderDown(t *testing.T) {
	p, m := detect(t, map[string]string{
		"backend/manage.py":        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'core.settings')",
		"backend/core/settings.py": "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}",
		"backend/core/wsgi.py":     "os.environ['DJANGO_SETTINGS_MODULE'] = 'core.settings'",
		"backend/pyproject.toml":   "[project]\nname='x'\n[tool.pytest.ini_options]\n",
		"backend/uv.lock":          "",
		"frontend/package.json":    `{"scripts": {"build": "vite build"}}`,
	})
	if m.Root != "backend" || m.Database.Engine != "sqlite" || m.Health != "/" {
		t.Errorf("%+v", m)
	}
	if m.Build[0].Run != "uv sync --frozen && uv pip install gunicorn" {
		t.Errorf("build %+v", m.Build)
	}
	if m.Test[0].Run != ".venv/bin/python -m pytest --junitxml=junit.xml" || m.Test[0].Reports.JUnit != "junit.xml" {
		t.Errorf("test %+v", m.Test)
	}
	if m.Processes["web"].Run != "exec .venv/bin/gunicorn core.wsgi:application --workers 2 --bind unix:$BOSMAN_SOCKET" {
		t.Errorf("web %+v", m.Processes)
	}
	says(t, "warnings", p.Warnings, "assigns DJANGO_SETTINGS_MODULE")
	says(t, "warnings", p.Warnings, "STATIC_ROOT is not set")
	says(t, "warnings", p.Warnings, "do not seem to read the database from the environment")
	says(t, "questions", p.Questions, "frontend/package.json")
}

func TestDjangoDependencies(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"folder":  {map[string]string{"requirements/base.txt": "", "requirements/production.txt": "gunicorn", "requirements/test.txt": ""}, "python3 -m venv .venv && .venv/bin/pip install -r requirements/production.txt -r requirements/test.txt"},
		"poetry":  {map[string]string{"poetry.lock": "gunicorn", "requirements.txt": ""}, "python3 -m venv .venv && .venv/bin/pip install poetry && .venv/bin/poetry install --no-interaction --no-root"},
		"pipenv":  {map[string]string{"Pipfile.lock": "uvicorn"}, "python3 -m venv .venv && .venv/bin/pip install pipenv && PIPENV_VENV_IN_PROJECT=1 .venv/bin/pipenv sync --dev"},
		"project": {map[string]string{"pyproject.toml": "[project]\ndependencies=['gunicorn']"}, "python3 -m venv .venv && .venv/bin/pip install ."},
		"none":    {map[string]string{}, `python3 -c "import django; print(django.__version__)"`},
	} {
		c.files["manage.py"] = manage
		if _, m := detect(t, c.files); m.Build[0].Run != c.want {
			t.Errorf("%s: %q, want %q", name, m.Build[0].Run, c.want)
		}
	}
}

func TestSeveralProjects(t *testing.T) {
	p, m := detect(t, map[string]string{"b/manage.py": "", "a/manage.py": ""})
	if m.Root != "a" {
		t.Errorf("root %q", m.Root)
	}
	says(t, "questions", p.Questions, "a/manage.py, b/manage.py")
}

func TestNode(t *testing.T) {
	p, m := detect(t, map[string]string{
		"package.json":      `{"scripts": {"build": "tsc", "test": "lab -r junit", "start": "node dist/server.js"}, "engines": {"node": ">=20"}}`,
		"package-lock.json": "{}",
	})
	if p.Stack != "node" || len(m.Build) != 2 || m.Test[0].Run != "npm test" || m.Processes["web"].Run != "exec node dist/server.js" {
		t.Errorf("%+v", m)
	}
	says(t, "assumptions", p.Assumptions, "Node.js >=20")
	p, m = detect(t, map[string]string{"package.json": `{"main": "lib/main.js"}`, "lib/main.js": ""})
	if m.Processes["web"].Run != "exec node lib/main.js" {
		t.Errorf("%+v", m.Processes)
	}
	says(t, "warnings", p.Warnings, "no lock file")
	says(t, "warnings", p.Warnings, "no test script")
}

func TestGo(t *testing.T) {
	p, m := detect(t, map[string]string{"go.mod": "module x", "lib.go": "package x", "cmd/web/main.go": "// c\npackage main\n", "cmd/cli/main.go": "package main"})
	if p.Stack != "go" || m.Build[0].Run != "go build -o bin/app ./cmd/cli" || m.Processes["web"].Run != "exec bin/app" {
		t.Errorf("%+v", m)
	}
	says(t, "questions", p.Questions, "cmd/cli, cmd/web")
}

func TestProcfileAndNothing(t *testing.T) {
	p, m := detect(t, map[string]string{"Procfile": "# c\nweb: bundle exec puma -p $PORT: \"x\"\nBad__Name-: y\nclock: z\nrelease: rake db:migrate\n"})
	if p.Stack != "procfile" || m.Processes["web"].Run != `bundle exec puma -p $PORT: "x"` || m.Processes["clock"].Run != "z" || m.Release != "rake db:migrate" {
		t.Errorf("%+v", m)
	}
	says(t, "warnings", p.Warnings, "cannot be used")
	p, m = detect(t, map[string]string{"Dockerfile": "FROM x", "README": ""})
	if p.Stack != "" || len(m.Processes) != 0 {
		t.Errorf("%+v", m)
	}
	says(t, "warnings", p.Warnings, "does not read it")
}

func FuzzProcfile(f *testing.F) {
	f.Add("web: x\nworker: # y")
	f.Add("release: ' : \"\\ &a *b")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Detect(fstest.MapFS{"Procfile": &fstest.MapFile{Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range text {
			if r == 0 || r == 0xFFFD || r < ' ' && r != '\n' && r != '\t' || r >= 0x7f {
				return
			}
		}
		if m, err := manifest.Parse([]byte(p.Manifest), ""); err != nil || m == nil {
			t.Fatalf("%v\n%s", err, p.Manifest)
		}
	})
}

// TestTheDemo looks at a real Django project and finds what its own
// bosman.yaml says.
func TestTheDemo(t *testing.T) {
	p, err := Detect(os.DirFS("../../examples/rms"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse([]byte(p.Manifest), "bosman.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Manifest)
	}
	if p.Stack != "django" || m.Env["DJANGO_SETTINGS_MODULE"] != "rms.settings" || m.Health != "/healthz" || m.Database.Engine != "postgres" ||
		m.Static["/static/"] != "staticfiles/" || len(m.Data) != 1 || strings.TrimSuffix(m.Data[0], "/") != "media" || m.Processes["web"].Run == "" {
		t.Errorf("%+v\n%s", m, p.Manifest)
	}
}
