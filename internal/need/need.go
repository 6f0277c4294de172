// Package need says what a test needs of the machine. Under -short such tests
// are skipped with the reason; in a full run a missing part is a failure that
// names how to get it. It is for tests only.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Slow skips the test under -short.
func Slow(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: " + why)
	}
}

// Root needs the test to run as root.
func Root(t testing.TB) {
	t.Helper()
	Slow(t, "needs root")
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: run make test as root, or make test-short without")
	}
}

// Program needs a program, which the named Debian package holds, in PATH or
// at an absolute path.
func Program(t testing.TB, program, debian string) {
	t.Helper()
	Slow(t, "needs "+program)
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("this test needs %s: run make test, which installs it, or apt-get install %s", program, debian)
	}
}

// File needs a file that the named Debian package holds.
func File(t testing.TB, path, debian string) {
	t.Helper()
	Slow(t, "needs "+path)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("this test needs %s: run make test, which installs it, or apt-get install %s", path, debian)
	}
}
