package migration

import (
	"fmt"
	"path"
	"sort"
)

// key finds a migration: names are unique in a folder, and a repository may
// hold two projects with equal labels.
type key struct{ dir, name string }

func (n *Node) key() key { return key{path.Dir(n.Path), n.Name} }

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

// A layer is the migrations of main, or what one change adds and takes away.
type layer struct {
	change   int // 0: main
	nodes    map[key]*Node
	children map[key][]*Node // by the parent's key; name "" holds the first ones
	stands   map[key]key     // replaced → the squashed one that stands for it
	gone     map[string]bool // deleted paths
}

func newLayer(change int, nodes Nodes, deleted []string) *layer {
	l := &layer{
		change: change, nodes: map[key]*Node{}, children: map[key][]*Node{},
		stands: map[key]key{}, gone: map[string]bool{},
	}
	for _, d := range deleted {
		l.gone[d] = true
	}
	for i := range nodes {
		n := &nodes[i]
		dir := path.Dir(n.Path)
		l.nodes[n.key()] = n
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
		if m, ok := l.nodes[n.key()]; ok && m.Path == n.Path && owner.change == 0 {
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
	base := newLayer(0, main, nil)
	numbers := make([]int, 0, len(changes))
	for n := range changes {
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	c := collector{base: base, found: map[int][]Collision{}, told: map[pair]bool{}}
	all := union{base}
	buckets := map[key][]side{}
	byPath := map[string][]side{}
	for _, number := range numbers {
		d := changes[number]
		l := newLayer(number, d.Added, d.Deleted)
		for i := range d.Added {
			n := &d.Added[i]
			byPath[n.Path] = append(byPath[n.Path], side{l, n})
		}
		all = append(all, l)
		c.missing(l, d.Added)
	}
	for _, l := range all[1:] {
		for k, nodes := range l.children {
			k = all.canonical(k) // who follows a replaced one follows the squashed one
			for _, n := range nodes {
				buckets[k] = append(buckets[k], side{l, n})
			}
		}
	}
	for _, k := range sortedKeys(buckets) {
		c.bucket(k, buckets[k])
	}
	for _, name := range sortedStrings(byPath) {
		c.samePath(byPath[name])
	}
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
}

func (c *collector) add(col Collision) { c.found[col.Change] = append(c.found[col.Change], col) }

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
	if c.told[p] || u.hidden(m, c.base) || !u.part(a.node.key(), m.key()) {
		return
	}
	c.told[p] = true
	c.add(Collision{
		Change: a.layer.change, App: a.node.App, Stale: true,
		Text: fmt.Sprintf("%s is stale: %s %s, but main already has %s there", changeRef(a.layer.change), a.node.Name, follows(a.node, parent), m.Name),
		Fix:  fmt.Sprintf("merge main into the branch, then run python3 manage.py makemigrations --merge %s, or let %s follow main's newest and renumber it", a.node.App, a.node.Name),
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
	if c.told[p] || u.hidden(a.node, a.layer) || u.hidden(b.node, b.layer) || !u.part(a.node.key(), b.node.key()) {
		return
	}
	c.told[p] = true
	both := "both follow " + ID{a.node.App, parent.name}.String()
	if parent.name == "" {
		both = "both start " + a.node.App
	}
	x, y := changeRef(a.layer.change), changeRef(b.layer.change)
	if a.layer == b.layer {
		c.add(Collision{
			Change: a.layer.change, App: a.node.App, Stale: true,
			Text: fmt.Sprintf("in %s %s and %s %s", x, a.node.Name, b.node.Name, both),
			Fix:  "run python3 manage.py makemigrations --merge " + a.node.App + ", or let one follow the other",
		})
		return
	}
	text := fmt.Sprintf("%s (%s) and %s (%s) %s", x, a.node.Name, y, b.node.Name, both)
	fix := fmt.Sprintf("after the first of them is merged, merge main into the other and run python3 manage.py makemigrations --merge %s, or renumber its migration", a.node.App)
	c.add(Collision{Change: a.layer.change, With: b.layer.change, App: a.node.App, Text: text, Fix: fix})
	c.add(Collision{Change: b.layer.change, With: a.layer.change, App: a.node.App, Text: text, Fix: fix})
}

func holds(l *layer, n *Node) bool {
	m, ok := l.nodes[n.key()]
	return ok && m.Path == n.Path && m.Blob == n.Blob
}

// samePath: two changes write the same new file differently.
func (c *collector) samePath(sides []side) {
	for i, a := range sides {
		if _, inMain := c.base.nodes[a.node.key()]; inMain {
			continue // git finds these
		}
		for _, b := range sides[i+1:] {
			if a.node.Blob == b.node.Blob {
				continue
			}
			text := fmt.Sprintf("%s and %s both add %s, with different content", changeRef(a.layer.change), changeRef(b.layer.change), a.node.ID)
			fix := "rename it in one of them and let it follow the other"
			c.add(Collision{Change: a.layer.change, With: b.layer.change, App: a.node.App, Text: text, Fix: fix})
			c.add(Collision{Change: b.layer.change, With: a.layer.change, App: a.node.App, Text: text, Fix: fix})
		}
	}
}

// missing: a parent in the node's own app that neither main nor the change
// has; Django would not even start.
func (c *collector) missing(l *layer, added Nodes) {
	u := union{c.base, l}
	for i := range added {
		n := &added[i]
		for _, p := range n.sameApp() {
			k := key{path.Dir(n.Path), p}
			if u.has(k) || u.has(u.canonical(k)) {
				continue
			}
			c.add(Collision{
				Change: l.change, App: n.App, Stale: true,
				Text: fmt.Sprintf("%s: %s follows %s, which neither main nor the change has", changeRef(l.change), n.Name, ID{n.App, p}),
				Fix:  "merge main into the branch and let it follow a migration that is there",
			})
		}
	}
}

func sortedKeys(m map[key][]side) []key {
	keys := make([]key, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		return keys[i].dir < keys[j].dir || keys[i].dir == keys[j].dir && keys[i].name < keys[j].name
	})
	return keys
}

func sortedStrings(m map[string][]side) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
