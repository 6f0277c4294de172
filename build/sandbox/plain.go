package sandbox

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
)

// runPlain runs c as a process group on real paths: the way without bubblewrap.
func (s *Sandbox) runPlain(ctx context.Context, c Command) (Exit, error) {
	if c.Overlay != nil {
		return Exit{}, bosman.Internal("an overlay needs bubblewrap")
	}
	cmd := exec.Command("/bin/sh", "-c", c.Run)
	cmd.Dir = filepath.Join(c.Tree, filepath.FromSlash(c.Root))
	cmd.Env = s.env(c, c.Home)
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.root {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.UID)}
	}
	if err := cmd.Start(); err != nil {
		return Exit{}, unavailable(err)
	}
	group := func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only if all have ended
	}
	exit, err := wait(ctx, cmd, c.Timeout, group)
	group() // what the command left in the background
	if c.Mark != "" {
		KillMarked(c.Mark)
	}
	return exit, err
}

// KillMarked kills every process of this machine that carries the mark: what a
// killed Bosman may have left of a command. It waits, for two seconds at most,
// until they are gone, and gives how many there were.
func KillMarked(mark string) int {
	total := 0
	for range 100 {
		n := killMarked(mark)
		if n == 0 {
			break
		}
		total = max(total, n)
		time.Sleep(20 * time.Millisecond)
	}
	return total
}

func killMarked(mark string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0 // no /proc, nothing to be found
	}
	want := []byte(MarkEnv + "=" + mark + "\x00")
	killed := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil || !bytes.Contains(env, want) {
			continue // ended meanwhile, or not ours to read
		}
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// MissingProgram gives the program that the shell did not find, according to
// the output of a command that ended with 127; "" if there is none.
func MissingProgram(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		line := strings.TrimSpace(output[i])
		for _, end := range []string{": not found", ": command not found", ": No such file or directory"} {
			rest, ok := strings.CutSuffix(line, end)
			if !ok {
				continue
			}
			return strings.TrimSpace(rest[strings.LastIndexByte(rest, ':')+1:])
		}
	}
	return ""
}
