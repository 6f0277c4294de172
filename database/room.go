package database

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// Room fails with KindUnavailable, before anything is written, if the file
// system of the folder dir (or of the nearest one above it) has no room for so
// many bytes and some to spare.
func Room(dir string, bytes int64) error {
	free, err := Free(dir)
	need := bytes + bytes/20 + spare
	if err != nil || free >= need {
		return err
	}
	return bosman.Unavailable("the disk that holds %s is too full: %.1f MB are free and %.1f MB are needed", dir, float64(free)/(1<<20), float64(need)/(1<<20)).
		WithKept("nothing was written").WithNext("free some space: old backups and kept databases are the first to look at")
}

// Of a disk stays free, when files are copied: a tenth, or 20 GB where that is
// less. Live is on it too.
const (
	leaveShare = 10
	leaveMost  = 20 << 30
)

// copyRoom refuses a copy of the files in src to the folder dir that its disk
// has no room for, unless the copy shares its blocks.
func copyRoom(ctx context.Context, src, dir string) error {
	need, err := FilesSize(ctx, src)
	if err != nil || need == 0 || sharesBlocks(dir) {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return diskError("look for free space", dir, err)
	}
	free, all := int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize //nolint:gosec // no disk is that big
	leave := min(all/leaveShare, int64(leaveMost))
	if free-need >= leave {
		return nil
	}
	const mb = 1 << 20
	return bosman.Unavailable("there is no room for a copy of the uploaded files: they take %d MB, %d MB are free and %d MB must stay free", need/mb, free/mb, leave/mb).
		WithKept("what is there is untouched").
		WithNext("remove testing instances that nobody needs: bosman instances remove NAME; or kept copies: bosman kept list")
}

// spare is what must stay free.
const spare = 256 << 10

// Free is how many bytes the file system of dir has free for us.
func Free(dir string) (int64, error) {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil {
			return int64(fs.Bavail) * fs.Bsize, nil //nolint:gosec // no disk is that big
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return 0, diskError("look for free space", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}
