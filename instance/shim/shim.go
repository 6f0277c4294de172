package shim

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/logfile"
	"golang.org/x/sys/unix"
)

type shim struct {
	self    pid.ID
	program string // ourselves, also when the file was replaced
	log     *logfile.Writer
	diag    *slog.Logger  // for operators: RunDir/shim.err
	group   *cgroup.Group // nil where there is none
	listen  []socket
	adopted bool
	since   time.Time
	lacking []string
	stopped chan struct{} // closed when all is stopped
	tasks   sync.WaitGroup

	mu       sync.Mutex
	spec     runtime.Spec // Env and Processes change with an upgrade
	slots    []*slot
	runs     map[int]*run // our children by pid
	exits    []runtime.Exit
	oomSeen  int
	stopping bool
	gone     bool
	unsaved  error
}

// slot is one copy of one process; run is the process in it.
type slot struct {
	name     string
	p        runtime.Process
	gen      int
	run      *run // nil while it is down
	held     bool // somebody stops or starts it on purpose
	fails    int  // unplanned ends since it last ran well
	restarts int
	last     *runtime.Exit
	timer    *time.Timer
	out      *os.File // the write end of its FIFO, given to each run
}

type run struct {
	slot    *slot
	id      pid.ID
	since   time.Time
	band    Band
	planned bool          // its end is wanted
	failure string        // why it could not become its command
	pipe    *confine.Pipe // to the helper
	want    confine.Spec  // what it is to become
	told    chan struct{} // closed when the helper became the command, or failed to
	done    chan struct{} // closed when it has ended and nothing of it is left
}

// newShim prepares everything up to, and without, the first process.
func newShim(spec runtime.Spec, diag *slog.Logger) (*shim, error) {
	self, err := pid.Of(os.Getpid())
	if err != nil {
		return nil, err
	}
	s := &shim{
		self: self, program: "/proc/self/exe", diag: diag, spec: spec, since: time.Now(),
		runs: map[int]*run{}, stopped: make(chan struct{}),
		log: logfile.New(spec.LogFile(), logfile.Options{MaxSize: runtime.LogSize, Keep: runtime.LogKeep}),
	}
	if os.Geteuid() != 0 {
		s.lacking = append(s.lacking, "no isolation: Bosman does not run as root")
	}
	s.group, err = cgroup.Open(GroupName(spec.ID, spec.RunDir))
	switch {
	case errors.Is(err, cgroup.ErrNone):
		s.lacking = append(s.lacking, "no control group: "+err.Error())
	case err != nil:
		return nil, err
	case spec.MemoryMax > 0:
		if err := s.group.LimitMemory(spec.MemoryMax); err != nil {
			s.lacking = append(s.lacking, "no memory limit: "+err.Error())
		}
	}
	if s.group != nil {
		s.oomSeen = s.group.OOMKills()
	}
	if err := s.folders(); err != nil {
		return nil, err
	}
	for _, p := range spec.Processes {
		for i := range p.Copies() {
			sl := &slot{name: fmt.Sprintf("%s.%d", p.Name, i+1), p: p}
			if err := s.plumb(sl); err != nil {
				return nil, err
			}
			s.slots = append(s.slots, sl)
		}
	}
	return s, nil
}

