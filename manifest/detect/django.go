package detect

import (
	"path"
	"regexp"
	"strings"
)

var (
	settingsDefault = regexp.MustCompile(`setdefault\(\s*['"]DJANGO_SETTINGS_MODULE['"]\s*,\s*['"]([\w.]+)['"]`)
	settingsAssign  = regexp.MustCompile(`environ\[\s*['"]DJANGO_SETTINGS_MODULE['"]\s*\]\s*=\s*['"]([\w.]+)['"]`)
	wsgiSetting     = regexp.MustCompile(`(?m)^\s*WSGI_APPLICATION\s*=\s*['"]([\w.]+)\.(\w+)['"]`)
	staticURL       = regexp.MustCompile(`(?m)^\s*STATIC_URL\s*=\s*['"](/?[\w./-]+)['"]`)
	staticRoot      = regexp.MustCompile(`(?m)^\s*STATIC_ROOT\s*=\s*(.+)$`)
	mediaRoot       = regexp.MustCompile(`(?m)^\s*MEDIA_ROOT\s*=\s*(.+)$`)
	quoted          = regexp.MustCompile(`['"]([\w][\w./-]*)['"]`)
	urlPattern      = regexp.MustCompile(`(?:path|url)\(\s*r?['"]\^?([\w/.-]*)\$?['"]`)
	readsDatabase   = regexp.MustCompile(`dj_database_url|DATABASE_URL|env\.db|environ[^\n]*(?:DB_|DATABASE_|POSTGRES_|PG)|(?:getenv|config|env)\(\s*['"](?:DB_|DATABASE_|POSTGRES_|PG)`)
	migrateFirst    = regexp.MustCompile(`^(?:[^&|;]*manage\.py\s+(?:migrate|collectstatic)[^&|;]*&&\s*)+`)
	knownServer     = regexp.MustCompile(`\b(gunicorn|uwsgi|uvicorn|daphne|hypercorn|waitress-serve)\b`)
	envName         = regexp.MustCompile(`(?m)^\s*(?:export\s+)?([A-Z][A-Z0-9_]+)\s*=`)
	setsDatabase    = regexp.MustCompile(`(?m)^\s*DATABASES\b`)
)

// healthPaths are tried in this order; liveness before readiness.
var healthPaths = []string{"health/", "health", "healthz/", "healthz", "_health/", "_health", "livez", "status/", "status", "ping/", "ping"}

// dj is what is known of a Django project.
type dj struct {
	*tree
	root     string // folder of manage.py
	settings string
	source   string // text of all its settings files
	deps     string // text of its dependency files
	python   string
	activate string // what makes the environment's programs found
}

// in gives a name below the project's root as the repository knows it.
func (d *dj) in(name string) string { return path.Join(d.root, name) }

func django(t *tree, w *writer) *Plan {
	p := &Plan{Stack: "django"}
	found := t.named("manage.py", 2)
	d := &dj{tree: t, root: path.Dir(found[0]), python: "python3"}
	if len(found) > 1 && strings.Count(found[1], "/") == strings.Count(found[0], "/") {
		p.Questions = append(p.Questions, "Which project is it? manage.py is in "+strings.Join(found, ", ")+"; "+found[0]+" was taken.")
	}
	w.line("# A Django project; every key is a guess from its files. Commit it when it is right.")
	w.line("timezone: UTC")
	if d.root != "." {
		w.line("root: %s                        # the folder of manage.py; commands run there", quote(d.root))
		p.assume("The project lies in %s, where manage.py is.", d.root)
	}
	d.findSettings(p)
	if d.settings != "" {
		w.line("env: {DJANGO_SETTINGS_MODULE: %s}", d.settings)
	}
	w.line("build:")
	d.environment(p, w)
	d.assets(p, w)
	static := d.collectStatic(p, w)
	d.tests(p, w)
	d.processes(p, w)
	if static != "" {
		w.line("%s", static)
	}
	if m := mediaRoot.FindStringSubmatch(d.source); m != nil {
		folder := lastQuoted(m[1], "media")
		w.line("data: [%s]                   # uploaded files; they go with the database", quoteFlow(folder))
		p.assume("Uploaded files are in %s (MEDIA_ROOT).", folder)
	}
	d.health(p, w)
	d.database(p, w)
	w.line("tasks: {shell: %s manage.py shell}", d.python)
	policies(w)
	d.variables(p)
	return p
}

func (d *dj) moduleFile(module string) string {
	base := d.in(strings.ReplaceAll(module, ".", "/"))
	return d.first(base+".py", base+"/__init__.py")
}

