package detect

import (
	"path"
	"regexp"
	"strings"
)

// node writes the plan of an application in Node.js.
func node(t *tree, w *writer) *Plan {
	p := &Plan{Stack: "node"}
	pkg, ok := t.packageJSON("package.json")
	if !ok {
		p.warn("package.json cannot be read.")
	}
	install, lock := installNode(t, ".")
	w.line("# A Node.js application; every key is a guess from its files.")
	w.line("timezone: UTC")
	w.line("build:")
	w.line("  - name: environment")
	w.line("    run: %s", install)
	if lock != "" {
		w.line("    inputs: [package.json, %s]", lock)
		w.line("    outputs: [node_modules]")
	} else {
		p.warn("There is no lock file, so two builds of the same commit may differ; commit package-lock.json.")
	}
	if pkg.Scripts["build"] != "" {
		w.line("  - name: build")
		w.line("    run: npm run build")
		p.assume("npm run build makes what runs (%s).", pkg.Scripts["build"])
	}
	if test := pkg.Scripts["test"]; test != "" && !strings.Contains(test, "no test specified") {
		w.line("test:")
		w.line("  - name: unit")
		w.line("    run: npm test")
		p.assume("npm test runs the tests (%s).", test)
	} else {
		p.warn("package.json has no test script.")
	}
	w.line("processes:")
	names, commands := t.procfile("Procfile")
	switch {
	case commands["web"] != "":
		w.line("  web: %s", quote(commands["web"]))
		p.assume("The Procfile's web process is used: %s", commands["web"])
	case pkg.Scripts["start"] != "":
		w.line("  web: %s", quote(startCommand(pkg.Scripts["start"])))
		p.assume("The web process is the start script and listens on $PORT.")
	default:
		main := t.first("server.js", "app.js", "index.js", "src/server.js", "src/index.js")
		if pkg.Main != "" && t.has(pkg.Main) {
			main = path.Clean(pkg.Main)
		}
		if main == "" {
			main = "server.js"
			p.warn("No start script was found; say under processes: web how the application starts.")
		}
		w.line("  web: exec node %s", quote(main))
		p.assume("The web process is node %s and listens on $PORT.", main)
	}
	w.lines(procfileProcesses(p, names, commands, "", "web", "release"))
	release(p, w, commands)
	w.line("health: /                         # better: an address that asks no other service")
	w.line("database: none                    # postgres, if it reads DATABASE_URL")
	if v := pkg.Engines["node"]; v != "" {
		p.assume("It asks for Node.js %s; the machine's own is used.", v)
	}
	policies(w)
	return p
}

var plainNode = regexp.MustCompile(`^node [\w./-]+$`)

// startCommand avoids npm as a parent, which does not pass signals on well.
func startCommand(script string) string {
	if plainNode.MatchString(script) {
		return "exec " + script
	}
	return "exec npm start"
}

var mainPackage = regexp.MustCompile(`(?m)^package main\b`)

// golang writes the plan of an application in Go.
func golang(t *tree, w *writer) *Plan {
	p := &Plan{Stack: "go"}
	seen, mains := map[string]bool{}, []string{}
	for _, f := range t.under(".", ".go") {
		dir := path.Dir(f)
		if seen[dir] || strings.HasSuffix(f, "_test.go") || strings.Count(f, "/") > 3 || strings.Contains(f, "testdata/") || !mainPackage.MatchString(t.read(f)) {
			continue
		}
		seen[dir] = true
		mains = append(mains, dir)
	}
	target := "."
	switch {
	case len(mains) == 0:
		p.warn("No package main was found; this module makes no program.")
	case seen["."]:
	default:
		target = "./" + mains[0]
		if len(mains) > 1 {
			p.Questions = append(p.Questions, "Which program is the application? Programs are in "+strings.Join(mains, ", ")+"; "+mains[0]+" was taken.")
		}
	}
	w.line("# A Go program; every key is a guess from its files.")
	w.line("timezone: UTC")
	w.line("build:")
	w.line("  - name: program")
	w.line("    run: go build -o bin/app %s", quote(target))
	w.line("test:")
	w.line("  - name: unit")
	w.line("    run: go test -json ./... > gotest.json")
	w.line("    reports: {junit: gotest.json}")
	w.line("  - name: vet")
	w.line("    run: go vet ./...")
	w.line("    allow_failure: true")
	w.line("processes:")
	names, commands := t.procfile("Procfile")
	if commands["web"] != "" {
		w.line("  web: %s", quote(commands["web"]))
	} else {
		w.line("  web: exec bin/app")
		p.assume("The program in %s serves the application and listens on $PORT.", target)
	}
	w.lines(procfileProcesses(p, names, commands, "", "web", "release"))
	release(p, w, commands)
	w.line("health: /")
	w.line("database: none")
	policies(w)
	return p
}

func release(p *Plan, w *writer, commands map[string]string) {
	if c := commands["release"]; c != "" {
		w.line("release: %s", quote(c))
		p.assume("The Procfile's release command is used: %s", c)
	}
}

// generic writes the plan of anything with a Procfile.
func generic(t *tree, w *writer) *Plan {
	p := &Plan{Stack: "procfile"}
	names, commands := t.procfile("Procfile")
	w.line("# Made from the Procfile.")
	w.line("timezone: UTC")
	w.line("# build:                           # steps that install and make what runs")
	w.line("#   - {name: make, run: make}")
	if len(names) == 0 {
		p.warn("The Procfile names no process.")
	} else if commands["web"] == "" {
		p.warn("The Procfile has no web process, so nothing will answer requests.")
	}
	if lines := procfileProcesses(p, names, commands, "", "release"); len(lines) > 0 {
		w.line("processes:")
		w.lines(lines)
	}
	release(p, w, commands)
	w.line("health: /")
	w.line("database: none")
	policies(w)
	p.assume("The processes are those of the Procfile; the web process listens on $PORT.")
	return p
}

// unknown writes a frame to fill in.
func unknown(t *tree, w *writer) *Plan {
	p := &Plan{}
	p.warn("No manage.py, package.json, go.mod or Procfile was found; say under build: and processes: how the application is made and started.")
	if t.first("Dockerfile", "compose.yaml", "docker-compose.yml") != "" {
		p.warn("There is a Dockerfile or compose file; Bosman does not read it.")
	}
	w.line("# Nothing that is known was found; fill this in.")
	w.line("timezone: UTC")
	w.line("# build:")
	w.line("#   - {name: make, run: make}")
	w.line("# processes:")
	w.line("#   web: ./serve --port $PORT")
	w.line("# health: /healthz")
	w.line("database: none                    # postgres | sqlite | none")
	policies(w)
	return p
}
