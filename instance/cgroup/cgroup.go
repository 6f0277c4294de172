// Package cgroup keeps processes together in control groups, so that all of
// them can be found, limited and killed. It uses version 2 wherever it is
// mounted (also beside version 1) and version 1 for the memory limit only. It
// knows nothing of what runs in a group.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is one control group: a folder of the version 2 hierarchy, and one of
// the version 1 memory hierarchy if a limit needs it.
type Group struct {
	dir    string
	memory string // folder in the version 1 memory hierarchy; "" without
	shared bool   // memory is the parent's
}

// Mounts finds the version 2 hierarchy and the version 1 memory one; "" where
// there is none.
func Mounts() (v2, memory string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = f.Close() }() // only read
	s := bufio.NewScanner(f)
	for s.Scan() {
		left, right, ok := strings.Cut(s.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch {
		case r[0] == "cgroup2" && v2 == "":
			v2 = l[4]
		case r[0] == "cgroup" && slices.Contains(strings.Split(r[2], ","), "memory"):
			memory = l[4]
		}
	}
	return v2, memory, s.Err()
}

// ErrNone says that this host offers no usable control groups.
var ErrNone = errors.New("no usable cgroup version 2 here")

// Open makes, or finds, the group bosman/NAME. ErrNone if the host or our
// rights do not allow it.
func Open(name string) (*Group, error) {
	v2, _, err := Mounts()
	if err != nil {
		return nil, err
	}
	if v2 == "" {
		return nil, ErrNone
	}
	g := &Group{dir: filepath.Join(v2, "bosman", name)}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if unix.Access(filepath.Join(g.dir, "cgroup.kill"), unix.W_OK) != nil {
		return nil, fmt.Errorf("%w: the kernel is older than 5.14 or the group is not ours", ErrNone)
	}
	return g, nil
}

// Child makes, or finds, a group inside g. It shares g's memory limit.
func (g *Group) Child(name string) (*Group, error) {
	c := &Group{dir: filepath.Join(g.dir, name), memory: g.memory, shared: true}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	return c, nil
}

// Dir is the group's folder.
func (g *Group) Dir() string { return g.dir }

// Folder opens the group's folder, for a process to be born in it.
func (g *Group) Folder() (*os.File, error) { return os.Open(g.dir) }

// Join moves a process into the group (and under its memory limit).
func (g *Group) Join(pid int) error {
	err := write(filepath.Join(g.dir, "cgroup.procs"), strconv.Itoa(pid))
	return errors.Join(err, g.JoinMemory(pid))
}

// JoinMemory puts a process born in the group under its version 1 memory
// limit, if that is how it is limited.
func (g *Group) JoinMemory(pid int) error {
	if g.memory == "" {
		return nil
	}
	return write(filepath.Join(g.memory, "cgroup.procs"), strconv.Itoa(pid))
}

// LimitMemory limits the memory of the whole group to so many bytes. Call it
// before processes or children are in it.
func (g *Group) LimitMemory(bytes int64) error {
	v2, v1, err := Mounts()
	if err != nil {
		return err
	}
	limit := strconv.FormatInt(bytes, 10)
	controllers, err := os.ReadFile(filepath.Join(v2, "cgroup.controllers"))
	if err == nil && slices.Contains(strings.Fields(string(controllers)), "memory") {
		for dir := v2; ; dir = filepath.Join(dir, "bosman") {
			if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+memory"); err != nil {
				return err
			}
			if dir != v2 {
				break
			}
		}
		return write(filepath.Join(g.dir, "memory.max"), limit)
	}
	if v1 == "" {
		return fmt.Errorf("%w: no memory controller", ErrNone)
	}
	dir := filepath.Join(v1, "bosman", filepath.Base(g.dir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	g.memory = dir
	return write(filepath.Join(dir, "memory.limit_in_bytes"), limit)
}

// OOMKills counts the processes of the group killed for want of memory.
func (g *Group) OOMKills() int {
	for _, path := range []string{filepath.Join(g.dir, "memory.events"), filepath.Join(g.memory, "memory.oom_control")} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				if v, err := strconv.Atoi(n); err == nil {
					return v
				}
			}
		}
	}
	return 0
}

// Procs lists the processes of the group and the groups inside it.
func (g *Group) Procs() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return ignoreGone(err)
		}
		for f := range strings.FieldsSeq(string(b)) {
			p, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			if p > 0 {
				pids = append(pids, p)
			}
		}
		return nil
	})
	return pids, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Kill kills every process of the group and the groups inside it.
func (g *Group) Kill() error {
	return ignoreGone(write(filepath.Join(g.dir, "cgroup.kill"), "1"))
}

// Remove kills what is left and removes the group and those inside it.
func (g *Group) Remove() error {
	var err error
	for range 400 {
		if err = g.Kill(); err != nil {
			return err
		}
		if err = removeTree(g.dir); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err == nil && g.memory != "" && !g.shared {
		err = ignoreGone(os.Remove(g.memory))
	}
	return err
}

// removeTree removes the folders of a group, deepest first; the files in them
// are the kernel's and go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreGone(unix.Rmdir(dir))
}

func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
