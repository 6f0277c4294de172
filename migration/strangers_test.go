package migration

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func nodesOf(files tree) (all Nodes) {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		all = append(all, readFile(tools, path, files[path], true)...)
	}
	return all
}

// TestChangesDecideForThemselves: what one open change adds, also one by
// somebody who may not even have it built, makes no other collide.
func TestChangesDecideForThemselves(t *testing.T) {
	projects := tree{
		"a/versions/0001.py": revisionFile("0001", "None"), "a/versions/0002.py": revisionFile("0002", "'0001'"),
		"a/versions/0003.py": revisionFile("0003", "'0002'"), "a/versions/0004.py": revisionFile("0004", "'0003'"),
		"b/versions/0001.py": revisionFile("0001", "None"), "b/versions/0002.py": revisionFile("0002", "'0001'"),
	}
	store := tree{"shop/migrations/0001_initial.py": mig(), "shop/migrations/0002_x.py": mig("store.0001_initial"), "shop/migrations/0003_y.py": mig("store.0002_x")}
	for name, c := range map[string]struct{ main, ours, stranger tree }{
		"a folder bears the label of another": {store, tree{"shop/migrations/0004_a.py": mig("store.0003_y")}, tree{"store/migrations/0001_initial.py": mig()}},
		"the folder's name is called":         {store, tree{"shop/migrations/0004_a.py": mig("store.0003_y")}, tree{"shop/migrations/9.py": mig("shop.0001_initial")}},
		"two projects are joined":             {projects, tree{"b/versions/0003.py": revisionFile("0003", "'0002'")}, tree{"b/versions/zz.py": revisionFile("zz", "'0004'")}},
	} {
		main, ours, stranger := nodesOf(c.main), nodesOf(c.ours), nodesOf(c.stranger)
		if got := Collisions(main, map[int]Delta{12: {Added: ours}})[12]; len(got) != 0 {
			t.Fatalf("%s: alone it collides: %v", name, got)
		}
		for _, got := range Collisions(main, map[int]Delta{12: {Added: ours}, 16: {Added: stranger}})[12] {
			if got.With == 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

// TestFoldersMove: a folder of migrations may move; what is not there any more
// may not be missing.
func TestFoldersMove(t *testing.T) {
	for from, to := range map[string]string{
		"src/db/migration/V1__a.sql": "back/src/db/migration/V1__a.sql",
		"db/1_a.up.sql":              "back/db/1_a.up.sql",
		"alembic/versions/a.py":      "back/alembic/versions/a.py",
	} {
		text := "CREATE TABLE a (x int);"
		if strings.HasSuffix(from, ".py") {
			text = revisionFile("a1", "None")
		}
		was, is := Nodes(readFile(tools, from, text, true)), Nodes(readFile(tools, to, text, true))
		if len(was) != 1 || len(is) != 1 {
			t.Fatalf("%s: %d, %d", from, len(was), len(is))
		}
		was[0].Blob, is[0].Blob = "x", "x"
		if got := Collisions(was, map[int]Delta{12: {Added: is, Deleted: []string{from}}}); len(got[12]) != 0 {
			t.Errorf("%s: %+v", from, got)
		}
		if got := Collisions(was, map[int]Delta{12: {Deleted: []string{from}}}); len(got[12]) != 1 {
			t.Errorf("%s deleted: %+v", from, got)
		}
		is[0].Blob = "y"
		if got := Collisions(was, map[int]Delta{12: {Added: is, Deleted: []string{from}}}); len(got[12]) == 0 {
			t.Errorf("%s moved and changed: nothing", from)
		}
	}
}

// TestLongChangesetsEnd: the time for a changeset grows as its text does.
func TestLongChangesetsEnd(t *testing.T) {
	for name, text := range map[string]string{
		"db/changelog.sql":  "--liquibase formatted sql\n--changeset a:1\n" + strings.Repeat(";\n", 500_000),
		"db/changelog.xml":  `<databaseChangeLog><changeSet id="1" author="a">` + strings.Repeat("<tagX/>", 100_000) + "</changeSet></databaseChangeLog>",
		"db/changelog2.xml": `<databaseChangeLog><changeSet id="1" author="a"><sql>` + strings.Repeat("a<!---->", 200_000) + "</sql></changeSet></databaseChangeLog>",
	} {
		begun := time.Now()
		if n := readFile(tools, name, text, true); len(n) != 1 {
			t.Errorf("%s: %d changesets", name, len(n))
		}
		if took := time.Since(begun); took > time.Minute { // it was hours for the largest file there may be
			t.Errorf("%s took %s", name, took)
		}
	}
}
