package instance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/nofollow"
	"golang.org/x/sys/unix"
)

// Order asks for a process set: one release as one instance.
type Order struct {
	ID       string // of the process set: "rms.live.d37"
	Manifest *bosman.Manifest
	Tree     string            // the release's tree
	Variants []runtime.Mount   // asset variants to lay over it
	Dir      string            // the instance's folder: DATA/instances/APP/INSTANCE
	Hide     []string          // Bosman's DATA, the host's database sockets
	Env      map[string]string // more variables for one command or process set; strongest of all
	Around   Surroundings
	Memory   int64
}

// Assemble makes the Spec of an order: the processes of the manifest (worker
// processes of copies only where the policy says so), data folders, variants,
// the way to the database, and templates, which are filled in under the
// RunDir. It makes the folders it names. A web command that mentions $PORT and
// not $BOSMAN_SOCKET gets a TCP port, kept for the process set.
func Assemble(o Order) (runtime.Spec, error) {
	in := o.Around.Instance
	s := runtime.Spec{
		ID: o.ID, App: in.App, Instance: in.Name, UID: in.UID, Tree: o.Tree, Hide: o.Hide,
		RunDir: HandleOf(o.Dir, o.ID).RunDir, LogDir: filepath.Join(o.Dir, "log"),
		MemoryMax: o.Memory, OOMScore: 500, Mounts: slices.Clone(o.Variants),
	}
	env := Map(Environment(o.Around))
	maps.Copy(env, o.Env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		s.Env = append(s.Env, name+"="+env[name])
	}
	for _, dir := range []string{s.RunDir, s.LogDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return s, bosman.Unavailable("cannot make the folders of %s", o.ID).Because(err)
		}
	}
	for _, d := range o.Manifest.Data {
		host, err := dataFolder(o.Dir, d, in.UID)
		if err != nil {
			return s, err
		}
		s.Mounts = append(s.Mounts, runtime.Mount{Source: host, Target: filepath.Clean(d), Writable: true, Within: DataDir(o.Dir, "")})
	}
	s.Mounts = append(s.Mounts, databaseFolders(o.Around)...)
	filled, err := FillTemplates(o.Tree, o.Manifest.Templates, env, filepath.Join(s.RunDir, "templates"), in.UID)
	if err != nil {
		return s, err
	}
	s.Mounts = append(s.Mounts, filled...)
	s.Processes, err = processes(o, s)
	return s, err
}

// HandleOf finds a process set of the instance whose folder is dir. Its RunDir
// is named by the last part of its ID; sets of the same last part cannot run at
// once, and the driver refuses to mix them up.
func HandleOf(dir, id string) runtime.Handle {
	return runtime.Handle{ID: id, RunDir: filepath.Join(dir, "run", id[strings.LastIndexByte(id, '.')+1:])}
}

// LogFile is the log of the instance whose folder is dir.
func LogFile(dir string) string { return filepath.Join(dir, "log", runtime.LogName) }

// DataDir is where the files of a data: folder lie on the host.
func DataDir(instanceDir, data string) string {
	return filepath.Join(instanceDir, "data", filepath.Clean("/"+data))
}

// dataFolder makes a data folder. What lies above it may be a data folder too,
// of this release or of one before, in which the instance makes links as it
// likes: none is followed, else it would be given what they lead to.
func dataFolder(instanceDir, data string, uid int) (string, error) {
	if !filepath.IsLocal(data) {
		return "", bosman.Invalid("data: %q leads out of the app's folder", data).WithNext("name folders relative to the app, e.g. media/")
	}
	cannot := func(err error) error {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return bosman.Conflict("data: %q is or leads over a link or a file that the instance made", data).WithKept("nothing was started, and nothing outside of its data was touched").
				WithNext("name another folder in bosman.yaml, or remove the link in the instance: bosman run INSTANCE -- rm PATH").Because(err)
		}
		return bosman.Unavailable("cannot make the data folder %s", data).Because(err)
	}
	base := DataDir(instanceDir, "")
	if err := os.MkdirAll(base, 0o750); err != nil {
		return "", cannot(err)
	}
	f, err := nofollow.MkdirAll(base, data, 0o750)
	if err != nil {
		return "", cannot(err)
	}
	if uid > 0 && os.Geteuid() == 0 {
		err = unix.Fchownat(int(f.Fd()), "", uid, uid, unix.AT_EMPTY_PATH)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", bosman.Unavailable("cannot give the data folder %s to the instance", data).Because(err)
	}
	return DataDir(instanceDir, data), nil
}

