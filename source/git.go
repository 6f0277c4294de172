package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

const programs = "/usr/local/bin:/usr/bin:/bin"

// baseEnv is the whole environment of our git commands: nobody's
// configuration, no questions, no transports that run programs.
func (r *Repo) baseEnv() []string {
	env := []string{
		"PATH=" + programs, "HOME=/nonexistent", "LC_ALL=C.UTF-8", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_OPTIONAL_LOCKS=0",
		// git refuses repositories of other users; these are ours
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
	return append(env, r.env...)
}

// gitError is a git command that ended with an error: a cause for operators.
type gitError struct {
	verb   string
	exit   int
	stderr string
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s ended with %d: %s", e.verb, e.exit, e.stderr)
}

// exitOf gives the exit code of a git command that ran; -1 if it did not.
func exitOf(err error) int {
	var g *gitError
	if errors.As(err, &g) {
		return g.exit
	}
	return -1
}

type call struct {
	args  []string
	env   []string
	stdin io.Reader
	out   io.Writer // nil: collected and returned
}

func (r *Repo) git(ctx context.Context, args ...string) ([]byte, error) {
	return r.run(ctx, call{args: args})
}

func (r *Repo) run(ctx context.Context, c call) ([]byte, error) {
	args := c.args
	if r.dir != "" {
		args = append([]string{"--git-dir=" + r.dir}, args...)
	}
	cmd := exec.CommandContext(ctx, r.bin, args...)
	cmd.Env = append(r.baseEnv(), c.env...)
	cmd.Stdin = c.stdin
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	stderr := &tail{max: 4096}
	cmd.Stdout, cmd.Stderr = c.out, stderr
	if c.out == nil {
		cmd.Stdout = &out
	}
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	verb := ""
	for _, a := range c.args {
		if !strings.HasPrefix(a, "-") && !strings.Contains(a, "=") {
			verb = a
			break
		}
	}
	what := bosman.Unavailable("git %s failed on the repository of %s", verb, r.App)
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return out.Bytes(), what.Because(&gitError{verb: verb, exit: cmd.ProcessState.ExitCode(), stderr: strings.TrimSpace(stderr.String())})
	}
	return nil, what.Because(err)
}

// tail keeps the last bytes written to it.
type tail struct {
	max int
	b   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.max {
		t.b = append(t.b[:0], t.b[len(t.b)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b[max(0, len(t.b)-t.max):]) }

// fields splits NUL-terminated output.
func fields(out []byte) []string {
	s := strings.TrimSuffix(string(out), "\x00")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}

// isHash says whether s is a full object name (SHA-1 or SHA-256).
func isHash(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(hash string) bool { return strings.Trim(hash, "0") == "" }

// checkRev keeps names from outside from being read as options or ranges.
func checkRev(revs ...string) error {
	for _, s := range revs {
		if s == "" || strings.HasPrefix(s, "-") || strings.Contains(s, "..") || strings.ContainsAny(s, "\x00\n:") || strings.HasPrefix(s, "^") {
			return bosman.Invalid("%q does not name a commit", s)
		}
	}
	return nil
}

// qualify makes a name unambiguous: a full hash or ref stays, anything else is
// a branch. Git itself would take a tag of the same name first, and tags are
// anybody's.
func qualify(rev string) string {
	if isHash(rev) || strings.HasPrefix(rev, "refs/") {
		return rev
	}
	return headsPrefix + rev
}

func writeFile(path, content string, mode fs.FileMode) error {
	if err := atomicfile.Write(path, []byte(content), mode); err != nil {
		return bosman.Unavailable("a file of a repository cannot be written").Because(err)
	}
	return nil
}
