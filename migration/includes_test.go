package migration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// logOf is a changelog in XML that holds entries.
func logOf(entries ...string) string {
	return "<databaseChangeLog>\n" + strings.Join(entries, "\n") + "\n</databaseChangeLog>\n"
}

func setOf(id, table string) string {
	return fmt.Sprintf("<changeSet id='%s' author='a'><addColumn tableName='%s'><column name='c%s'/></addColumn></changeSet>", id, table, id)
}

// The same two files, named in each of the formats.
var masters = map[string]string{
	"db/changelog.xml":  logOf("<include file='v1/one.xml' relativeToChangelogFile='true'/>", setOf("m", "t"), "<includeAll path='v2' relativeToChangelogFile='true'/>"),
	"db/changelog.yaml": "databaseChangeLog:\n  - include:\n      file: v1/one.xml\n      relativeToChangelogFile: true\n  - changeSet:\n      id: m\n      author: a\n      changes:\n        - addColumn:\n            tableName: t\n  - includeAll: {path: v2, relativeToChangelogFile: true}\n",
	"db/changelog.json": `{"databaseChangeLog": [{"include": {"file": "v1/one.xml", "relativeToChangelogFile": true}}, {"changeSet": {"id": "m", "author": "a", "changes": []}}, {"includeAll": {"path": "v2", "relativeToChangelogFile": "true"}}]}`,
}

