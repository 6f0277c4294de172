package migration

import (
	"cmp"
	"slices"
)

// Migrations that have versions are looked up by version and by table, not
// compared each with each: a change may bring thousands of them.

// A view is main as a change leaves it.
type view struct {
	newest  *Node
	number  map[string]int // by version: the first of space.main
	changed map[string]int // by table: the first that the change has not seen
}

func (c *collector) view(s *space, l *layer) *view {
	v, u := &view{number: map[string]int{}, changed: map[string]int{}}, union{c.base, l}
	for i, m := range s.main {
		c.looked++
		if m.version == nil || u.hidden(m, c.base) {
			continue
		}
		if v.newest == nil || v.newest.version.compare(m.version) < 0 {
			v.newest = m
		}
		if k := m.version.key(); s.rule.twice != "" && !has(v.number, k) {
			v.number[k] = i
		}
		if !s.rule.tables || !l.missed[m.key()] {
			continue
		}
		for _, t := range m.Tables {
			if !has(v.changed, t) {
				v.changed[t] = i
			}
		}
	}
	return v
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// meets gives the first of main's that takes the version of a, or changes a
// table of it; nil: none.
func (c *collector) meets(s *space, v *view, a side) (m *Node, equal bool) {
	first, equal := v.number[a.node.version.key()]
	if !equal {
		first = len(s.main)
	}
	for _, t := range a.node.Tables {
		c.looked++
		if i, ok := v.changed[t]; ok && i < first {
			first, equal = i, false
		}
	}
	if first == len(s.main) {
		return nil, false
	}
	return s.main[first], equal
}

// A fresh side has a version that main does not have, and its place.
type fresh struct {
	side
	at int
	v  string // version.key
}

// space compares all of a space: with main, then the changes with each other.
func (c *collector) space(s *space) {
	var changes [][]fresh
	var v *view
	for i, a := range s.sides {
		if i == 0 || s.sides[i-1].layer != a.layer {
			v = c.view(s, a.layer)
			changes = append(changes, nil)
		}
		c.againstMain(s, v, a)
		if a.node.version != nil && !c.inMain(a) {
			last := len(changes) - 1
			changes[last] = append(changes[last], fresh{a, i, a.node.version.key()})
		}
	}
	for _, equal := range []bool{true, false} { // what is worse first: one sentence for two changes is enough
		var found [][2]fresh
		for i, a := range changes {
			if equal && s.rule.twice != "" {
				found = c.twins(found, a)
			}
			for _, b := range changes[i+1:] {
				if two, ok := c.first(s, a, b, equal); ok {
					found = append(found, two)
				}
			}
		}
		slices.SortFunc(found, func(x, y [2]fresh) int { return cmp.Or(x[0].at-y[0].at, x[1].at-y[1].at) })
		for _, two := range found {
			c.twoLines(s, two[0].side, two[1].side)
		}
	}
}

// twins gives each of a change with the next that takes its version.
func (c *collector) twins(found [][2]fresh, all []fresh) [][2]fresh {
	later := map[string]heads{}
	for _, a := range slices.Backward(all) {
		c.looked++
		h := later[a.v]
		if b, ok := h.other(a.name()); ok {
			found = append(found, [2]fresh{a, b})
		}
		if len(h) == 0 || h[0].name() != a.name() { // the next one, and the next of another name than it
			h = heads{a}.with(h)
		} else {
			h[0] = a
		}
		later[a.v] = h
	}
	return found
}

func (f fresh) name() string { return f.node.key().name }

// heads are the first of a list, and the first after it of another name.
type heads []fresh

func (h heads) with(more heads) heads {
	for _, f := range more {
		if len(h) == 0 || len(h) == 1 && h[0].name() != f.name() {
			h = append(h, f)
		}
	}
	return h
}

// other gives the first that has another name.
func (h heads) other(name string) (fresh, bool) {
	for _, f := range h {
		if f.name() != name {
			return f, true
		}
	}
	return fresh{}, false
}

// first gives the first two migrations of two changes that collide: with equal
// versions, or with others. None if the changes were told of this space.
func (c *collector) first(s *space, as, bs []fresh, equal bool) (two [2]fresh, ok bool) {
	if len(as) == 0 || len(bs) == 0 || c.told[pair{as[0].layer.change, bs[0].layer.change, s.dir}] {
		return two, false
	}
	as, bs = c.unheld(as, bs[0].layer), c.unheld(bs, as[0].layer)
	index := map[string]heads{} // by version, by table, or by both
	var odd heads               // the first, and the first of another version
	add := func(k string, b fresh) { index[k] = index[k].with(heads{b}) }
	for _, b := range bs {
		if len(odd) == 0 || len(odd) == 1 && odd[0].v != b.v {
			odd = append(odd, b)
		}
		if equal && s.rule.twice != "" {
			add(b.v, b)
			continue
		}
		for _, t := range b.node.Tables {
			c.looked++
			if s.rule.tables && equal {
				add(b.v+" "+t, b)
			} else if s.rule.tables {
				add(t, b)
			}
		}
	}
	for _, a := range as {
		c.looked++
		best := heads(nil)
		see := func(b fresh, ok bool) {
			if ok && (best == nil || b.at < best[0].at) {
				best = heads{b}
			}
		}
		switch {
		case equal && s.rule.twice != "":
			see(index[a.v].other(a.name()))
		case !equal && s.rule.older != "":
			for _, b := range odd {
				see(b, b.v != a.v)
			}
		}
		if s.rule.tables && (!equal || s.rule.twice == "") {
			for _, t := range a.node.Tables {
				c.looked++
				if equal {
					t = a.v + " " + t
				}
				see(index[t].other(a.name())) // of an equal version: then both were told already
			}
		}
		if best != nil {
			return [2]fresh{a, best[0]}, true
		}
	}
	return two, false
}

// unheld leaves out what the other change holds as well: it is stacked.
func (c *collector) unheld(all []fresh, other *layer) (out []fresh) {
	for _, f := range all {
		c.looked++
		if !holds(other, f.node) {
			out = append(out, f)
		}
	}
	return out
}
