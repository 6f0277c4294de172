package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/bosman-cd/bosman/instance/cgroup"
	"github.com/bosman-cd/bosman/instance/pid"
	"golang.org/x/sys/unix"
)

// MarkEnv marks every process of a set in its environment, so that they are
// found also where there are no control groups.
const MarkEnv = "BOSMAN_MARK"

// GroupName is the name of a process set's control group. It differs between
// installations on one host that use the same ID.
func GroupName(id, runDir string) string {
	sum := sha256.Sum256([]byte(runDir))
	return id + "-" + hex.EncodeToString(sum[:4])
}

// Band holds together what a process starts, also when it daemonises: a
// control group or, without one, the mark in the environment.
type Band struct {
	Group *cgroup.Group // nil: marks only
	Mark  string        // "BOSMAN_MARK=…"
}

// Members lists the processes of the band.
func (b Band) Members() []int {
	if b.Group == nil {
		return pid.Marked(b.Mark)
	}
	pids, err := b.Group.Procs()
	if err != nil {
		return pid.Marked(b.Mark)
	}
	return pids
}

// Kill kills all of the band and waits, at most 10 s, until it is empty.
func (b Band) Kill() error {
	for end := time.Now().Add(10 * time.Second); ; {
		pids := b.Members()
		if len(pids) == 0 {
			return nil
		}
		if b.Group != nil {
			if err := b.Group.Kill(); err != nil {
				return err
			}
		} else {
			for _, p := range pids {
				if id, err := pid.Of(p); err == nil {
					_ = id.Signal(unix.SIGKILL) // gone meanwhile; the loop looks again
				}
			}
		}
		if time.Now().After(end) {
			return errors.New("processes survive being killed")
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// Remove kills the band and removes its group.
func (b Band) Remove() error {
	err := b.Kill()
	if b.Group != nil {
		err = errors.Join(err, b.Group.Remove())
	}
	return err
}
