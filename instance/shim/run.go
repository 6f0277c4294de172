package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/faults"
	"golang.org/x/sys/unix"
)

const (
	crashLoop   = 5                // ends in a row that make a crash loop
	stableAfter = 20 * time.Second // a run this long ends the row
	slowest     = 30 * time.Second // between tries
)

// pause is how long to wait before the start that follows the n-th end in a
// row: the first is at once.
func pause(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(500*time.Millisecond<<min(n-2, 10), slowest)
}

// start starts the process of a slot; s.mu is held.
func (s *shim) start(sl *slot) {
	if sl.p.Socket != "" {
		if err := os.Remove(sl.p.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.diag.Warn("an old socket stays", "path", sl.p.Socket, "err", err)
		}
	}
	r, err := s.launch(sl, nil)
	if err != nil {
		s.record(sl, runtime.Exit{Process: sl.name, Code: -1, Failure: err.Error(), At: time.Now().UTC()})
		s.later(sl)
		return
	}
	sl.run = r
	s.save()
	s.tasks.Go(func() { s.tell(r) })
}

// launch forks the helper that will become the process once tell sent it its
// spec; until then a dying shim takes it along. ready, if not nil, becomes
// BOSMAN_READY_FD. s.mu is held, so that the reaper meets no unknown child.
func (s *shim) launch(sl *slot, ready *os.File) (r *run, err error) {
	sl.gen++
	band, err := s.band(sl.name, sl.gen)
	if err != nil {
		return nil, err
	}
	pipe, err := confine.NewPipe()
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	defer func() { err = errors.Join(err, null.Close()) }()
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + confine.DefaultPath, band.Mark},
		Files: []uintptr{null.Fd(), sl.out.Fd(), sl.out.Fd(), pipe.Theirs().Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	for _, l := range s.listen {
		if err := unix.SetNonblock(l.fd, true); err != nil { // a process before it may have changed that for all
			return nil, errors.Join(err, pipe.Close())
		}
		attr.Files = append(attr.Files, uintptr(l.fd))
	}
	if ready != nil {
		attr.Files = append(attr.Files, ready.Fd())
	}
	if band.Group != nil {
		folder, err := band.Group.Folder()
		if err != nil {
			return nil, errors.Join(err, pipe.Close())
		}
		defer func() { _ = folder.Close() }() // only pointed at
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(folder.Fd())
	}
	child, err := syscall.ForkExec(s.program, []string{"bosman", confine.Subcommand, sl.name}, attr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start a process: %w", err), pipe.Close())
	}
	if err := faults.Point("shim.after-fork"); err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	id, err := pid.Of(child)
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	r = &run{slot: sl, id: id, since: time.Now(), band: band, told: make(chan struct{}), done: make(chan struct{})}
	r.pipe, r.want = pipe, s.wish(sl, band, ready != nil)
	s.runs[child] = r
	if band.Group != nil {
		if err := band.Group.JoinMemory(child); err != nil {
			s.diag.Warn("no memory limit", "process", sl.name, "err", err)
		}
	}
	return r, nil
}

// wish is what a process of the slot is to become.
func (s *shim) wish(sl *slot, band Band, ready bool) confine.Spec {
	c := confine.Spec{
		Tree: s.spec.Tree, Hide: s.spec.Hide, UID: s.spec.UID, GID: s.gid(), OOMScore: s.spec.OOMScore,
		Argv: confine.Argv(sl.p.Run, sl.p.Argv), Listen: len(s.listen), Ready: ready,
	}
	c.Env = append(c.Env, s.spec.Env...)
	if sl.p.Socket != "" {
		c.Env = append(c.Env, "BOSMAN_SOCKET="+sl.p.Socket)
	}
	if sl.p.Port != 0 {
		c.Env = append(c.Env, "PORT="+strconv.Itoa(sl.p.Port))
	}
	c.Env = append(c.Env, "BOSMAN_PROCESS="+sl.name, band.Mark)
	if s.spec.Tree != "" {
		app := filepath.Join(s.spec.RunDir, AppFolder)
		c.Tmp = filepath.Join(s.spec.RunDir, TmpFolder)
		c.Mounts = append(append(c.Mounts, s.spec.Mounts...), runtime.Mount{Source: app, Target: app, Writable: true})
	}
	return c
}

// tell sends a forked helper what to become. Its state is on the disk by now.
func (s *shim) tell(r *run) {
	failure, err := r.pipe.Send(r.want)
	err = errors.Join(err, r.pipe.Close())
	s.mu.Lock()
	r.failure = failure
	r.want = confine.Spec{} // holds secrets
	s.mu.Unlock()
	if failure != "" {
		s.say("%s could not start: %s", r.slot.name, failure)
	}
	if err != nil {
		s.diag.Error("helper", "process", r.slot.name, "err", err)
	}
	close(r.told)
}

// reap is the one place that waits for children: its own and the orphans that
// come to a subreaper.
func (s *shim) reap(quit <-chan struct{}) {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	defer signal.Stop(sig)
	for {
		for {
			var ws unix.WaitStatus
			child, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || child <= 0 {
				break
			}
			s.mu.Lock()
			r := s.runs[child]
			delete(s.runs, child)
			s.mu.Unlock()
			if r != nil {
				s.tasks.Go(func() { s.ended(r, verdict(ws)) })
			}
		}
		select {
		case <-sig:
		case <-quit:
			return
		}
	}
}

func verdict(ws unix.WaitStatus) runtime.Exit {
	if ws.Signaled() {
		return runtime.Exit{Code: -1, Signal: int(ws.Signal())}
	}
	return runtime.Exit{Code: ws.ExitStatus()}
}

// ended clears up after a process and decides what follows.
func (s *shim) ended(r *run, e runtime.Exit) {
	<-r.told
	if err := r.band.Remove(); err != nil {
		s.diag.Error("something of it is left", "process", r.slot.name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(r.done)
	sl := r.slot
	e.Process, e.At = sl.name, time.Now().UTC()
	if r.failure != "" && e.Signal == 0 {
		e = runtime.Exit{Process: e.Process, At: e.At, Code: -1, Failure: r.failure}
	}
	if e.Signal == int(unix.SIGKILL) && s.group != nil {
		if n := s.group.OOMKills(); n > s.oomSeen {
			s.oomSeen, e.OOM = n, true
		}
	}
	if sl.run == r {
		sl.run = nil
	}
	if r.planned {
		if !e.OK() && e.Signal != int(unix.SIGTERM) {
			s.say("%s: %s", sl.name, e)
		}
		s.save()
		return
	}
	if time.Since(r.since) >= stableAfter {
		sl.fails = 0
	}
	s.record(sl, e)
	s.save()
	if sl.run == nil && !sl.held {
		s.later(sl)
	}
}

// record remembers an end that nobody asked for.
func (s *shim) record(sl *slot, e runtime.Exit) {
	sl.fails++
	sl.last = &e
	s.exits = append(s.exits, e)
	s.exits = s.exits[max(0, len(s.exits)-keptExits):]
	s.say("%s: %s", sl.name, e)
	if sl.fails == crashLoop {
		s.say("%s ended %d times in a row; it is tried again every %s at most", sl.name, sl.fails, slowest)
	}
}

// later starts a slot again after a pause that grows.
func (s *shim) later(sl *slot) {
	if s.stopping {
		return
	}
	sl.restarts++
	wait := pause(sl.fails)
	if wait == 0 {
		s.start(sl)
		return
	}
	sl.timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.stopping && sl.run == nil && !sl.held {
			s.start(sl)
		}
	})
}
