package migration

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// lines compares the migrations that have versions, and Liquibase's, which
// have only names: they do not say whom they follow.
func (c *collector) lines(layers []*layer) {
	spaces := map[string]*space{}
	of := func(n *Node) *space {
		s := spaces[n.Space]
		if s == nil {
			s = &space{rule: n.rule(), tool: n.Tool, dir: n.Space}
			spaces[n.Space] = s
		}
		return s
	}
	for i := range c.base.all {
		if n := &c.base.all[i]; !n.rule().graph {
			s := of(n)
			s.main = append(s.main, n)
			s.see(n)
		}
	}
	for _, l := range layers {
		for i := range l.all {
			if n := &l.all[i]; !n.rule().graph {
				s := of(n)
				s.sides = append(s.sides, side{l, n})
				s.see(n)
			}
		}
	}
	names := make([]string, 0, len(spaces))
	for name, s := range spaces {
		if len(s.sides) > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		c.space(spaces[name])
	}
	for _, l := range layers {
		if len(l.gone) == 0 {
			continue
		}
		for i := range c.base.all {
			n := &c.base.all[i]
			if n.rule().graph || n.rule().gone == "" || n.Repeatable || !l.gone[n.Path] {
				continue
			}
			if _, again := l.nodes[n.key()]; !again && (!n.rule().goneLast || c.last(n)) {
				c.gone(l, n)
			}
		}
	}
}

// last says that main has none of a later version beside n.
func (c *collector) last(n *Node) bool {
	return !slices.ContainsFunc(c.base.all, func(m Node) bool { return m.Space == n.Space && m.version.compare(n.version) > 0 })
}

// A space is a folder of versions.
type space struct {
	rule   rule
	tool   string
	dir    string
	main   []*Node
	sides  []side
	newest *Node // of main and all changes: the next free number follows it
}

func (s *space) see(n *Node) {
	if n.version != nil && (s.newest == nil || s.newest.version.compare(n.version) < 0) {
		s.newest = n
	}
}

// renamed is the command that gives n a free version.
func (s *space) renamed(n *Node) string {
	if n.Number == "" || s.newest == nil {
		return s.rule.rename
	}
	next := s.newest.version.after(s.newest.Number)
	switch { // times, of which now is always free
	case len(n.Number) == len("20060102150405") && !strings.ContainsAny(n.Number, "._"):
		next = "$(date -u +%Y%m%d%H%M%S)"
	case n.Tool == laravel.name:
		next = "$(date -u +%Y_%m_%d_%H%M%S)"
	}
	from := n.Path
	if n.Tool == prisma.name {
		from = path.Dir(from) // the folder bears the name
	}
	dir, base := path.Split(from)
	head, tail, _ := strings.Cut(base, n.Number)
	command := moved(from, dir+head, next, tail)
	if n.Tool == golangMigrate.name && strings.Contains(from, ".up.") && command != "" {
		command += " && " + moved(down(from), dir+down(head), next, down(tail))
	}
	if command == "" {
		return "give it a number that is free" + s.rule.rename
	}
	return "run `" + command + "`" + s.rule.rename
}

// down is the name of the way back of golang-migrate's.
func down(name string) string { return strings.Replace(name, ".up.", ".down.", 1) }

func (c *collector) space(s *space) {
	var fresh []side
	for _, a := range s.sides {
		c.againstMain(s, a)
		if a.node.version != nil && !c.inMain(a) {
			fresh = append(fresh, a)
		}
	}
	for _, equal := range []bool{true, false} { // what is worse first: one sentence for two changes is enough
		for i, a := range fresh {
			for _, b := range fresh[i+1:] {
				if (a.node.version.compare(b.node.version) == 0) == equal && (a.layer == b.layer || !holds(a.layer, b.node) && !holds(b.layer, a.node)) {
					c.twoLines(s, a, b)
				}
			}
		}
	}
}

func (c *collector) stuck(a side, text, fix string) {
	p := pair{a.layer.change, 0, a.node.Space + "\x00" + a.node.Name}
	if c.told[p] {
		return
	}
	c.told[p] = true
	c.add(Collision{Change: a.layer.change, App: a.node.App, Stale: true, Text: text, Fix: fix})
}

