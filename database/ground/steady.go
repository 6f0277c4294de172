package ground

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// steadyEvery is how often Steady looks for what was written. Ten times a
// second is often enough that no write is long: one of a tenth of a second.
const steadyEvery = 100 * time.Millisecond

// steadyAbove leaves out small files, which are written in no time.
const steadyAbove = 64 << 10

// Steady has the kernel write what is written to files in the folders dirs, a
// little all the time, until the function it gives is called. Servers that
// sync nothing leave it in memory otherwise, and when it goes to the disk all
// at once, whoever must sync a few bytes there, as a live database for each
// transaction, waits for all of it. Best effort: nothing depends on it.
func Steady(dirs ...string) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		t := time.NewTicker(steadyEvery)
		defer t.Stop()
		begun := map[string]fs.FileInfo{}
		for {
			select {
			case <-quit:
				return
			case <-t.C:
			}
			for _, dir := range dirs {
				beginWriting(dir, begun)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(quit)
		done.Wait()
	})
}

// beginWriting begins to write the files in dir that changed since they were
// last noted in begun.
func beginWriting(dir string, begun map[string]fs.FileInfo) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it is gone, or not ours to see
	}
	for _, e := range entries {
		now, err := e.Info()
		if err != nil || !now.Mode().IsRegular() || now.Size() < steadyAbove {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if was := begun[path]; was != nil && was.ModTime().Equal(now.ModTime()) && was.Size() == now.Size() {
			continue
		}
		begun[path] = now
		f, err := os.Open(path)
		if err != nil {
			continue // removed meanwhile
		}
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // best effort
		_ = f.Close()                                                         // only read
	}
}
