package migration

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// Real shapes of each tool's files: what they are and what is dangerous.
func TestToolsRead(t *testing.T) {
	for _, tt := range []struct {
		file, path string
		want       []string // node: tool space app.name <- parents | tables | unknown; then its dangers
	}{
		{"alembic/1975ea83b712_create_account_table.py", "migrations/versions/1975ea83b712_create_account_table.py", []string{
			"alembic migrations/versions migrations.1975ea83b712 | account",
		}},
		{"alembic/ae1027a6acf_dangerous.py", "alembic/versions/2026/ae1027a6acf_dangerous.py", []string{
			"alembic alembic/versions alembic.ae1027a6acf <- 1975ea83b712 | account entry",
			"22 breaking adds account.currency, which must not be null",
			"24 destructive drops account.description",
			"25 destructive changes the type of account.name",
			"26 breaking makes account.note required",
			"27 destructive renames account.mail",
			"28 locking adds an index to account",
			"32 destructive drops entry.memo",
			"33 locking adds a foreign key to entry",
			"34 locking writes all rows of account",
			"37 destructive drops account.legacy",
		}},
		{"alembic/53fffde5ad5_merge.py", "versions/53fffde5ad5_merge.py", []string{"alembic versions alembic.53fffde5ad5 <- ae1027a6acf 27c6a30d7c24 |"}},
		{"rails/20260101120000_create_products.rb", "db/migrate/20260101120000_create_products.rb", []string{
			"rails db/migrate db.20260101120000_create_products | products",
		}},
		{"rails/20260202083000_dangerous.rb", "db/migrate/20260202083000_dangerous.rb", []string{
			"rails db/migrate db.20260202083000_dangerous | users orders old_users leftovers | execute runs SQL that is not literal (line 23)",
			"0 unknown execute runs SQL that is not literal",
			"5 breaking adds users.nick, which must not be null",
			"7 destructive drops users.legacy",
			"8 destructive renames users.mail",
			"9 destructive changes the type of users.age",
			"10 breaking makes users.name required",
			"12 locking adds an index to users",
			"13 locking checks all rows of orders",
			"16 destructive drops orders.memo",
			"17 breaking adds orders.code, which must not be null",
			"20 locking writes all rows of users",
			"21 destructive drops the table old_users",
			"24 destructive drops the table leftovers",
		}},
		{"prisma/20260101120000_init.sql", "prisma/migrations/20260101120000_init/migration.sql", []string{
			"prisma prisma/migrations prisma.20260101120000_init | User",
		}},
		{"prisma/20260202083000_dangerous.sql", "prisma/migrations/20260202083000_dangerous/migration.sql", []string{
			"prisma prisma/migrations prisma.20260202083000_dangerous | User Post",
			"9 destructive drops User.name",
			"9 breaking adds User.nick, which must not be null",
			"9 destructive changes the type of User.email",
			"14 destructive drops the table Post",
		}},
		{"prisma/sqlite_redefine.sql", "prisma/migrations/20260303000000_r/migration.sql", []string{
			"prisma prisma/migrations prisma.20260303000000_r | new_User User",
			"8 unknown builds User anew",
		}},
		{"laravel/2026_01_01_120000_create_flights_table.php", "database/migrations/2026_01_01_120000_create_flights_table.php", []string{
			"laravel database/migrations database.2026_01_01_120000_create_flights_table | flights",
		}},
		{"laravel/2026_02_02_083000_dangerous.php", "database/migrations/2026_02_02_083000_dangerous.php", []string{
			"laravel database/migrations database.2026_02_02_083000_dangerous | users leftovers old_users | the table of Schema::rename is not literal (line 22)/DB::statement runs SQL that is not literal (line 25)",
			"0 unknown the table of Schema::rename is not literal",
			"0 unknown DB::statement runs SQL that is not literal",
			"13 breaking adds users.nick, which must not be null",
			"16 destructive drops users.votes,avatar",
			"17 destructive renames users.from",
			"18 destructive changes users.name",
			"19 locking adds an index to users",
			"23 destructive drops the table leftovers",
			"24 destructive drops the table old_users",
		}},
		{"flyway/V2_1__dangerous.sql", "src/main/resources/db/migration/V2_1__dangerous.sql", []string{
			"flyway src/main/resources/db/migration db.V2_1__dangerous | person | a placeholder is filled in when it runs (line 10)",
			"0 unknown a placeholder is filled in",
			"1 breaking adds person.nick, which must not be null",
			"4 destructive renames person.mail",
			"5 destructive changes the type of person.age",
			"6 locking adds a foreign key to person",
			"7 irreversible adds a check to person",
			"8 locking adds an index to person",
		}},
		{"flyway/R__people_view.sql", "db/migration/R__people_view.sql", []string{
			"flyway db/migration db.R__people_view |",
			"1 irreversible replaces people",
		}},
		{"goose/00002_dangerous.sql", "db/migrations/00002_dangerous.sql", []string{
			"goose db/migrations db.00002_dangerous | post comment",
			"3 irreversible replaces histories_partition_creation",
			"16 destructive drops the table post",
			"17 destructive empties comment",
		}},
		{"goose/00003_in_go.go", "db/migrations/00003_in_go.go", []string{
			"goose db/migrations db.00003_in_go | | it is written in Go",
			"0 unknown it is written in Go",
		}},
		{"golang-migrate/000002_dangerous.up.sql", "migrations/000002_dangerous.up.sql", []string{
			"golang-migrate migrations 000002_dangerous | users sessions",
			"3 destructive drops users.legacy",
			"4 destructive deletes all rows of sessions",
		}},
		{"golang-migrate/000002_dangerous.up.sql", "migrations/000002_dangerous.down.sql", nil},
		{"liquibase/changelog.xml", "db/changelog.xml", []string{
			"liquibase db/changelog.xml db.nvoxland:1 | person",
			"liquibase db/changelog.xml db.nvoxland:2 | team",
			"liquibase db/changelog.xml and what it includes db.changelog.xml | | it includes changes/2026.xml, which is not there (line 7): Liquibase refuses to run",
			"18 destructive drops team.motto",
			"19 breaking adds team.city, which must not be null",
			"22 locking writes all rows of team", "0 unknown it includes changes/2026.xml",
		}},
		{"liquibase/changelog.yaml", "db/changelog.yaml", []string{
			"liquibase db/changelog.yaml db.your.name:1 | person",
			"liquibase db/changelog.yaml db.your.name:2 | team legacy",
			"20 breaking adds team.country, which must not be null",
			"28 destructive renames team.town",
			"32 destructive drops the table legacy",
		}},
		{"liquibase/changelog.json", "db/changelog.json", []string{
			"liquibase db/changelog.json db.bob:1 | person",
			"liquibase db/changelog.json db.bob:2 | legacy",
			"0 destructive drops the table legacy",
		}},
		{"liquibase/changelog.sql", "db/changelog.sql", []string{
			"liquibase db/changelog.sql db.nvoxland:1 | test1",
			"liquibase db/changelog.sql db.nvoxland:2 | legacy",
			"11 destructive drops the table legacy",
		}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + tt.file)
			if err != nil {
				t.Fatal(err)
			}
			r := &trees{commits: map[string]map[string]string{"x": {tt.path: string(text)}}}
			nodes, err := scannerOf(t, Options{}).Scan(t.Context(), r, "x")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range nodes {
				line := n.Tool + " " + n.Space + " " + n.String()
				for i, p := range n.Parents {
					line += map[bool]string{true: " <- ", false: " "}[i == 0] + p.Name
				}
				line = strings.TrimRight(line+" | "+strings.Join(n.Tables, " "), " ")
				if len(n.Unknown) > 0 {
					line += " | " + strings.Join(n.Unknown, "/")
				}
				got = append(got, line)
			}
			for _, d := range Dangers(nil, nodes) {
				got = append(got, fmt.Sprintf("%d %s %s", d.Line, d.Kind, d.Text))
			}
			for i := range min(len(got), len(tt.want)) {
				if strings.HasPrefix(got[i], tt.want[i]) {
					got[i] = tt.want[i] // the rest of the sentence is advice
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tt.want, "\n  "))
			}
		})
	}
}

