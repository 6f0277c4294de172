package migration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// branches says that two which part do so on purpose: Alembic has branches
// with labels, and several that start from nothing where main has several.
func (c *collector) branches(parent key, a, b *Node) bool {
	if a.Tool != alembic.name {
		return false
	}
	if len(a.labels) > 0 || len(b.labels) > 0 {
		return true
	}
	return parent.name == "" && len(union{c.base}.next(parent)) > 1
}

// graphs looks for what is wrong with a graph besides two that follow one.
func (c *collector) graphs(layers []*layer) {
	apps := map[string][]string{} // label of Django's → spaces of main
	for i := range c.base.all {
		if n := &c.base.all[i]; n.Tool == django.name && !slices.Contains(apps[n.App], n.Space) {
			apps[n.App] = append(apps[n.App], n.Space)
		}
	}
	parted := c.parted()
	for _, l := range layers {
		c.circles(l)
		c.elsewhere(l, apps)
		c.needs(l)
		c.mainsOwn(l, parted)
	}
	for i, l := range layers {
		taken := c.taken(l)
		for _, k := range slices.SortedFunc(maps.Keys(taken), key.compare) {
			if m := c.base.nodes[k]; m.rule().gone != "" && len(union{c.base}.next(k)) == 0 {
				c.gone(l, m)
			}
		}
		for j, m := range layers {
			if i != j && len(taken) > 0 {
				c.takenFrom(l, m, taken)
			}
		}
	}
}

// circles: migrations of a change that follow one another; no tool starts
// with such.
func (c *collector) circles(l *layer) {
	u := union{c.base, l}
	wide := false                                            // the way round may lead over main's
	spaces, across := map[string][]string{}, map[key][]key{} // of Django's: label → spaces; who depends on one of another app
	for i := range l.all {
		n := &l.all[i]
		_, edits := c.base.nodes[n.key()]
		wide = wide || edits || len(n.Before) > 0
		if n.Tool == django.name && !slices.Contains(spaces[n.App], n.Space) {
			spaces[n.App] = append(spaces[n.App], n.Space)
		}
	}
	for i := range l.all {
		n := &l.all[i]
		for _, p := range n.Parents {
			if in := spaces[p.App]; n.Tool == django.name && p.App != n.App && len(in) == 1 {
				k := key{in[0], p.Name}
				across[k] = append(across[k], n.key())
			}
		}
	}
	const (
		open = 1
		done = 2
	)
	state := map[key]int{}
	var stack []key
	var visit func(k key) []key
	visit = func(k key) []key {
		state[k] = open
		stack = append(stack, k)
		defer func() { stack = stack[:len(stack)-1] }()
		for _, next := range append(u.next(k), across[k]...) {
			if _, own := l.nodes[next]; !own && !wide {
				continue
			}
			switch state[next] {
			case done:
			case open:
				return slices.Clone(stack[slices.Index(stack, next):])
			default:
				if round := visit(next); round != nil {
					return round
				}
			}
		}
		state[k] = done
		return nil
	}
	for i := range l.all {
		n := &l.all[i]
		if !n.rule().graph || state[n.key()] != 0 {
			continue
		}
		round := visit(n.key())
		if round == nil {
			continue
		}
		var names []string
		for _, k := range round[:min(len(round), 6)] {
			if m, own := l.nodes[k]; own {
				names = append(names, m.String())
			} else {
				names = append(names, k.name)
			}
		}
		slices.Sort(names)
		text := fmt.Sprintf("in %s %s follow one another in a circle", l.called, strings.Join(names, ", "))
		if len(round) == 1 {
			text = fmt.Sprintf("in %s %s follows itself", l.called, names[0])
		}
		c.add(Collision{Change: l.change, App: n.App, Stale: true, Text: text, Fix: "take one of these dependencies away"})
		return
	}
}

// elsewhere: a Django migration of another app of the repository that neither
// main nor the change has. That app may be one that is installed, of the same
// label: the build knows, so nothing is blocked.
func (c *collector) elsewhere(l *layer, apps map[string][]string) {
	u := union{c.base, l}
	for i := range l.all {
		n := &l.all[i]
		if n.Tool != django.name {
			continue
		}
		for _, p := range n.Parents {
			spaces := apps[p.App]
			if p.App == n.App || len(spaces) == 0 || p.Name == "__first__" || p.Name == "__latest__" || slices.Contains(stock, p.App) {
				continue
			}
			if slices.ContainsFunc(spaces, func(s string) bool { k := key{s, p.Name}; return u.has(k) || u.has(u.canonical(k)) }) {
				continue
			}
			c.add(Collision{
				Change: l.change, App: n.App,
				Text: fmt.Sprintf("%s: %s depends on %s, which neither main nor the change has", l.called, n.shown(), p),
				Fix:  "merge main into the branch and let it depend on a migration that is there",
			})
		}
	}
}

