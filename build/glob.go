package build

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// matchGlob says whether the slash-separated name matches pattern: * and ?
// within one folder, ** for any number of folders; a pattern that names a
// folder matches everything below it.
func matchGlob(pattern, name string) bool {
	pattern = path.Clean(strings.TrimPrefix(pattern, "./"))
	if pattern == "." {
		return true
	}
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			rest := slices.IndexFunc(pattern, func(p string) bool { return p != "**" })
			if rest < 0 {
				return true
			}
			for i := range name {
				if matchParts(pattern[rest:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return true // all of it, or a folder above name
}

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
		if slices.ContainsFunc(patterns, func(g string) bool { return matchGlob(g, rel) }) {
			found = append(found, rel)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}
