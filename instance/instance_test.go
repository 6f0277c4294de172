package instance_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	"github.com/bosman-cd/bosman/instance/runtime/runtimetest"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/need"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case shim.Subcommand:
			os.Exit(shim.Main())
		case confine.Subcommand:
			os.Exit(confine.Main())
		}
	}
	goleak.VerifyTestMain(m)
}

// data is a short folder of the test, as DATA is, gone afterwards.
func data(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "bi") //nolint:usetesting // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func supervisor(t *testing.T, data string) (*instance.Supervisor, *process.Driver) {
	t.Helper()
	d, err := process.New(process.Options{RunGlob: filepath.Join(data, "instances/*/*/run/*")})
	if err != nil {
		t.Fatal(err)
	}
	return instance.NewSupervisor(d, slog.New(slog.DiscardHandler)), d
}

// order is a release of the test server as instance rms/live under data.
func order(t *testing.T, data string) instance.Order {
	t.Helper()
	tree := filepath.Join(data, "releases/rms/r136/tree")
	if err := errors.Join(os.RemoveAll(tree), os.MkdirAll(tree, 0o755), os.CopyFS(tree, os.DirFS(runtimetest.Tree(t))), os.MkdirAll(tree+"/conf", 0o755),
		os.WriteFile(tree+"/conf/app.ini.tmpl", []byte("key = {{.Env.SECRET_KEY}}\n"), 0o644),
		os.WriteFile(tree+"/conf/app.ini", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	a := around(func(s *instance.Surroundings) {
		s.Instance.Name, s.Instance.Kind, s.Instance.UID = "live", bosman.KindLive, 71300
		s.Instance.Database = bosman.Database{}
	})
	return instance.Order{
		ID: "rms.live.d37", Tree: tree, Dir: filepath.Join(data, "instances/rms/live"), Hide: []string{data}, Around: a,
		Manifest: &bosman.Manifest{
			Processes: map[string]bosman.Process{
				"web":    {Run: "/usr/bin/python3 server.py", StopTimeout: 3 * time.Second},
				"worker": {Run: "sleep 1000", Count: 2, StopTimeout: time.Second},
			},
			Data: []string{"media/"}, Templates: map[string]string{"conf/app.ini.tmpl": "conf/app.ini"}, Health: "/",
		},
	}
}

func assemble(t *testing.T, o instance.Order) runtime.Spec {
	t.Helper()
	s, err := instance.Assemble(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Who only looks makes no folders and chooses no port.
func TestAnswersLooksOnly(t *testing.T) {
	for _, run := range []string{"serve --socket $BOSMAN_SOCKET", "serve --port $PORT"} {
		o := order(t, t.TempDir())
		o.Manifest.Data, o.Manifest.Templates = nil, nil
		o.Around.Instance.UID = 0
		o.Manifest.Processes["web"] = bosman.Process{Run: run}
		_, before, err := instance.Answers(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: who looked made %s: %v", run, o.Dir, err)
		}
		network, address := instance.Target(assemble(t, o))
		if n, a, err := instance.Answers(o); err != nil || n != network || a != address || a == "" {
			t.Errorf("%s: answers at %s %s (%v), is started at %s %s", run, n, a, err, network, address)
		}
		if wants := strings.Contains(run, "$PORT"); (before == "") != wants {
			t.Errorf("%s: before the start it answers at %q", run, before)
		}
	}
}

func TestAnAssembledInstanceIsWell(t *testing.T) {
	need.Root(t)
	dir := data(t)
	sv, d := supervisor(t, dir)
	o := order(t, dir)
	s := assemble(t, o)
	defer stop(t, d, s)
	if _, err := sv.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	f, err := sv.AwaitWell(t.Context(), s, instance.Judgement{Health: "/secure", HTTPS: true, Host: "rms.example.pl", Checks: []bosman.RequestCheck{
		{Get: "/host", Contains: "rms.example.pl"}, {Get: "/missing", Status: 404}, {Get: "/env?SECRET_KEY", Contains: "k3y"},
	}})
	if err != nil || f.Health != "GET /secure answered 200" {
		t.Fatalf("%+v %v\n%s", f, err, runtimetest.Log(s))
	}
	if _, body := runtimetest.Get(t, s, "/ls?"+dir); strings.Contains(body, "releases") {
		t.Errorf("Bosman's folder is not hidden: %s", body)
	}
	if code, body := runtimetest.Get(t, s, "/write?media/a.jpg"); code != 200 {
		t.Error(body)
	}
	if _, err := os.Stat(instance.DataDir(o.Dir, "media/") + "/a.jpg"); err != nil {
		t.Error(err)
	}
	exit, err := sv.Exec(t.Context(), s, runtime.Command{Shell: "grep -q k3y conf/app.ini"})
	if err != nil || !exit.OK() {
		t.Errorf("the template is not filled in: %v %v", exit, err)
	}
	if st, err := sv.Status(t.Context(), s.Handle()); err != nil || instance.StateOf(st) != bosman.InstanceRunning || len(st.Processes) != 3 {
		t.Errorf("%+v %v", st, err)
	}
}

func stop(t *testing.T, d *process.Driver, s runtime.Spec) {
	t.Helper()
	if err := d.Stop(t.Context(), s.Handle(), time.Second); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotWellIsExplained(t *testing.T) {
	need.Root(t)
	dir := data(t)
	sv, d := supervisor(t, dir)
	for name, c := range map[string]struct {
		run   string
		judge instance.Judgement
		said  string
		exit  string
		log   string
	}{
		"redirect":     {"", instance.Judgement{Health: "/secure", Timeout: time.Second}, "answered 301 to https://x/", "", "listening"},
		"missing":      {"", instance.Judgement{Health: "/missing", Timeout: time.Second}, "answered 404", "", "listening"},
		"check":        {"", instance.Judgement{Health: "/", Checks: []bosman.RequestCheck{{Get: "/", Contains: "Candidates"}}}, `without "Candidates"`, "", ""},
		"dies":         {"echo no module named rms; exit 3", instance.Judgement{Health: "/", Timeout: 20 * time.Second}, "no such file", "exit status 3", "no module named rms"},
		"never ready":  {"sleep 100", instance.Judgement{Timeout: 500 * time.Millisecond}, "nobody listens", "", ""},
		"wrong commit": {"", instance.Judgement{Health: "/env?BOSMAN_COMMIT", Commit: strings.Repeat("a", 40), Timeout: time.Second}, "answers for commit 01234567", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t, dir)
			o.ID = "rms.live.d" + strings.ReplaceAll(name, " ", "")
			if c.run != "" {
				o.Manifest.Processes["web"] = bosman.Process{Run: c.run}
			}
			s := assemble(t, o)
			defer stop(t, d, s)
			if _, err := sv.Start(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			f, err := sv.AwaitWell(t.Context(), s, c.judge)
			if bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(f.Health, c.said) || f.Exit != c.exit || !strings.Contains(f.LogTail, c.log) {
				t.Errorf("%v\n%+v", err, f)
			}
		})
	}
}

// A reboot, a dead shim, an orphan: Reconcile settles all three.
func TestReconcile(t *testing.T) {
	need.Root(t)
	dir := data(t)
	sv, d := supervisor(t, dir)
	var specs []runtime.Spec
	for _, id := range []string{"rms.live.d1", "rms.live.d2", "rms.live.d3"} {
		o := order(t, dir)
		o.ID = id
		s := assemble(t, o)
		defer stop(t, d, s)
		specs = append(specs, s)
	}
	for _, s := range specs[1:] {
		if _, err := sv.Start(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	_, pid := runtimetest.Get(t, specs[1], "/pid")
	st, err := sv.Status(t.Context(), specs[1].Handle())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.Keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 3*time.Second, "the shim is dead", func() bool {
		st, err := sv.Status(t.Context(), specs[1].Handle())
		return err == nil && st.State == runtime.StateUnwatched
	})
	kept := func(id string) bool { return id == "rms.live.d3" }
	for range 2 { // the second time nothing is left to do
		got, err := sv.Reconcile(t.Context(), specs[:2], kept)
		if err != nil || len(got.Errors) != 0 {
			t.Fatal(err, got.Errors)
		}
		t.Log(got)
	}
	got, err := sv.Reconcile(t.Context(), specs[:2], nil)
	if err != nil || !slices.Equal(got.Stopped, []string{"rms.live.d3"}) {
		t.Errorf("orphans: %+v %v", got, err)
	}
	if _, same := runtimetest.Get(t, specs[1], "/pid"); same != pid {
		t.Error("adopting disturbed the process")
	}
	if _, err := sv.AwaitWell(t.Context(), specs[0], instance.Judgement{Health: "/"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(specs[2].RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the orphan's folder stays: %v", err)
	}
}

func TestCopiesRunNoWorkersUnlessAsked(t *testing.T) {
	for _, c := range []struct {
		kind    bosman.InstanceKind
		workers bool
		want    int
	}{
		{bosman.KindLive, false, 2},
		{bosman.KindStaging, false, 1},
		{bosman.KindTesting, false, 1},
		{bosman.KindPreview, true, 2},
	} {
		o := order(t, t.TempDir())
		o.Around.Instance.Kind, o.Around.Instance.UID = c.kind, 0
		o.Manifest.Instances = map[string]*bosman.Policy{string(c.kind): {Workers: c.workers}}
		s, err := instance.Assemble(o)
		if err != nil || len(s.Processes) != c.want || s.Processes[0].Name != "web" {
			t.Errorf("%s, workers %v: %v %v", c.kind, c.workers, s.Processes, err)
		}
	}
}

func TestThePortOfAProcessSetStays(t *testing.T) {
	o := order(t, t.TempDir())
	o.Around.Instance.UID = 0
	o.Manifest.Processes["web"] = bosman.Process{Run: "uwsgi --http :$PORT"}
	a, err := instance.Assemble(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := instance.Assemble(o)
	if err != nil || a.Processes[0].Port == 0 || a.Processes[0].Port != b.Processes[0].Port || a.Processes[0].Socket != "" {
		t.Errorf("%v then %v, %v", a.Processes[0], b.Processes[0], err)
	}
}

func TestTemplatesAreStrict(t *testing.T) {
	tree, dir := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("good.tmpl", "a={{.Env.A}}")
	write("bad.tmpl", "b={{.Env.B}}")
	write("broken.tmpl", "{{")
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "link.tmpl")); err != nil {
		t.Fatal(err)
	}
	for templates, kind := range map[[2]string]bosman.ErrorKind{
		{"good.tmpl", "x/good"}:   "",
		{"bad.tmpl", "bad"}:       bosman.KindFailed,
		{"broken.tmpl", "broken"}: bosman.KindFailed,
		{"none.tmpl", "none"}:     bosman.KindFailed,
		{"link.tmpl", "link"}:     bosman.KindFailed,
		{"good.tmpl", "../../up"}: bosman.KindInvalid,
	} {
		mounts, err := instance.FillTemplates(tree, map[string]string{templates[0]: templates[1]}, map[string]string{"A": "1"}, dir, 0)
		if bosman.KindOf(err) != kind {
			t.Errorf("%v: %v", templates, err)
			continue
		}
		if kind != "" {
			continue
		}
		if b, err := os.ReadFile(mounts[0].Source); err != nil || string(b) != "a=1" || mounts[0].Target != "x/good" {
			t.Errorf("%v: %q %v", mounts, b, err)
		}
	}
}

func TestOwnFollowsNoLinks(t *testing.T) {
	need.Root(t)
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	err := errors.Join(os.MkdirAll(dir+"/a/b", 0o755), os.WriteFile(dir+"/a/b/c", nil, 0o600), os.WriteFile(secret, nil, 0o600),
		os.Symlink(outside, dir+"/a/out"), os.Symlink(secret, dir+"/link"), os.Link(secret, dir+"/hard"))
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Own(dir, 71301); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{dir: 71301, dir + "/a/b/c": 71301, dir + "/a/out": 71301, dir + "/link": 71301, dir + "/hard": 0, secret: 0, outside: 0} {
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := st.Sys().(*syscall.Stat_t); !ok || s.Uid != want {
			t.Errorf("%s belongs to %d, want %d", path, s.Uid, want)
		}
	}
	if got := instance.NextUID([]int{70007, 70003}); got != 70008 {
		t.Error(got)
	}
}

func TestWatchReplacesADeadShim(t *testing.T) {
	need.Root(t)
	dir := data(t)
	sv, d := supervisor(t, dir)
	s := assemble(t, order(t, dir))
	defer stop(t, d, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sv.Watch(ctx, 50*time.Millisecond, func(context.Context) ([]runtime.Spec, func(string) bool, error) {
			return []runtime.Spec{s}, nil, nil
		})
	}()
	defer func() { cancel(); <-done }()
	_, pid := runtimetest.Get(t, s, "/pid")
	st, err := sv.Status(t.Context(), s.Handle())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.Keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	runtimetest.Eventually(t, 5*time.Second, "a new shim", func() bool {
		now, err := sv.Status(t.Context(), s.Handle())
		return err == nil && now.Adopted && now.Keeper != st.Keeper
	})
	if _, same := runtimetest.Get(t, s, "/pid"); same != pid {
		t.Error("the application was disturbed")
	}
}
