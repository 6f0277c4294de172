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
			if name == "a symbolic link" { // git gives its text: where it leads
				tt.text = "../other" + filepath.Ext(p)
			}
			nodes := readFile(tools, p, tt.text, tt.given)
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

// What stands in the way of reading is said with its line, and takes nothing
// from what can be read.
func TestWhatStandsInTheWay(t *testing.T) {
	const drop = "-- +goose Up\nDROP TABLE users;\n-- +goose Down\n"
	for _, tt := range []struct{ name, path, text, unknown, danger string }{
		{"a mark of byte order", "db/00001_x.sql", "\ufeff" + drop, "", "drops the table users"},
		{"a mark of byte order, Flyway", "db/V1__x.sql", "\ufeffDROP TABLE users;", "", "drops the table users"},
		{"a mark of byte order, Django", "shop/migrations/0001_x.py", "\ufeff" + mig("0000"), "", ""},
		{"Latin-1", "db/00001_x.sql", "-- +goose Up\n-- Stra\xdfe\nDROP TABLE users;\n-- +goose Down\n", "not UTF-8 from line 2", "drops the table users"},
		{"UTF-16", "db/V1__x.sql", "\xff\xfeD\x00R\x00O\x00P\x00", "not UTF-8 from line 1", ""},
		{"marks of a merge, Django", "shop/migrations/0001_x.py", "from x import y\n<<<<<<< HEAD\n" + mig("0000") + "=======\n" + mig("0001") + ">>>>>>> b\n", "a merge that was not solved (line 2)", ""},
		{"marks of a merge, SQL", "db/V1__x.sql", "ALTER TABLE a\n<<<<<<< HEAD\nADD x int;\n", "a merge that was not solved (line 2)", ""},
		{"no colon", "shop/migrations/0001_x.py", "\n\nclass Migration(migrations.Migration)\n    dependencies = []\n", "the class cannot be read (line 3)", ""},
		{"an open bracket", "shop/migrations/0001_x.py", "class Migration(migrations.Migration):\n\n    dependencies = [('a', 'b'\n", "not literal (line 3)", ""},
	} {
		nodes := Nodes(readFile(tools, tt.path, tt.text, true))
		if len(nodes) != 1 {
			t.Errorf("%s: %d migrations", tt.name, len(nodes))
			continue
		}
		if got := strings.Join(nodes[0].Unknown, "/"); !strings.Contains(got, tt.unknown) || tt.unknown == "" && got != "" {
			t.Errorf("%s: unknown is %q, want %q", tt.name, got, tt.unknown)
		}
		var all []string
		for _, d := range Dangers(nil, nodes) {
			all = append(all, d.Text)
		}
		if got := strings.Join(all, "/"); !strings.Contains(got, tt.danger) {
			t.Errorf("%s: dangers %q do not say %q", tt.name, got, tt.danger)
		}
	}
}

// SQL whose harm does not stand at the beginning of a statement.
func TestHiddenSQL(t *testing.T) {
	for sql, want := range map[string]string{
		"/*!50003 DROP TABLE users */;":                         "destructive drops the table users",
		"SELECT 1; /*M!100100 DROP TABLE users */":              "destructive drops the table users",
		"/*!40101 SET NAMES utf8 */; CREATE TABLE x (y int);":   "",
		"WITH gone AS (DELETE FROM users RETURNING *) SELECT 1": "unknown WITH holds a statement that writes",
		"INSERT INTO t VALUES ('\\''; DROP TABLE users; -- ');": "unknown a string ends in a backslash",
		"ALTER TABLE users ENABLE ROW LEVEL SECURITY;":          "breaking hides rows of users",
		"ALTER TABLE users ENGINE = InnoDB;":                    "locking writes users anew",
		"ALTER TABLE users TRUNCATE PARTITION p0;":              "unknown what is done to users",
		"ALTER TABLE users OWNER TO x;":                         "",
		"ALTER TABLE users VALIDATE CONSTRAINT c;":              "",
		"ALTER TABLE users SET (fillfactor = 70);":              "",
		"DROP OWNED BY x;":                                      "destructive drops all that a role owns",
		"REVOKE SELECT ON users FROM app;":                      "breaking takes rights away",
		"ALTER DOMAIN mail ADD CHECK (value LIKE '%@%');":       "breaking tightens the type mail",
		"/* /* */ DROP TABLE users; */ SELECT 1":                "",
		"DROP/**/TABLE/**/users":                                "destructive drops the table users",
		"dRoP\n\ttable\n\"users\"":                              "destructive drops the table users",
	} {
		s := &script{}
		s.sql(sql, 0)
		var got []string
		for _, u := range s.unknown {
			got = append(got, "unknown "+u)
		}
		for _, f := range s.findings {
			got = append(got, string(f.kind)+" "+f.text)
		}
		if all := strings.Join(got, "/"); !strings.Contains(all, want) || want == "" && all != "" {
			t.Errorf("%s: %q, want %q", sql, all, want)
		}
	}
}

// Names that do something to a terminal, or turn a line around, do not come
// through; nor do commands that a shell would take otherwise.
func TestHostileNames(t *testing.T) {
	const up = "-- +goose Up\nDROP TABLE users;\n-- +goose Down\n"
	main := tree{"db/00007_a.sql": up, "db/00008_m.sql": up}
	for _, tt := range []struct{ name, fix string }{
		{"00008_a b.sql", "run `git mv 'db/00008_a b.sql' 'db/00009_a b.sql'`"},
		{"00008_$(id).sql", "run `git mv 'db/00008_$(id).sql' 'db/00009_$(id).sql'`"},
		{"00008_it's.sql", `run ` + "`" + `git mv 'db/00008_it'\''s.sql' 'db/00009_it'\''s.sql'` + "`"},
		{"00008_`id`.sql", "give it a number that is free"},
		{"00008_a\nb.sql", "give it a number that is free"},
		{"00008_\x1b[2J.sql", "give it a number that is free"},
		{"00008_\u202elqs.sql", "give it a number that is free"},
	} {
		head := "db/" + tt.name
		found := compare(t, tree{"db/00007_a.sql": up}, main, map[int]tree{12: {head: up}})
		if len(found[12]) != 1 || !strings.Contains(found[12][0].Fix, tt.fix) {
			t.Errorf("%q: %q, want %q", tt.name, found[12], tt.fix)
			continue
		}
		said := found[12][0].String()
		for _, d := range Dangers(nil, readFile(tools, head, up, true)) {
			said += d.Migration + d.Path + d.Text
		}
		if clean(said) != said {
			t.Errorf("%q: %q", tt.name, said)
		}
	}
	rails := "class A < ActiveRecord::Migration[7.0]\nend\n"
	found := compare(t, tree{}, tree{"a b/migrate/20260102000000_m.rb": rails}, map[int]tree{12: {"a b/migrate/20260102000000_x.rb": rails}})
	if want := "`git mv 'a b/migrate/20260102000000_x.rb' 'a b/migrate/'$(date -u +%Y%m%d%H%M%S)_x.rb`"; len(found[12]) != 1 || !strings.Contains(found[12][0].Fix, want) {
		t.Errorf("%q, want %q", found[12], want)
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
				_, command, ok := strings.Cut(fix, "`git mv ")
				command, _, closed := strings.Cut(command, "`")
				words := strings.Fields(command)
				if !ok || !closed || len(words) < 2 || files[words[0]] == "" || round > 10 {
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