// findSettings picks the settings module: wsgi's, *.production, manage.py's,
// *.base, a single settings.
func (d *dj) findSettings(p *Plan) {
	manage := d.read(d.in("manage.py"))
	var fromManage, fromWSGI string
	if m := settingsDefault.FindStringSubmatch(manage); m != nil {
		fromManage = m[1]
	}
	for _, f := range d.under(d.root, "wsgi.py") {
		text := d.read(f)
		if m := settingsAssign.FindStringSubmatch(text); m != nil {
			fromWSGI = m[1]
			p.warn("%s assigns DJANGO_SETTINGS_MODULE, so the environment cannot choose the settings of the web process; use os.environ.setdefault.", f)
			break
		}
		if m := settingsDefault.FindStringSubmatch(text); m != nil {
			fromWSGI = m[1]
			break
		}
	}
	if fromWSGI != "" && fromManage != "" && fromWSGI != fromManage {
		p.warn("wsgi.py uses the settings %s and manage.py %s; %s is exported for both.", fromWSGI, fromManage, fromWSGI)
	}
	candidates := []string{fromWSGI}
	var base []string
	for _, m := range []string{fromWSGI, fromManage} {
		if i := strings.LastIndexByte(m, '.'); i > 0 {
			candidates = append(candidates, m[:i]+".production", m[:i]+".prod")
			base = append(base, m[:i]+".base")
		}
	}
	candidates = append(append(candidates, fromManage), base...)
	if files := d.under(d.root, "/settings.py"); len(files) == 1 {
		rel := strings.TrimSuffix(strings.TrimPrefix(files[0], d.root+"/"), ".py")
		candidates = append(candidates, strings.ReplaceAll(rel, "/", "."))
	}
	for _, c := range candidates {
		if c == "" || d.moduleFile(c) == "" {
			continue
		}
		d.settings = c
		break
	}
	if d.settings == "" {
		p.warn("No settings module was found; set DJANGO_SETTINGS_MODULE under env:.")
		return
	}
	p.assume("The settings are %s.", d.settings)
	file := d.moduleFile(d.settings)
	d.source = d.read(file)
	if strings.Contains(d.settings[strings.LastIndexByte("."+d.settings, '.'):], "dev") || strings.Contains(d.settings, "local") {
		p.warn("The settings %s look like those of a developer's machine.", d.settings)
	}
	for _, f := range d.under(path.Dir(file), ".py") { // settings/base.py and the like
		if f != file && path.Dir(f) == path.Dir(file) && (path.Base(path.Dir(file)) == "settings" || strings.Contains(path.Base(f), "settings")) {
			d.source += "\n" + d.read(f)
		}
	}
}

// environment writes the step that installs the dependencies.
func (d *dj) environment(p *Plan, w *writer) {
	const venv = "python3 -m venv .venv && .venv/bin/pip install "
	run, inputs := "", []string{}
	if f := d.first(d.in("requirements/production.txt"), d.in("requirements/prod.txt"), d.in("requirements/base.txt")); f != "" {
		inputs = []string{"requirements/**"}
		run = venv + "-r requirements/" + path.Base(f)
		if tf := d.first(d.in("requirements/test.txt"), d.in("requirements/tests.txt"), d.in("requirements/testing.txt"), d.in("requirements/dev.txt"), d.in("requirements/local.txt")); tf != "" {
			run += " -r requirements/" + path.Base(tf)
		}
	}
	switch {
	case d.has(d.in("uv.lock")):
		run, inputs = "uv sync --frozen", []string{"uv.lock", "pyproject.toml"}
		p.assume("The program uv is installed on this machine.")
	case d.has(d.in("poetry.lock")):
		run, inputs = venv+"poetry && .venv/bin/poetry install --no-interaction --no-root", []string{"poetry.lock", "pyproject.toml"}
	case d.has(d.in("Pipfile.lock")):
		run, inputs = venv+"pipenv && PIPENV_VENV_IN_PROJECT=1 .venv/bin/pipenv sync --dev", []string{"Pipfile.lock"}
	case d.has(d.in("requirements.txt")):
		run, inputs = venv+"-r requirements.txt", []string{"requirements.txt"}
		for _, extra := range []string{"requirements-dev.txt", "requirements-test.txt", "test-requirements.txt", "dev-requirements.txt"} {
			if d.has(d.in(extra)) {
				run, inputs = run+" -r "+extra, append(inputs, extra)
				break
			}
		}
	case run != "":
	case strings.Contains(d.read(d.in("pyproject.toml")), "[project]"):
		run, inputs = venv+".", []string{"pyproject.toml"}
	}
	for _, f := range []string{"uv.lock", "poetry.lock", "Pipfile.lock", "requirements.txt", "pyproject.toml"} {
		d.deps += d.read(d.in(f)) + "\n"
	}
	for _, f := range d.under(d.in("requirements"), ".txt") {
		d.deps += d.read(f) + "\n"
	}
	if run == "" {
		p.warn("No list of dependencies was found; the machine's own Python packages are used.")
		w.line("  - name: environment")
		w.line("    run: python3 -c \"import django; print(django.__version__)\"   # the machine's own packages")
		return
	}
	if !knownServer.MatchString(d.deps) {
		run += " && .venv/bin/pip install gunicorn"
		if strings.HasPrefix(run, "uv ") {
			run = "uv sync --frozen && uv pip install gunicorn"
		}
		p.assume("No application server is among the dependencies; gunicorn is added.")
	}
	d.python, d.activate = ".venv/bin/python", ". .venv/bin/activate && "
	p.assume("The environment is made by: %s", run)
	w.line("  - name: environment")
	w.line("    run: %s", quote(run))
	w.line("    inputs: %s       # unchanged: taken from the cache", list(inputs))
	w.line("    outputs: [.venv]")
}

