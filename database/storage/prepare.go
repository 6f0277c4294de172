package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Prepared is a file system in a file, on a host whose own cannot share
// blocks:
//
//	(nothing) ─► image made ─► noted ─► mounted
//
// What is noted is mounted again by Mount.
type Prepared struct {
	Image string `json:"image"`          // a sparse file
	Dir   string `json:"dir"`            // where it is mounted
	Size  int64  `json:"size"`           // of the file system; the file grows up to it
	Type  string `json:"type,omitempty"` // "xfs" or "btrfs"; "" is xfs
}

// kind is a file system that can be prepared.
type kind struct {
	pkg  string   // of Debian, with mkfs
	mkfs []string // the file to make it in follows
	min  int64    // what it needs at least
}

var kinds = map[string]kind{
	"xfs":   {"xfsprogs", []string{"mkfs.xfs", "-q", "-m", "reflink=1", "-L", "bosman"}, 300 << 20},
	"btrfs": {"btrfs-progs", []string{"mkfs.btrfs", "-q", "-m", "single", "-L", "bosman"}, 256 << 20}, // what is in it is made anew, so nothing is held twice
}

// Kind is the type of its file system.
func (p Prepared) Kind() string {
	if p.Type == "" {
		return "xfs"
	}
	return p.Type
}

// DefaultSize is how big a prepared file system is unless somebody says so.
const DefaultSize = 20 << 30

func notePath(data string) string { return filepath.Join(data, "storage.json") }

// Read gives what was prepared for a data folder; KindNotFound if nothing.
func Read(data string) (Prepared, error) {
	var p Prepared
	b, err := os.ReadFile(notePath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return p, bosman.NotFound("no storage was prepared for %s", data)
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, bosman.Unavailable("the note of prepared storage %s cannot be read", notePath(data)).Because(err)
	}
	return p, nil
}

// Home is the folder for copies: the prepared file system, or the data folder
// itself. KindUnavailable if what was prepared is not mounted: copies are on it.
func Home(data string) (string, error) {
	p, err := Read(data)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return data, nil
	}
	if err != nil {
		return "", err
	}
	on, err := Mounted(p.Dir)
	if err == nil && !on {
		err = bosman.Unavailable("the storage for copies, %s, is not mounted at %s", p.Image, p.Dir).
			WithKept("the copies are in it").WithNext("mount it: bosman storage prepare")
	}
	return p.Dir, err
}

// Propose says what Prepare would do for a data folder. Of what is wanted, Dir
// "" is DATA/storage, Size 0 is DefaultSize, Type "" is xfs; Image is not asked.
// needed is false if the folder's own file system can share blocks already, or
// all is in place.
func Propose(data string, want Prepared) (p Prepared, needed bool, err error) {
	if data, err = filepath.Abs(data); err != nil {
		return p, false, err
	}
	if p, err = Read(data); err == nil {
		on, err := Mounted(p.Dir)
		return p, !on, err
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return p, false, err
	}
	a, err := Probe(data)
	if err != nil || a.Reflink {
		return p, false, err
	}
	want.Image = filepath.Join(data, "storage.img")
	if want.Dir == "" {
		want.Dir = filepath.Join(data, "storage")
	}
	if want.Dir, err = filepath.Abs(want.Dir); err != nil {
		return p, false, err
	}
	if want.Size == 0 {
		want.Size = DefaultSize
	}
	k, ok := kinds[want.Kind()]
	if !ok {
		return p, false, bosman.Invalid("%q is no file system that Bosman makes", want.Type).WithNext("take xfs or btrfs")
	}
	if want.Size < k.min {
		return p, false, bosman.Invalid("%s is too small for a file system", size(want.Size)).WithNext("take --size 1G or more")
	}
	if want.Size > a.Free {
		return p, false, bosman.Unavailable("a file system of %s does not fit: %s has %s free", size(want.Size), a.Dir, size(a.Free)).
			WithNext("name a smaller one: --size " + fits(a.Free))
	}
	return want, true, nil
}

func fits(free int64) string { return fmt.Sprintf("%dG", max(1, free*8/10>>30)) }

