package serve

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bosman-cd/bosman"
)

// An application that did not find its database and made a file is found out.
func TestOtherFiles(t *testing.T) {
	t.Parallel()
	s := &server{opt: Options{Data: t.TempDir()}}
	i := bosman.Instance{App: "tiny", Name: rehearsalName}
	if got := s.otherFiles(i); got != nil {
		t.Errorf("without a folder: %q", got)
	}
	dir := filepath.Join(instanceDir(s.opt.Data, i.App, i.Name), "run", "x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"dev.db": "SQLite format 3\x00\x10\x00", "short": "SQLite", "words.txt": "SQLite format 3, they say"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("dev.db", filepath.Join(dir, "again.db")); err != nil {
		t.Fatal(err)
	}
	if got := s.otherFiles(i); !slices.Equal(got, []string{"the SQLite file dev.db"}) {
		t.Errorf("found %q", got)
	}
}
