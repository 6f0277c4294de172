package confine

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pipe carries a Spec to a process started as Main and brings back why it
// could not become the command.
type Pipe struct{ ours, theirs *os.File }

// NewPipe makes one.
func NewPipe() (*Pipe, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	return &Pipe{os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")}, nil
}

// Theirs is the end that the process gets as fd 3.
func (p *Pipe) Theirs() *os.File { return p.theirs }

// Send sends the spec after the process was started and waits until it has
// become the command ("") or says why not.
func (p *Pipe) Send(s Spec) (failure string, err error) {
	if err := p.theirs.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return "", err
	}
	if err := json.NewEncoder(p.ours).Encode(s); err != nil {
		return "it ended before it was told what to do", nil
	}
	if err := p.said(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(p.ours)
	if err != nil && len(answer) == 0 {
		return "it ended before it became the command", nil
	}
	return string(answer), nil
}

// said tells the other end that nothing more comes.
func (p *Pipe) said() error {
	raw, err := p.ours.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); cerr != nil {
		return cerr
	}
	if errors.Is(err, unix.ENOTCONN) {
		return nil // it has ended: the answer says so
	}
	return err
}

// Close lets go of both ends.
func (p *Pipe) Close() error {
	err := p.theirs.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, p.ours.Close())
}

// Lacking says in words what isolation this host or our rights do not allow;
// nil when all of it is there. self is our own program, which must dispatch
// Subcommand to Main.
func Lacking(self string) []string {
	var out []string
	if os.Geteuid() != 0 {
		return append(out, "Bosman does not run as root: instances run as its own user, see each other's files and use releases where they lie")
	}
	if err := probe(self); err != nil {
		out = append(out, "processes cannot get a view of their own ("+err.Error()+"): instances do not start")
	}
	return out
}

// probe runs the helper for real on an empty tree.
func probe(self string) (err error) {
	dir, err := os.MkdirTemp("", "bosman-probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // an empty folder that the probe's user must enter
		return err
	}
	p, err := NewPipe()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	cmd := exec.Command(self, Subcommand)
	cmd.Env = []string{"PATH=" + DefaultPath}
	cmd.ExtraFiles = []*os.File{p.theirs}
	if err := cmd.Start(); err != nil {
		return err
	}
	failure, serr := p.Send(Spec{Tree: dir, UID: 65534, GID: 65534, Env: cmd.Env, Argv: []string{"/bin/true"}})
	werr := cmd.Wait()
	if failure != "" {
		return errors.New(failure)
	}
	var exit *exec.ExitError
	if errors.As(werr, &exit) {
		return errors.New("exit status " + strconv.Itoa(exit.ExitCode()))
	}
	return errors.Join(serr, werr)
}