// folders makes those that belong to the processes.
func (s *shim) folders() error {
	for _, name := range []string{AppFolder, TmpFolder} {
		dir := filepath.Join(s.spec.RunDir, name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		if s.owned() {
			if err := os.Lchown(dir, s.spec.UID, s.gid()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shim) owned() bool { return s.spec.UID > 0 && os.Geteuid() == 0 }

func (s *shim) gid() int {
	if s.spec.GID > 0 {
		return s.spec.GID
	}
	return s.spec.UID
}

// plumb makes the FIFO that takes the output of a slot and pumps it into the
// log. The processes hold it open for reading too, so that no output breaks
// when this shim dies.
func (s *shim) plumb(sl *slot) error {
	path := filepath.Join(s.spec.RunDir, "out."+sl.name)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	if s.owned() {
		if err := os.Lchown(path, s.spec.UID, s.gid()); err != nil {
			return err
		}
	}
	in, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	sl.out = os.NewFile(uintptr(fd), path)
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1<<20) // more room while no shim lives; less also works
	s.tasks.Go(func() {
		stream := s.log.Stream(sl.name)
		if _, err := io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{in}, make([]byte, 64<<10)); err != nil {
			s.diag.Error("output is lost", "process", sl.name, "err", err)
		}
		_ = stream.Close() // a line that cannot be written is counted
		_ = in.Close()     // read to its end
	})
	return nil
}

// say puts a line of our own into the instance's log.
func (s *shim) say(format string, args ...any) {
	_ = s.log.Line("bosman", fmt.Sprintf(format, args...)) // counted by the writer
}

// begin takes over what survives of an earlier shim and starts the rest.
func (s *shim) begin(old State) error {
	listen, err := openListen(s.spec.Listen, old)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listen = listen
	s.exits = old.Exits
	if err := s.adopt(old); err != nil {
		return err
	}
	s.save()
	for _, sl := range s.slots {
		if sl.run == nil {
			s.start(sl)
		}
	}
	return nil
}

// adopt takes over the surviving processes of old and kills the rest of it.
func (s *shim) adopt(old State) error {
	names := map[string]bool{} // groups that stay
	var keep []int
	for _, was := range old.Slots {
		i := slices.IndexFunc(s.slots, func(sl *slot) bool { return sl.name == was.Name })
		if i < 0 {
			continue
		}
		sl := s.slots[i]
		sl.gen = max(sl.gen, was.Gen)
		sl.restarts = was.Restarts
		if sl.run != nil || !was.Run.Alive() {
			continue
		}
		watch, err := was.Run.Open()
		if err != nil {
			continue // it ended just now
		}
		r := &run{slot: sl, id: was.Run, since: was.Since, told: make(chan struct{}), done: make(chan struct{})}
		close(r.told)
		if r.band, err = s.band(sl.name, was.Gen); err != nil {
			return errors.Join(err, watch.Close())
		}
		names[groupOf(sl.name, was.Gen)] = true
		keep = append(keep, r.band.Members()...)
		sl.run = r
		s.adopted = true
		s.tasks.Go(func() { s.watch(r, watch) })
	}
	if len(old.Slots) > 0 && !old.Stopped {
		s.say("the keeper of these processes was replaced; %d of %d go on", len(names), len(s.slots))
	}
	return s.clear(names, keep)
}

// clear kills what earlier shims left beside the processes taken over.
func (s *shim) clear(names map[string]bool, keep []int) error {
	if s.group == nil {
		for _, p := range pid.Marked(s.mark()) {
			if id, err := pid.Of(p); err == nil && !slices.Contains(keep, p) {
				_ = id.Signal(unix.SIGKILL) // gone meanwhile
			}
		}
		return nil
	}
	entries, err := os.ReadDir(s.group.Dir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || names[e.Name()] {
			continue
		}
		g, err := s.group.Child(e.Name())
		if err == nil {
			err = g.Remove()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// watch waits for the end of a process that is not our child.
func (s *shim) watch(r *run, f *os.File) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) //nolint:gosec // descriptors are small
			return err == nil && n > 0
		})
	}
	if cerr := f.Close(); err != nil || cerr != nil {
		s.diag.Error("cannot watch", "process", r.slot.name, "err", errors.Join(err, cerr))
	}
	for r.id.Alive() { // only if it could not be watched
		time.Sleep(200 * time.Millisecond)
	}
	s.ended(r, runtime.Exit{Code: -1, Unseen: true})
}

func groupOf(name string, gen int) string { return fmt.Sprintf("%s.%d", name, gen) }

// mark begins the mark of every process of this set.
func (s *shim) mark() string {
	return MarkEnv + "=" + GroupName(s.spec.ID, s.spec.RunDir) + "/"
}

func (s *shim) band(name string, gen int) (Band, error) {
	b := Band{Mark: s.mark() + groupOf(name, gen) + "/"}
	if s.group == nil {
		return b, nil
	}
	var err error
	b.Group, err = s.group.Child(groupOf(name, gen))
	return b, err
}

// status tells how all of it does.
func (s *shim) status() runtime.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := runtime.Status{
		ID: s.spec.ID, State: runtime.StateRunning, Version: buildVersion(), Keeper: s.self.PID, Since: s.since,
		Adopted: s.adopted, Dropped: s.log.Dropped(), Lacking: s.lacking,
	}
	for _, sl := range s.slots {
		ps := sl.status()
		st.Processes = append(st.Processes, ps)
		switch {
		case ps.State == runtime.StateCrashed:
			st.State = runtime.StateCrashed
			st.Note = fmt.Sprintf("%s ended %d times in a row: %s", sl.name, sl.fails, sl.last)
		case ps.State != runtime.StateRunning && st.State == runtime.StateRunning:
			st.State = runtime.StateStarting
		}
	}
	if s.stopping {
		st.State = runtime.StateStopped
		if !s.gone {
			st.Note = runtime.NoteStopping
		}
	}
	if s.unsaved != nil && st.Note == "" {
		st.Note = "the state of the processes cannot be saved: " + s.unsaved.Error()
	}
	return st
}

func (sl *slot) status() runtime.ProcessStatus {
	ps := runtime.ProcessStatus{Name: sl.name, State: runtime.StateStarting, Restarts: sl.restarts, Last: sl.last}
	if sl.run != nil {
		ps.PID, ps.Since = sl.run.id.PID, sl.run.since
		select {
		case <-sl.run.told:
			ps.State = runtime.StateRunning
		default: // still our helper
		}
	}
	if sl.fails >= crashLoop && (sl.run == nil || time.Since(sl.run.since) < stableAfter) {
		ps.State = runtime.StateCrashed
	}
	return ps
}
