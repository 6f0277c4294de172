package ground

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// Down is the error for a server that does not answer. doing completes "could
// not …"; durable is a server of staging and live.
func (g Ground) Down(doing string, durable bool, err error) error {
	kept := "staging and live are not touched: their databases are elsewhere"
	if durable {
		kept = "testing instances and builds go on; staging and live serve only what needs no database"
	}
	return bosman.Unavailable("could not %s: the %s does not answer", doing, g.What).WithKept(kept).
		WithNext("bosman doctor shows why; its log is in " + g.Log()).Because(err)
}

// Full is the error for a disk without room for what a server does.
func (g Ground) Full(doing string, err error) error {
	return bosman.Unavailable("could not %s: the disk that holds %s is full", doing, g.Dir).
		WithKept("what was there before is untouched").
		WithNext("free some space: old backups and kept databases are the first to look at").Because(err)
}

// noRoom is what is left on a disk that is full: PostgreSQL ends when there is
// no room for the next segment of its log, which are 16 MB, and gives back what
// it had of it.
const noRoom = 24 << 20

// NoRoom says whether a disk is full: programs tell of it only in words.
func NoRoom(path string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return false
	}
	return s.Bavail*uint64(s.Bsize) < noRoom
}

// IOError tells a full disk from other failures of files in dir; nil stays nil.
func IOError(doing, dir string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return bosman.Unavailable("could not %s: the disk that holds %s is full", doing, dir).
			WithNext("free some space").Because(err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return bosman.Unavailable("could not %s: no permission", doing).Because(err)
	}
	return bosman.Unavailable("could not %s", doing).Because(err)
}

// Unfinished is the error for a program that did not finish its work on a
// database because a disk is full; nil if all of dirs have room.
func Unfinished(program, db string, said error, dirs ...string) error {
	for _, dir := range dirs {
		if NoRoom(dir) {
			return bosman.Unavailable("could not finish %s of %s: the disk that holds %s is full", program, db, dir).
				WithKept("what was there before is untouched").WithNext("free some space").Because(said)
		}
	}
	return nil
}

// Missing is the error for a program that is not installed.
func Missing(program, pkg string) error {
	return bosman.Unavailable("the program %s is missing", program).
		WithNext("install it: apt-get install " + pkg).Because(os.ErrNotExist)
}
