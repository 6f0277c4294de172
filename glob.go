package bosman

import (
	"path"
	"slices"
	"strings"
)

// MatchGlob says whether the slash-separated name matches pattern: * and ?
// within one folder, ** for any number of folders; a pattern that names a
// folder matches everything below it.
func MatchGlob(pattern, name string) bool {
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

// Matters says whether a changed file (slash-separated, from the root of the
// repository) is one of those that paths names. bosman.yaml always is. A glob
// that begins with ! takes files out again, wherever it stands; where there
// are only such, all other files matter.
func (m *Manifest) Matters(file string) bool {
	if len(m.Paths) == 0 || file == ManifestFile {
		return true
	}
	in, named := false, false
	for _, glob := range m.Paths {
		if out, not := strings.CutPrefix(glob, "!"); not {
			if MatchGlob(out, file) {
				return false
			}
			continue
		}
		named = true
		in = in || MatchGlob(glob, file)
	}
	return in || !named
}
