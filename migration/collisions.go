package migration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// key finds a migration: names are unique in a folder, and a repository may
// hold two projects with equal labels.
type key struct{ dir, name string }

func (n *Node) key() key { return key{n.Space, n.Name} }

func (k key) compare(l key) int {
	return cmp.Or(strings.Compare(k.dir, l.dir), strings.Compare(k.name, l.name))
}

// sameApp gives the names of the parents in the node's own app, without
// __first__ and __latest__, which Django ignores there.
func (n *Node) sameApp() []string {
	var names []string
	for _, p := range n.Parents {
		if p.App == n.App && p.Name != "__first__" && p.Name != "__latest__" {
			names = append(names, p.Name)
		}
	}
	return names
}

// content is a migration wherever its folder lies.
type content struct{ tool, name, blob string }

func (n *Node) content() content { return content{n.Tool, n.Name, n.Blob} }

// A layer is the migrations of main, or what one change adds and takes away.
type layer struct {
	change   int // 0: main
	called   string
	all      Nodes
	nodes    map[key]*Node
	children map[key][]*Node // by the parent's key; name "" holds the first ones
	stands   map[key]key     // replaced → the squashed one that stands for it
	gone     map[string]bool // deleted paths
	writes   map[string]bool // paths of its nodes
	missed   map[key]bool    // what main got since
	carries  map[content]bool
}

func newLayer(change int, d Delta) *layer {
	l := &layer{
		change: change, called: d.Called, all: d.Added, nodes: map[key]*Node{}, children: map[key][]*Node{},
		stands: map[key]key{}, gone: map[string]bool{}, writes: map[string]bool{}, missed: map[key]bool{}, carries: map[content]bool{},
	}
	if l.called == "" {
		l.called = changeRef(change)
	}
	for _, p := range d.Deleted {
		l.gone[p] = true
	}
	for i := range d.Missed {
		l.missed[d.Missed[i].key()] = true
	}
	for i := range l.all {
		n := &l.all[i]
		dir := n.Space
		l.writes[n.Path] = true
		l.carries[n.content()] = true
		l.nodes[n.key()] = n
		if !n.rule().graph {
			continue
		}
		parents := n.sameApp()
		for _, p := range parents {
			l.children[key{dir, p}] = append(l.children[key{dir, p}], n)
		}
		for _, r := range n.Replaces {
			if r.App == n.App {
				l.stands[key{dir, r.Name}] = n.key()
			}
		}
		if len(parents) == 0 && len(n.Replaces) == 0 && len(n.Unknown) == 0 {
			l.children[key{dir, ""}] = append(l.children[key{dir, ""}], n)
		}
	}
	return l
}

// A union is main with some changes on top; what is added later wins.
type union []*layer

func (u union) hidden(n *Node, owner *layer) bool {
	above := false
	for _, l := range u {
		if l == owner {
			above = true
			continue
		}
		if !above {
			continue
		}
		if l.gone[n.Path] {
			return true
		}
		if l.writes[n.Path] && owner.change == 0 {
			return true // the change wrote it anew
		}
	}
	return false
}

func (u union) has(k key) bool {
	for _, l := range u {
		if n, ok := l.nodes[k]; ok && !u.hidden(n, l) {
			return true
		}
	}
	return false
}

// canonical follows replaced migrations to the squashed one.
func (u union) canonical(k key) key {
	for range 100 { // squashes of squashes; never a circle without end
		next, found := k, false
		for _, l := range u {
			if to, ok := l.stands[k]; ok && u.has(to) {
				next, found = to, true
			}
		}
		if !found {
			return k
		}
		k = next
	}
	return k
}