// processes takes those of the manifest that this instance runs.
func processes(o Order, s runtime.Spec) ([]runtime.Process, error) {
	kind := o.Around.Instance.Kind
	all := kind == bosman.KindLive || o.Manifest.PolicyFor(kind).Workers
	var out []runtime.Process
	for name, p := range o.Manifest.Processes {
		if name != bosman.WebProcess && !all {
			continue
		}
		rp := runtime.Process{Name: name, Run: p.Run, Count: p.Count, StopTimeout: p.StopTimeout}
		switch {
		case name != bosman.WebProcess:
		case wantsPort(p):
			port, err := keptPort(s.RunDir)
			if err != nil {
				return nil, err
			}
			rp.Port = port
		default:
			rp.Socket = webSocket(s.RunDir)
		}
		out = append(out, rp)
	}
	slices.SortFunc(out, func(a, b runtime.Process) int { // web first
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

func rank(p runtime.Process) int {
	if p.Name == bosman.WebProcess {
		return 0
	}
	return 1
}

// wantsPort says whether a web process listens on a TCP port and not on a
// socket.
func wantsPort(p bosman.Process) bool {
	return strings.Contains(p.Run, "PORT") && !strings.Contains(p.Run, "BOSMAN_SOCKET")
}

func webSocket(runDir string) string { return filepath.Join(runDir, "app", "web.sock") }

// Answers is where the process set of an order answers, as Target says of an
// assembled one; it makes nothing. Both are "" without a web process, and while
// its port was not chosen yet.
func Answers(o Order) (network, address string, err error) {
	runDir := HandleOf(o.Dir, o.ID).RunDir
	p, ok := o.Manifest.Processes[bosman.WebProcess]
	if !ok {
		return "", "", nil
	}
	rp := runtime.Process{}
	if wantsPort(p) {
		rp.Port, err = chosenPort(runDir)
	} else {
		rp.Socket = webSocket(runDir)
	}
	network, address = Target(runtime.Spec{Processes: []runtime.Process{rp}})
	return network, address, err
}

const portFile = "port"

// chosenPort is the port that was chosen for a process set; 0 for none.
func chosenPort(runDir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(runDir, portFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, bosman.Unavailable("cannot read the port of %s", filepath.Base(runDir)).Because(err)
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, nil //nolint:nilerr // what is no number chose nothing
	}
	return port, nil
}

// keptPort is the port of a process set: chosen once, so that the set is found
// at it again after our own restart.
func keptPort(runDir string) (int, error) {
	port, err := chosenPort(runDir)
	if err != nil || port != 0 {
		return port, err
	}
	if port, err = FreePort(); err != nil {
		return 0, err
	}
	if err := atomicfile.Write(filepath.Join(runDir, portFile), []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
		return 0, bosman.Unavailable("cannot keep the port of %s", filepath.Base(runDir)).Because(err)
	}
	return port, nil
}

// FreePort gives a TCP port of 127.0.0.1 that nobody listens on now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, bosman.Unavailable("there is no free port").Because(err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil || !ok {
		return 0, bosman.Unavailable("there is no free port").Because(err)
	}
	return addr.Port, nil
}

// FillTemplates fills in the templates (source → target, both relative to the
// release) with text/template: {{.Env.NAME}} is a variable of the
// environment, and one that is not set is an error. The results lie in dir,
// readable by the instance's user alone; the mounts show them at their
// targets.
func FillTemplates(tree string, templates, env map[string]string, dir string, uid int) (mounts []runtime.Mount, err error) {
	if len(templates) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, bosman.Unavailable("cannot read the release").Because(err)
	}
	defer func() { _ = root.Close() }() // only read from
	for _, source := range slices.Sorted(maps.Keys(templates)) {
		target := templates[source]
		if !filepath.IsLocal(target) {
			return nil, bosman.Invalid("templates: %q leads out of the app's folder", target).WithNext("name files relative to the app")
		}
		text, err := fs.ReadFile(root.FS(), filepath.Clean(source))
		if err != nil {
			return nil, bosman.Failed("the template %s cannot be read from the release", source).Because(err)
		}
		out, err := fill(source, string(text), env)
		if err != nil {
			return nil, err
		}
		host := filepath.Join(dir, filepath.Clean("/"+target))
		mounts = append(mounts, runtime.Mount{Source: host, Target: filepath.Clean(target)})
		if old, err := os.ReadFile(host); err == nil && bytes.Equal(old, out) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(host), 0o750); err != nil {
			return nil, bosman.Unavailable("cannot keep %s", target).Because(err)
		}
		if err := atomicfile.Write(host, out, 0o400); err != nil {
			return nil, bosman.Unavailable("cannot keep %s", target).Because(err)
		}
		if uid > 0 && os.Geteuid() == 0 {
			if err := os.Lchown(host, uid, uid); err != nil {
				return nil, bosman.Unavailable("cannot give %s to the instance", target).Because(err)
			}
		}
	}
	return mounts, nil
}

func fill(name, text string, env map[string]string) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, struct{ Env map[string]string }{env})
	}
	if err != nil {
		return nil, bosman.Failed("the template %s cannot be filled in", name).Because(err).
			WithNext(fmt.Sprintf("set what it asks for under env: or with bosman secrets set, or correct %s", name))
	}
	return b.Bytes(), nil
}
