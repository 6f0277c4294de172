package postgres

import (
	"os/exec"
	"runtime"
)

// runLocked runs a program that is to be killed when we die: Linux ties that
// to the thread that started it, which must therefore live as long.
func runLocked(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}
