package shim

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/runtime"
	"golang.org/x/sys/unix"
)

// term asks a process to end: the main process and, if that is a shell, which
// does not pass signals on, what the shell runs.
func (r *run) term(sig unix.Signal) error {
	targets := []pid.ID{r.id}
	if isShell(r.id.PID) {
		for _, kid := range pid.Children(r.id.PID) {
			if id, err := pid.Of(kid); err == nil {
				targets = append(targets, id)
			}
		}
	}
	var errs []error
	for _, id := range targets {
		if err := id.Signal(sig); err != nil && !errors.Is(err, pid.ErrGone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func isShell(p int) bool {
	exe, err := os.Readlink("/proc/" + itoa(p) + "/exe")
	if err != nil {
		return false
	}
	switch filepath.Base(exe) {
	case "dash", "bash", "sh", "busybox", "zsh", "ksh":
		return true
	}
	return false
}

// finish ends one run: TERM, patience, then everything of it is killed.
func (s *shim) finish(r *run, patience time.Duration) {
	s.mu.Lock()
	r.planned = true
	s.mu.Unlock()
	<-r.told
	if err := r.term(unix.SIGTERM); err != nil {
		s.diag.Warn("TERM", "process", r.slot.name, "err", err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.done:
		return
	case <-timer.C:
	}
	s.say("%s did not end within %s and is killed", r.slot.name, patience)
	if err := r.band.Kill(); err != nil {
		s.diag.Error("kill", "process", r.slot.name, "err", err)
	}
	<-r.done
}

func patience(p runtime.Process, limit time.Duration) time.Duration {
	if limit > 0 {
		return limit
	}
	return p.Patience()
}

// stop ends all processes side by side and leaves nothing of the set. Every
// caller returns when that is done.
func (s *shim) stop(limit time.Duration) {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		<-s.stopped
		return
	}
	s.stopping = true
	var running []*run
	for _, sl := range s.slots {
		if sl.timer != nil {
			sl.timer.Stop()
		}
		if sl.run != nil {
			running = append(running, sl.run)
		}
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	for _, r := range running {
		s.tasks.Go(func() {
			s.finish(r, patience(r.slot.p, limit))
			ended <- struct{}{}
		})
	}
	for range running {
		<-ended
	}
	if err := s.sweep(); err != nil {
		s.diag.Error("something is left", "err", err)
	}
	s.mu.Lock()
	s.gone = true
	s.save()
	s.mu.Unlock()
	close(s.stopped)
}

// sweep leaves no process, group, socket or FIFO.
func (s *shim) sweep() error {
	err := (Band{Group: s.group, Mark: s.mark()}).Remove()
	for _, sl := range s.slots {
		err = errors.Join(err, sl.out.Close(), os.Remove(filepath.Join(s.spec.RunDir, "out."+sl.name)))
	}
	for _, l := range s.listen {
		err = errors.Join(err, unix.Close(l.fd))
		if path, ok := strings.CutPrefix(l.addr, "unix:"); ok {
			err = errors.Join(err, os.Remove(path))
		}
	}
	for _, name := range []string{AppFolder, TmpFolder} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.spec.RunDir, name)))
	}
	return err
}

