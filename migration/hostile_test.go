package migration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bosman-cd/bosman"
)

// places are paths that each tool takes for its own.
var places = []string{
	"shop/migrations/0001_x.py", "m/versions/x.py", "db/migrate/20260101000000_x.rb", "prisma/migrations/20260101000000_x/migration.sql",
	"database/migrations/2026_01_01_000000_x.php", "db/V1__x.sql", "db/R__x.sql", "db/00001_x.sql", "db/1_x.up.sql", "db/1_x.up.json",
	"db/changelog.xml", "db/changelog.yaml", "db/changelog.json", "db/changelog.sql", "db/00001_x.go",
}

// What cannot be read is never fine: a file whose name makes it a migration
// is unknown when it is binary, too big to be given, or a symbolic link.
func TestUnreadableIsUnknown(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		given bool
	}{
		"binary": {"CREATE TABLE x (\x00\x01\x02);", true}, "not UTF-8": {"DROP TABLE \xff\xfe;", true},
		"too big": {"", false}, "a symbolic link": {"../other.sql", true},
	} {
		for _, p := range []string{"prisma/migrations/20260101000000_x/migration.sql", "db/V1__x.sql", "db/1_x.up.sql", "db/migrate/20260101000000_x.rb", "database/migrations/2026_01_01_000000_x.php", "shop/migrations/0001_x.py", "m/versions/x.py"} {
			nodes := readFile(tools, p, tt.text, tt.given)
			if strings.HasSuffix(p, ".py") && tt.given && name == "a symbolic link" {
				continue // a module that is not one: git gives the link's text, which holds no migration
			}
			if len(nodes) != 1 || len(nodes[0].Unknown) == 0 {
				t.Errorf("%s as %s: %+v", name, p, nodes)
				continue
			}
			if d := Dangers(nil, Nodes{nodes[0]}); Additive(d) {
				t.Errorf("%s as %s is called additive", name, p)
			}
		}
	}
}