// TestIncludesAreFollowed: files are changelogs by being included, in the order
// in which Liquibase runs them.
func TestIncludesAreFollowed(t *testing.T) {
	for master, text := range masters {
		files := tree{
			master:           text,
			"db/v1/one.xml":  logOf("<include file='/more/two.yaml'/>", setOf("1", "t")),
			"more/two.yaml":  "databaseChangeLog:\n- changeSet:\n    id: 2\n    author: a\n    changes:\n    - sql:\n        sql: SELECT 1\n",
			"db/v2/b.sql":    "ALTER TABLE t DROP COLUMN x;\n",
			"db/v2/a.sql":    "--liquibase formatted sql\n--changeset a:3\nSELECT 1;\n",
			"db/v2/c/d.json": `{"databaseChangeLog": [{"changeSet": {"id": 4, "author": "a", "changes": []}}]}`,
			"db/v2/read.me":  "no changelog",
			"other/one.xml":  logOf(setOf("9", "t")),
		}
		r := &trees{commits: map[string]map[string]string{"main": files}}
		s := scannerOf(t, Options{})
		nodes, err := s.Scan(t.Context(), r, "main")
		if err != nil {
			t.Fatal(err)
		}
		found, err := r.Files(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.follow(t.Context(), r, "main", found)
		if err != nil || f == nil {
			t.Fatal(f, err)
		}
		var order []string
		for _, n := range f.order {
			order = append(order, n.Path+" "+n.Name)
		}
		want := "more/two.yaml a:2|db/v1/one.xml a:1|" + master + " a:m|db/v2/a.sql a:3|db/v2/b.sql includeAll:raw|db/v2/c/d.json a:4"
		if got := strings.Join(order, "|"); got != want {
			t.Errorf("%s: they run\n%s, want\n%s", master, got, want)
		}
		if len(nodes) != 6 || len(f.problems) != 0 {
			t.Errorf("%s: %d changesets, %+v", master, len(nodes), f.problems)
		}
		for _, n := range nodes {
			if n.Path == "db/v2/b.sql" && len(Dangers(nil, Nodes{n})) == 0 {
				t.Errorf("what is dangerous in %s is not seen", n.Path)
			}
		}
	}
}

// TestIncludesThatLeadNowhere: each is told, and those with which Liquibase
// does not run block the change.
func TestIncludesThatLeadNowhere(t *testing.T) {
	for name, tt := range map[string]struct {
		more    tree
		blocked string // a collision
		unknown string // a danger
	}{
		"there":          {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='x.xml' relativeToChangelogFile='true'/>"), "db/x.xml": logOf(setOf("2", "u"))}, "", ""},
		"missing":        {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='x.xml' relativeToChangelogFile='true'/>")}, "c12: in db/changelog.xml it includes x.xml, which is not there (line 3): Liquibase refuses to run", "x.xml"},
		"may be missing": {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<includeAll path='x' relativeToChangelogFile='true' errorIfMissingOrEmpty='false'/>")}, "", ""},
		"elsewhere":      {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='lib/x.xml'/>")}, "", "lib/x.xml, which is not found here"},
		"outside":        {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='../../../etc/x.xml' relativeToChangelogFile='true'/>")}, "", "leads out of the repository"},
		"not literal":    {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='${dir}/x.xml'/>")}, "", "not literal"},
		"itself":         {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='changelog.xml' relativeToChangelogFile='true'/>")}, "includes db/changelog.xml, which includes it in turn", "in turn"},
		"a circle":       {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<include file='db/x.xml'/>"), "db/x.xml": logOf("<include file='classpath:db/y.xml'/>"), "db/y.xml": logOf("<include file='db/x.xml'/>")}, "in db/y.xml it includes db/x.xml, which includes it in turn", "in turn"},
		"its own folder": {tree{"db/changelog.xml": logOf(setOf("1", "t"), "<includeAll path='.' relativeToChangelogFile='true'/>")}, "in turn", "in turn"},
	} {
		t.Run(name, func(t *testing.T) {
			base := tree{"db/changelog.xml": logOf(setOf("1", "t"))}
			r := &trees{commits: map[string]map[string]string{"base": base, "main": base, "c12": with(base, tt.more)}}
			s := scannerOf(t, Options{})
			main, err := s.Scan(t.Context(), r, "main")
			if err != nil {
				t.Fatal(err)
			}
			d, err := s.Delta(t.Context(), r, "main", "c12")
			if err != nil {
				t.Fatal(err)
			}
			var told, dangers []string
			for _, c := range Collisions(main, map[int]Delta{12: d})[12] {
				told = append(told, c.String())
				if !c.Stale {
					t.Errorf("does not block: %s", c)
				}
			}
			for _, x := range Dangers(main, d.Added) {
				dangers = append(dangers, x.String())
			}
			for got, want := range map[string]string{strings.Join(told, "\n"): tt.blocked, strings.Join(dangers, "\n") + "\n": tt.unknown} {
				if !strings.Contains(got, want) || want == "" && strings.TrimSpace(got) != "" {
					t.Errorf("%q does not say %q", got, want)
				}
			}
		})
	}
}

// TestOrderOverIncludes: a changeset that is added where databases are already
// past is told, by the order of all files.
func TestOrderOverIncludes(t *testing.T) {
	base := tree{
		"db/changelog.xml": logOf("<includeAll path='v' relativeToChangelogFile='true'/>"),
		"db/v/03.xml":      logOf(setOf("3", "users")),
	}
	r := &trees{commits: map[string]map[string]string{
		"base": base, "main": base,
		"c12": with(base, tree{"db/v/02.xml": logOf(setOf("2", "users"))}),
		"c13": with(base, tree{"db/v/04.xml": logOf(setOf("4", "users"))}),
		"c14": with(base, tree{"db/v/01.xml": logOf(setOf("1", "parts"))}),
		"c15": with(base, tree{"db/v/03.xml": logOf(setOf("3", "orders"))}),
	}}
	s := scannerOf(t, Options{})
	main, err := s.Scan(t.Context(), r, "main")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[int]Delta{}
	for n := range 4 {
		if changes[12+n], err = s.Delta(t.Context(), r, "main", fmt.Sprint("c", 12+n)); err != nil {
			t.Fatal(err)
		}
		if len(changes[12+n].Added) != 1 {
			t.Errorf("c%d adds %d", 12+n, len(changes[12+n].Added))
		}
	}
	found := Collisions(main, changes)
	if c := found[12]; len(c) != 1 || c[0].Stale || !strings.Contains(c[0].Text, "a:2 in db/v/02.xml comes before a:3 in db/v/03.xml, which main already has, and both change users") {
		t.Errorf("c12: %v", c)
	}
	if len(found[13])+len(found[14]) != 0 {
		t.Errorf("%v %v", found[13], found[14])
	}
	if c := found[15]; len(c) != 1 || !c[0].Stale || !strings.Contains(c[0].Text, "changes a:3, which main already has") {
		t.Errorf("c15: %v", c)
	}
}

// TestHostileIncludesEnd: the work grows as the files do, whatever includes
// what.
func TestHostileIncludesEnd(t *testing.T) {
	const n = 100
	clique, chain, folders := tree{}, tree{}, tree{}
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "<include file='%d.xml' relativeToChangelogFile='true'/>", i)
	}
	for i := range n {
		clique[fmt.Sprintf("liquibase/%d.xml", i)] = logOf(all.String())
		folders[fmt.Sprintf("liquibase/%d.xml", i)] = logOf(strings.Repeat("<includeAll path='.' relativeToChangelogFile='true'/>", n))
	}
	for i := range 5_000 {
		chain[fmt.Sprintf("liquibase/%d.xml", i)] = logOf(fmt.Sprintf("<include file='%d.xml' relativeToChangelogFile='true'/>", i+1))
	}
	deep := tree{strings.Repeat("d/", 2000) + "changelog.xml": logOf(strings.Repeat("<include file='x.xml'/>", 5_000))}
	for name, files := range map[string]tree{"clique": clique, "chain": chain, "folders": folders, "deep": deep} {
		begun := time.Now()
		r := &trees{commits: map[string]map[string]string{"base": {}, "main": {}, "c12": files}}
		s := scannerOf(t, Options{})
		d, err := s.Delta(t.Context(), r, "main", "c12")
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Added) == 0 || len(Collisions(nil, map[int]Delta{12: d})[12]) > maxProblems {
			t.Errorf("%s: %d", name, len(d.Added))
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%s took %s", name, took)
		}
		t.Logf("%s: %s", name, time.Since(begun))
	}
}