// assets writes the step that builds scripts and styles, before the tests.
func (d *dj) assets(p *Plan, w *writer) {
	pkg, ok := d.packageJSON(d.in("package.json"))
	if !ok {
		if other := d.named("package.json", 2); len(other) > 0 {
			p.Questions = append(p.Questions, "Are the assets of "+other[0]+" needed? They are not built.")
		}
		return
	}
	if pkg.Scripts["build"] == "" {
		return
	}
	install, lock := installNode(d.tree, d.root)
	w.line("  - name: assets")
	w.line("    run: %s && npm run build", install)
	if lock == "" {
		lock = "package.json"
	}
	p.assume("The assets are made by npm run build (%s).", pkg.Scripts["build"])
	w.line("    # inputs: [%s, assets/**]   # name them, and the step comes from the cache", lock)
	w.line("    # outputs: [static/dist]")
}

func installNode(t *tree, dir string) (install, lock string) {
	switch {
	case t.has(path.Join(dir, "package-lock.json")):
		return "npm ci", "package-lock.json"
	case t.has(path.Join(dir, "pnpm-lock.yaml")):
		return "pnpm install --frozen-lockfile", "pnpm-lock.yaml"
	case t.has(path.Join(dir, "yarn.lock")):
		return "yarn install --frozen-lockfile", "yarn.lock"
	}
	return "npm install", ""
}

// collectStatic writes the step and gives the static: line for later.
func (d *dj) collectStatic(p *Plan, w *writer) string {
	m := staticRoot.FindStringSubmatch(d.source)
	if m == nil {
		p.warn("STATIC_ROOT is not set, so static files are not collected; the application must serve them.")
		return ""
	}
	w.line("  - name: static")
	w.line("    run: %s manage.py collectstatic --noinput", d.python)
	w.line("    env: {SECRET_KEY: only-for-the-build}")
	folder, address := lastQuoted(m[1], "staticfiles"), "/static/"
	if u := staticURL.FindStringSubmatch(d.source); u != nil {
		address = "/" + strings.Trim(u[1], "/") + "/"
	}
	if address == "//" {
		return ""
	}
	p.assume("Static files are collected into %s (STATIC_ROOT) and served at %s.", folder, address)
	return "static: {" + quoteFlow(address) + ": " + quoteFlow(folder+"/") + "}"
}

func lastQuoted(expr, otherwise string) string {
	all := quoted.FindAllStringSubmatch(expr, -1)
	if len(all) == 0 {
		return otherwise
	}
	s := strings.Trim(path.Clean(all[len(all)-1][1]), "/")
	if s == "" || s == "." || strings.HasPrefix(s, "..") {
		return otherwise
	}
	return s
}

func (d *dj) tests(p *Plan, w *writer) {
	run, reports := d.python+" manage.py test --noinput", ""
	setup := d.read(d.in("setup.cfg")) + d.read(d.in("tox.ini"))
	pyproject := d.read(d.in("pyproject.toml"))
	switch {
	case d.has(d.in("pytest.ini")) || strings.Contains(pyproject, "[tool.pytest") || strings.Contains(setup, "[tool:pytest]") || strings.Contains(setup, "[pytest]"):
		run, reports = d.python+" -m pytest --junitxml=junit.xml", "{junit: junit.xml}"
		p.assume("pytest is configured, so it runs the tests.")
	default:
		p.assume("manage.py test runs the tests; with unittest-xml-reporting it would leave a report for each test.")
	}
	for _, name := range []string{"tests", "test", "testing"} {
		if i := strings.LastIndexByte(d.settings, '.'); i > 0 && strings.Contains(d.settings, "settings.") && d.moduleFile(d.settings[:i]+"."+name) != "" {
			run = "DJANGO_SETTINGS_MODULE=" + d.settings[:i] + "." + name + " " + run
			p.assume("The tests use the settings %s.%s.", d.settings[:i], name)
			break
		}
	}
	w.line("test:")
	w.line("  - name: unit")
	w.line("    run: %s", quote(run))
	if reports != "" {
		w.line("    reports: %s", reports)
	}
	if strings.Contains(setup, "[flake8]") || d.has(d.in(".flake8")) {
		w.line("  - name: lint")
		w.line("    run: %s -m flake8 --tee --output-file flake8.txt", d.python)
		w.line("    reports: {lint: flake8.txt}")
		w.line("    allow_failure: true")
	}
}