// Long and deep texts are read in a time that grows with their length.
func TestHostileTextsEnd(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":     strings.Repeat("((((", 20000),
		"quotes":       strings.Repeat("'", 80_001),
		"comments":     strings.Repeat("/*", 40000),
		"dollars":      strings.Repeat("$a$ ", 20000),
		"open dollars": strings.Repeat("$$x$", 10_001),
		"semicolons":   strings.Repeat(";", 80000),
		"drops":        strings.Repeat("DROP TABLE a;\n", 2000),
		"heredocs":     strings.Repeat("x <<~A, <<~B\n", 5000),
		"commas":       "ALTER TABLE a ADD x int" + strings.Repeat(", ADD y int", 5000),
		"elements":     "<databaseChangeLog>" + strings.Repeat("<a>", 10000),
		"keys":         "databaseChangeLog:\n" + strings.Repeat("  - changeSet:\n      id: 1\n", 3000),
		"lists":        `{"databaseChangeLog": ` + strings.Repeat("[", 10000),
		"classes":      "class Migration(x):\n" + strings.Repeat("  dependencies = [", 5000),
		"revisions":    "revision = 'a'\ndown_revision = " + strings.Repeat("(", 10000),
	} {
		text = "-- +goose Up\n" + text
		for _, p := range places {
			nodes := readFile(tools, p, strings.TrimPrefix(text, "-- +goose Up\n"), true)
			nodes = append(nodes, readFile(tools, p, text, true)...)
			for i := range nodes {
				nodes[i].Blob = "x"
			}
			Collisions(nodes, map[int]Delta{1: {Added: nodes}, 2: {Added: nodes}})
			for i := range nodes {
				if len(nodes[i].findings) > maxFindings || len(nodes[i].Tables) > maxTables {
					t.Errorf("%s as %s: %d findings, %d tables", name, p, len(nodes[i].findings), len(nodes[i].Tables))
				}
			}
		}
	}
}

func FuzzTools(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range places {
			nodes := Nodes(readFile(tools, p, text, true))
			for i := range nodes {
				if nodes[i].Name == "" && len(nodes[i].Unknown) == 0 {
					t.Fatalf("a migration without a name: %+v", nodes[i])
				}
			}
			Dangers(nodes, nodes)
			Collisions(nodes, map[int]Delta{1: {Added: nodes}, 2: {Added: nodes, Missed: nodes}})
		}
		LintSQL("", []string{text})
		for _, s := range SchemaSQL(text) {
			if s == "" || !strings.Contains(text, s) {
				t.Fatalf("%q is not part of the text", s)
			}
		}
	})
}

// Whatever a handful of changes does to numbered migrations: who collides is
// told so on both sides; what stands alone is not blocked; and after the
// command that is offered was run, nothing blocks any more.
func TestNumbersAreMendedByTheirCommand(t *testing.T) {
	const up = "-- +goose Up\nSELECT 1;\n-- +goose Down\n"
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, letter rune) tree {
			files := tree{}
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 3, rapid.ID[int]).Draw(t, name) {
				files[fmt.Sprintf("db/%03d_%c.sql", n, letter)] = up
			}
			return files
		}
		main := draw("main", 'm')
		heads := map[int]tree{}
		for c := 1; c <= 3; c++ {
			heads[c] = draw(fmt.Sprint("c", c), rune('a'+c))
		}
		compare := func(heads map[int]tree) map[int][]Collision {
			r := &trees{commits: map[string]map[string]string{"base": main, "main": main}}
			s, err := NewScanner(Options{})
			if err != nil {
				t.Fatal(err)
			}
			nodes, err := s.Scan(t.Context(), r, "main")
			if err != nil {
				t.Fatal(err)
			}
			deltas := map[int]Delta{}
			for n, files := range heads {
				r.commits[fmt.Sprint(n)] = with(main, files)
				if deltas[n], err = s.Delta(t.Context(), r, "main", fmt.Sprint(n)); err != nil {
					t.Fatal(err)
				}
			}
			return Collisions(nodes, deltas)
		}
		found := compare(heads)
		for n, list := range found {
			for _, col := range list {
				if col.With == 0 {
					continue
				}
				other := false
				for _, back := range found[col.With] {
					other = other || back.With == n && back.Text == col.Text
				}
				if !other {
					t.Fatalf("c%d is told %q, c%d is not", n, col.Text, col.With)
				}
			}
		}
		for n := range heads { // alone, and mended until nothing blocks
			files := maps.Clone(heads[n])
			for round := 0; ; round++ {
				var fix string
				for _, col := range compare(map[int]tree{n: files})[n] {
					if col.Stale {
						fix = col.Fix
					}
				}
				if fix == "" {
					break
				}
				_, command, ok := strings.Cut(fix, "git mv ")
				words := strings.Fields(command)
				if !ok || len(words) < 2 || files[words[0]] == "" || round > 10 {
					t.Fatalf("no way out by %q from %v", fix, files)
				}
				delete(files, words[0])
				files[words[1]] = up
			}
		}
	})
}

func TestSchemaSQL(t *testing.T) {
	got := SchemaSQL("INSERT INTO person VALUES ('Zofia; DROP TABLE x');\n-- CREATE TABLE no ();\nALTER TABLE person\n  ADD x int ;/* c */ CREATE FUNCTION f() AS $$ DROP TABLE y; $$; UPDATE person SET x = 1; DROP TABLE z")
	want := []string{"ALTER TABLE person\n  ADD x int", "CREATE FUNCTION f() AS $$ DROP TABLE y; $$", "DROP TABLE z"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q", got)
	}
}

func TestLintSQLOfARehearsal(t *testing.T) {
	// As Django sends them.
	got := LintSQL("", []string{
		`ALTER TABLE "shop_order" ADD COLUMN "state" varchar(10) DEFAULT 'new' NOT NULL`, `ALTER TABLE "shop_order" ALTER COLUMN "state" DROP DEFAULT`,
		`CREATE TABLE "shop_item" ("id" bigserial NOT NULL PRIMARY KEY)`, `CREATE INDEX "shop_item_x" ON "shop_item" ("id")`,
		`ALTER TABLE "shop_item" ADD CONSTRAINT "fk" FOREIGN KEY ("id") REFERENCES "shop_order" ("id") DEFERRABLE INITIALLY DEFERRED`,
	})
	if len(got) != 1 || got[0].Kind != bosman.Breaking || !strings.Contains(got[0].Text, "takes the default of shop_order.state away") {
		t.Errorf("got %v", got)
	}
}
