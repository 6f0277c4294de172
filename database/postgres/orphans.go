package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman/database/ground"
)

// How long processes of a killed server may go on. Those that are idle end at
// once; one that is busy does not look whether its server is still there.
const (
	orphanPatience = 2 * time.Second
	orphanLimit    = 30 * time.Second
)

// endOrphans waits until nothing is left of a server that was killed: its
// processes hold its memory, and PostgreSQL starts no other until they have
// ended. Those that go on are ended as their server would have ended them
// after a crash, by SIGQUIT and then SIGKILL. The server does not run.
func (c *Cluster) endOrphans(ctx context.Context) error {
	if b, err := os.ReadFile(filepath.Join(c.dataDir(), "postmaster.pid")); errors.Is(err, fs.ErrNotExist) || err == nil && strings.HasPrefix(string(b), "-") {
		return nil // it was stopped, or somebody works on the files by hand: PostgreSQL says so
	}
	begun := time.Now()
	for told := syscall.Signal(0); ; {
		left, err := c.orphans()
		if err != nil || len(left) == 0 {
			return err
		}
		if pid, err := c.runningPid(); err != nil || pid != 0 {
			return err // somebody else started it meanwhile
		}
		waited, tell := time.Since(begun), told
		switch {
		case waited > orphanLimit:
			return c.down("start it", fmt.Errorf("processes of the server that was killed hold its memory and do not end: %v", left))
		case waited > 3*orphanPatience:
			tell = syscall.SIGKILL
		case waited > orphanPatience:
			tell = syscall.SIGQUIT
		}
		if tell != told {
			told = tell
			c.log().Warn("ending what is left of a killed server", "processes", left, "signal", told.String())
			for _, pid := range left {
				if err := syscall.Kill(pid, told); err != nil && !errors.Is(err, syscall.ESRCH) {
					return c.down("start it", fmt.Errorf("process %d of the server that was killed: %w", pid, err))
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// orphans gives the processes of PostgreSQL that stand in the data folder, as
// a server's and its backends' do.
func (c *Cluster) orphans() (pids []int, err error) {
	data, err := filepath.EvalSymlinks(c.dataDir())
	if err != nil {
		return nil, ground.IOError("look at the data folder", c.Dir, err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	for _, link := range all {
		if cwd, err := os.Readlink(link); err != nil || cwd != data {
			continue // gone, another user's, or another's
		}
		exe, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err != nil || !strings.HasPrefix(filepath.Base(exe), "postgres") { // "postgres (deleted)" after an upgrade
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
