// Package runtime says what it takes to run the processes of an instance:
// the Spec of a process set, its Status, and the Runtime that a driver
// (process, later docker and kubernetes) implements. It knows nothing of
// releases, deployments or how a driver does it.
package runtime

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Runtime runs process sets. A process set is known by Spec.ID; it outlives
// the Runtime value and the program that holds it.
type Runtime interface {
	// Start starts the process set, or finds it running by its ID and leaves
	// it as it is. If only its keeper died, the surviving processes are taken
	// over. It returns when the processes are started, not when they are well.
	Start(context.Context, Spec) (Handle, error)
	// Adopt makes sure that a process set started before our own restart is
	// still kept; KindUnavailable when its keeper is gone (Start repairs that),
	// KindNotFound when nothing of it is there.
	Adopt(context.Context, Handle) error
	// Status tells how it does. What cannot be asked is StateUnknown with a
	// note, never an error and never failed.
	Status(context.Context, Handle) (Status, error)
	// Stop ends it: TERM, at most the given time (0: what each process's
	// StopTimeout says), then kill. Nothing of it is left. Stopping what is
	// not there is no error.
	Stop(context.Context, Handle, time.Duration) error
}

// Execer runs one-off commands beside a process set: the release command,
// tasks, cron, `bosman run`.
type Execer interface {
	// Exec runs the command in the surroundings of spec (which need not be
	// started). The error is about starting it; how it ended is in Exit.
	Exec(context.Context, Spec, Command) (Exit, error)
}

// Lister finds process sets on the host, also those nobody asks for any more.
type Lister interface {
	List(context.Context) ([]Handle, error)
}

// Spec describes one process set of an instance: one release at work. It
// holds secrets (Env) and therefore prints as its ID only.
type Spec struct {
	ID        string // the label: APP.INSTANCE.OPERATION, e.g. "rms.live.d37"
	App       string
	Instance  string
	UID       int       // Unix user of the processes; 0: Bosman's own
	GID       int       // its group; 0 with a UID set means the same number
	Tree      string    // release tree on the host, seen read-only at /app; "": none, and no confinement
	Mounts    []Mount   // laid over the tree and the host's files
	Hide      []string  // folders of the host covered by empty ones
	Env       []string  // "NAME=value", complete
	Processes []Process // started in this order
	Listen    []string  // "tcp:127.0.0.1:8080", "unix:/path": opened by the keeper, passed as fds 3 and up (LISTEN_FDS)
	LogDir    string    // holds the log, LogFile
	RunDir    string    // of this process set alone; short (sockets lie in it)
	MemoryMax int64     // bytes for all processes together; 0: no limit
	OOMScore  int       // oom_score_adj, 0 to 1000; instances die before the host's own programs
}

// AppDir is where processes see the release tree.
const AppDir = "/app"

// Mount shows Source (host path) at Target: absolute, or relative to the
// release tree, in which the place must exist.
type Mount struct {
	Source   string
	Target   string
	Writable bool
	Within   string // when set, Source lies below this folder and no link is followed on the way: the instance can write there
}

// Process is one long-running command of a process set.
type Process struct {
	Name        string
	Run         string        // a shell command, or
	Argv        []string      // a program and its arguments
	Count       int           // copies; 0 means 1
	StopTimeout time.Duration // 0 means 30 s
	Socket      string        // Unix socket it is to listen on, given as BOSMAN_SOCKET; "" for none
	Port        int           // TCP port it is to listen on, given as PORT; 0 for none
}

// Handle finds a process set again; it can be stored.
type Handle struct {
	ID     string
	RunDir string
}

// Handle is where the process set of s can be found.
func (s Spec) Handle() Handle { return Handle{ID: s.ID, RunDir: s.RunDir} }

// LogFile is the path of the instance's log (see package logfile); all
// process sets of an instance write to the same.
func (s Spec) LogFile() string { return filepath.Join(s.LogDir, LogName) }

// How the log of an instance is kept: 10 MB a file, 5 files.
const (
	LogName = "log" // in LogDir
	LogSize = 10 << 20
	LogKeep = 5
)

// String and LogValue keep secrets out of logs.
func (s Spec) String() string { return "process set " + s.ID }

// LogValue is the ID.
func (s Spec) LogValue() slog.Value { return slog.StringValue(s.ID) }

