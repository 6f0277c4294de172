package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
)

// hostEtc are the entries of /etc that programs need to run, resolve names and
// check certificates. Accounts are not among them: a command sees its own.
var hostEtc = []string{
	"alternatives", "ca-certificates", "ca-certificates.conf", "debian_version", "fonts", "gai.conf",
	"gitconfig", "host.conf", "hosts", "java-*", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias",
	"localtime", "magic", "magic.mime", "mime.types", "nodejs", "npmrc", "nsswitch.conf", "os-release", "perl",
	"php", "pip.conf", "pki", "postgresql-common", "protocols", "python3*", "resolv.conf", "services", "sgml",
	"ssl", "terminfo", "timezone", "xml",
}

// maxProcesses limits the processes of one build slot.
const maxProcesses = "4096"

// runIsolated runs c in bubblewrap. As root, bubblewrap sets the mounts up with
// the rights of root and setpriv then takes them away; otherwise a user
// namespace does.
func (s *Sandbox) runIsolated(ctx context.Context, c Command) (Exit, error) {
	status, statusW, err := os.Pipe()
	if err != nil {
		return Exit{}, unavailable(err)
	}
	files := []*os.File{statusW}
	defer func() { closeAll(append(files, status)) }()
	for _, text := range s.accounts(c.UID) {
		f, err := textPipe(text)
		if err != nil {
			return Exit{}, unavailable(err)
		}
		files = append(files, f)
	}

	argv := append([]string{s.bwrap}, s.args(c)...)
	if c.Overlay != nil {
		argv = append(c.Overlay.mountArgs(), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = s.env(c, homeDir)
	cmd.ExtraFiles = files
	cmd.WaitDelay = 5 * time.Second
	said := &head{max: 2000}
	cmd.Stdout = io.MultiWriter(c.Out, said)
	cmd.Stderr = cmd.Stdout

	// Bubblewrap asks the kernel to end it with its parent, which is the thread
	// that starts it: the thread must stay until the command has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return Exit{}, unavailable(err)
	}
	closeAll(files)
	files = nil
	ended := make(chan bool) // whether bubblewrap saw the command end: it got as far as starting it
	go func() {
		text, err := io.ReadAll(status)
		ended <- err == nil && bytes.Contains(text, []byte("exit-code"))
	}()
	exit, err := wait(ctx, cmd, c.Timeout, func() {
		_ = cmd.Process.Kill() // fails only if it has ended
	})
	if ok := <-ended; !ok && err == nil && !exit.TimedOut && exit.Code < 128 {
		return exit, bosman.Unavailable("the sandbox could not start: %s", strings.TrimSpace(said.String())).
			WithNext("run bosman doctor on the build machine")
	}
	return exit, err
}

func unavailable(err error) error {
	return bosman.Unavailable("the sandbox could not start").Because(err).WithNext("run bosman doctor on the build machine")
}

// args are the arguments of bubblewrap. Descriptor 3 is its status, 4 and 5
// the account files.
func (s *Sandbox) args(c Command) []string {
	a := []string{
		"--json-status-fd", "3", "--die-with-parent", "--new-session",
		"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "build",
	}
	if c.Trust != bosman.TrustTeam {
		a = append(a, "--unshare-net")
	}
	if s.root {
		a = append(a, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
	} else {
		a = append(a, "--unshare-user", "--cap-drop", "ALL")
	}
	for _, dir := range []string{"/etc", "/var"} { // folders bubblewrap makes by itself are closed to others
		a = append(a, "--perms", "0755", "--dir", dir)
	}
	a = append(a, hostPrograms()...)
	a = append(a, "--perms", "0644", "--ro-bind-data", "4", "/etc/passwd", "--perms", "0644", "--ro-bind-data", "5", "/etc/group",
		"--proc", "/proc", "--dev", "/dev")
	for _, dir := range []string{"/dev/shm", "/tmp", "/var/tmp"} {
		a = append(a, "--perms", "1777", "--tmpfs", dir)
	}
	a = append(a, "--tmpfs", "/run")
	for _, p := range s.passedPaths(c.Trust) {
		a = append(append(a, parents(p)...), "--ro-bind-try", p, p)
	}
	for _, p := range s.hide {
		if strings.HasPrefix(p, "/usr/") {
			a = append(a, "--tmpfs", p)
		}
	}
	tree := c.Tree
	if c.Overlay != nil {
		tree = c.Overlay.Mount
	}
	a = append(a, "--bind", tree, AppDir, "--bind", c.Home, homeDir)
	if c.Tools != "" {
		a = append(a, "--bind", filepath.Join(c.Tools, "cache"), homeDir+"/.cache", "--bind", filepath.Join(c.Tools, "npm"), homeDir+"/.npm")
	}
	for _, p := range c.Binds {
		a = append(append(a, parents(p)...), "--bind", p, p)
	}
	a = append(a, "--remount-ro", "/", "--chdir", filepath.Join(AppDir, filepath.FromSlash(c.Root)), "--")
	a = append(a, "/usr/bin/prlimit", "--core=0:0", "--nproc="+maxProcesses+":"+maxProcesses)
	if s.root {
		id := strconv.Itoa(c.UID)
		a = append(a, "/usr/bin/setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all")
	}
	return append(a, "/bin/sh", "-c", c.Run)
}

// parents makes the folders above p so that a command can go through them.
func parents(p string) []string {
	var a []string
	for dir := filepath.Dir(p); dir != "/"; dir = filepath.Dir(dir) {
		if dir != "/tmp" && dir != "/run" && dir != "/var/tmp" && dir != "/dev/shm" {
			a = append([]string{"--perms", "0755", "--dir", dir}, a...)
		}
	}
	return a
}

// hostPrograms shows the host's programs and what they need, read-only.
func hostPrograms() []string {
	a := []string{"--ro-bind", "/usr", "/usr"}
	for _, p := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(p); err == nil {
			a = append(a, "--symlink", target, p)
		} else {
			a = append(a, "--ro-bind-try", p, p)
		}
	}
	for _, name := range hostEtc {
		found, err := filepath.Glob("/etc/" + name)
		if err != nil {
			continue // the patterns are ours and right
		}
		for _, p := range found {
			a = append(a, "--ro-bind-try", p, p)
		}
	}
	return a
}

// accounts are the passwd and group files a command sees.
func (s *Sandbox) accounts(uid int) []string {
	gid := uid
	if !s.root {
		uid, gid = os.Getuid(), os.Getgid()
	}
	passwd := "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group := "root:x:0:\nnogroup:x:65534:\n"
	if uid != 0 {
		passwd += fmt.Sprintf("build:x:%d:%d:build:%s:/bin/sh\n", uid, gid, homeDir)
		group += fmt.Sprintf("build:x:%d:\n", gid)
	}
	return []string{passwd, group}
}

// textPipe gives a file from which text (less than a pipe holds) can be read once.
func textPipe(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.WriteString(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // pipes that are read or abandoned: nothing can be lost
	}
}

func exitCode(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// head keeps the beginning of what is written to it.
type head struct {
	max int
	buf bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	if left := h.max - h.buf.Len(); left > 0 {
		h.buf.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}

func (h *head) String() string { return h.buf.String() }
