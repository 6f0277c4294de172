package migration

import (
	"fmt"
	"path"
	"sort"
	"strings"
)

// lines compares the migrations that have versions, and Liquibase's, which
// have only names: they do not say whom they follow.
func (c *collector) lines(layers []*layer) {
	spaces := c.spaces(layers)
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
			if _, again := l.nodes[n.key()]; !again && (!n.rule().goneLast || spaces[n.Space].newest.compare(n.version) <= 0) {
				c.gone(l, n)
			}
		}
	}
}

// spaces gives the folders of versions, by name.
func (c *collector) spaces(layers []*layer) map[string]*space {
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
			if n.version.compare(s.newest) > 0 {
				s.newest = n.version
			}
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
	return spaces
}

// A space is a folder of versions.
type space struct {
	rule   rule
	tool   string
	dir    string
	main   []*Node
	newest version // of main
	sides  []side  // change by change
	last   *Node   // of main and all changes: the next free number follows it
}

func (s *space) see(n *Node) {
	if n.version != nil && (s.last == nil || s.last.version.compare(n.version) < 0) {
		s.last = n
	}
}

// renamed is the command that gives n a free version.
func (s *space) renamed(n *Node) string {
	if n.Number == "" || s.last == nil {
		return s.rule.rename
	}
	next := s.last.version.after(s.last.Number)
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

func (c *collector) stuck(a side, text, fix string) {
	p := pair{a.layer.change, 0, a.node.Space + "\x00" + a.node.Name}
	if c.told[p] {
		return
	}
	c.told[p] = true
	c.add(Collision{Change: a.layer.change, App: a.node.App, Stale: true, Text: text, Fix: fix})
}

// againstMain compares a migration of a change with main's, which v shows.
func (c *collector) againstMain(s *space, v *view, a side) {
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
	m, equal := c.meets(s, v, a)
	switch {
	case m != nil && equal:
		c.stuck(a, fmt.Sprintf("%s is stale: %s takes number %s of %s, but main already has %s there; %s", a.layer.called, a.node.shown(), a.node.Number, s.dir, m.shown(), s.rule.twice), "merge main into the branch, then "+fix)
		return
	case m != nil:
		c.stuck(a, fmt.Sprintf("%s is stale: %s and main's new %s both change %s", a.layer.called, a.node.shown(), m.shown(), strings.Join(shares(a.node, m), ", ")), "merge main into the branch and look whether both fit; then "+fix)
		return
	}
	newest := v.newest
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
