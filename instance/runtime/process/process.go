// Package process runs process sets as plain processes of this host: each is
// kept by a shim (package shim) and confined (package confine). It must not
// know releases, deployments or the store.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Options configure a Driver.
type Options struct {
	Program string // our own program, which dispatches shim.Subcommand and confine.Subcommand; "" means the running one
	RunGlob string // matches the RunDirs of all process sets, for List: DATA/instances/*/*/run/*
}

// Driver is a runtime.Runtime, Execer and Lister.
type Driver struct{ opt Options }

// New makes a driver. Several may share a host and even process sets.
func New(o Options) (*Driver, error) {
	if o.Program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Program = self
	}
	return &Driver{opt: o}, nil
}

const (
	statusWait = 3 * time.Second  // for an answer that needs no waiting
	startWait  = 20 * time.Second // for a shim to report
)

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, s runtime.Spec) (runtime.Handle, error) {
	if err := s.Check(); err != nil {
		return runtime.Handle{}, err
	}
	h := s.Handle()
	if kept, err := d.kept(ctx, h); kept || err != nil {
		return h, err
	}
	for _, dir := range []string{s.RunDir, s.LogDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return h, bosman.Unavailable("cannot make the folder %s", dir).Because(err)
		}
	}
	for try := 0; ; try++ {
		word, err := d.spawn(ctx, s)
		switch {
		case err != nil:
			return h, err
		case word == shim.Ready:
			return h, nil
		case word != shim.AlreadyKept:
			return h, bosman.Failed("the processes of %s could not be started: %s", s.ID, word)
		}
		if kept, err := d.kept(ctx, h); kept || err != nil {
			return h, err // somebody else started it meanwhile
		}
		if try == 20 {
			return h, bosman.Unavailable("the keeper of %s neither answers nor ends", s.ID).
				WithNext("see " + filepath.Join(s.RunDir, shim.ErrorFile))
		}
		select { // one is on its way out, or in
		case <-ctx.Done():
			return h, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// other says that the RunDir is at work for another process set.
func other(h runtime.Handle, id string) *bosman.Error {
	return bosman.Conflict("the folder of %s is used by %s", h.ID, id).WithKept(id + " goes on").WithNext("stop " + id + " first")
}

// kept says whether a shim keeps the process set. One that is dying may still
// take a connection, so it is asked; one that hangs is an error; one that
// stops its processes is waited for.
func (d *Driver) kept(ctx context.Context, h runtime.Handle) (bool, error) {
	for try := 0; ; try++ {
		res, err := call(ctx, h)
		switch {
		case bosman.KindOf(err) == bosman.KindNotFound:
			return false, nil
		case err != nil:
			return false, err
		case res.Status == nil || res.Status.State != runtime.StateStopped:
			if res.Status != nil && res.Status.ID != h.ID {
				return false, other(h, res.Status.ID)
			}
			return true, nil
		case try == 1200:
			return false, bosman.Busy("%s is still being stopped", h.ID).WithNext("start it again later")
		}
		select { // it is being stopped: start it afterwards
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// own is call for those who mean this very process set: another one in the
// same folder counts as none.
func own(ctx context.Context, h runtime.Handle) (shim.Response, error) {
	res, err := call(ctx, h)
	if err == nil && res.Status != nil && res.Status.ID != h.ID {
		return shim.Response{}, bosman.NotFound("nobody keeps the processes of %s", h.ID)
	}
	return res, err
}

// ownState is what the last shim of this very process set wrote down.
func ownState(h runtime.Handle) (shim.State, error) {
	st, err := shim.ReadState(h.RunDir)
	if err == nil && st.ID != h.ID {
		return shim.State{}, fs.ErrNotExist
	}
	return st, err
}

// call asks for the status. An answer that breaks off is asked for again: the
// shim may be on its way out.
func call(ctx context.Context, h runtime.Handle) (res shim.Response, err error) {
	for range 4 {
		res, err = shim.Call(ctx, h.RunDir, shim.Request{Verb: shim.VerbStatus}, statusWait)
		var n net.Error
		if bosman.KindOf(err) != bosman.KindUnavailable || (errors.As(err, &n) && n.Timeout()) {
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return res, err
}

// spawn starts a shim and waits for its report.
func (d *Driver) spawn(ctx context.Context, s runtime.Spec) (word string, err error) {
	errlog, err := os.OpenFile(filepath.Join(s.RunDir, shim.ErrorFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", bosman.Unavailable("cannot start the keeper of %s", s.ID).Because(err)
	}
	defer func() { err = errors.Join(err, errlog.Close()) }()
	report, theirs, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, report.Close()) }()
	spec, ours, err := os.Pipe()
	if err != nil {
		return "", errors.Join(err, theirs.Close())
	}
	cmd := exec.CommandContext(ctx, d.opt.Program, shim.Subcommand, s.ID)
	cmd.Dir, cmd.Env = "/", environment()
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = spec, errlog, []*os.File{theirs}
	err = cmd.Start()
	err = errors.Join(err, spec.Close(), theirs.Close())
	if err != nil {
		return "", errors.Join(bosman.Unavailable("cannot start the keeper of %s", s.ID).Because(err), ours.Close())
	}
	err = cmd.Wait() // the first stage only detaches the second
	if err == nil {
		err = faults.Point("process.after-spawn")
	}
	if err == nil {
		err = ours.SetWriteDeadline(time.Now().Add(startWait))
	}
	if err == nil {
		err = json.NewEncoder(ours).Encode(s)
	}
	if err = errors.Join(err, ours.Close()); err != nil && ctx.Err() == nil {
		err = bosman.Unavailable("the keeper of %s did not take its orders", s.ID).Because(err)
	}
	if err == nil {
		err = report.SetReadDeadline(time.Now().Add(startWait))
	}
	if err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := io.ReadAll(report)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil || len(b) == 0 {
		return "", bosman.Unavailable("the keeper of %s did not report", s.ID).Because(err).
			WithNext("see " + filepath.Join(s.RunDir, shim.ErrorFile))
	}
	return string(b), nil
}

// environment is what our helpers get of ours: no secrets.
func environment() []string {
	env := []string{"PATH=" + confine.DefaultPath, "GOMAXPROCS=2"}
	for _, name := range []string{faults.Env, faults.Env + "_ONCE", "GOCOVERDIR", "GORACE"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// Adopt implements runtime.Runtime: the shim, if alive, needs nothing of us.
func (d *Driver) Adopt(ctx context.Context, h runtime.Handle) error {
	_, err := own(ctx, h)
	if bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	st, serr := ownState(h)
	if serr != nil || st.Stopped {
		return err
	}
	return bosman.Unavailable("the keeper of %s is gone; %d of its processes go on unwatched", h.ID, len(st.Alive())).
		WithNext("start it again: what runs is taken over")
}

// Status implements runtime.Runtime.
func (d *Driver) Status(ctx context.Context, h runtime.Handle) (runtime.Status, error) {
	res, err := own(ctx, h)
	if err == nil && res.Status != nil {
		return *res.Status, nil
	}
	if ctx.Err() != nil {
		return runtime.Status{}, ctx.Err()
	}
	if bosman.KindOf(err) != bosman.KindNotFound {
		return runtime.Status{ID: h.ID, State: runtime.StateUnknown, Note: bosman.AsError(err).Message}, nil
	}
	st, err := ownState(h)
	if errors.Is(err, fs.ErrNotExist) {
		return runtime.Status{ID: h.ID, State: runtime.StateGone}, nil
	}
	if err != nil {
		return runtime.Status{ID: h.ID, State: runtime.StateUnknown, Note: err.Error()}, nil
	}
	return remains(h, st), nil
}

// remains tells what a shim that is gone left behind.
func remains(h runtime.Handle, st shim.State) runtime.Status {
	out := runtime.Status{ID: h.ID, State: runtime.StateStopped, Since: st.At}
	for _, sl := range st.Slots {
		ps := runtime.ProcessStatus{Name: sl.Name, State: runtime.StateStopped, Restarts: sl.Restarts}
		for i, e := range st.Exits {
			if e.Process == sl.Name {
				ps.Last = &st.Exits[i]
			}
		}
		if sl.Run.Alive() {
			ps.PID, ps.Since, ps.State = sl.Run.PID, sl.Since, runtime.StateRunning
			out.State = runtime.StateUnwatched
		}
		out.Processes = append(out.Processes, ps)
	}
	switch {
	case out.State == runtime.StateUnwatched:
		out.Note = "its keeper is gone; nothing restarts its processes until it is started again"
	case !st.Stopped:
		out.Note = "it ended with its keeper, for example when the machine was restarted"
	}
	return out
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, h runtime.Handle, limit time.Duration) error {
	wait := limit + 30*time.Second
	if limit <= 0 {
		wait = 15 * time.Minute
	}
	_, err := own(ctx, h)
	if err == nil {
		_, err = shim.Call(ctx, h.RunDir, shim.Request{Verb: shim.VerbStop, Timeout: limit}, wait)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return awaitEnd(ctx, h.RunDir)
	}
	if bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	return d.stopUnwatched(ctx, h, limit)
}

// awaitEnd waits until a shim that has stopped everything has gone itself.
func awaitEnd(ctx context.Context, runDir string) error {
	for end := time.Now().Add(10 * time.Second); ; {
		st, err := shim.ReadState(runDir)
		if err != nil || !st.Shim.Alive() {
			return nil // it is over either way
		}
		if time.Now().After(end) {
			return bosman.Unavailable("the keeper of %s stopped its processes but does not end", st.ID)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stopUnwatched ends what a dead shim left: a new one cannot be had without
// the spec, so it is done from here.
func (d *Driver) stopUnwatched(ctx context.Context, h runtime.Handle, limit time.Duration) error {
	st, err := ownState(h)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return bosman.Unavailable("cannot read what runs of %s", h.ID).Because(err)
	}
	if st.Stopped {
		return nil
	}
	if limit <= 0 {
		limit = bosman.DefaultStopTimeout
	}
	return shim.StopRemains(ctx, h.RunDir, st, limit)
}

// List implements runtime.Lister.
func (d *Driver) List(context.Context) ([]runtime.Handle, error) {
	dirs, err := filepath.Glob(filepath.Join(d.opt.RunGlob, shim.StateFile))
	if err != nil {
		return nil, err
	}
	var out []runtime.Handle
	for _, f := range dirs {
		st, err := shim.ReadState(filepath.Dir(f))
		if err != nil {
			return nil, bosman.Unavailable("cannot read %s", f).Because(err)
		}
		out = append(out, runtime.Handle{ID: st.ID, RunDir: filepath.Dir(f)})
	}
	return out, nil
}

// Restart ends and starts the named process ("" for all), copy by copy.
func (d *Driver) Restart(ctx context.Context, h runtime.Handle, process string, limit time.Duration) error {
	_, err := shim.Call(ctx, h.RunDir, shim.Request{Verb: shim.VerbRestart, Process: process, Timeout: limit}, 15*time.Minute)
	return err
}

// Signal sends a signal to the named process ("" for all).
func (d *Driver) Signal(ctx context.Context, h runtime.Handle, process string, signal int) error {
	_, err := shim.Call(ctx, h.RunDir, shim.Request{Verb: shim.VerbSignal, Process: process, Signal: signal}, statusWait)
	return err
}

// Upgrade starts a second copy of the named process on the sockets of
// Spec.Listen, waits at most limit until it writes to, or closes,
// BOSMAN_READY_FD, then ends the first. If it does not get ready the first
// goes on. s says how the new one is to run (a new program, say).
func (d *Driver) Upgrade(ctx context.Context, s runtime.Spec, process string, limit time.Duration) error {
	_, err := shim.Call(ctx, s.RunDir, shim.Request{Verb: shim.VerbUpgrade, Process: process, Timeout: limit, Spec: &s}, limit+30*time.Second)
	return err
}

// Lacking says in words what this host does not give; nil when all is there.
func (d *Driver) Lacking() []string {
	out := confine.Lacking(d.opt.Program)
	g, err := cgroup.Open(fmt.Sprintf("probe-%d", os.Getpid()))
	if err == nil {
		err = g.Remove()
	}
	if err != nil {
		out = append(out, "there are no control groups to be used ("+err.Error()+"): memory is not limited, and what an application leaves behind is found by its environment only")
	}
	return out
}

// Forget removes the RunDir of a process set that has stopped.
func (d *Driver) Forget(h runtime.Handle) error {
	st, err := ownState(h)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if shim.Probe(h.RunDir) || len(st.Alive()) > 0 {
		return bosman.Conflict("%s still runs", h.ID)
	}
	return os.RemoveAll(h.RunDir)
}

// ensure the promises
var (
	_ runtime.Runtime = (*Driver)(nil)
	_ runtime.Execer  = (*Driver)(nil)
	_ runtime.Lister  = (*Driver)(nil)
)

func label(s string) string {
	if s == "" {
		return "run-" + fmt.Sprint(time.Now().UnixNano())
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, s)
}
