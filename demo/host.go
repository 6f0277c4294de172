package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/bosman-cd/bosman"
)

// part is something the demo needs of the machine.
type part struct {
	what, debian string
	there        func(ctx context.Context) bool
}

// python is the interpreter that builds use: PATH inside Bosman does not
// depend on the caller's.
const buildPath = "/usr/local/bin:/usr/bin:/bin"

func program(name string) func(context.Context) bool {
	return func(context.Context) bool {
		for _, dir := range filepath.SplitList(buildPath) {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode()&0o111 != 0 {
				return true
			}
		}
		return false
	}
}

func module(name string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		cmd := exec.CommandContext(ctx, "python3", "-c", "import "+name)
		cmd.Env = []string{"PATH=" + buildPath}
		if p := interpreter(); p != "" {
			cmd.Path, cmd.Err = p, nil
		}
		return cmd.Run() == nil
	}
}

// interpreter is the python3 that a build finds.
func interpreter() string {
	for _, dir := range filepath.SplitList(buildPath) {
		p := filepath.Join(dir, "python3")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// needed are the parts without which there is no demo.
var needed = []part{
	{"git", "git", program("git")},
	{"python3 with venv", "python3-venv", module("venv")},
	{"node", "nodejs", program("node")},
	{"npm", "npm", program("npm")},
}

// helpful are Python packages that pip fetches into a venv where Debian's
// are missing.
var helpful = []part{
	{"Django", "python3-django", module("django")},
	{"Django REST framework", "python3-djangorestframework", module("rest_framework")},
	{"psycopg2", "python3-psycopg2", module("psycopg2")},
	{"gunicorn", "python3-gunicorn", module("gunicorn")},
	{"whitenoise", "python3-whitenoise", module("whitenoise")},
	{"factory-boy", "python3-factory-boy", module("factory")},
	{"bleach", "python3-bleach", module("bleach")},
	{"sentry-sdk", "python3-sentry-sdk", module("sentry_sdk")},
	{"coverage", "python3-coverage", module("coverage")},
	{"flake8", "flake8", module("flake8")},
	{"xmlrunner", "python3-xmlrunner", module("xmlrunner")},
}

// lookAround says what the machine lacks and what the demo does without it.
func (w *world) lookAround(ctx context.Context) (string, error) {
	absent := func(parts []part) (names, packages []string) {
		for _, p := range parts {
			if !p.there(ctx) {
				names, packages = append(names, p.what), append(packages, p.debian)
			}
		}
		return names, packages
	}
	install := func(packages []string) string {
		return "apt-get install " + strings.Join(packages, " ") + ", or make deps"
	}
	if names, packages := absent(needed); len(names) > 0 {
		return "", bosman.Unavailable("this machine lacks %s", strings.Join(names, ", ")).WithNext(install(packages))
	}
	var notes []string
	w.database = "postgres"
	if found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); err != nil || len(found) == 0 {
		w.database = "sqlite"
		notes = append(notes, "PostgreSQL is not here, so SQLite takes its place ("+install([]string{"postgresql"})+")")
	}
	if names, packages := absent(helpful); len(names) > 0 {
		notes = append(notes, "pip fetches "+strings.Join(names, ", ")+" into a venv; Debian's packages would be quicker ("+install(packages)+")")
	}
	if os.Geteuid() != 0 {
		notes = append(notes, "you are not root: instances are not kept apart by Unix users")
	}
	if !program("bwrap")(ctx) {
		notes = append(notes, "bubblewrap is not here: build steps are not kept apart ("+install([]string{"bubblewrap"})+")")
	}
	if len(notes) == 0 {
		return "all there; the database is PostgreSQL", nil
	}
	return strings.Join(notes, "\n"), nil
}

// shim is what a shim wrote down of itself and its processes.
type shim struct {
	ID   string
	Shim struct {
		PID int `json:"pid"`
	}
	Slots []struct {
		Name string
		Run  struct {
			PID int `json:"pid"`
		}
	}
}

func readShim(dir string) (shim, error) {
	var s shim
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("what runs in %s is not known: %w", dir, err)
	}
	return s, nil
}

// liveShim is the shim of the process set that live is routed to.
func (w *world) liveShim(ctx context.Context) (shim, error) {
	i, err := w.client.Instance(ctx, App, "live")
	if err != nil {
		return shim{}, err
	}
	id := i.ProcessID[strings.LastIndexByte(i.ProcessID, '.')+1:]
	return readShim(filepath.Join(w.data(), "instances", App, "live", "run", id))
}

func (w *world) edgeShim() (shim, error) { return readShim(filepath.Join(w.data(), "run", "edge")) }

// shims are those of all instances.
func (w *world) shims() []shim {
	dirs, err := filepath.Glob(filepath.Join(w.data(), "instances", App, "*", "run", "*"))
	if err != nil {
		return nil
	}
	var out []shim
	for _, dir := range dirs {
		if s, err := readShim(dir); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// kill ends a process at once.
func kill(pid int) error {
	if pid <= 1 {
		return errors.New("its process is not known")
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// children are the processes that a process started.
func children(pid int) []int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range strings.Fields(string(data)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// processes are those that belong to this demo: they speak of its folder, or
// were started by one that does.
func (w *world) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.Contains(string(line), w.data()+"/") && !w.isServe(pid) && !w.isShim(pid) {
			continue
		}
		out = append(out, pid)
	}
	return out
}

// isShim says whether a process is a shim that works in this demo's folder.
func (w *world) isShim(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), "\x00shim\x00") {
		return false
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, w.data()+"/") {
			return true
		}
	}
	return false
}
