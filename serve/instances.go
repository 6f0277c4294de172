package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/problem"
)

// instances runs the processes of instances: deploy.Instances over the
// supervisor.
type instances struct {
	data      string
	records   *records
	helm      *helm.Helm
	databases *databases
	driver    *sets
	edge      *control.Client
	sup       *instance.Supervisor
	addresses *addresses
	mail      func() instance.Mail
	log       *slog.Logger

	mu      sync.Mutex
	lost    map[string]string // guarded by mu; app/instance → why its copy is gone
	leaving map[leaver]bool   // guarded by mu; those that are being removed
}

// leaver is an instance, and not the next one of its name.
type leaver struct {
	app, name string
	created   int64
}

func asLeaver(i bosman.Instance) leaver { return leaver{i.App, i.Name, i.CreatedAt.UnixNano()} }

// leave says whether an instance is being removed: who looks after instances
// would else make its folder again, and start it.
func (n *instances) leave(i bosman.Instance, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leaving == nil {
		n.leaving = map[leaver]bool{}
	}
	if yes {
		n.leaving[asLeaver(i)] = true
	} else {
		delete(n.leaving, asLeaver(i))
	}
}

// staying gives the instances that are not being removed, and forgets those
// that have gone.
func (n *instances) staying(all []bosman.Instance) []bosman.Instance {
	n.mu.Lock()
	defer n.mu.Unlock()
	still := map[leaver]bool{}
	out := slices.DeleteFunc(all, func(i bosman.Instance) bool {
		if n.leaving[asLeaver(i)] {
			still[asLeaver(i)] = true
		}
		return still[asLeaver(i)]
	})
	n.leaving = still
	return out
}

func instanceDir(data, app, name string) string { return filepath.Join(data, "instances", app, name) }

func instanceLog(data, app, name string) string {
	return filepath.Join(instanceDir(data, app, name), "log", "log")
}

// unixUser is the Unix user of an instance; 0, Bosman's own, without root.
func unixUser(i bosman.Instance) int {
	if os.Geteuid() != 0 {
		return 0
	}
	return i.UID
}

// order says how a release runs as an instance, but for its database: where
// processes answer is known also while no database does.
func (n *instances) order(ctx context.Context, l deploy.Launch) (instance.Order, bosman.Release, error) {
	i := l.Instance
	rel, err := n.records.Release(ctx, i.App, l.Release)
	if err != nil {
		return instance.Order{}, rel, err
	}
	m, err := n.records.releases.Manifest(rel)
	if err != nil {
		return instance.Order{}, rel, err
	}
	mounts, err := n.records.releases.Mounts(rel, i.Kind.AssetVariant())
	if err != nil {
		return instance.Order{}, rel, err
	}
	secrets, err := n.helm.SecretsFor(ctx, i)
	if err != nil {
		return instance.Order{}, rel, err
	}
	i.UID = unixUser(i)
	part := *m
	part.Processes = map[string]bosman.Process{}
	for name, p := range m.Processes {
		if (name == bosman.WebProcess) == (l.Part != deploy.PartWork) {
			part.Processes[name] = p
		}
	}
	policy, err := n.helm.Policy(ctx, i.App, i.Kind)
	if err != nil {
		return instance.Order{}, rel, err
	}
	around := instance.Surroundings{
		Instance: i, Release: rel.Number, Commit: rel.Commit, Team: m.Env, SecretKey: secrets["SECRET_KEY"],
		SentryDSN: problem.DSN(i.ErrorKey, n.addresses.intake(), i.App), SentryRelease: problem.FormatRelease(i.App, rel.Number, rel.Commit),
	}
	hosts, origins := n.addresses.names(i, policy.Domains)
	around.Hosts, around.Origins = n.addresses.allowed(hosts), slices.Concat(origins, []string{i.URL})
	if i.Kind != bosman.KindLive {
		around.Mail = n.mail()
		around.Mail.User, around.Mail.Password = i.App+"/"+i.Name, i.ErrorKey
	}
	delete(secrets, "SECRET_KEY")
	around.Secrets = secrets
	o := instance.Order{
		ID: l.ID, Manifest: &part, Tree: n.records.releases.Tree(i.App, rel.Number), Dir: instanceDir(n.data, i.App, i.Name),
		Hide: []string{n.data, "/var/run/postgresql", "/run/postgresql", "/run/mysqld", "/root"}, Around: around,
	}
	for target, host := range mounts {
		o.Variants = append(o.Variants, runtime.Mount{Source: host, Target: target})
	}
	return o, rel, nil
}

func (n *instances) spec(ctx context.Context, l deploy.Launch) (runtime.Spec, instance.Order, bosman.Release, error) {
	o, rel, err := n.order(ctx, l)
	if err != nil {
		return runtime.Spec{}, o, rel, err
	}
	if o.Around.Instance.Database, err = n.databases.own(ctx, l.Instance); err != nil {
		return runtime.Spec{}, o, rel, err
	}
	if o.Around.Further, err = n.databases.ownFurther(ctx, l.Instance); err != nil {
		return runtime.Spec{}, o, rel, err
	}
	s, err := instance.Assemble(o)
	return s, o, rel, err
}

