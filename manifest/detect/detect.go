// Package detect reads the files of a repository that has no bosman.yaml and
// writes the one it would need, with every guess said aloud. It runs nothing
// and asks no network; it must not know builds or instances.
package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Plan is what was found. Manifest is a commented bosman.yaml to commit;
// Assumptions are guesses a person should confirm, Warnings are things that
// will probably go wrong, Questions are choices that were made by taking the
// first of several. Stack is django, node, go, procfile or "".
type Plan struct {
	Stack       string
	Manifest    string
	Assumptions []string
	Warnings    []string
	Questions   []string
}

// maxRead caps a file that is looked into.
const maxRead = 1 << 20

// Detect looks at the tree of a repository. It fails only when the tree
// cannot be read; a stack that nobody knows gives a plan with a warning.
func Detect(fsys fs.FS) (Plan, error) {
	t, err := scan(fsys)
	if err != nil {
		return Plan{}, bosman.Unavailable("the repository cannot be read").Because(err)
	}
	w := &writer{}
	var p *Plan
	switch {
	case len(t.named("manage.py", 2)) > 0:
		p = django(t, w)
	case t.has("package.json"):
		p = node(t, w)
	case t.has("go.mod"):
		p = golang(t, w)
	case t.has("Procfile"):
		p = generic(t, w)
	default:
		p = unknown(t, w)
	}
	p.Manifest = w.String()
	return *p, nil
}

// tree is the list of files worth knowing.
type tree struct {
	fsys  fs.FS
	files map[string]bool
}

func scan(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys, files: map[string]bool{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == "." {
				return err
			}
			return nil //nolint:nilerr // an unreadable folder is as good as none
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "node_modules", ".venv", "venv", "env", "__pycache__", "site-packages", "vendor", ".tox":
				return fs.SkipDir
			}
			if strings.Count(name, "/") >= 6 {
				return fs.SkipDir
			}
			return nil
		}
		if len(t.files) >= 100_000 {
			return errors.New("more than 100,000 files")
		}
		if d.Type().IsRegular() {
			t.files[name] = true
		}
		return nil
	})
	return t, err
}

func (t *tree) has(name string) bool { return t.files[path.Clean(name)] }

// first gives the first of the names that exists, or "".
func (t *tree) first(names ...string) string {
	for _, n := range names {
		if t.has(n) {
			return n
		}
	}
	return ""
}

func (t *tree) read(name string) string {
	name = path.Clean(name)
	info, err := fs.Stat(t.fsys, name)
	if err != nil || info.Size() > maxRead {
		return ""
	}
	data, err := fs.ReadFile(t.fsys, name)
	if err != nil {
		return ""
	}
	return string(data)
}

// named lists the files of that name at most depth folders down, the
// shallowest first.
func (t *tree) named(base string, depth int) []string {
	var list []string
	for f := range t.files {
		if path.Base(f) == base && strings.Count(f, "/") <= depth {
			list = append(list, f)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := strings.Count(list[i], "/"), strings.Count(list[j], "/")
		if a != b {
			return a < b
		}
		return list[i] < list[j]
	})
	return list
}

// under lists the files below a folder whose names end so, in order.
func (t *tree) under(dir, suffix string) []string {
	var list []string
	for f := range t.files {
		if (dir == "." || strings.HasPrefix(f, dir+"/")) && strings.HasSuffix(f, suffix) {
			list = append(list, f)
		}
	}
	sort.Strings(list)
	return list
}

func (p *Plan) assume(format string, args ...any) {
	p.Assumptions = append(p.Assumptions, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// packageJSON is what Bosman reads of a package.json.
type packageJSON struct {
	Scripts map[string]string `json:"scripts"`
	Main    string            `json:"main"`
	Engines map[string]string `json:"engines"`
}

func (t *tree) packageJSON(name string) (packageJSON, bool) {
	var p packageJSON
	if !t.has(name) {
		return p, false
	}
	return p, json.Unmarshal([]byte(t.read(name)), &p) == nil
}

var procLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(\S.*)$`)

// procfile reads a Procfile as names and commands, in order.
func (t *tree) procfile(name string) (names []string, commands map[string]string) {
	commands = map[string]string{}
	for _, line := range strings.Split(t.read(name), "\n") {
		if m := procLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			key := strings.ToLower(m[1])
			if _, twice := commands[key]; !twice {
				names = append(names, key)
			}
			commands[key] = m[2]
		}
	}
	return names, commands
}

var partName = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`)

// procfileProcesses gives the lines of a Procfile's processes other than the
// named ones.
func procfileProcesses(p *Plan, names []string, commands map[string]string, prefix string, skip ...string) []string {
	var lines []string
	for _, n := range names {
		if slices.Contains(skip, n) {
			continue
		}
		if !partName.MatchString(n) || len(n) > 40 {
			p.warn("The Procfile's process %q has a name that cannot be used and was left out.", n)
			continue
		}
		lines = append(lines, "  "+n+": "+quote(prefix+commands[n]))
	}
	return lines
}

// writer writes commented YAML.
type writer struct{ b strings.Builder }

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(&w.b, format, args...)
	w.b.WriteByte('\n')
}

func (w *writer) lines(list []string) {
	for _, l := range list {
		w.line("%s", l)
	}
}

func (w *writer) String() string { return w.b.String() }

var simple = regexp.MustCompile(`^(?:[A-Za-z/$]|\.[A-Za-z/])[A-Za-z0-9 ./_$=@+&|<>;()-]*[A-Za-z0-9/_$)]$|^[A-Za-z/]$`)

// quote writes a string so that YAML reads the same back.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return `"` + s + `"`
	}
	if simple.MatchString(s) && !strings.HasPrefix(s, ".inf") && !strings.HasPrefix(s, ".nan") {
		return s
	}
	b := &strings.Builder{}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSpace(b.String())
}

func list(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteFlow(n)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var flowSimple = regexp.MustCompile(`^(?:[A-Za-z/]|\.[A-Za-z/])[A-Za-z0-9 ./_-]*$`)

// quoteFlow is quote for use inside [] and {}.
func quoteFlow(s string) string {
	if flowSimple.MatchString(s) {
		return quote(s)
	}
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
}

// policies writes the usual instances.
func policies(w *writer) {
	w.line("instances:")
	w.line("  testing: {copy: staging}          # each tester's own copy of staging")
	w.line("  staging: {follow: main}")
	w.line("  live:")
	w.line("    deploy: {after: staging, window: \"Mon-Thu 09:00-15:00\"}")
	w.line("    backup: {keep: 30, verify: before}")
	w.line("    watch: {for: 10m, revert: true}")
}
