package mariadb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// runLocked runs a program that is to be killed when we die: Linux ties that
// to the thread that started it, which must therefore live as long. low lets
// it yield to all others.
func runLocked(cmd *exec.Cmd, low bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	if low {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, 19) // it is as right without
	}
	return cmd.Wait()
}

// client runs one of MariaDB's client programs as d's user; dir is where it
// writes. It gives what the program printed unless stdout is given.
func (c *Cluster) client(ctx context.Context, d bosman.Database, dir string, stdin io.Reader, stdout io.Writer, name string, args ...string) ([]byte, error) {
	path, err := program(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--no-defaults", "--protocol=socket", "--socket=" + d.Socket(), "--user=" + d.User}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "HOME=/nonexistent", "MYSQL_PWD=" + d.Password}
	// Our own death ends it too: what it works on is cleared by Recover.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var printed, stderr bytes.Buffer
	if stdout == nil {
		stdout = &printed
	}
	out := &taken{to: stdout}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, &stderr
	err = runLocked(cmd, database.IsLow(ctx))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case out.err != nil: // whoever takes it failed; the program only saw its output closed
		return nil, ioError("write what "+name+" gives", dir, out.err)
	case err == nil:
		return printed.Bytes(), nil
	}
	return nil, c.clientError(ctx, name, d, dir, fmt.Errorf("%s: %w: %s", name, err, tail(stderr.Bytes(), 2000)))
}

// taken remembers why what a program prints could not be taken.
type taken struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (t *taken) Write(b []byte) (int, error) {
	n, err := t.to.Write(b)
	if err != nil && t.err == nil {
		t.err = err
	}
	return n, err
}

// clientError finds out why a client program failed.
func (c *Cluster) clientError(ctx context.Context, name string, d bosman.Database, dir string, said error) error {
	for _, full := range []string{dir, c.Dir} {
		if noRoom(full) {
			return bosman.Unavailable("could not finish %s of %s: the disk that holds %s is full", name, d.Name, full).
				WithKept("what was there before is untouched").WithNext("free some space").Because(said)
		}
	}
	if ping := c.ping(ctx); ping != nil {
		return c.down("finish "+name+" of "+d.Name, said)
	}
	return bosman.Failed("%s of %s did not succeed", name, d.Name).Because(said)
}
