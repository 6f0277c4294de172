package migration

import (
	"maps"
	"slices"
)

// Some things no file tells alone: the label of a Django app whose settings
// give it another one than its folder's name, and that several folders of
// Alembic's (version_locations) hold one history.

// settled gives main and other lists with the app and the space that each
// migration has. Main decides for itself, and each other list is looked at on
// top of main alone: no change decides for another. Lists in which nothing
// differs are given as they are.
func settled(main Nodes, lists ...Nodes) []Nodes {
	mains, spaces := map[string]home{}, map[string]bool{}
	labels([]Nodes{main}, mains)
	locations([]Nodes{main}, mains)
	for i := range main {
		spaces[main[i].Space] = true
	}
	out := []Nodes{main.housed(mains)}
	for _, list := range lists {
		homes := mains
		if slices.ContainsFunc(list, func(n Node) bool { return !spaces[n.Space] && (n.Tool == django.name || n.Tool == alembic.name) }) {
			homes = map[string]home{}
			labels([]Nodes{main, list}, homes)
			locations([]Nodes{main, list}, homes)
			for s, h := range homes {
				if to, ok := mains[h.space]; ok && h.tool == alembic.name {
					homes[s] = to
				}
			}
			for s := range spaces {
				delete(homes, s) // main's own decision counts
			}
			maps.Copy(homes, mains)
		}
		out = append(out, list.housed(homes))
	}
	return out
}

// housed gives each migration the app and the space of its home.
func (l Nodes) housed(homes map[string]home) Nodes {
	if len(homes) == 0 {
		return l
	}
	l = slices.Clone(l)
	for j := range l {
		n := &l[j]
		to, ok := homes[n.Space]
		if !ok || n.Tool != to.tool {
			continue
		}
		if n.Tool == alembic.name { // Django's name the label themselves
			n.Parents = slices.Clone(n.Parents)
			for k := range n.Parents {
				n.Parents[k].App = to.app
			}
		}
		n.App, n.Space = to.app, to.space
	}
	return l
}

// home is where the migrations of a space belong.
type home struct{ tool, app, space string }

// stock: labels of apps that come with Django; a folder never bears one by
// what its migrations depend on.
var stock = []string{"admin", "auth", "contenttypes", "flatpages", "gis", "postgres", "redirects", "sessions", "sites"}

// labels finds Django apps whose migrations call one another by another label
// than their folder's: AppConfig.label, MIGRATION_MODULES.
func labels(lists []Nodes, homes map[string]home) {
	type folder struct {
		app   string
		names map[string]bool
		nodes []*Node
	}
	folders, taken := map[string]*folder{}, map[string]bool{}
	for _, list := range lists {
		for i := range list {
			n := &list[i]
			if n.Tool != django.name {
				continue
			}
			f := folders[n.Space]
			if f == nil {
				f = &folder{app: n.App, names: map[string]bool{}}
				folders[n.Space], taken[n.App] = f, true
			}
			f.names[n.Name] = true
			f.nodes = append(f.nodes, n)
		}
	}
	for space, f := range folders {
		votes := map[string]map[string]bool{} // label → names of those that follow by it
		for _, n := range f.nodes {
			for _, p := range n.Parents {
				if !f.names[p.Name] || p.Name == n.Name {
					continue
				}
				if votes[p.App] == nil {
					votes[p.App] = map[string]bool{}
				}
				votes[p.App][n.Name] = true
			}
		}
		if len(votes) == 0 || votes[f.app] != nil {
			continue
		}
		best := ""
		for _, label := range slices.Sorted(maps.Keys(votes)) {
			if !taken[label] && !slices.Contains(stock, label) && len(votes[label])*2 >= len(f.names) && len(votes[label]) > len(votes[best]) {
				best = label
			}
		}
		if best != "" {
			homes[space] = home{django.name, best, space}
		}
	}
}

// locations joins the folders of Alembic's of which one follows what is in
// another. The first list is main's, which gives the name.
func locations(lists []Nodes, homes map[string]home) {
	type folder struct {
		app   string
		names map[string]bool
		main  bool
	}
	folders, holds := map[string]*folder{}, map[string][]string{} // revision → spaces
	for at, list := range lists {
		for i := range list {
			n := &list[i]
			if n.Tool != alembic.name {
				continue
			}
			f := folders[n.Space]
			if f == nil {
				f = &folder{app: n.App, names: map[string]bool{}, main: at == 0}
				folders[n.Space] = f
			}
			f.names[n.Name] = true
			if !slices.Contains(holds[n.Name], n.Space) {
				holds[n.Name] = append(holds[n.Name], n.Space)
			}
		}
	}
	if len(folders) < 2 {
		return
	}
	group := map[string]string{}
	root := func(s string) string {
		for group[s] != "" {
			s = group[s]
		}
		return s
	}
	for _, list := range lists {
		for i := range list {
			n := &list[i]
			if n.Tool != alembic.name {
				continue
			}
			for _, p := range n.Parents {
				in := holds[p.Name]
				if folders[n.Space].names[p.Name] || len(in) != 1 {
					continue
				}
				a, b := root(n.Space), root(in[0])
				if a == b {
					continue
				}
				// Main's gives the name, else the bigger one.
				x, y := len(folders[a].names), len(folders[b].names)
				if m := folders[a].main; m != folders[b].main && m || m == folders[b].main && (x > y || x == y && a < b) {
					a, b = b, a
				}
				group[a] = b
			}
		}
	}
	for s := range group {
		to := root(s)
		homes[s] = home{alembic.name, folders[to].app, to}
	}
}
