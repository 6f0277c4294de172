package build

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// A step that can come from the cache must leave the same tree whether it ran
// or not: what it made besides its outputs is removed. Else a later step would
// find, say, node_modules on one day and not on the next.

func cacheable(s bosman.Step) bool { return len(s.Inputs) > 0 && len(s.Outputs) > 0 }

// listTree gives the paths below base, without what lies in outputs.
func listTree(base string, outputs []string) (map[string]bool, error) {
	all := map[string]bool{}
	err := walkBeside(base, outputs, func(p string, _ fs.DirEntry) error {
		all[p] = true
		return nil
	})
	return all, err
}

// removeStrays removes what lies below base, is not in before and not in
// outputs, nor leads to one. It gives the topmost paths removed, without those
// of bytecode.
func removeStrays(base string, before map[string]bool, outputs []string) ([]string, error) {
	var strays []string
	err := walkBeside(base, outputs, func(p string, d fs.DirEntry) error {
		if before[p] || d.IsDir() && slices.ContainsFunc(outputs, func(o string) bool { return strings.HasPrefix(path.Clean(o), p+"/") }) {
			return nil
		}
		strays = append(strays, p)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	for _, p := range strays {
		if err == nil {
			err = os.RemoveAll(filepath.Join(base, filepath.FromSlash(p)))
		}
	}
	return slices.DeleteFunc(strays, func(p string) bool { return path.Base(p) == "__pycache__" }), err
}

// walkBeside walks below base but not into outputs.
func walkBeside(base string, outputs []string, each func(p string, d fs.DirEntry) error) error {
	skip := map[string]bool{}
	for _, o := range outputs {
		skip[path.Clean(o)] = true
	}
	return filepath.WalkDir(base, func(host string, d fs.DirEntry, err error) error {
		if err != nil || host == base {
			return err
		}
		rel, err := filepath.Rel(base, host)
		if err != nil {
			return err
		}
		p := filepath.ToSlash(rel)
		if skip[p] {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return each(p, d)
	})
}

// tidy removes the strays of a step that ran.
func (u *run) tidy(s bosman.Step, before map[string]bool, outputs []string) error {
	strays, err := removeStrays(u.tree(), before, outputs)
	if err != nil {
		return u.host("what the step left besides its outputs could not be removed", err)
	}
	if len(strays) == 0 {
		return nil
	}
	more := ""
	if len(strays) > 5 {
		strays, more = strays[:5], " and more"
	}
	u.out.Say("%s: removed what outputs: does not name, because a step from the cache would not leave it: %s%s", s.Name, strings.Join(strays, ", "), more)
	return nil
}