// needs: Alembic's depends_on names a revision or a branch that is nowhere.
func (c *collector) needs(l *layer) {
	u := union{c.base, l}
	for i := range l.all {
		n := &l.all[i]
		for _, want := range n.needs {
			_, revision, branch := strings.Cut(want, "@")
			if !branch {
				revision = want
			}
			if revision == "head" || revision == "heads" || revision == "base" || u.answers(revision) {
				continue
			}
			c.add(Collision{
				Change: l.change, App: n.App, Stale: true,
				Text: fmt.Sprintf("%s: %s depends on %s, which neither main nor the change has", l.called, n.shown(), want),
				Fix:  "merge main into the branch and let it depend on a revision that is there",
			})
		}
	}
}

// answers says whether a revision, the beginning of one or a branch bears
// this name.
func (u union) answers(name string) bool {
	for _, l := range u {
		for _, n := range l.nodes {
			if n.Tool == alembic.name && (n.Name == name || len(name) >= 4 && strings.HasPrefix(n.Name, name) || slices.Contains(n.labels, name)) {
				return true
			}
		}
	}
	return false
}

// parted gives, by space, two migrations of main that nothing follows.
func (c *collector) parted() map[string][2]*Node {
	u, heads, doubtful := union{c.base}, map[string][]*Node{}, map[string]bool{}
	for i := range c.base.all {
		n := &c.base.all[i]
		if !n.rule().graph {
			continue
		}
		if len(n.Unknown) > 0 || len(n.labels) > 0 || n.Tool == alembic.name && len(u.next(key{n.Space, ""})) > 1 {
			doubtful[n.Space] = true // nobody knows whom it follows, or there are branches on purpose
		}
		if u.canonical(n.key()) == n.key() && len(u.next(n.key())) == 0 {
			heads[n.Space] = append(heads[n.Space], n)
		}
	}
	out := map[string][2]*Node{}
	for space, list := range heads {
		if len(list) > 1 && !doubtful[space] {
			out[space] = [2]*Node{list[0], list[1]}
		}
	}
	return out
}

// mainsOwn: main itself has two heads, and the change does not join them. It
// is told to those who add to that app, and blocks nobody.
func (c *collector) mainsOwn(l *layer, parted map[string][2]*Node) {
	if len(parted) == 0 {
		return
	}
	u, told := union{c.base, l}, map[string]bool{}
	for i := range l.all {
		n := &l.all[i]
		two, ok := parted[n.Space]
		if !ok || told[n.Space] || u.hidden(two[0], c.base) || u.hidden(two[1], c.base) || !u.part(two[0].key(), two[1].key()) {
			continue
		}
		told[n.Space] = true
		c.add(Collision{
			Change: l.change, App: n.App,
			Text: fmt.Sprintf("main itself has two migrations of %s that nothing follows: %s and %s", n.App, two[0].shown(), two[1].shown()),
			Fix:  "on main, " + n.rule().joined(n.App, two[0].Name, two[1].Name),
		})
	}
}

// taken gives main's migrations that a change takes away and nothing of it
// stands for.
func (c *collector) taken(l *layer) map[key]bool {
	if len(l.gone) == 0 {
		return nil
	}
	u, out := union{c.base, l}, map[key]bool{}
	for i := range c.base.all {
		n := &c.base.all[i]
		if k := n.key(); n.rule().graph && l.gone[n.Path] && !u.has(k) && !u.has(u.canonical(k)) {
			out[k] = true
		}
	}
	return out
}

// gone: a change takes away what databases ran.
func (c *collector) gone(l *layer, m *Node) {
	if l.carries[m.content()] {
		return // it only moved to another folder
	}
	c.stuck(side{l, m}, fmt.Sprintf("%s takes %s away, which main has: %s", l.called, m.shown(), m.rule().gone), "put it back, and undo what it did in a new migration")
}

// takenFrom: one change takes away what another follows.
func (c *collector) takenFrom(l, m *layer, taken map[key]bool) {
	for i := range m.all {
		n := &m.all[i]
		if !n.rule().graph {
			continue
		}
		for _, p := range n.sameApp() {
			k := key{n.Space, p}
			if !taken[k] || m.gone[c.base.nodes[k].Path] || holds(l, n) {
				continue
			}
			q := pair{min(l.change, m.change), max(l.change, m.change), n.Space}
			if c.told[q] {
				return
			}
			c.told[q] = true
			text := fmt.Sprintf("%s takes %s away, which %s (%s) follows", l.called, ID{n.App, p}, m.called, n.shown())
			c.both(side{l, n}, side{m, n}, text, "after the first of them is merged, merge main into the other and let "+n.shown()+" follow what is there then")
			return
		}
	}
}
