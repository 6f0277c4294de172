package migration

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// linesOf compares as Collisions does, and gives how many migrations were
// looked at.
func linesOf(main Nodes, changes map[int]Delta) (map[int][]Collision, int) {
	c := collector{base: newLayer(0, Delta{Added: main}), found: map[int][]Collision{}, told: map[pair]bool{}}
	var layers []*layer
	for _, n := range slices.Sorted(maps.Keys(changes)) {
		layers = append(layers, newLayer(n, changes[n]))
	}
	c.lines(layers)
	return c.found, c.looked
}

// A pull request of thousands of files of one number is compared in a time that
// grows with their number, also beside others like it and on a long main.
func TestThousandsOfOneNumber(t *testing.T) {
	const many = 3000
	files := func(text, pattern string, first int) (nodes Nodes) {
		for i := range many {
			name := fmt.Sprintf(pattern, first+i)
			for _, n := range readFile(tools, name, text, true) {
				n.Blob = fmt.Sprint(name, first)
				nodes = append(nodes, n)
			}
		}
		if len(nodes) != many {
			t.Fatalf("%d migrations", len(nodes))
		}
		return nodes
	}
	const up = "-- +goose Up\nCREATE TABLE a (x int);\n-- +goose Down\n"
	const rb = "class A < ActiveRecord::Migration[7.0]\n  def change\n    add_column :users, :x, :string\n  end\nend\n"
	const php = "<?php\nreturn new class extends Migration {\n public function up(): void {\n  Schema::table('users', function (Blueprint $table) {\n   $table->string('x');\n  });\n }\n};\n"
	for _, tt := range []struct {
		what    string
		main    Nodes
		changes map[int]Delta
		want    map[int]int
	}{
		{"in one change", nil, map[int]Delta{1: {Added: files(up, "db/00008_%d.sql", 0)}}, map[int]int{1: many - 1}},
		{"in two", nil, map[int]Delta{1: {Added: files(up, "db/00008_a%d.sql", 0)}, 2: {Added: files(up, "db/00008_b%d.sql", 0)}}, map[int]int{1: many, 2: many}},
		{"in two, of one name", nil, map[int]Delta{1: {Added: files(up, "db/00008_%d.sql", 0)}, 2: {Added: files(up, "db/00008_%d.sql", 1)}}, map[int]int{1: many, 2: many}},
		{"in two that are stacked", nil, map[int]Delta{1: {Added: files(up, "db/00008_%d.sql", 0)}, 2: {Added: files(up, "db/00008_%d.sql", 0)}}, map[int]int{1: many - 1, 2: many - 1}},
		{"on a long main", files(up, "db/%05d_m.sql", 10_000), map[int]Delta{1: {Added: files(up, "db/00008_%d.sql", 0)}}, map[int]int{1: many}},
		{"main's numbers", files(up, "db/%05d_m.sql", 10_000), map[int]Delta{1: {Added: files(up, "db/%05d_x.sql", 10_000)}}, map[int]int{1: many}},
		{"of one table", nil, map[int]Delta{1: {Added: files(rb, "db/migrate/2026%d_a.rb", 1e9)}, 2: {Added: files(rb, "db/migrate/2026%d_b.rb", 1e9)}}, map[int]int{1: 1, 2: 1}},
		{"of one table, without rules for numbers", nil, map[int]Delta{1: {Added: files(php, "database/migrations/2026_01_01_00%d_a.php", 1000)}, 2: {Added: files(php, "database/migrations/2026_01_02_00%d_b.php", 1000)}}, map[int]int{1: 1, 2: 1}},
	} {
		found, looked := linesOf(tt.main, tt.changes)
		if most := 40 * many; looked > most {
			t.Errorf("%s: %d looks, more than %d", tt.what, looked, most)
		}
		for n, want := range tt.want {
			if len(found[n]) != want {
				t.Errorf("%s: %d collisions of %d, want %d", tt.what, len(found[n]), n, want)
			}
		}
	}
}

