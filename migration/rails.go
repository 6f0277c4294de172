package migration

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Rails: db/migrate/20260101120000_name.rb. Facts: guides.rubyonrails.org,
// "Active Record Migrations"; ActiveRecord::MigrationContext. The names of
// dangers follow strong_migrations.
var rails = tool{
	name: "rails",
	claims: func(name string) bool {
		return strings.HasSuffix(name, ".rb") && strings.HasSuffix(path.Base(path.Dir(name)), "migrate") && digits(path.Base(name)) != ""
	},
	byPath: func(name string) (Node, bool) { return numbered(name, digits(path.Base(name))), true },
	read: func(name, text string) []Node {
		n := numbered(name, digits(path.Base(name)))
		toks := pieces(text, false)
		if !railsClass(toks) {
			n.Unknown = append(n.Unknown, "it holds no class of ActiveRecord::Migration")
			return []Node{n}
		}
		s := &script{}
		s.rails(toks)
		n.put(s)
		return []Node{n}
	},
	rule: rule{
		twice: "Rails refuses to run with two of one version", tables: true,
		rename: ", then `bin/rails db:migrate` so that db/schema.rb follows",
	},
}

func railsClass(toks []piece) bool {
	for i := 0; i+2 < len(toks); i++ {
		if toks[i].text == "ActiveRecord" && toks[i+1].text == "::" && toks[i+2].text == "Migration" {
			return true
		}
	}
	return false
}

var railsDown = regexp.MustCompile(`^(down|self)$`)

// rails judges the calls outside of down.
func (s *script) rails(toks []piece) {
	table, tableCol, down := "", -1, -1 // the block of change_table; the column of "def down"
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if t.kind != pieceName {
			continue
		}
		switch {
		case t.text == "def" && i+1 < len(toks):
			down = -1
			if railsDown.MatchString(toks[i+1].text) && (toks[i+1].text == "down" || i+3 < len(toks) && toks[i+3].text == "down") {
				down = t.col
			}
			continue
		case t.text == "end" && t.head && t.col == tableCol:
			table, tableCol = "", -1
			continue
		case down >= 0:
			continue
		}
		if table != "" && t.head && t.text == "t" && i+2 < len(toks) && toks[i+1].text == "." {
			s.railsColumn(table, toks[i+2], readArgs(toks, i+3))
			continue
		}
		if !t.head && (i == 0 || !slices.Contains([]string{"{", ";", "do", "|"}, toks[i-1].text)) {
			continue
		}
		if a, known := s.railsCall(t, toks, i); known {
			if name, ok := a.arg(0); t.text == "change_table" && ok {
				table, tableCol = strings.ToLower(name), t.col
			}
		}
	}
}

var railsCalls = map[string]bool{
	"create_table": true, "create_join_table": true, "change_table": true, "drop_table": true, "drop_join_table": true, "rename_table": true, "add_column": true,
	"remove_column": true, "remove_columns": true, "rename_column": true, "change_column": true, "change_column_null": true, "change_column_default": true,
	"add_index": true, "remove_index": true, "add_foreign_key": true, "add_reference": true, "add_belongs_to": true, "remove_reference": true, "remove_belongs_to": true,
	"add_check_constraint": true, "execute": true, "add_timestamps": true, "remove_timestamps": true,
}

