package mariadb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

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
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	var started func(pid int)
	if database.IsLow(ctx) {
		started = ground.Yield
		cmd.SysProcAttr.Setsid = true // for a share of its own
	}
	refused, err := ground.Pour(cmd, stdout, started)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case refused != nil:
		return nil, ground.IOError("write what "+name+" gives", dir, refused)
	case err == nil:
		return printed.Bytes(), nil
	}
	said := fmt.Errorf("%s: %w: %s", name, err, ground.Tail(stderr.Bytes(), 2000))
	if saidNumber(stderr.Bytes()) == errNoFiles {
		return nil, c.tooFewFiles("finish "+name+" of "+d.Name, said)
	}
	return nil, c.clientError(ctx, name, d, dir, said)
}

// clientError finds out why a client program failed.
func (c *Cluster) clientError(ctx context.Context, name string, d bosman.Database, dir string, said error) error {
	if full := ground.Unfinished(name, d.Name, said, dir, c.Dir); full != nil {
		return full
	}
	if ping := c.ping(ctx); ping != nil {
		return c.down("finish "+name+" of "+d.Name, said)
	}
	return bosman.Failed("%s of %s did not succeed", name, d.Name).Because(said)
}
