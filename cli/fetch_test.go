package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// A folder is there in full or not at all, for its owner alone, and nothing is
// written over.
func TestFetchInto(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "k12")
	get := func(fails error) func(put func(string, int64, io.Reader) error) (wire.Fetched, error) {
		return func(put func(string, int64, io.Reader) error) (wire.Fetched, error) {
			if err := put("database.dump", 4, strings.NewReader("dump")); err != nil {
				return nil, err
			}
			return wire.Fetched{"database.dump": "x"}, fails
		}
	}
	broke := errors.New("broke off")
	if _, err := fetchInto(dir, get(broke)); !errors.Is(err, broke) {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := fetchInto(dir, get(nil)); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "database.dump"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if _, err := fetchInto(dir, get(nil)); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("over what is there: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "database.dump")); err != nil || string(text) != "dump" {
		t.Errorf("%q, %v", text, err)
	}
}
