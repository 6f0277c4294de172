package instance

import (
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/bosman-cd/bosman"
)

// FirstUID is the first Unix user number given to instances; no entry in
// /etc/passwd is needed.
const FirstUID = 70000

// NextUID gives a number above all in use and all that once were: numbers are
// not reused while files of theirs may remain.
func NextUID(used []int) int {
	if len(used) == 0 {
		return FirstUID
	}
	return max(slices.Max(used)+1, FirstUID)
}

// Own gives a folder and all in it to a user. It follows no symbolic link and
// does not leave the folder, also while somebody changes it; a file that has
// a second name elsewhere and belongs to another is left alone.
func Own(dir string, uid int) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return bosman.Unavailable("cannot open %s", dir).Because(err)
	}
	defer func() { _ = root.Close() }() // only changed through
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := root.Lstat(path)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(st.Uid) == uid && int(st.Gid) == uid || !d.IsDir() && st.Nlink > 1 && int(st.Uid) != uid {
			return nil
		}
		return root.Lchown(path, uid, uid)
	})
	if err != nil {
		return bosman.Unavailable("cannot give %s to user %d", dir, uid).Because(err)
	}
	return nil
}