// target is where a launch's processes answer; "" if they never started.
func (n *instances) target(ctx context.Context, l deploy.Launch) (string, error) {
	o, _, err := n.order(ctx, l)
	if err != nil {
		return "", err
	}
	network, address, err := instance.Answers(o)
	return upstream(network, address), err
}

// Start starts a process set or finds it running.
func (n *instances) Start(ctx context.Context, l deploy.Launch) error {
	s, _, _, err := n.spec(ctx, l)
	if err != nil || len(s.Processes) == 0 {
		return err
	}
	n.driver.want(s.ID)
	_, err = n.sup.Start(ctx, s)
	return err
}

// handle finds a process set of an instance by its id.
func (n *instances) handle(i bosman.Instance, id string) runtime.Handle {
	last := id[strings.LastIndexByte(id, '.')+1:]
	return runtime.Handle{ID: id, RunDir: filepath.Join(instanceDir(n.data, i.App, i.Name), "run", last)}
}

// Stop ends a process set and forgets its folder.
func (n *instances) Stop(ctx context.Context, i bosman.Instance, id string) error {
	h := n.handle(i, id)
	if err := n.sup.Stop(ctx, h, 0); err != nil {
		return err
	}
	return n.driver.Forget(h)
}

// Running lists the ids of an instance's process sets on the host.
func (n *instances) Running(ctx context.Context, i bosman.Instance) ([]string, error) {
	all, err := n.driver.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range all {
		if _, _, ok := deploy.ParseSetID(i, h.ID); ok {
			out = append(out, h.ID)
		}
	}
	return out, nil
}

// Check waits until the processes are well and makes the smoke requests.
func (n *instances) Check(ctx context.Context, l deploy.Launch) (deploy.Checked, error) {
	begun := time.Now()
	s, o, rel, err := n.spec(ctx, l)
	if err != nil {
		return deploy.Checked{}, err
	}
	address, err := url.Parse(l.Instance.URL)
	if err != nil {
		return deploy.Checked{}, bosman.Internal("the address %q of %s is not one", l.Instance.URL, l.Instance.Name).Because(err)
	}
	found, err := n.sup.AwaitWell(ctx, s, instance.Judgement{
		Health: o.Manifest.Health, Checks: o.Manifest.Checks, Host: address.Hostname(), HTTPS: address.Scheme == "https", Commit: rel.Commit,
	})
	c := deploy.Checked{Health: found.Health, Requests: len(o.Manifest.Checks), Took: time.Since(begun)}
	if err != nil {
		c.Failure = &found
	}
	return c, err
}

