package build

import (
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/bosman-cd/bosman"
)

// globFiles gives the regular files and links below dir that match one of the
// patterns, sorted, slash-separated, relative to dir. Links are not followed.
func globFiles(dir string, patterns []string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if t := d.Type(); t != 0 && t != fs.ModeSymlink {
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if slices.ContainsFunc(patterns, func(g string) bool { return bosman.MatchGlob(g, rel) }) {
			found = append(found, rel)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}
