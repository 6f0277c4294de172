package migration

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// maxProblems bounds what is told of one file.
const maxProblems = 20

// doubts gives a node for each file whose includes could not be followed.
func (f *following) doubts() Nodes {
	var out Nodes
	for _, p := range f.problems {
		if n := len(out); n == 0 || out[n-1].Path != p.path {
			out = append(out, Node{ID: ID{App: shortDir(path.Dir(p.path)), Name: path.Base(p.path)}, Tool: liquibase.name, Path: p.path, Space: p.path + " and what it includes", Repeatable: true})
		}
		if n := &out[len(out)-1]; len(n.Unknown) < maxProblems {
			n.Unknown = append(n.Unknown, p.text)
		}
	}
	for i := range out {
		sum := sha1.Sum([]byte(strings.Join(out[i].Unknown, "\n")))
		out[i].Blob = hex.EncodeToString(sum[:])
	}
	return out
}

// with adds the changesets of files that are changelogs only by being
// included, as far as they are wanted, and what could not be followed.
func (l Nodes) with(f *following, wanted func(path string) bool) Nodes {
	known := map[string]bool{}
	for i := range l {
		known[l[i].Path] = true
	}
	for _, more := range []Nodes{f.order, f.doubts()} {
		for i := range more {
			if n := &more[i]; wanted(n.Path) && (!known[n.Path] || n.Repeatable && len(n.Unknown) > 0) {
				l = append(l, *n)
			}
		}
	}
	sort.SliceStable(l, func(i, j int) bool { return l[i].Path < l[j].Path })
	return l
}

// include adds to what a change does what comes of its includes.
func (s *Scanner) include(ctx context.Context, r Reader, main, head string, changed map[string]string, d *Delta) error {
	if !slices.Contains(s.tools, &liquibase) {
		return nil
	}
	files, err := r.Files(ctx, head)
	if err != nil {
		return err
	}
	now, err := s.follow(ctx, r, head, files)
	if err != nil || now == nil {
		return err
	}
	if files, err = r.Files(ctx, main); err != nil {
		return err
	}
	was, err := s.follow(ctx, r, main, files)
	if err != nil {
		return err
	}
	if was == nil {
		was = &following{}
	}
	had := map[string]bool{}
	for _, p := range was.problems {
		had[p.key()] = true
	}
	d.order = now.order
	told := map[string]bool{}
	for _, p := range now.problems {
		if !had[p.key()] {
			told[p.path] = true
			d.problems = append(d.problems, p)
		}
	}
	d.Added = d.Added.with(now, func(path string) bool {
		if _, ok := changed[path]; ok {
			return true
		}
		return told[path] || now.files[path] && !was.files[path]
	})
	return nil
}

// included tells what is wrong with the includes of a change: those that lead
// nowhere, and changesets that run before such as main has already run.
func (c *collector) included(l *layer, d Delta) {
	for i, p := range d.problems {
		if p.refused && i < maxProblems {
			c.add(Collision{Change: l.change, App: shortDir(path.Dir(p.path)), Stale: true, Text: l.called + ": in " + p.path + " " + p.text, Fix: "add what it includes, or take the line out"})
		}
	}
	later := map[string]*Node{} // table → the next one that main has
	for i := len(d.order) - 1; i >= 0; i-- {
		n := &d.order[i]
		if m, ok := c.base.nodes[n.key()]; ok && m.Path == n.Path {
			for _, t := range n.Tables {
				later[t] = n
			}
			continue
		}
		if l.nodes[n.key()] == nil {
			continue
		}
		for _, t := range n.Tables {
			if m := later[t]; m != nil {
				c.add(Collision{
					Change: l.change, App: n.App,
					Text: fmt.Sprintf("%s: %s in %s comes before %s in %s, which main already has, and both change %s: databases that are ahead run it last, new ones before", l.called, n.shown(), n.Path, m.shown(), m.Path, t),
					Fix:  "include it after that, or give its file a later name",
				})
				break
			}
		}
	}
}