// exec runs a command in the surroundings of a launch.
func (n *instances) exec(ctx context.Context, l deploy.Launch, label, shell string, stdin io.Reader, stdout, stderr io.Writer) (runtime.Exit, error) {
	return n.execute(ctx, l, runtime.Command{Label: label, Shell: shell, Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

func (n *instances) execute(ctx context.Context, l deploy.Launch, c runtime.Command) (runtime.Exit, error) {
	s, _, _, err := n.spec(ctx, l)
	if err != nil {
		return runtime.Exit{}, err
	}
	return n.sup.Exec(ctx, s, c)
}

// tailLines is how much of a command's output is kept for the failure screen.
const tailLines = 40

// Run runs a one-off command; its output goes to the instance's log.
func (n *instances) Run(ctx context.Context, l deploy.Launch, c deploy.Command) (deploy.Ran, error) {
	begun := time.Now()
	w := logfile.New(instanceLog(n.data, l.Instance.App, l.Instance.Name), logfile.Options{MaxSize: 10 << 20, Keep: 5})
	out := w.Stream(c.Label)
	t := &tail{max: tailLines}
	both := io.MultiWriter(out, t)
	exit, err := n.exec(ctx, l, c.Label, c.Shell, nil, both, both)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return deploy.Ran{OK: exit.OK(), Exit: exit.String(), Tail: t.String(), Took: time.Since(begun)}, err
}

// RunFor runs a command for a person in what the instance runs now.
func (n *instances) RunFor(ctx context.Context, i bosman.Instance, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	l := deploy.Launch{Instance: i, Release: i.Release, ID: i.ProcessID, Part: deploy.PartWeb}
	if l.ID == "" {
		l.ID = i.App + "." + i.Name + ".run"
	}
	exit, err := n.exec(ctx, l, fmt.Sprintf("run-%d", time.Now().UnixNano()), command, stdin, stdout, stderr)
	if exit.Signal != 0 {
		return 128 + exit.Signal, err
	}
	return exit.Code, err
}

// desired gives the process sets that should run, and says of others whether
// they are to be left alone.
func (n *instances) desired(ctx context.Context) ([]runtime.Spec, func(string) bool, error) {
	all, err := n.records.store.Instances(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	all = n.staying(all)
	var specs []runtime.Spec
	unclear := map[string]bool{} // instances of which nobody can say what should run
	for _, i := range all {
		parts, err := n.serving(ctx, i)
		if err != nil && ctx.Err() == nil { // what runs of it goes on
			n.log.Warn("what an instance serves with is not known", "app", i.App, "instance", i.Name, "err", err)
			unclear[i.App+"."+i.Name] = true
		}
		for id, part := range parts {
			s, _, _, err := n.spec(ctx, deploy.Launch{Instance: i, Release: i.Release, ID: id, Part: part})
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			n.noteLost(i, err)
			if err != nil {
				n.log.Error("an instance cannot be looked after", "app", i.App, "instance", i.Name, "err", err)
				unclear[i.App+"."+i.Name] = true
				break
			}
			if len(s.Processes) > 0 {
				specs = append(specs, s)
			}
		}
	}
	return specs, func(id string) bool { return n.somebodys(ctx, id, unclear) }, nil
}

// somebodys says whether a process set belongs to an instance as its row is
// now, or to the operation that owns it now: it may have begun after the rows
// were read that the comparison goes by.
func (n *instances) somebodys(ctx context.Context, id string, unclear map[string]bool) bool {
	all, err := n.records.store.Instances(ctx, "")
	if err != nil {
		return true
	}
	for _, i := range all {
		if _, _, ok := deploy.ParseSetID(i, id); !ok {
			continue
		}
		serves := i.Release != 0 && !i.Stopped && (id == i.ProcessID || id == deploy.WorkID(i.ProcessID))
		return serves || i.Operation != 0 || unclear[i.App+"."+i.Name]
	}
	return !strings.Contains(id, ".d") // not an instance's: the edge
}

// observe keeps the state that people see of each instance up to date, until
// ctx ends.
func (n *instances) observe(ctx context.Context) {
	t := time.NewTicker(3 * time.Second)
	defer t.Stop()
	for {
		if err := n.look(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("the state of instances could not be kept", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (n *instances) look(ctx context.Context) error {
	all, err := n.records.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.ProcessID == "" || i.Operation != 0 {
			continue
		}
		state, note := bosman.InstanceStopped, i.Note
		if !i.Stopped {
			st, err := n.sup.Status(ctx, n.handle(i, i.ProcessID))
			if err != nil {
				return err
			}
			state, note = instance.StateOf(st), st.Note
			if why := n.whyLost(i); why != "" {
				state, note = bosman.InstanceFailed, why
			}
		}
		if state == i.State && note == i.Note {
			continue
		}
		if err := n.records.observed(ctx, i, state, note); err != nil {
			return err
		}
	}
	return nil
}

// Remove stops an instance and takes away its route, data and database.
func (n *instances) remove(ctx context.Context, i bosman.Instance, routes *routes) (err error) {
	n.leave(i, true)
	defer func() {
		if err != nil {
			n.leave(i, false)
		}
	}()
	if err := routes.delete(ctx, i); err != nil {
		return err
	}
	running, err := n.Running(ctx, i)
	if err != nil {
		return err
	}
	for _, id := range running {
		if err := n.Stop(ctx, i, id); err != nil {
			return err
		}
	}
	if err := faults.Point("serve.remove.stopped"); err != nil {
		return err
	}
	if err := n.databases.dropAll(ctx, i); err != nil {
		return err
	}
	if err := faults.Point("serve.remove.dropped"); err != nil {
		return err
	}
	if err := os.RemoveAll(instanceDir(n.data, i.App, i.Name)); err != nil {
		return bosman.Unavailable("the files of %s could not all be removed", i.Name).WithNext("try again").Because(err)
	}
	return faults.Point("serve.remove.gone")
}

// runtimeFor is what helm asks of instances.
type runtimeFor struct {
	*instances
	routes *routes
}

// Run runs a command in an instance for a person.
func (r runtimeFor) Run(ctx context.Context, i bosman.Instance, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return r.RunFor(ctx, i, command, stdin, stdout, stderr)
}

// Remove takes an instance away.
func (r runtimeFor) Remove(ctx context.Context, i bosman.Instance) error {
	return r.remove(ctx, i, r.routes)
}

// RemoveApp takes away what is left of an app outside the store; backups stay.
func (r runtimeFor) RemoveApp(ctx context.Context, app string) error {
	if err := bosman.CheckName("app", app); err != nil {
		return err
	}
	if err := r.databases.dropCopies(ctx, app); err != nil {
		return err
	}
	for _, dir := range []string{"releases", "instances", "cache", "builds", "databases", "sqlite"} {
		if err := os.RemoveAll(filepath.Join(r.data, dir, app)); err != nil {
			return bosman.Unavailable("the files of %s could not all be removed", app).WithNext("try again").Because(err)
		}
	}
	return nil
}

// tail keeps the last lines written to it.
type tail struct {
	max  int
	text string
}

// Write keeps the end of what was written.
func (t *tail) Write(p []byte) (int, error) {
	t.text += string(p)
	if lines := strings.SplitAfter(t.text, "\n"); len(lines) > t.max+1 {
		t.text = strings.Join(lines[len(lines)-t.max-1:], "")
	}
	return len(p), nil
}

// String gives the kept lines.
func (t *tail) String() string { return strings.TrimRight(t.text, "\n") }

func lastLine(text, otherwise string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return otherwise
}

func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d KB", (n+1023)>>10)
}
