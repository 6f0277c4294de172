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
)

// runLocked runs a program that is to be killed when we die: Linux ties that
// to the thread that started it, which must therefore live as long.
func runLocked(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
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
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	if stdout == nil {
		cmd.Stdout = &printed
	}
	err = runLocked(cmd)
	if err == nil {
		return printed.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, c.clientError(ctx, name, d, dir, fmt.Errorf("%s: %w: %s", name, err, tail(stderr.Bytes(), 2000)))
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