func (s *script) railsCall(t piece, toks []piece, i int) (args, bool) {
	if !railsCalls[t.text] {
		return args{}, false
	}
	a := readArgs(toks, i+1)
	if t.text == "execute" {
		if sql, ok := a.arg(0); ok {
			s.sql(sql, t.line-1)
		} else {
			s.doubt("execute runs SQL that is not literal (line %d)", t.line)
		}
		return a, true
	}
	table, ok := a.arg(0)
	if !ok {
		s.doubt("the table of %s is not literal (line %d)", t.text, t.line)
		return a, true
	}
	table = strings.ToLower(table)
	s.touch(table)
	second, literal := a.arg(1)
	if !literal {
		second = "a column"
	}
	at := table + "." + second
	switch t.text {
	case "create_table":
		s.create(table)
	case "create_join_table":
		s.creates = append(s.creates, table)
	case "drop_table", "drop_join_table":
		s.say(t.line, bosman.Destructive, table, "drops the table %s: its data goes, and %s", table, asksFor)
	case "rename_table":
		s.say(t.line, bosman.Destructive, table, "renames the table %s: the old code asks for the old name", table)
	case "remove_column", "remove_columns", "remove_reference", "remove_belongs_to", "remove_timestamps":
		s.say(t.line, bosman.Destructive, table, "drops %s: its data goes, and %s; let the release before ignore the column first (ignored_columns)", at, asksFor)
	case "rename_column":
		s.say(t.line, bosman.Destructive, table, "renames %s: the old code asks for the old name", at)
	case "change_column":
		s.say(t.line, bosman.Destructive, table, "changes the type of %s: %s, and the old code writes the old type", at, rewrites)
	case "change_column_null":
		if v, _ := a.arg(2); v == "false" || len(a.list) > 2 && a.list[2] == "false" {
			s.say(t.line, bosman.Breaking, table, "makes %s required: the old code's INSERTs without it fail, and all rows are read while others wait", at)
		}
	default:
		s.railsAdd(t, table, second, a)
	}
	return a, true
}

func (s *script) railsAdd(t piece, table, column string, a args) {
	switch t.text {
	case "add_column", "add_timestamps":
		_, def := a.named["default"]
		if a.named["null"] == "false" && !def {
			s.say(t.line, bosman.Breaking, table, "adds %s.%s, which must not be null and has no default: it fails where rows are, and so do the old code's INSERTs", table, column)
		}
	case "add_index":
		if a.named["algorithm"] != "concurrently" {
			s.say(t.line, bosman.Locking, table, "adds an index to %s while writes wait: algorithm: :concurrently with disable_ddl_transaction! does not (PostgreSQL)", table)
		}
	case "add_foreign_key", "add_check_constraint":
		if a.named["validate"] != "false" {
			s.say(t.line, bosman.Locking, table, "checks all rows of %s while writes wait: validate: false, then validate_foreign_key or validate_check_constraint in another migration", table)
		}
	case "add_reference", "add_belongs_to":
		_, def := a.named["default"]
		if a.named["null"] == "false" && !def {
			s.say(t.line, bosman.Breaking, table, "adds a reference to %s that must not be null: it fails where rows are, and so do the old code's INSERTs", table)
		}
		if a.named["index"] != "false" && a.named["index"] != "?" {
			s.say(t.line, bosman.Locking, table, "adds an index to %s while writes wait: index: {algorithm: :concurrently} does not (PostgreSQL)", table)
		}
	}
}

// railsColumn judges t.string :name in change_table.
func (s *script) railsColumn(table string, method piece, a args) {
	column, _ := a.arg(0)
	at := table + "." + column
	switch method.text {
	case "remove", "remove_references", "remove_timestamps", "remove_belongs_to":
		s.say(method.line, bosman.Destructive, table, "drops %s: its data goes, and %s", at, asksFor)
	case "rename":
		s.say(method.line, bosman.Destructive, table, "renames %s: the old code asks for the old name", at)
	case "change":
		s.say(method.line, bosman.Destructive, table, "changes the type of %s: %s, and the old code writes the old type", at, rewrites)
	case "index":
		s.say(method.line, bosman.Locking, table, "adds an index to %s while writes wait", table)
	case "change_null":
		s.say(method.line, bosman.Breaking, table, "makes %s required: the old code's INSERTs without it fail", at)
	default:
		if _, def := a.named["default"]; a.named["null"] == "false" && !def {
			s.say(method.line, bosman.Breaking, table, "adds %s, which must not be null and has no default: it fails where rows are, and so do the old code's INSERTs", at)
		}
	}
}