// againstMain compares a migration of a change with main's.
func (c *collector) againstMain(s *space, a side) {
	u := union{c.base, a.layer}
	if m, ok := c.base.nodes[a.node.key()]; ok && m.Path == a.node.Path {
		if m.Blob != a.node.Blob && s.rule.edited != "" && !a.node.Repeatable {
			c.stuck(a, fmt.Sprintf("%s changes %s, which main already has: %s", a.layer.called, a.node.shown(), s.rule.edited), "take the edit back and write a new migration")
		}
		return // an edit of what main has: its dangers say so
	}
	if a.node.version == nil {
		return
	}
	fix := s.renamed(a.node)
	var newest *Node
	for _, m := range s.main {
		if m.version == nil || u.hidden(m, c.base) {
			continue
		}
		if newest == nil || newest.version.compare(m.version) < 0 {
			newest = m
		}
		if m.version.compare(a.node.version) == 0 && s.rule.twice != "" {
			c.stuck(a, fmt.Sprintf("%s is stale: %s takes number %s of %s, but main already has %s there; %s", a.layer.called, a.node.shown(), a.node.Number, s.dir, m.shown(), s.rule.twice), "merge main into the branch, then "+fix)
			return
		}
		if !s.rule.tables {
			continue
		}
		if t := shares(a.node, m); len(t) > 0 && a.layer.missed[m.key()] {
			c.stuck(a, fmt.Sprintf("%s is stale: %s and main's new %s both change %s", a.layer.called, a.node.shown(), m.shown(), strings.Join(t, ", ")), "merge main into the branch and look whether both fit; then "+fix)
			return
		}
	}
	if newest == nil || newest.version.compare(a.node.version) <= 0 {
		return
	}
	text := fmt.Sprintf("%s is stale: %s is older than main's newest, %s", a.layer.called, a.node.shown(), newest.shown())
	if s.rule.older != "" {
		c.stuck(a, text+"; "+s.rule.older, "merge main into the branch, then "+fix)
		return
	}
	c.add(Collision{
		Change: a.layer.change, App: a.node.App, Fix: fix,
		Text: fmt.Sprintf("%s: %s is older than main's newest, %s: databases that are ahead run it last, new ones before", a.layer.called, a.node.shown(), newest.shown()),
	})
}

// twoLines compares migrations of two changes, or two of one.
func (c *collector) twoLines(s *space, a, b side) {
	if a.node.key() == b.node.key() {
		return // by name: sameName tells
	}
	order := a.node.version.compare(b.node.version)
	if a.layer == b.layer {
		if order == 0 && s.rule.twice != "" {
			c.stuck(a, fmt.Sprintf("in %s %s and %s both take number %s of %s; %s", a.layer.called, a.node.shown(), b.node.shown(), a.node.Number, s.dir, s.rule.twice), s.renamed(b.node))
		}
		return
	}
	p := pair{a.layer.change, b.layer.change, s.dir}
	if c.told[p] {
		return
	}
	x, y := fmt.Sprintf("%s (%s)", a.layer.called, a.node.shown()), fmt.Sprintf("%s (%s)", b.layer.called, b.node.shown())
	fix := "after the first of them is merged, merge main into the other and " + s.renamed(b.node)
	switch t := shares(a.node, b.node); {
	case order == 0 && s.rule.twice != "":
		c.told[p] = true
		c.both(a, b, fmt.Sprintf("%s and %s both take number %s of %s", x, y, a.node.Number, s.dir), fix)
	case s.rule.tables && len(t) > 0:
		c.told[p] = true
		c.both(a, b, fmt.Sprintf("%s and %s both change %s", x, y, strings.Join(t, ", ")), fix)
	case order != 0 && s.rule.older != "":
		c.told[p] = true
		if order > 0 {
			x, y = y, x
			a, b = b, a
		}
		c.both(a, b, fmt.Sprintf("%s comes before %s: merged after it, it is stuck, for %s", x, y, s.rule.older), "merge "+a.layer.called+" first, or "+s.renamed(a.node))
	}
}

func (c *collector) inMain(a side) bool {
	m, ok := c.base.nodes[a.node.key()]
	return ok && m.Path == a.node.Path
}
