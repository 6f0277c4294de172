// Package confine turns a process into one of an instance: it sees the
// release tree at /app, its own data and /tmp, not Bosman's files, runs as
// the instance's user and can gain no rights. The process is prepared by the
// hidden subcommand Main and then replaced by the command, with the same pid.
// It knows nothing of restarts, logs or deployments.
//
// The Spec travels over a socket (Pipe), never in argv, where every user of
// the host could read its secrets.
package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	goruntime "runtime"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman/instance/runtime"
	"golang.org/x/sys/unix"
)

// Subcommand is the hidden subcommand that calls Main.
const Subcommand = "confine"

// Spec says what to become.
type Spec struct {
	Tree     string // shown at /app; "" for no confinement
	Mounts   []runtime.Mount
	Hide     []string
	Tmp      string // host folder shown as /tmp; "" for the host's own
	UID, GID int
	Env      []string
	Argv     []string // program (looked up in the PATH of Env) and arguments
	Listen   int      // how many listening sockets are passed, from fd 4 on; they become 3 and up
	Ready    bool     // one more fd after them becomes BOSMAN_READY_FD
	OOMScore int
}

// Failed is the exit status of a process that could not become the command.
const Failed = 125

const controlFD = 3

// Main is the hidden subcommand: it reads a Spec from fd 3 and becomes its
// command. It returns only if that fails, having told the other end why.
func Main() int {
	goruntime.LockOSThread() // namespaces belong to the thread that execs
	// Signals that our keeper ignores are caught here, so that exec gives the
	// command the defaults.
	signal.Notify(make(chan os.Signal, 1))
	// The control socket makes room for the listening sockets.
	fd, err := unix.FcntlInt(controlFD, unix.F_DUPFD_CLOEXEC, 200)
	if err != nil {
		return Failed
	}
	unix.CloseOnExec(controlFD)
	control := os.NewFile(uintptr(fd), "control")
	var s Spec
	// To its end: bytes left unread when we become the command would look to
	// our keeper as if we had died.
	text, err := io.ReadAll(control)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return Failed // our keeper died before it told us what to do: leave
	}
	if _, err := io.WriteString(control, become(&s).Error()); err != nil {
		return Failed
	}
	return Failed
}

func become(s *Spec) (err error) {
	unix.Umask(0o022) // whatever our keeper has
	if s.OOMScore > 0 {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(s.OOMScore)), 0); err != nil {
			return fmt.Errorf("cannot set the oom score: %w", err)
		}
	}
	dir := "/"
	if len(s.Argv) == 0 {
		return errors.New("there is no command")
	}
	if s.Tree != "" {
		if dir, err = view(s); err != nil {
			return err
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if s.Tree != "" {
		if err := drop(s); err != nil {
			return err
		}
	}
	env, err := passFDs(s)
	if err != nil {
		return err
	}
	program, err := lookPath(s.Argv[0], env)
	if err != nil {
		return err
	}
	return fmt.Errorf("cannot run %s: %w", program, unix.Exec(program, s.Argv, env))
}

// passFDs moves the listening sockets to 3 and up, closes everything else on
// exec and names them in the environment.
func passFDs(s *Spec) ([]string, error) {
	count := s.Listen
	if s.Ready {
		count++
	}
	for i := range count {
		if err := unix.Dup3(controlFD+1+i, controlFD+i, 0); err != nil {
			return nil, fmt.Errorf("cannot pass socket %d: %w", i, err)
		}
	}
	if err := unix.CloseRange(uint(controlFD+count), 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	env := s.Env
	if s.Listen > 0 {
		n := strconv.Itoa(s.Listen)
		env = append(env, "LISTEN_FDS="+n, "BOSMAN_LISTEN_FDS="+n, "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	}
	if s.Ready {
		env = append(env, "BOSMAN_READY_FD="+strconv.Itoa(controlFD+s.Listen))
	}
	return env, nil
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := DefaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		full := dir + "/" + name
		if strings.HasPrefix(dir, "/") && unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in %s: %w", name, path, exec.ErrNotFound)
}

// DefaultPath is the PATH inside Bosman.
const DefaultPath = "/usr/local/bin:/usr/bin:/bin"

// Argv is the command of a process: a shell for run, or argv as it is. A
// shell with one plain command is told to become it: signals then reach the
// program, and its pid is the one that is watched.
func Argv(run string, argv []string) []string {
	if run == "" {
		return argv
	}
	if plain(run) {
		run = "exec " + run
	}
	return []string{"/bin/sh", "-c", run}
}

var (
	plainWord = regexp.MustCompile(`^[A-Za-z0-9_./$-]+$`)
	shellWord = regexp.MustCompile(`^(\.|alias|bg|break|case|cd|command|continue|do|done|elif|else|esac|eval|exec|exit|export|fg|fi|for|getopts|hash|if|jobs|local|read|readonly|return|set|shift|source|then|times|trap|type|ulimit|umask|unalias|unset|until|wait|while)$`)
)

// plain says whether a shell line is one command that exec can stand before.
func plain(run string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(run), " ")
	return !strings.ContainsAny(run, ";&|(){}`#!\n\t") && plainWord.MatchString(word) && !shellWord.MatchString(word)
}

// drop gives up root for the instance's user, and the way back.
func drop(s *Spec) error {
	if os.Geteuid() == 0 && s.UID > 0 {
		gid := s.GID
		if gid == 0 {
			gid = s.UID
		}
		if err := errors.Join(unix.Setgroups([]int{gid}), unix.Setresgid(gid, gid, gid), unix.Setresuid(s.UID, s.UID, s.UID)); err != nil {
			return fmt.Errorf("cannot become user %d: %w", s.UID, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot give up gaining rights: %w", err)
	}
	return nil
}
