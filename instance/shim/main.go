package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/runtime"
	"golang.org/x/sys/unix"
)

// stageEnv tells the second stage, the shim proper, from the first, which
// only detaches it from whoever called.
const stageEnv = "BOSMAN_SHIM_STAGE"

// AlreadyKept is the report of a shim that found another one at work.
const AlreadyKept = "already kept"

// Ready is the report of a shim that keeps its processes.
const Ready = "ready"

const reportFD = 3

// Main is the hidden subcommand `shim ID`. It reads a runtime.Spec as JSON
// from standard input and reports on fd 3: Ready, AlreadyKept, or why it
// cannot. The shim itself runs on in a session of its own.
func Main() int {
	if os.Getenv(stageEnv) == "" {
		return detach()
	}
	unix.CloseOnExec(reportFD)
	report := os.NewFile(reportFD, "report")
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE, unix.SIGHUP, unix.SIGINT) // not for us; ignoring them would be inherited
	unix.Umask(0o077)
	debug.SetGCPercent(50)
	diag := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := keep(report, diag)
	if err != nil {
		diag.Error("the shim ends", "err", err)
		return 1
	}
	return 0
}

// detach starts the second stage in a new session and leaves it to init.
func detach() int {
	env := append(os.Environ(), stageEnv+"=2")
	_, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{0, 1, 2, reportFD}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 1
	}
	return 0
}

// keep is the life of a shim.
func keep(report *os.File, diag *slog.Logger) (err error) {
	say := func(word string) {
		_, _ = io.WriteString(report, word) // whoever asked may be gone; we go on
		_ = report.Close()                  // likewise
	}
	defer func() {
		if err != nil {
			say(err.Error())
		}
	}()
	var spec runtime.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("no spec came: %w", err)
	}
	if err := spec.Check(); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(spec.RunDir, LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		say(AlreadyKept)
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	if g, err := cgroup.Open("shims"); err == nil { // out of serve's own group, which may be killed as a whole
		if err := g.Join(os.Getpid()); err != nil {
			diag.Warn("stays in the group of its parent", "err", err)
		}
	}
	old, err := readStateIfAny(spec.RunDir)
	if err != nil {
		return err
	}
	if old.ID != "" && old.ID != spec.ID {
		if len(old.Alive()) > 0 {
			return fmt.Errorf("its folder is used by %s, which still runs", old.ID)
		}
		old = State{}
	}
	s, err := newShim(spec, diag)
	if err != nil {
		return err
	}
	quit := make(chan struct{})
	go func() { // ends with us: keep waits for it through quit
		s.reap(quit)
		close(quit)
	}()
	l, err := s.listenOn(filepath.Join(spec.RunDir, SocketFile))
	if err != nil {
		return err
	}
	if err := s.begin(old); err != nil {
		s.stop(time.Second)
		return errors.Join(err, l.Close())
	}
	say(Ready)
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	served := make(chan struct{})
	go func() { defer close(served); s.serve(l) }()
	select {
	case <-term:
		s.stop(0)
	case <-s.stopped:
	}
	err = l.Close() // also removes the socket; answers under way are still written
	<-served
	s.tasks.Wait()
	quit <- struct{}{}
	<-quit
	return errors.Join(err, s.log.Close())
}

func (s *shim) listenOn(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(context.Background(), "unix", path) // umask makes it 0600
}

func (s *shim) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors left: wait for some
			s.diag.Error("accept", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.tasks.Go(func() {
			s.answer(conn)
			_ = conn.Close() // answered, or the asker is gone
		})
	}
}

func (s *shim) answer(conn net.Conn) {
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return
	}
	var req Request
	res := Response{V: Version}
	if err := json.NewDecoder(io.LimitReader(conn, 4<<20)).Decode(&req); err != nil {
		return
	}
	if err := s.do(req); err != nil {
		e := bosman.AsError(err)
		res.Error = &Fault{Kind: e.Kind, Message: e.Message, Next: e.Next}
		if e.Cause != nil {
			res.Error.Message += ": " + e.Cause.Error()
		}
		if e.Kept != "" {
			res.Error.Message += "; " + e.Kept
		}
	}
	st := s.status()
	res.Status = &st
	if err := conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return
	}
	_ = json.NewEncoder(conn).Encode(res) // nobody else to tell
}

func (s *shim) do(req Request) error {
	if req.V > Version {
		return bosman.Unavailable("this keeper speaks version %d of the protocol, not %d", Version, req.V).
			WithNext("restart the instance")
	}
	switch req.Verb {
	case VerbStatus:
		return nil
	case VerbStop:
		s.stop(req.Timeout)
		return nil
	case VerbSignal:
		return s.signal(req.Process, unix.Signal(req.Signal))
	case VerbRestart:
		return s.restart(req.Process, req.Timeout)
	case VerbReopen:
		s.log.Reopen()
		return nil
	case VerbUpgrade:
		return s.upgrade(context.Background(), req.Process, req.Spec, req.Timeout)
	default:
		return bosman.Invalid("this keeper does not know %q", req.Verb)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// buildVersion is the commit this program was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return bosman.Short(s.Value)
		}
	}
	return info.Main.Version
}
