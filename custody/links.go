package custody

import (
	"archive/tar"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// unpackLink makes a symbolic link with its time, which the seal of a release
// covers.
func unpackLink(root *os.Root, name string, h *tar.Header) error {
	if err := root.Symlink(h.Linkname, name); err != nil {
		return err
	}
	// Below root: its parents were made by this archive, or are folders.
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root.Name(), name), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}
