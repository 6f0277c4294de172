// Package sandbox runs one command of a build where it can see the app's tree
// at /app, the host's programs read-only, and nothing else: no data of Bosman,
// no host database socket, no home folder, no other process. It knows commands,
// folders and users; it must not know builds, releases or stores.
//
// On Linux with bubblewrap each command gets namespaces of its own; when the
// command ends, or Bosman does, the kernel ends every process it left. Without
// bubblewrap a team's commands run as a plain process group on real paths
// (Degraded says so) and a stranger's are refused.
package sandbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// AppDir is where a command sees the app's tree.
const AppDir = "/app"

// homeDir is the HOME of a command.
const homeDir = "/tmp/home"

// MarkEnv is the variable that every process of a command carries, so that
// what a killed Bosman left can be found.
const MarkEnv = "BOSMAN_SANDBOX"

// FirstUID is the first Unix user of commands when Bosman runs as root; the
// slots of strangers lie 100 above those of the team. Debian assigns none of them.
const FirstUID = 60700

// UID gives the Unix user (and group) of a build slot, 0 to 99.
func UID(slot int, trust bosman.Trust) int {
	uid := FirstUID + slot%100
	if trust != bosman.TrustTeam {
		uid += 100
	}
	return uid
}

// Options configures a Sandbox.
type Options struct {
	Bwrap   string   // path of bubblewrap; "" looks in PATH, "-" does without
	HostEnv []string // os.Environ(): the source of what PassedEnv lets through
	Hide    []string // host folders to cover where they lie in one that is shown (DATA below /usr)
	Log     *slog.Logger
}

// Sandbox runs commands. It is safe for concurrent use.
type Sandbox struct {
	bwrap   string
	why     string // why there is no isolation
	root    bool
	hostEnv []string
	hide    []string
	log     *slog.Logger
	version string
}

// New looks at what the host offers.
func New(opt Options) *Sandbox {
	s := &Sandbox{root: os.Geteuid() == 0, hostEnv: opt.HostEnv, hide: opt.Hide, log: opt.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.bwrap, s.why = findBwrap(opt.Bwrap)
	s.version = hostVersion(s.bwrap != "")
	return s
}

func findBwrap(path string) (found, why string) {
	if path == "-" {
		return "", "bubblewrap is switched off"
	}
	if path == "" {
		path = "bwrap"
	}
	p, err := exec.LookPath(path)
	if err != nil {
		return "", "bubblewrap is not installed (apt-get install bubblewrap)"
	}
	out, err := exec.Command(p, "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "/bin/true").CombinedOutput()
	if err != nil {
		return "", "bubblewrap cannot make namespaces here: " + strings.TrimSpace(string(out))
	}
	return p, ""
}

// Isolated says whether commands are kept apart from the host.
func (s *Sandbox) Isolated() bool { return s.bwrap != "" }

// Degraded says in one clause why commands are not kept apart; "" when they are.
func (s *Sandbox) Degraded() string { return s.why }

// Root says whether commands get Unix users of their own.
func (s *Sandbox) Root() bool { return s.root }

// Version names what a result depends on besides its inputs: the way it is
// run, the distribution, and the host's interpreters.
func (s *Sandbox) Version() string { return s.version }

// Command is one command to run.
type Command struct {
	Run     string   // for sh -c
	Tree    string   // host folder, writable at /app
	Overlay *Overlay // instead of Tree: a throw-away layer over a folder
	Root    string   // working folder below /app; "" or "." is /app itself
	Home    string   // host folder seen as HOME
	Tools   string   // host folder for the caches of pip, npm and others; "" for none
	Env     []string // NAME=value, besides PATH, HOME and the like
	Trust   bosman.Trust
	UID     int      // the Unix user when Bosman is root
	Binds   []string // host folders or sockets also seen, writable, at the same path
	Mark    string   // value of MarkEnv
	Timeout time.Duration
	Out     io.Writer // standard output and error together
}

// Exit is how a command ended.
type Exit struct {
	Code     int  // 128 + the signal's number if it was killed
	TimedOut bool // stopped after Command.Timeout
	Took     time.Duration
}

// Run runs the command to its end, with everything it started. A non-zero exit
// is no error. When ctx ends the command is killed and ctx's cause returned. An
// error of KindUnavailable says that the sandbox itself could not start, one of
// KindForbidden that a stranger's command was refused.
func (s *Sandbox) Run(ctx context.Context, c Command) (Exit, error) {
	if !s.Isolated() && c.Trust != bosman.TrustTeam {
		return Exit{}, bosman.Forbidden("the code of a stranger is not run without a sandbox: %s", s.why).
			WithNext("install bubblewrap on the build machine, or look at the change and build it as the team's own")
	}
	if err := ctx.Err(); err != nil {
		return Exit{}, context.Cause(ctx)
	}
	begun := time.Now()
	var exit Exit
	var err error
	if s.Isolated() {
		exit, err = s.runIsolated(ctx, c)
	} else {
		exit, err = s.runPlain(ctx, c)
	}
	exit.Took = time.Since(begun)
	return exit, err
}

// wait ends cmd, whose process is started, when ctx or the time is over. kill
// must end everything that cmd started.
func wait(ctx context.Context, cmd *exec.Cmd, timeout time.Duration, kill func()) (Exit, error) {
	done := make(chan struct{})
	stopped := make(chan bool) // whether it was the time limit
	go func() {
		if timeout <= 0 {
			timeout = bosman.DefaultStepTimeout
		}
		limit := time.NewTimer(timeout)
		defer limit.Stop()
		select {
		case <-done:
			stopped <- false
		case <-ctx.Done():
			kill()
			stopped <- false
		case <-limit.C:
			kill()
			stopped <- true
		}
	}()
	err := cmd.Wait()
	close(done)
	exit := Exit{TimedOut: <-stopped}
	if ctx.Err() != nil {
		return exit, context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // a child of the command held its output open
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return exit, bosman.Internal("the output of the command could not be read").Because(err)
	}
	exit.Code = exitCode(cmd.ProcessState)
	return exit, nil
}