// Prepare makes and mounts what was proposed. Called again it goes on where it
// was stopped.
func Prepare(ctx context.Context, data string, p Prepared) error {
	if os.Geteuid() != 0 {
		return bosman.Forbidden("only root may mount a file system").WithNext("run it as root: sudo bosman storage prepare")
	}
	if entries, err := os.ReadDir(p.Dir); err == nil && len(entries) > 0 {
		if on, err := Mounted(p.Dir); err != nil || !on {
			return errors.Join(err, bosman.Conflict("the folder %s is not empty", p.Dir).WithKept("what is in it is untouched").WithNext("name another with --dir"))
		}
	}
	if _, err := os.Stat(p.Image); errors.Is(err, fs.ErrNotExist) {
		if err := makeImage(ctx, p); err != nil {
			return err
		}
	}
	if err := faults.Point("storage.made"); err != nil {
		return err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(notePath(data), append(b, '\n'), 0o644); err != nil {
		return bosman.Unavailable("could not note what was prepared in %s", data).Because(err)
	}
	if err := faults.Point("storage.noted"); err != nil {
		return err
	}
	_, err = Mount(ctx, data)
	return err
}

// makeImage makes the file beside its place, so that a half-made one is never
// taken for whole.
func makeImage(ctx context.Context, p Prepared) (err error) {
	making := p.Image + ".making"
	f, err := os.OpenFile(making, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return bosman.Unavailable("could not make the file %s", making).Because(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(making))
		}
	}()
	if err := errors.Join(f.Truncate(p.Size), f.Close()); err != nil {
		return bosman.Unavailable("could not make the file %s", making).Because(err)
	}
	k := kinds[p.Kind()]
	if err := program(ctx, k.pkg, k.mkfs[0], append(k.mkfs[1:len(k.mkfs):len(k.mkfs)], making)...); err != nil {
		return err
	}
	if err := faults.Point("storage.making"); err != nil {
		return err
	}
	return os.Rename(making, p.Image)
}

// Mount mounts what was prepared for a data folder unless it is; nothing is
// done where nothing was. mounted says that it is there now.
func Mount(ctx context.Context, data string) (mounted bool, err error) {
	p, err := Read(data)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if on, err := Mounted(p.Dir); err != nil || on {
		return on, err
	}
	if os.Geteuid() != 0 {
		return false, bosman.Forbidden("the storage for copies, %s, is not mounted, and only root may", p.Image).WithNext("mount it as root: bosman storage prepare")
	}
	if _, err := os.Stat(p.Image); err != nil {
		return false, bosman.Unavailable("the storage for copies, %s, is gone, and the copies with it", p.Image).
			WithNext("put it back, or forget it and make it anew: rm " + notePath(data) + " && bosman storage prepare").Because(err)
	}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return false, bosman.Unavailable("could not make the folder %s", p.Dir).Because(err)
	}
	// What is freed inside is given back to the host (discard).
	if err := program(ctx, "mount", "mount", "-t", p.Kind(), "-o", "loop,noatime,nosuid,nodev,discard", p.Image, p.Dir); err != nil {
		return false, err
	}
	return true, os.Chmod(p.Dir, 0o755)
}

// Undo unmounts what was prepared and removes it with all that is in it. Look
// before whether anything there is still wanted.
func Undo(ctx context.Context, data string) error {
	p, err := Read(data)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return bosman.Forbidden("only root may unmount a file system").WithNext("run it as root")
	}
	on, err := Mounted(p.Dir)
	if err != nil {
		return err
	}
	if on {
		err := program(ctx, "mount", "umount", p.Dir)
		for try := 0; err != nil && try < 20 && ctx.Err() == nil; try++ { // what collects the log of a stopped server ends a little later
			time.Sleep(100 * time.Millisecond)
			err = program(ctx, "mount", "umount", p.Dir)
		}
		if err != nil {
			return bosman.Busy("the storage at %s is in use", p.Dir).WithKept("it is as it was").WithNext("stop bosman serve and what else uses it").Because(err)
		}
	}
	if err := faults.Point("storage.unmounted"); err != nil {
		return err
	}
	for _, path := range []string{p.Image, p.Image + ".making", p.Dir, notePath(data)} { // the note last
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return bosman.Unavailable("could not remove %s", path).WithNext("try again").Because(err)
		}
	}
	return nil
}

// Mounted says whether a folder is where a file system begins.
func Mounted(dir string) (bool, error) {
	var at, above unix.Stat_t
	err := unix.Lstat(dir, &at)
	if err == nil {
		err = unix.Lstat(filepath.Dir(dir), &above)
	}
	switch {
	case errors.Is(err, syscall.ENOENT):
		return false, nil
	case err != nil:
		return false, bosman.Unavailable("the folder %s cannot be looked at", dir).Because(err)
	}
	return at.Mode&unix.S_IFMT == unix.S_IFDIR && at.Dev != above.Dev, nil
}

// Spare says how much the file may still grow and what its own disk has left:
// with less left than that, the file system inside can break.
func (p Prepared) Spare() (grow, left int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(p.Image, &st); err != nil {
		return 0, 0, bosman.Unavailable("the file %s cannot be looked at", p.Image).Because(err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(p.Image), &s); err != nil {
		return 0, 0, bosman.Unavailable("the disk of %s cannot be looked at", p.Image).Because(err)
	}
	return max(0, p.Size-st.Blocks*512), int64(s.Bavail) * s.Bsize, nil //nolint:gosec // sizes of disks fit
}

// program runs a program of the host; pkg is the Debian package it comes in.
func program(ctx context.Context, pkg, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, serr := os.Stat(filepath.Join(dir, name)); serr == nil {
				path, err = filepath.Join(dir, name), nil
				break
			}
		}
	}
	if err != nil {
		return bosman.Unavailable("the program %s is missing", name).WithNext("install it: apt-get install " + pkg).Because(err)
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return bosman.Unavailable("%s did not succeed", name).Because(fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
	}
	return nil
}
