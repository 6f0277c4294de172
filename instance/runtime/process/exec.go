package process

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/shim"
	"golang.org/x/sys/unix"
)

// Exec implements runtime.Execer. When ctx ends, the command gets TERM and
// Grace to end. Nothing it started outlives it. A command of the same label
// that an earlier Bosman, killed meanwhile, left running is killed first, so
// that no two migrations run at once.
func (d *Driver) Exec(ctx context.Context, s runtime.Spec, c runtime.Command) (exit runtime.Exit, err error) {
	if (c.Shell == "") == (len(c.Argv) == 0) {
		return exit, bosman.Invalid("a command needs either a shell line or a program")
	}
	name := shim.GroupName(s.ID, s.RunDir) + ".exec-" + label(c.Label)
	band := shim.Band{Mark: shim.MarkEnv + "=" + name + "/"}
	for fresh := range 2 { // the second time: a group that was never killed, or the kernel kills what is born in it
		band.Group, err = cgroup.Open(name)
		if err != nil && !errors.Is(err, cgroup.ErrNone) {
			return exit, bosman.Unavailable("cannot prepare a place for the command").Because(err)
		}
		if fresh == 1 {
			break
		}
		if err := band.Remove(); err != nil {
			return exit, bosman.Busy("an earlier run of this command cannot be ended").Because(err)
		}
	}
	defer func() { err = errors.Join(err, band.Remove()) }()
	if band.Group != nil && s.MemoryMax > 0 {
		_ = band.Group.LimitMemory(s.MemoryMax) // where there is none, Lacking says so
	}
	return d.exec(ctx, s, c, band)
}

func (d *Driver) exec(ctx context.Context, s runtime.Spec, c runtime.Command, band shim.Band) (exit runtime.Exit, err error) {
	tmp := filepath.Join(s.RunDir, shim.TmpFolder)
	app := filepath.Join(s.RunDir, shim.AppFolder)
	for _, dir := range []string{tmp, app} {
		if err := ownFolder(dir, s); err != nil {
			return exit, bosman.Unavailable("cannot prepare the folders of %s", s.ID).Because(err)
		}
	}
	pipe, err := confine.NewPipe()
	if err != nil {
		return exit, bosman.Unavailable("cannot start a command").Because(err)
	}
	defer func() { err = errors.Join(err, pipe.Close()) }()
	want := confine.Spec{
		Tree: s.Tree, Hide: s.Hide, UID: s.UID, GID: s.GID, OOMScore: s.OOMScore, Argv: confine.Argv(c.Shell, c.Argv),
	}
	if s.Tree != "" {
		want.Tmp = tmp
		want.Mounts = append(append(want.Mounts, s.Mounts...), runtime.Mount{Source: app, Target: app, Writable: true})
	}
	want.Env = append(append(append(want.Env, s.Env...), c.Env...), band.Mark)

	cmd := exec.Command(d.opt.Program, confine.Subcommand, label(c.Label))
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + confine.DefaultPath, band.Mark}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.ExtraFiles = []*os.File{pipe.Theirs()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = 2 * time.Second // for a background child that holds the output open
	if band.Group != nil {
		folder, err := band.Group.Folder()
		if err != nil {
			return exit, bosman.Unavailable("cannot start a command").Because(err)
		}
		defer func() { _ = folder.Close() }() // only pointed at
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(folder.Fd())
	}
	oom := 0
	if band.Group != nil {
		oom = band.Group.OOMKills()
	}
	outside, err := startCommand(cmd, c.Closed)
	if err != nil {
		return exit, bosman.Unavailable("cannot start a command").Because(err)
	}
	if outside != nil {
		defer func() {
			var oerr error
			c.Closed.Outside, oerr = outside.end()
			err = errors.Join(err, oerr)
		}()
	}
	if band.Group != nil {
		if err := band.Group.JoinMemory(cmd.Process.Pid); err != nil {
			return exit, errors.Join(bosman.Unavailable("cannot limit the memory of a command").Because(err), band.Kill(), waited(cmd.Wait()))
		}
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() { defer close(watched); d.limit(ctx, c, cmd.Process, band, ended) }()
	failure, serr := pipe.Send(want)
	werr := cmd.Wait()
	close(ended)
	<-watched
	if serr != nil {
		return exit, bosman.Unavailable("cannot start a command").Because(serr)
	}
	return result(cmd, failure, werr, band, oom)
}

func result(cmd *exec.Cmd, failure string, werr error, band shim.Band, oom int) (runtime.Exit, error) {
	exit := runtime.Exit{At: time.Now().UTC(), Failure: failure}
	if failure != "" {
		exit.Code = -1
		return exit, bosman.Unavailable("the command could not start: %s", failure)
	}
	if err := waited(werr); err != nil {
		return exit, bosman.Unavailable("the command ran, but its output could not be taken").Because(err)
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		exit.Code, exit.Signal = -1, int(ws.Signal())
		exit.OOM = exit.Signal == int(unix.SIGKILL) && band.Group != nil && band.Group.OOMKills() > oom
		return exit, nil
	}
	exit.Code = cmd.ProcessState.ExitCode()
	return exit, nil
}

// waited leaves what is no failure of ours: how the command ended, a reader
// of its output that left, a child that kept its output open.
func waited(err error) error {
	var ended *exec.ExitError
	if errors.As(err, &ended) || errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// limit ends the command when ctx ends before it.
func (d *Driver) limit(ctx context.Context, c runtime.Command, p *os.Process, band shim.Band, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	shim.Term(p.Pid)
	grace := c.Grace
	if grace <= 0 {
		grace = 10 * time.Second
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = band.Kill() // Exec kills and reports again when it removes the band
	}
}

func ownFolder(dir string, s runtime.Spec) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if s.UID == 0 || os.Geteuid() != 0 {
		return nil
	}
	gid := s.GID
	if gid == 0 {
		gid = s.UID
	}
	return os.Lchown(dir, s.UID, gid)
}
