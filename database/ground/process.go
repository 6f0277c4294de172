package ground

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// Command is a program that runs as o in the folder dir, in a session of its
// own.
func (g Ground) Command(ctx context.Context, o Owner, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "HOME=" + g.Dir}
	cmd.SysProcAttr = o.session()
	return cmd
}

// Run runs a command and gives the end of what it said.
func (g Ground) Run(cmd *exec.Cmd) (string, error) {
	// A file, not a pipe: a server that is started keeps the descriptor.
	out, err := os.CreateTemp(g.Tmp(), "out")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = out.Close()           // it was only read
		_ = os.Remove(out.Name()) // EmptyTmp removes what stays
	}()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	b, rerr := os.ReadFile(out.Name())
	if rerr != nil {
		return "", errors.Join(err, rerr)
	}
	return Tail(b, 2000), err
}

// Tail is the end of what was said, of at most n bytes.
func Tail(b []byte, n int) string {
	b = bytes.TrimSpace(b)
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// LastWords is the end of a log, "" if it cannot be read.
func LastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		if _, err := f.Seek(-2000, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	return Tail(b, 1500)
}

// RunningPid is the pid in the first line of a file, 0 if the server does not
// run. A pid file left by a crash may name a process that is something else by
// now: the server stands in its data folder.
func (g Ground) RunningPid(file string) (int, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, IOError("read the pid of "+g.What, g.Dir, err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, nil
	}
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	if err != nil {
		return 0, nil // gone, or another user's
	}
	data, err := filepath.EvalSymlinks(g.Data())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, IOError("look at the data folder", g.Dir, err)
	}
	if cwd != data {
		return 0, nil
	}
	return pid, nil
}

func (g Ground) bootPath() string { return filepath.Join(g.Dir, "boot") }

// NoteStart notes, before a start, with which start of the host it was, and
// takes back what NoteRest noted. write is atomicfile.Write, or os.WriteFile
// for a server that may be lost with it.
func (g Ground) NoteStart(write func(path string, content []byte, mode fs.FileMode) error) error {
	boot, err := BootID()
	if err == nil {
		err = g.noteUse()
	}
	if err != nil {
		return err
	}
	return IOError("note the start of "+g.What, g.Dir, write(g.bootPath(), []byte(boot), 0o600))
}

// BootID tells one start of the host from another (random(4)).
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", bosman.Unavailable("the kernel does not say when it was started").Because(err)
	}
	return strings.TrimSpace(string(b)), nil
}