func (d *dj) processes(p *Plan, w *writer) {
	names, commands := d.procfile(d.in("Procfile"))
	web := migrateFirst.ReplaceAllString(commands["web"], "")
	w.line("processes:")
	if knownServer.MatchString(web) {
		w.line("  web: %s", quote(d.activate+"exec "+strings.TrimPrefix(web, "exec ")))
		p.assume("The Procfile's web process is used: %s", web)
	} else {
		if web != "" {
			p.warn("The Procfile's web process starts no server that is known (%s); gunicorn is used instead.", web)
		}
		module := ""
		if m := wsgiSetting.FindStringSubmatch(d.source); m != nil {
			module = m[1] + ":" + m[2]
		} else if files := d.under(d.root, "/wsgi.py"); len(files) > 0 {
			rel := strings.TrimSuffix(strings.TrimPrefix(files[0], d.root+"/"), ".py")
			module = strings.ReplaceAll(rel, "/", ".") + ":application"
		}
		if module == "" {
			module = "project.wsgi:application"
			p.warn("No WSGI application was found; put its module into processes: web.")
		}
		gunicorn := "gunicorn"
		if d.activate != "" {
			gunicorn = ".venv/bin/gunicorn"
		}
		w.line("  web: exec %s %s --workers 2 --bind unix:$BOSMAN_SOCKET", gunicorn, module)
		p.assume("The web process is gunicorn with %s.", module)
	}
	w.lines(procfileProcesses(p, names, commands, d.activate, "web", "release"))
	if release := commands["release"]; release != "" {
		w.line("release: %s", quote(d.activate+release))
		p.assume("The Procfile's release command is used: %s", release)
		return
	}
	w.line("release: %s manage.py migrate --noinput", d.python)
}

func (d *dj) health(p *Plan, w *writer) {
	routes := map[string]bool{}
	for _, f := range d.under(d.root, "urls.py") {
		for _, m := range urlPattern.FindAllStringSubmatch(d.read(f), -1) {
			routes[m[1]] = true
		}
	}
	for _, h := range healthPaths {
		if routes[h] {
			w.line("health: /%s", h)
			p.assume("/%s says whether the application is well.", h)
			return
		}
	}
	w.line("health: /                         # better: an address that answers 200 and asks no other service")
	p.assume("No health address was found; / must answer 2xx or 3xx.")
}

func (d *dj) database(p *Plan, w *writer) {
	postgres := strings.Contains(d.source, "postgresql") || strings.Contains(d.source, "postgis") || strings.Contains(d.deps, "psycopg")
	mysql := strings.Contains(d.source, "backends.mysql") || strings.Contains(d.deps, "mysqlclient") || strings.Contains(d.deps, "pymysql")
	reads := readsDatabase.MatchString(d.source)
	switch {
	case mysql && !postgres:
		w.line("database: mariadb")
		p.assume("The database is MariaDB (MySQL's protocol).")
	case postgres || reads && !strings.Contains(d.source, "sqlite3"):
		w.line("database: postgres")
		p.assume("The database is PostgreSQL.")
	default:
		w.line("database: sqlite")
		p.assume("The database is SQLite.")
	}
	if !reads && setsDatabase.MatchString(d.source) {
		p.warn("The settings do not seem to read the database from the environment (DATABASE_URL or DB_*). Before each migration Bosman asks Django which database it would use and refuses one that is not the instance's own.")
	}
}

// variables says which settings an example file names.
func (d *dj) variables(p *Plan) {
	f := d.first(d.in(".env.example"), d.in("env.example"), d.in(".env.sample"), d.in(".env.dist"), d.in(".env.template"), ".env.example")
	if f == "" {
		return
	}
	var names []string
	for _, m := range envName.FindAllStringSubmatch(d.read(f), -1) {
		switch n := m[1]; {
		case n == "SECRET_KEY", n == "DATABASE_URL", n == "ALLOWED_HOSTS", strings.HasPrefix(n, "DB_"), strings.HasPrefix(n, "POSTGRES_"), strings.HasPrefix(n, "EMAIL_"):
		default:
			names = append(names, n)
		}
	}
	if len(names) > 0 {
		p.assume("%s names settings that may have to be set as secrets or under env: %s.", f, strings.Join(names, ", "))
	}
}