func TestToolIsChosen(t *testing.T) {
	files := map[string]string{"shop/migrations/0001_a.py": mig(), "db/migrations/1_a.up.sql": "CREATE TABLE x (y int);", "web/db/migrations/2_b.up.sql": "SELECT 1;"}
	r := &trees{commits: map[string]map[string]string{"x": files}}
	for _, tt := range []struct {
		opt  Options
		want string
	}{
		{Options{}, "db.1_a shop.0001_a db.2_b"},
		{Options{Tool: "django"}, "shop.0001_a"},
		{Options{Tool: "golang-migrate"}, "db.1_a db.2_b"},
		{Options{Tool: "golang-migrate", Root: "web"}, "db.2_b"},
		{Options{Tool: "none"}, ""},
	} {
		nodes, err := scannerOf(t, tt.opt).Scan(t.Context(), r, "x")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range nodes {
			got = append(got, n.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v gives %v", tt.opt, got)
		}
	}
	if _, err := NewScanner(Options{Tool: "sqlx"}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("an unknown tool: %v", err)
	}
}

func revisionFile(revision, down string) string {
	return fmt.Sprintf("revision = %q\ndown_revision = %s\n\ndef upgrade():\n    pass\n", revision, down)
}

// Each tool's rule: who collides with whom, and what is told to do.
func TestToolsCollide(t *testing.T) {
	const up, alter = "-- +goose Up\nCREATE TABLE a (x int);\n-- +goose Down\n", "ALTER TABLE users ADD x int;"
	rb := func(table string) string {
		return "class A < ActiveRecord::Migration[7.0]\n  def change\n    add_column :" + table + ", :x, :string\n  end\nend\n"
	}
	for _, tt := range []struct {
		name      string
		base      tree
		main      tree // on top of base
		heads     map[int]tree
		want      map[int]string // all texts and fixes hold these, | between
		unblocked bool
	}{
		{
			"alembic: two follow one",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'a1'")}, 15: {"m/versions/c.py": revisionFile("c3", "('a1',)")}},
			map[int]string{
				12: "c12 (b) and c15 (c) both follow m.a1|alembic merge -m merge b2 c3",
				15: "c12 (b) and c15 (c) both follow m.a1|alembic merge -m merge b2 c3",
			},
			true,
		},
		{
			"alembic: stale",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			tree{"m/versions/c.py": revisionFile("c3", "'a1'")},
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'a1'")}},
			map[int]string{12: "c12 is stale: b follows m.a1, but main already has c there|alembic merge -m merge b2 c3"},
			false,
		},
		{
			"alembic: merged",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			tree{"m/versions/c.py": revisionFile("c3", "'a1'")},
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'a1'"), "m/versions/c.py": revisionFile("c3", "'a1'"), "m/versions/d.py": revisionFile("d4", "('b2', 'c3')")}},
			nil, true,
		},
		{
			"alembic: one revision in two files",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			tree{"m/versions/c.py": revisionFile("b2", "'a1'")},
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'a1'")}},
			map[int]string{12: "c12 adds m.b2 in m/versions/b.py, but main already has it in m/versions/c.py"},
			false,
		},
		{
			"alembic: another folder of versions",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			nil,
			map[int]tree{12: {"n/versions/b.py": revisionFile("b2", "'a1'")}},
			nil, true,
		},
		{
			"alembic: nowhere",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'zz'")}},
			map[int]string{12: "c12: b follows m.zz, which neither main nor the change has"},
			false,
		},
		{
			"alembic: a circle",
			tree{"m/versions/a.py": revisionFile("a1", "None")},
			nil,
			map[int]tree{12: {"m/versions/b.py": revisionFile("b2", "'c3'"), "m/versions/c.py": revisionFile("c3", "'b2'")}},
			map[int]string{12: "in c12 m.b2, m.c3 follow one another in a circle"},
			false,
		},
		{
			"goose: one number",
			tree{"db/00007_a.sql": up},
			nil,
			map[int]tree{12: {"db/00008_b.sql": up}, 15: {"db/00008_c.sql": up}},
			map[int]string{
				12: "c12 (00008_b) and c15 (00008_c) both take number 00008 of db|git mv db/00008_c.sql db/00009_c.sql",
				15: "c12 (00008_b) and c15 (00008_c) both take number 00008 of db|git mv db/00008_c.sql db/00009_c.sql",
			},
			true,
		},
		{
			"goose: stale",
			tree{"db/00007_a.sql": up},
			tree{"db/00008_c.sql": up},
			map[int]tree{12: {"db/00008_b.sql": up}},
			map[int]string{12: "c12 is stale: 00008_b takes number 00008 of db, but main already has 00008_c there|git mv db/00008_b.sql db/00009_b.sql"},
			false,
		},
		{
			"goose: older",
			tree{"db/00007_a.sql": up},
			tree{"db/00010_c.sql": up},
			map[int]tree{12: {"db/00008_b.sql": up}},
			map[int]string{12: "c12 is stale: 00008_b is older than main's newest, 00010_c; goose refuses"},
			false,
		},
		{
			"goose: who comes first",
			tree{"db/00007_a.sql": up},
			nil,
			map[int]tree{12: {"db/00009_b.sql": up}, 15: {"db/00008_c.sql": up}},
			map[int]string{12: "c15 (00008_c) comes before c12 (00009_b)|merge c15 first", 15: "c15 (00008_c) comes before c12 (00009_b)"},
			true,
		},
		{
			"goose: renumbered in the change itself",
			tree{"db/00007_a.sql": up},
			tree{"db/00008_c.sql": up},
			map[int]tree{12: {"db/00008_c.sql": up, "db/00009_b.sql": up}},
			nil, true,
		},
		{
			"golang-migrate: passed over",
			tree{"db/000007_a.up.sql": alter},
			tree{"db/000009_c.up.sql": alter},
			map[int]tree{12: {"db/000008_b.up.sql": alter, "db/000008_b.down.sql": "SELECT 1;"}},
			map[int]string{12: "it would never be run|git mv db/000008_b.up.sql db/000010_b.up.sql|git mv db/000008_b.down.sql db/000010_b.down.sql"},
			false,
		},
		{
			"flyway: parts of versions",
			tree{"db/V1__a.sql": alter},
			tree{"db/V1.10__c.sql": alter},
			map[int]tree{12: {"db/V1_9__b.sql": alter}, 15: {"db/V1_10_0__d.sql": alter}, 16: {"db/V1.11__e.sql": alter}},
			map[int]string{12: "V1_9__b is older than main's newest, V1.10__c|c12 (V1_9__b) comes before c16", 15: "takes number 1_10_0 of db, but main already has V1.10__c there", 16: "comes before"},
			false,
		},
		{
			"flyway: what was run is changed",
			tree{"db/V1__a.sql": alter, "db/R__v.sql": "SELECT 1;"},
			nil,
			map[int]tree{12: {"db/V1__a.sql": alter + "\n", "db/R__v.sql": "SELECT 2;"}},
			map[int]string{12: "c12 changes V1__a, which main already has: Flyway refuses"},
			false,
		},
		{
			"flyway: 1.2.10 is after 1.2.9, and 1.2 is 1.2.0",
			tree{"db/V1.2.9__a.sql": alter},
			tree{"db/V1.2.10__c.sql": alter},
			map[int]tree{12: {"db/V1.2.11__b.sql": alter, "db/V1.2__z.sql": alter}, 15: {"db/V1_2_0__y.sql": alter}, 16: {"db/U1.2.9__a.sql": alter, "db/B1.2.9__a.sql": alter}},
			map[int]string{12: "V1.2__z is older than main's newest, V1.2.10__c|c12 (V1.2__z) and c15 (V1_2_0__y) both take number 1.2 of db", 15: "both take number 1.2"},
			false,
		},
		{
			"flyway: what was run is taken away",
			tree{"db/V1__a.sql": alter, "db/V2__b.sql": alter, "db/R__v.sql": "SELECT 1;"},
			nil,
			map[int]tree{12: {"db/V1__a.sql": ""}, 15: {"db/V2__b.sql": "", "db/V2__c.sql": alter}, 16: {"db/R__v.sql": ""}},
			map[int]string{12: "c12 takes V1__a away, which main has: Flyway refuses", 15: "c15 takes V2__b away, which main has: Flyway refuses", 16: ""},
			false,
		},
		{
			"golang-migrate: only the newest must stay",
			tree{"db/1_a.up.sql": alter, "db/2_b.up.sql": alter},
			nil,
			map[int]tree{12: {"db/1_a.up.sql": ""}, 15: {"db/2_b.up.sql": ""}},
			map[int]string{12: "", 15: "c15 takes 2_b away, which main has: golang-migrate refuses"},
			false,
		},
		{
			"alembic: what databases stand at is taken away",
			tree{"m/versions/a.py": revisionFile("a1", "None"), "m/versions/b.py": revisionFile("b2", "'a1'")},
			nil,
			map[int]tree{12: {"m/versions/b.py": ""}, 15: {"m/versions/a.py": "", "m/versions/b.py": revisionFile("b2", "None")}},
			map[int]string{12: "c12 takes b away, which main has: Alembic refuses", 15: ""},
			false,
		},
		{
			"rails: one table",
			tree{"db/migrate/20260101000000_a.rb": rb("users")},
			nil,
			map[int]tree{12: {"db/migrate/20260102000000_b.rb": rb("users")}, 15: {"db/migrate/20260103000000_c.rb": rb("users")}, 16: {"db/migrate/20260104000000_d.rb": rb("orders")}},
			map[int]string{12: "c12 (20260102000000_b) and c15 (20260103000000_c) both change users", 15: "both change users"},
			true,
		},
		{
			"rails: main changed the same table meanwhile",
			tree{"db/migrate/20260101000000_a.rb": rb("users")},
			tree{"db/migrate/20260102000000_c.rb": rb("users")},
			map[int]tree{12: {"db/migrate/20260103000000_b.rb": rb("users")}},
			map[int]string{12: "c12 is stale: 20260103000000_b and main's new 20260102000000_c both change users"},
			false,
		},
		{
			"rails: older, other tables",
			tree{"db/migrate/20260101000000_a.rb": rb("users")},
			tree{"db/migrate/20260109000000_c.rb": rb("orders")},
			map[int]tree{12: {"db/migrate/20260103000000_b.rb": rb("users")}},
			map[int]string{12: "20260103000000_b is older than main's newest, 20260109000000_c|git mv db/migrate/20260103000000_b.rb db/migrate/$(date -u +%Y%m%d%H%M%S)_b.rb"},
			true,
		},
		{
			"rails: one version",
			tree{"db/migrate/20260101000000_a.rb": rb("users")},
			tree{"db/migrate/20260102000000_c.rb": rb("orders")},
			map[int]tree{12: {"db/migrate/20260102000000_b.rb": rb("parts")}},
			map[int]string{12: "takes number 20260102000000 of db/migrate, but main already has 20260102000000_c there"},
			false,
		},
		{
			"prisma: one table",
			tree{"prisma/migrations/1_a/migration.sql": alter},
			nil,
			map[int]tree{12: {"prisma/migrations/20260102000000_b/migration.sql": alter}, 15: {"prisma/migrations/20260102000000_c/migration.sql": alter}},
			map[int]string{12: "both change users|git mv prisma/migrations/20260102000000_c prisma/migrations/$(date", 15: "both change users"},
			true,
		},
		{
			"liquibase: one id",
			tree{"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE t (x int);\n"},
			nil,
			map[int]tree{
				12: {"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE t (x int);\n--changeset a:2\nCREATE TABLE u (x int);\n"},
				15: {"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE t (x int);\n--changeset a:2\nCREATE TABLE v (x int);\n"},
			},
			map[int]string{12: "c12 and c15 both add db.a:2, with different content", 15: "c12 and c15 both add db.a:2"},
			true,
		},
		{
			"liquibase: what was run is changed",
			tree{"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE t (x int);\n"},
			nil,
			map[int]tree{12: {"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE t (x bigint);\n"}},
			map[int]string{12: "c12 changes a:1, which main already has: Liquibase refuses"},
			false,
		},
		{
			"liquibase: what may change",
			tree{"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1 runOnChange:true\nCREATE VIEW v AS SELECT 1;\n", "db/changelog.xml": "<databaseChangeLog><changeSet id='1' author='b' runAlways='true'><sql>SELECT 1</sql></changeSet><changeSet id='2' author='b'><comment>old</comment><sql>SELECT 1</sql></changeSet></databaseChangeLog>", "db/changelog.yaml": "databaseChangeLog:\n- changeSet:\n    id: 1\n    author: c\n    runOnChange: true\n    changes:\n    - sql:\n        sql: SELECT 1\n- changeSet:\n    id: 2\n    author: c\n    comment: old\n    changes:\n    - sql:\n        sql: SELECT 1\n"},
			nil,
			map[int]tree{12: {"db/changelog.sql": "--liquibase formatted sql\n--changeset a:1 runOnChange:true\nCREATE VIEW v AS SELECT 2;\n", "db/changelog.xml": "<databaseChangeLog><changeSet id='1' author='b' runAlways='true'><sql>SELECT 2</sql></changeSet><changeSet id='2' author='b'><comment>new</comment><sql>SELECT 1</sql></changeSet></databaseChangeLog>", "db/changelog.yaml": "databaseChangeLog:\n- changeSet:\n    id: 1\n    author: c\n    runOnChange: true\n    changes:\n    - sql:\n        sql: SELECT 2\n- changeSet:\n    id: 2\n    author: c\n    comment: new\n    changes:\n    - sql:\n        sql: SELECT 1\n"}},
			nil, true,
		},
		{
			"liquibase: what may not",
			tree{"db/changelog.xml": "<databaseChangeLog><changeSet id='2' author='b'><sql>SELECT 1</sql><rollback>x</rollback></changeSet></databaseChangeLog>", "db/changelog.yaml": "databaseChangeLog:\n- changeSet:\n    id: 2\n    author: c\n    changes:\n    - sql:\n        sql: SELECT 1\n"},
			nil,
			map[int]tree{12: {"db/changelog.xml": "<databaseChangeLog><changeSet id='2' author='b'><sql>SELECT 2</sql><rollback>x</rollback></changeSet></databaseChangeLog>"}, 15: {"db/changelog.yaml": "databaseChangeLog:\n- changeSet:\n    id: 2\n    author: c\n    changes:\n    - sql:\n        sql: SELECT 2\n"}},
			map[int]string{12: "c12 changes b:2, which main already has: Liquibase refuses", 15: "c15 changes c:2, which main already has: Liquibase refuses"},
			false,
		},
		{
			"liquibase: one logical file",
			tree{"db/changelog.xml": "<databaseChangeLog logicalFilePath='all'><changeSet id='1' author='b'><sql>SELECT 1</sql></changeSet></databaseChangeLog>"},
			nil,
			map[int]tree{12: {"db/other-changelog.xml": "<databaseChangeLog><changeSet id='1' author='b' logicalFilePath='all'><sql>SELECT 1</sql></changeSet></databaseChangeLog>"}, 15: {"db/third-changelog.xml": "<databaseChangeLog><changeSet id='1' author='b'><sql>SELECT 1</sql></changeSet></databaseChangeLog>"}},
			map[int]string{12: "c12 adds db.b:1 in db/other-changelog.xml, but main already has it in db/changelog.xml", 15: ""},
			false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &trees{commits: map[string]map[string]string{"base": tt.base, "main": with(tt.base, tt.main)}}
			s := scannerOf(t, Options{})
			main, err := s.Scan(t.Context(), r, "main")
			if err != nil {
				t.Fatal(err)
			}
			changes := map[int]Delta{}
			for n, more := range tt.heads {
				commit := fmt.Sprint("c", n)
				r.commits[commit] = with(tt.base, more)
				if changes[n], err = s.Delta(t.Context(), r, "main", commit); err != nil {
					t.Fatal(err)
				}
			}
			found := Collisions(main, changes)
			for n := range tt.heads {
				var all []string
				for _, c := range found[n] {
					all = append(all, c.String())
					if c.Fix == "" || c.Stale && tt.unblocked {
						t.Errorf("%+v", c)
					}
				}
				got := strings.Join(all, "\n")
				if tt.want[n] == "" && got != "" {
					t.Errorf("c%d: %s", n, got)
				}
				for _, want := range strings.Split(tt.want[n], "|") {
					if !strings.Contains(got, want) {
						t.Errorf("c%d: %q does not say %q", n, got, want)
					}
				}
			}
		})
	}
}