var specID = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,119}$`)

// MaxSocketPath is the longest path of a Unix socket.
const MaxSocketPath = 107

// Check says what is wrong with a spec before anything is started.
func (s Spec) Check() error {
	if !specID.MatchString(s.ID) {
		return bosman.Invalid("process set %q has no usable ID", s.ID)
	}
	for what, path := range map[string]string{"RunDir": s.RunDir, "LogDir": s.LogDir} {
		if !filepath.IsAbs(path) {
			return bosman.Invalid("%s of %s must be an absolute path, not %q", what, s.ID, path)
		}
	}
	if s.Tree != "" && !filepath.IsAbs(s.Tree) {
		return bosman.Invalid("the release tree of %s must be an absolute path, not %q", s.ID, s.Tree)
	}
	if len(s.RunDir)+len("/shim.sock") > MaxSocketPath {
		return bosman.Invalid("the path %s is too long for a socket in it", s.RunDir).
			WithNext("put Bosman's data folder at a shorter path")
	}
	if len(s.Processes) == 0 {
		return bosman.Invalid("%s has no processes", s.ID).WithNext("name at least web: under processes: in bosman.yaml")
	}
	seen := map[string]bool{}
	for _, p := range s.Processes {
		if err := p.check(); err != nil {
			return err
		}
		if seen[p.Name] {
			return bosman.Invalid("process %s is there twice", p.Name)
		}
		seen[p.Name] = true
	}
	for _, e := range s.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return bosman.Invalid("the environment variable %q cannot be set", name)
		}
	}
	return nil
}

var processName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

func (p Process) check() error {
	switch {
	case !processName.MatchString(p.Name):
		return bosman.Invalid("process name %q is not usable", p.Name).WithNext("use letters, digits, dashes and underscores")
	case (p.Run == "") == (len(p.Argv) == 0):
		return bosman.Invalid("process %s needs one command", p.Name)
	case p.Count < 0 || p.Count > 64:
		return bosman.Invalid("process %s cannot run %d times", p.Name, p.Count).WithNext("give a count from 1 to 64")
	case p.Count > 1 && (p.Socket != "" || p.Port != 0):
		return bosman.Invalid("process %s listens, so it cannot run %d times", p.Name, p.Count).
			WithNext("let its own server start more workers, e.g. gunicorn --workers 3")
	case len(p.Socket) > MaxSocketPath:
		return bosman.Invalid("the socket path %s is too long", p.Socket).WithNext("put Bosman's data folder at a shorter path")
	}
	return nil
}

// Copies is Count, at least 1.
func (p Process) Copies() int { return max(p.Count, 1) }

// Patience is StopTimeout or its default.
func (p Process) Patience() time.Duration {
	if p.StopTimeout > 0 {
		return p.StopTimeout
	}
	return bosman.DefaultStopTimeout
}

// Command is a one-off command.
type Command struct {
	Label  string   // names it among the commands of this spec, e.g. "release"; a leftover with the same label is killed first
	Shell  string   // a shell command, or
	Argv   []string // a program and its arguments
	Env    []string // added to the spec's
	Stdin  io.Reader
	Stdout io.Writer // may be the same as Stderr
	Stderr io.Writer
	Grace  time.Duration // between TERM and kill when the context ends; 0 means 10 s
	Closed *Closed       // asks for no network but Unix sockets; nil: the host's
}

// Closed is how a command fared that may reach nothing but Unix sockets.
type Closed struct {
	Is      bool     // false: this host cannot, its network was the host's
	Watched bool     // what it tried to reach was seen
	Outside []string // that, each once: "10.0.0.5:5432", or a name that it looked up
}

// State is what a process set or one process does.
type State string

// The states of a process set:
//
//	starting ─► running ⇄ crashed ─► stopped
//	unwatched: its processes go on, but nothing restarts them
//	unknown: it could not be asked
//	gone: nothing of it is there
const (
	StateStarting  State = "starting" // also: waiting to be started again
	StateRunning   State = "running"
	StateCrashed   State = "crashed" // dies again and again; retried slowly
	StateStopped   State = "stopped"
	StateUnwatched State = "unwatched"
	StateUnknown   State = "unknown"
	StateGone      State = "gone"
)

// NoteStopping is the Note of a StateStopped that is not complete yet.
const NoteStopping = "it is being stopped"

// Status tells how a process set does.
type Status struct {
	ID        string
	State     State
	Note      string // one sentence on what is not as it should be; "" otherwise
	Version   string // of the Bosman that keeps it
	Keeper    int    // pid of the keeper; 0 when it is gone
	Since     time.Time
	Adopted   bool // by a keeper that did not start it
	Processes []ProcessStatus
	Dropped   int64    // log lines lost for want of space
	Lacking   []string // what isolation is missing on this host
}

// ProcessStatus is one copy of one process.
type ProcessStatus struct {
	Name     string // "web.1"
	PID      int
	State    State
	Since    time.Time
	Restarts int
	Last     *Exit // how it ended last; nil if it never did
}

// LastExit is the latest exit of any process; nil if none ended.
func (s Status) LastExit() *Exit {
	var last *Exit
	for _, p := range s.Processes {
		if p.Last != nil && (last == nil || p.Last.At.After(last.At)) {
			last = p.Last
		}
	}
	return last
}

// Exit is how a process ended.
type Exit struct {
	Process string // "web.1"; "" for a one-off
	Code    int    // exit status; -1 when a signal ended it or nobody saw
	Signal  int
	OOM     bool   // killed for want of memory
	Unseen  bool   // it ended while nobody kept it
	Failure string // it could not be started: why
	At      time.Time
}

// OK says that it ended well.
func (e Exit) OK() bool {
	return e.Code == 0 && e.Signal == 0 && e.Failure == "" && !e.Unseen
}

// String is the verdict in words: "exit status 3", "killed by signal 9".
func (e Exit) String() string {
	switch {
	case e.Failure != "":
		return "could not start: " + e.Failure
	case e.OOM:
		return "killed for want of memory"
	case e.Unseen:
		return "ended while nobody watched"
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d", e.Signal)
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// Err is nil for a good end, otherwise a KindFailed error that names what.
func (e Exit) Err(what string) error {
	if e.OK() {
		return nil
	}
	return bosman.Failed("%s failed: %s", what, e)
}
