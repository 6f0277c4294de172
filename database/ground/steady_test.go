package ground

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman/internal/need"
)

// What is written to a file on a disk does not stay in memory until the
// kernel's own time comes, half a minute later.
func TestSteadyWritesSoon(t *testing.T) {
	need.Slow(t, "writes to the disk")
	dir := t.TempDir()
	path := filepath.Join(dir, "16384")
	stop := Steady(dir, filepath.Join(dir, "missing"))
	defer stop()
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	end := time.Now().Add(20 * time.Second)
	for {
		var pages unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &pages, 0); err != nil {
			t.Fatalf("cachestat(2), Linux 6.5: %v", err)
		}
		if pages.Dirty == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d pages are not written after 20 s", pages.Dirty)
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	stop() // twice does no harm
}
