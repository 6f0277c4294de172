package database

import (
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
