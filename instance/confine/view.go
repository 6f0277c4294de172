package confine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/nofollow"
	"golang.org/x/sys/unix"
)

// isolated says whether this process may give itself a view of its own.
func isolated() bool { return os.Geteuid() == 0 }

// view builds the file system as the instance sees it and gives the folder to
// start in.
func view(s *Spec) (string, error) {
	if !isolated() {
		return s.Tree, link(s)
	}
	if err := os.MkdirAll(runtime.AppDir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make %s for the release to be seen at: %w", runtime.AppDir, err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", fmt.Errorf("cannot unshare the mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("cannot make mounts private: %w", err)
	}
	mounts := slices.Clone(s.Mounts)
	for i := range mounts {
		if !filepath.IsAbs(mounts[i].Target) {
			mounts[i].Target = filepath.Join(runtime.AppDir, mounts[i].Target)
		}
	}
	slices.SortStableFunc(mounts, func(a, b runtime.Mount) int { return cmp.Compare(len(a.Target), len(b.Target)) })
	all := []bind{{source: s.Tree, target: runtime.AppDir}}
	if s.Tmp != "" {
		all = append(all, bind{source: s.Tmp, target: "/tmp", writable: true})
	}
	for _, m := range mounts {
		all = append(all, bind{source: m.Source, target: m.Target, writable: m.Writable, within: m.Within})
	}
	for i := range all { // before anything is covered
		if err := all[i].open(); err != nil {
			return "", err
		}
	}
	var ours []string                           // folders in which mount points may be made
	for i := range all[:len(all)-len(mounts)] { // the tree and /tmp
		if err := all[i].place(nil); err != nil {
			return "", err
		}
	}
	hidden, err := hide(s.Hide)
	if err != nil {
		return "", err
	}
	if s.Tmp != "" {
		ours = append(ours, "/tmp")
	}
	ours = append(ours, hidden...)
	for i := range mounts {
		if err := all[len(all)-len(mounts)+i].place(ours); err != nil {
			return "", err
		}
	}
	for _, dir := range hidden {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return "", fmt.Errorf("cannot seal %s: %w", dir, err)
		}
	}
	return runtime.AppDir, nil
}

type bind struct {
	source, target string
	within         string // source is looked up from here without following links
	writable       bool
	fd             int
	dir            bool
}

func (b *bind) open() error {
	fd, err := b.find()
	if err != nil {
		return fmt.Errorf("cannot find %s, to be seen at %s: %w", b.source, b.target, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	b.fd, b.dir = fd, st.Mode&unix.S_IFMT == unix.S_IFDIR
	return nil
}

func (b *bind) find() (int, error) {
	if b.within == "" {
		return unix.Open(b.source, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	rel, err := filepath.Rel(b.within, b.source)
	if err != nil {
		return -1, err
	}
	f, err := nofollow.Open(b.within, rel, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return fd, errors.Join(err, f.Close())
}

func (b *bind) place(ours []string) error {
	if err := b.point(ours); err != nil {
		return err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(b.fd), b.target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot show %s at %s: %w", b.source, b.target, err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV)
	if !b.writable {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", b.target, "", flags, ""); err != nil {
		return fmt.Errorf("cannot set the rights of %s: %w", b.target, err)
	}
	return unix.Close(b.fd)
}

// point makes sure there is something to mount on.
func (b *bind) point(ours []string) error {
	_, err := os.Lstat(b.target)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !slices.ContainsFunc(ours, func(dir string) bool { return strings.HasPrefix(b.target, dir+"/") }) {
		if rel, ok := strings.CutPrefix(b.target, runtime.AppDir+"/"); ok {
			return fmt.Errorf("the release has no place for %s: it was sealed without a mount point for it; build it again", rel)
		}
		return fmt.Errorf("there is no %s on this host to mount on", b.target)
	}
	if b.dir {
		return os.MkdirAll(b.target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(b.target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(b.target, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// hide covers folders that exist with empty ones and gives those it covered.
func hide(paths []string) ([]string, error) {
	paths = slices.Clone(paths)
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	var done []string
	for _, path := range paths {
		path = filepath.Clean(path)
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // also: inside one that is covered already
		}
		if err != nil {
			return done, err
		}
		if !st.IsDir() {
			if err := unix.Mount("/dev/null", path, "", unix.MS_BIND, ""); err != nil {
				return done, fmt.Errorf("cannot hide %s: %w", path, err)
			}
			continue
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
			return done, fmt.Errorf("cannot hide %s: %w", path, err)
		}
		done = append(done, path)
	}
	return done, nil
}

// link is what remains without namespaces: the release is used where it lies
// and places in it become symbolic links, if it is ours to change.
func link(s *Spec) error {
	for _, m := range s.Mounts {
		if filepath.IsAbs(m.Target) {
			if m.Target != m.Source {
				return fmt.Errorf("%s cannot be seen at %s without root", m.Source, m.Target)
			}
			continue
		}
		place := filepath.Join(s.Tree, m.Target)
		if at, err := os.Readlink(place); err == nil {
			if at == m.Source {
				continue
			}
			return fmt.Errorf("%s of this release already leads to %s of another instance; without root a release serves one instance only", m.Target, at)
		}
		if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot put %s in its place without root: %w", m.Target, err)
		}
		if err := os.Symlink(m.Source, place); err != nil {
			return fmt.Errorf("cannot put %s in its place without root: %w", m.Target, err)
		}
	}
	return nil
}