// below gives a node and all that follows it in its app.
func (u union) below(start key) map[key]bool {
	start = u.canonical(start)
	seen := map[key]bool{start: true}
	for todo := []key{start}; len(todo) > 0; {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, next := range u.next(k) {
			if next = u.canonical(next); !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return seen
}

// next gives what directly follows a node or those it stands for.
func (u union) next(k key) []key {
	var after []key
	names, seen := []key{k}, map[key]bool{k: true}
	for i := 0; i < len(names); i++ {
		for _, l := range u {
			for _, c := range l.children[names[i]] {
				if !u.hidden(c, l) {
					after = append(after, c.key())
				}
			}
			n, ok := l.nodes[names[i]]
			if !ok {
				continue
			}
			for _, id := range n.Before {
				if b := (key{k.dir, id.Name}); id.App == n.App && u.has(b) {
					after = append(after, b)
				}
			}
			for _, id := range n.Replaces {
				if r := (key{k.dir, id.Name}); id.App == n.App && !seen[r] {
					seen[r] = true
					names = append(names, r)
				}
			}
		}
	}
	return after
}

// part says that nothing follows both: the app has two heads.
func (u union) part(a, b key) bool {
	left := u.below(a)
	for k := range u.below(b) {
		if left[k] {
			return false
		}
	}
	return true
}

// side is a node in a bucket: who brings it.
type side struct {
	layer *layer
	node  *Node
}

// Collisions compares each change with main and with each other open change:
// for each change's number what collides, in order. Changes that hold the
// same migration (one is stacked on the other) do not collide with it.
func Collisions(main Nodes, changes map[int]Delta) map[int][]Collision {
	numbers := slices.Sorted(maps.Keys(changes))
	var lists []Nodes
	for _, n := range numbers {
		lists = append(lists, changes[n].Added, changes[n].Missed)
	}
	lists = settled(main, lists...)
	base := newLayer(0, Delta{Added: lists[0]})
	c := collector{base: base, found: map[int][]Collision{}, told: map[pair]bool{}}
	all := union{base}
	buckets := map[key][]side{}
	byName := map[key][]side{}
	for i, number := range numbers {
		d := changes[number]
		d.Added, d.Missed = lists[1+2*i], lists[2+2*i]
		l := newLayer(number, d)
		for i := range l.all {
			n := &l.all[i]
			byName[n.key()] = append(byName[n.key()], side{l, n})
		}
		all = append(all, l)
		c.missing(l)
		c.included(l, d)
	}
	for _, l := range all[1:] {
		for _, k := range slices.SortedFunc(maps.Keys(l.children), key.compare) {
			nodes := l.children[k]
			k = all.canonical(k) // who follows a replaced one follows the squashed one
			for _, n := range nodes {
				buckets[k] = append(buckets[k], side{l, n})
			}
		}
	}
	for _, k := range sortedKeys(buckets) {
		c.bucket(k, buckets[k])
	}
	for _, k := range sortedKeys(byName) {
		c.sameName(byName[k])
	}
	c.lines(all[1:])
	c.graphs(all[1:])
	for _, list := range c.found {
		sort.SliceStable(list, func(i, j int) bool { return list[i].Stale && !list[j].Stale })
	}
	return c.found
}

type pair struct {
	a, b int
	dir  string
}

type collector struct {
	base  *layer
	found map[int][]Collision
	told  map[pair]bool // one sentence for two sides and an app is enough

	looked int // how many migrations were looked at to compare versions
}

func (c *collector) add(col Collision) {
	col.App, col.Text, col.Fix = clean(col.App), clean(col.Text), clean(col.Fix)
	c.found[col.Change] = append(c.found[col.Change], col)
}

func (c *collector) bucket(parent key, sides []side) {
	for i, a := range sides {
		for _, k := range (union{c.base, a.layer}).next(parent) {
			if m, ok := c.base.nodes[k]; ok && m.Path != a.node.Path {
				c.stale(parent, a, m)
			}
		}
		for _, b := range sides[i+1:] {
			if a.node.Path != b.node.Path {
				c.pair(parent, a, b)
			}
		}
	}
}

// stale: main has another child of the same parent.
func (c *collector) stale(parent key, a side, m *Node) {
	u := union{c.base, a.layer}
	p := pair{a.layer.change, 0, parent.dir}
	if c.told[p] || u.hidden(m, c.base) || c.branches(parent, a.node, m) || !u.part(a.node.key(), m.key()) {
		return
	}
	c.told[p] = true
	c.add(Collision{
		Change: a.layer.change, App: a.node.App, Stale: true,
		Text: fmt.Sprintf("%s is stale: %s %s, but main already has %s there", a.layer.called, a.node.shown(), follows(a.node, parent), m.shown()),
		Fix:  fmt.Sprintf("merge main into the branch, then %s, or let %s follow main's newest", a.node.rule().joined(a.node.App, a.node.Name, m.Name), a.node.shown()),
	})
}

func follows(n *Node, parent key) string {
	if parent.name == "" {
		return "starts " + n.App
	}
	return "follows " + ID{n.App, parent.name}.String()
}

// pair: two changes, or one change twice, follow the same parent.
func (c *collector) pair(parent key, a, b side) {
	u := union{c.base, a.layer}
	if a.layer != b.layer {
		u = append(u, b.layer)
	}
	p := pair{a.layer.change, b.layer.change, parent.dir}
	if a.layer != b.layer && (holds(a.layer, b.node) || holds(b.layer, a.node)) {
		return // stacked
	}
	if c.told[p] || u.hidden(a.node, a.layer) || u.hidden(b.node, b.layer) || c.branches(parent, a.node, b.node) || !u.part(a.node.key(), b.node.key()) {
		return
	}
	c.told[p] = true
	both := "both follow " + ID{a.node.App, parent.name}.String()
	if parent.name == "" {
		both = "both start " + a.node.App
	}
	x, y := a.layer.called, b.layer.called
	join := a.node.rule().joined(a.node.App, a.node.Name, b.node.Name)
	if a.layer == b.layer {
		c.add(Collision{
			Change: a.layer.change, App: a.node.App, Stale: true,
			Text: fmt.Sprintf("in %s %s and %s %s", x, a.node.shown(), b.node.shown(), both),
			Fix:  join + ", or let one follow the other",
		})
		return
	}
	text := fmt.Sprintf("%s (%s) and %s (%s) %s", x, a.node.shown(), y, b.node.shown(), both)
	fix := fmt.Sprintf("after the first of them is merged, merge main into the other and %s, or renumber its migration", join)
	c.both(a, b, text, fix)
}

// both tells two changes of the same.
func (c *collector) both(a, b side, text, fix string) {
	c.add(Collision{Change: a.layer.change, With: b.layer.change, App: a.node.App, Text: text, Fix: fix})
	c.add(Collision{Change: b.layer.change, With: a.layer.change, App: a.node.App, Text: text, Fix: fix})
}

func holds(l *layer, n *Node) bool {
	m, ok := l.nodes[n.key()]
	return ok && m.Path == n.Path && m.Blob == n.Blob
}

// sameName: two changes write the same new migration differently, or one that
// main has by another path.
func (c *collector) sameName(sides []side) {
	var first []side // of each change
	for _, a := range sides {
		if n := len(first); n > 0 && first[n-1].layer == a.layer { // sides come change by change
			c.stuck(a, fmt.Sprintf("%s has %s twice: in %s and %s", a.layer.called, a.node.ID, first[n-1].node.Path, a.node.Path), "give one of them another name")
			continue
		}
		first = append(first, a)
	}
	for i, a := range first {
		if m, inMain := c.base.nodes[a.node.key()]; inMain {
			if m.Path != a.node.Path && !(union{c.base, a.layer}).hidden(m, c.base) {
				c.stuck(a, fmt.Sprintf("%s adds %s in %s, but main already has it in %s", a.layer.called, a.node.ID, a.node.Path, m.Path), "give it a name of its own")
			}
			continue // of the same path: git finds these
		}
		for _, b := range first[i+1:] {
			if a.node.Blob != b.node.Blob || a.node.Path != b.node.Path {
				c.both(a, b, fmt.Sprintf("%s and %s both add %s, with different content", a.layer.called, b.layer.called, a.node.ID), "rename it in one of them and let it follow the other")
			}
		}
	}
}

// missing: a parent in the node's own app that neither main nor the change
// has; Django would not even start.
func (c *collector) missing(l *layer) {
	u := union{c.base, l}
	for i := range l.all {
		n := &l.all[i]
		if !n.rule().graph {
			continue
		}
		for _, p := range n.sameApp() {
			k := key{n.Space, p}
			if u.has(k) || u.has(u.canonical(k)) || n.Tool == alembic.name && u.anywhere(p) || p == n.Name {
				continue
			}
			c.add(Collision{
				Change: l.change, App: n.App, Stale: true,
				Text: fmt.Sprintf("%s: %s follows %s, which neither main nor the change has", l.called, n.shown(), ID{n.App, p}),
				Fix:  "merge main into the branch and let it follow a migration that is there",
			})
		}
	}
}

func sortedKeys(m map[key][]side) []key { return slices.SortedFunc(maps.Keys(m), key.compare) }

// anywhere says whether a revision is in another folder of versions.
func (u union) anywhere(name string) bool {
	for _, l := range u {
		for k := range l.nodes {
			if k.name == name {
				return true
			}
		}
	}
	return false
}
