package databasetest

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

// janitorEnv names the folder that a process of its own clears when the tests
// have ended in whatever way, a panic or a kill included.
const janitorEnv = "BOSMAN_TEST_JANITOR"

// watched stay open until this process ends.
var watched []io.Closer

// Watch starts the janitor of dir: it sees its standard input end with us.
func Watch(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), janitorEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	watched = append(watched, pipe)
	return cmd.Start() // never waited for: it outlives us
}

// Janitor is for TestMain: in a process that Watch started (ok) it waits until
// the tests have ended, clears the folder, and gives the exit code.
func Janitor(clear func(dir string) error) (code int, ok bool) {
	dir := os.Getenv(janitorEnv)
	if dir == "" {
		return 0, false
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1, true
	}
	if clear(dir) != nil {
		return 1, true
	}
	return 0, true
}