// restart ends and starts the named process (all for ""), copy by copy.
func (s *shim) restart(process string, limit time.Duration) error {
	slots := s.find(process)
	if len(slots) == 0 {
		return bosman.NotFound("there is no process %s", process)
	}
	for _, sl := range slots {
		s.mu.Lock()
		if s.stopping || sl.held {
			s.mu.Unlock()
			return bosman.Busy("%s is being stopped or restarted already", sl.name)
		}
		sl.held = true
		if sl.timer != nil {
			sl.timer.Stop()
		}
		r := sl.run
		s.mu.Unlock()
		if r != nil {
			s.finish(r, patience(sl.p, limit))
		}
		s.mu.Lock()
		sl.held = false
		sl.fails = 0
		if !s.stopping {
			sl.restarts++
			s.start(sl)
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *shim) find(process string) []*slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*slot
	for _, sl := range s.slots {
		if process == "" || sl.p.Name == process || sl.name == process {
			out = append(out, sl)
		}
	}
	return out
}

func (s *shim) signal(process string, sig unix.Signal) error {
	slots := s.find(process)
	if len(slots) == 0 {
		return bosman.NotFound("there is no process %s", process)
	}
	for _, sl := range slots {
		s.mu.Lock()
		r := sl.run
		s.mu.Unlock()
		if r == nil {
			return bosman.Conflict("%s does not run now", sl.name)
		}
		if err := r.term(sig); err != nil {
			return bosman.Unavailable("%s cannot be signalled", sl.name).Because(err)
		}
	}
	return nil
}

// upgrade starts a second copy of a process on the same listening sockets,
// waits until it says that it is ready, then ends the first.
func (s *shim) upgrade(ctx context.Context, process string, spec *runtime.Spec, limit time.Duration) error {
	s.mu.Lock()
	if len(s.listen) == 0 {
		s.mu.Unlock()
		return bosman.Invalid("%s has no sockets of ours to hand on", s.spec.ID)
	}
	before := s.spec
	if spec != nil {
		if err := s.change(spec); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	slots := s.find(process)
	if len(slots) == 0 {
		return bosman.NotFound("there is no process %s", process)
	}
	for _, sl := range slots {
		if err := s.relay(ctx, sl, limit); err != nil {
			s.mu.Lock()
			s.adoptSpec(before)
			s.mu.Unlock()
			return bosman.Failed("the new %s did not become ready: %s", sl.name, err).WithKept("the old one goes on")
		}
	}
	return nil
}

// change takes over what an upgrade may change; s.mu is held.
func (s *shim) change(spec *runtime.Spec) error {
	if err := spec.Check(); err != nil {
		return err
	}
	same := spec.ID == s.spec.ID && spec.RunDir == s.spec.RunDir && len(spec.Processes) == len(s.spec.Processes) &&
		strings.Join(spec.Listen, " ") == strings.Join(s.spec.Listen, " ")
	for i := range s.spec.Processes {
		same = same && spec.Processes[i].Name == s.spec.Processes[i].Name && spec.Processes[i].Copies() == s.spec.Processes[i].Copies()
	}
	if !same {
		return bosman.Invalid("an upgrade keeps the ID, the sockets and the names of the processes")
	}
	s.adoptSpec(*spec)
	return nil
}

func (s *shim) adoptSpec(spec runtime.Spec) {
	s.spec = spec
	for _, sl := range s.slots {
		for _, p := range spec.Processes {
			if p.Name == sl.p.Name {
				sl.p = p
			}
		}
	}
}

func (s *shim) relay(ctx context.Context, sl *slot, limit time.Duration) error {
	if limit <= 0 {
		limit = 30 * time.Second
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ours.Close() }() // it only carries the word
	s.mu.Lock()
	if s.stopping || sl.held {
		s.mu.Unlock()
		return errors.Join(bosman.Busy("%s is being stopped or restarted already", sl.name), theirs.Close())
	}
	sl.held = true
	next, err := s.launch(sl, theirs)
	if next != nil {
		next.planned = true // until it takes over, its end is no crash of the slot
	}
	s.mu.Unlock()
	if cerr := theirs.Close(); err == nil {
		err = cerr
	}
	if next != nil {
		s.tasks.Go(func() { s.tell(next) })
		if err == nil {
			err = s.awaitReady(ctx, next, ours, limit)
		}
	}
	s.mu.Lock()
	sl.held = false
	if err == nil && next.ended() {
		err = errors.New("it ended as soon as it was ready")
	}
	if err != nil {
		if sl.run == nil && !s.stopping {
			s.later(sl) // the old one died meanwhile
		}
		s.mu.Unlock()
		if next != nil {
			s.finish(next, time.Second)
		}
		return err
	}
	old := sl.run
	sl.run, sl.fails, next.planned = next, 0, false
	s.save()
	s.mu.Unlock()
	if old != nil {
		s.tasks.Go(func() { s.finish(old, old.slot.p.Patience()) })
	}
	return nil
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// awaitReady waits for a byte or the closing of the ready descriptor.
func (s *shim) awaitReady(ctx context.Context, r *run, f *os.File, limit time.Duration) error {
	<-r.told
	if err := f.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := f.Read(make([]byte, 1))
	if n == 1 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		select { // closed on purpose, or because it died
		case <-r.done:
		case <-time.After(100 * time.Millisecond):
			if r.id.Alive() {
				return nil
			}
		}
		return errors.New("it ended")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it did not say so within " + limit.String())
	}
	return err
}