// eachWithEach compares each migration with each other: what lines must find.
func (c *collector) eachWithEach(t *rapid.T, layers []*layer) {
	spaces := c.spaces(layers)
	var names []string
	for name := range spaces {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s := spaces[name]
		var fresh []side
		for _, a := range s.sides {
			v := c.view(s, a.layer)
			if a.node.version != nil && !c.inMain(a) {
				fresh = append(fresh, a)
				m, equal := c.meets(s, v, a)
				if x, same := meetsEach(s, a); x != m || same != equal {
					t.Fatalf("%s meets %v, %v, not %v, %v", a.node.Path, x, same, m, equal)
				}
			}
			c.againstMain(s, v, a)
		}
		for _, equal := range []bool{true, false} {
			for i, a := range fresh {
				for _, b := range fresh[i+1:] {
					if (a.node.version.compare(b.node.version) == 0) == equal && (a.layer == b.layer || !holds(a.layer, b.node) && !holds(b.layer, a.node)) {
						c.twoLines(s, a, b)
					}
				}
			}
		}
	}
}

func meetsEach(s *space, a side) (*Node, bool) {
	for _, m := range s.main {
		if m.version == nil || a.layer.gone[m.Path] || a.layer.writes[m.Path] {
			continue
		}
		if s.rule.twice != "" && m.version.compare(a.node.version) == 0 {
			return m, true
		}
		if s.rule.tables && a.layer.missed[m.key()] && len(shares(a.node, m)) > 0 {
			return m, false
		}
	}
	return nil, false
}

// What is looked up is what comparing each with each finds, in its order.
func TestLookedUpAsComparedEachWithEach(t *testing.T) {
	patterns := []string{"db/%d_%s.sql", "db/V%d.0__%s.sql", "m/%d_%s.up.sql", "db/migrate/2026010100000%d_%s.rb", "database/migrations/2026_01_01_00000%d_%s.php"}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom(patterns).Draw(t, "pattern")
		list := func(what string) Nodes {
			var nodes Nodes
			seen := map[string]bool{}
			for range rapid.IntRange(0, 6).Draw(t, what) {
				name := fmt.Sprintf(pattern, rapid.IntRange(1, 4).Draw(t, "number"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"))
				if seen[name] {
					continue
				}
				seen[name] = true
				for _, tool := range tools {
					if !tool.claims(name) {
						continue
					}
					if n, ok := tool.byPath(name); ok {
						n = finish(tool, name, []Node{n})[0]
						n.Blob = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "blob")
						n.Tables = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"u", "v", "w"}), 0, 2, rapid.ID).Draw(t, "tables")
						nodes = append(nodes, n)
						break
					}
				}
			}
			slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Path, b.Path) })
			return nodes
		}
		main, changes := list("main"), map[int]Delta{}
		for n := range 3 {
			d := Delta{Added: list("added")}
			for _, m := range main {
				switch rapid.IntRange(0, 3).Draw(t, "of main") {
				case 0:
					d.Missed = append(d.Missed, m)
				case 1:
					d.Deleted = append(d.Deleted, m.Path)
				}
			}
			changes[n+1] = d
		}
		got, _ := linesOf(main, changes)
		c := collector{base: newLayer(0, Delta{Added: main}), found: map[int][]Collision{}, told: map[pair]bool{}}
		var layers []*layer
		for n := range 3 {
			layers = append(layers, newLayer(n+1, changes[n+1]))
		}
		c.eachWithEach(t, layers)
		for n := range 3 { // what is taken away is told after all
			list := got[n+1]
			for len(list) > 0 && strings.Contains(list[len(list)-1].Text, " away, which main has") {
				list = list[:len(list)-1]
			}
			if len(list)+len(c.found[n+1]) > 0 && !reflect.DeepEqual(list, c.found[n+1]) {
				t.Fatalf("%d:\n%v\nnot\n%v", n+1, list, c.found[n+1])
			}
		}
	})
}
