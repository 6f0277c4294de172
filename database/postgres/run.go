package postgres

import (
	"os/exec"
	"runtime"
)

// runLocked runs a program that is to be killed when we die: Linux ties that
// to the thread that started it, which must therefore live as long. low lets it yield to all
// others.
func runLocked(cmd *exec.Cmd, low bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	if low {
		yieldProcess(cmd.Process.Pid)
	}
	return cmd.Wait()
}
