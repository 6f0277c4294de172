package ground

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// A server for what may be thrown away syncs nothing: when the host crashes,
// nobody knows which of its files reached the disk, not even whether it was
// running. Its files are trusted
//
//	in the start of the host in which they were written: the kernel has them
//	after that only with the note of NoteRest, which is on the disk after them
//
// and every start of the server takes that note away first.

func (g Ground) restPath() string { return filepath.Join(g.Dir, "rest") }

// NoteRest writes the files of a server that does not run to the disk, and
// notes there that it did; not of one that was lost before.
func (g Ground) NoteRest() error {
	if g.Rests() || g.Lost() {
		return nil
	}
	f, err := os.Open(g.Dir)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err == nil {
		err = atomicfile.Write(g.restPath(), []byte("All files are on the disk.\n"), 0o600)
	}
	return IOError("write the files of "+g.What+" to the disk", g.Dir, err)
}

// Rests says whether NoteRest was noted since the last start.
func (g Ground) Rests() bool {
	_, err := os.Stat(g.restPath())
	return err == nil
}

// noteUse takes away what NoteRest noted, on the disk: before anything else is
// written there.
func (g Ground) noteUse() error {
	err := os.Remove(g.restPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(g.Dir); err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
	}
	return IOError("note the start of "+g.What, g.Dir, err)
}

// Lost says whether the files of a server that does not run, and syncs
// nothing, cannot be trusted since the host crashed after they were written.
func (g Ground) Lost() bool {
	was, err := os.ReadFile(g.bootPath())
	if err == nil {
		var now string
		if now, err = BootID(); err != nil || string(was) == now {
			return false
		}
	}
	return !g.Rests()
}

func (g Ground) lossPath() string { return filepath.Join(g.Dir, "lost") }

// NoteLoss notes that all databases of the server are thrown away since the
// host crashed, for those who look for theirs.
func (g Ground) NoteLoss(found time.Time) error {
	return IOError("note the loss of "+g.What, g.Dir, atomicfile.Write(g.lossPath(), []byte(found.UTC().Format(time.RFC3339)+"\n"), 0o644))
}

// LostAt is when that was found, the last time; zero if it never was.
func (g Ground) LostAt() time.Time {
	b, err := os.ReadFile(g.lossPath())
	if err != nil || len(b) == 0 {
		return time.Time{}
	}
	at, _ := time.Parse(time.RFC3339, string(b[:len(b)-1])) // zero
	return at
}
