package migration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// A finding is a danger of one statement or call, before it is known whether
// its table is new.
type finding struct {
	line  int
	kind  bosman.DangerKind
	table string // "" concerns no table, or nobody knows which
	text  string
}

// script is what a migration does to tables, as far as its text tells.
type script struct {
	findings []finding
	creates  []string // tables it makes
	touches  []string // tables it makes, changes or fills
	unknown  []string

	renamed map[string]string // of the SQL now judged: new name of a table → old
	made    map[string]int    // name → the last statement that makes something of that name
}

// What a hostile file may make us keep.
const (
	maxFindings = 1000
	maxTables   = 5000
)

func (s *script) say(line int, kind bosman.DangerKind, table, format string, args ...any) {
	if len(s.findings) >= maxFindings {
		s.doubt("there is more than can be judged")
		return
	}
	s.findings = append(s.findings, finding{line, kind, table, fmt.Sprintf(format, args...)})
}

func (s *script) touch(table string) {
	if table == "" || slices.Contains(s.touches, table) {
		return
	}
	if len(s.touches) >= maxTables {
		s.doubt("there are more tables than can be judged")
		return
	}
	s.touches = append(s.touches, table)
}

func (s *script) create(table string) {
	if s.touch(table); table != "" && len(s.creates) < maxTables {
		s.creates = append(s.creates, table)
	}
}

func (s *script) doubt(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(s.unknown) < 20 && !slices.Contains(s.unknown, text) {
		s.unknown = append(s.unknown, text)
	}
}

// LintSQL judges SQL that was or will be run, in the order given, as if it
// were one migration of that name.
func LintSQL(name string, texts []string) []bosman.Danger {
	s := &script{}
	for _, t := range texts {
		s.sql(t, 0)
	}
	return s.dangers(bosman.Danger{Migration: name}, s.creates)
}

// dangers are the findings that do not concern new tables.
func (s *script) dangers(like bosman.Danger, fresh []string) []bosman.Danger {
	var out []bosman.Danger
	for _, f := range s.findings {
		if f.table != "" && slices.Contains(fresh, f.table) {
			continue
		}
		like.Line, like.Kind, like.Text = f.line, f.kind, f.text
		out = append(out, like)
	}
	return out
}

// sql judges a text of SQL whose first line is line+1 of its file.
func (s *script) sql(text string, line int) {
	switch {
	case len(text) > maxSQL:
		s.doubt("it is above %d MB", maxSQL>>20)
		return
	case strings.ContainsRune(text, 0):
		s.doubt("it is not a text")
		return
	}
	all := statements(text)
	s.renamed, s.made = map[string]string{}, map[string]int{}
	for i, st := range all {
		c := &cursor{words: st}
		switch {
		case c.take("ALTER", "TABLE"):
			if from := c.name(); c.take("RENAME", "TO") {
				s.renamed[c.name()] = from
			}
		case c.take("CREATE"):
			for _, w := range st[1:min(len(st), 12)] {
				s.made[fold(w)] = i
			}
		}
	}
	for i, st := range all {
		s.statement(st, i, line)
	}
}

const (
	rewrites = "reads and writes wait while all rows are written anew"
	asksFor  = "the old code still asks for it"
)

// statement judges one statement, the n-th.
func (s *script) statement(st statement, n, line int) {
	c := &cursor{words: st}
	at := line + st[0].line
	for _, w := range st {
		switch {
		case w.kind == wordOp && w.text == unclosed:
			s.doubt("a quote is never closed (line %d)", line+w.line)
		case w.kind == wordOp && w.text == backslash:
			s.doubt("a string ends in a backslash, which MySQL reads otherwise (line %d)", line+w.line)
		}
	}
	switch {
	case st[0].kind == wordMeta:
		s.doubt("%s is not SQL (line %d)", cutTo(st[0].text, 40), at)
	case c.take("CREATE"):
		s.createWhat(c, st, at)
	case c.take("ALTER"):
		s.alterWhat(c, st, at)
	case c.take("DROP"):
		s.drop(c, st, n, at)
	case c.take("RENAME", "TABLE"):
		t := c.name()
		s.touch(t)
		s.say(at, bosman.Destructive, t, "renames the table %s: the old code asks for the old name", t)
	case c.take("TRUNCATE"):
		c.any("TABLE")
		c.any("ONLY")
		t := c.name()
		s.touch(t)
		s.say(at, bosman.Destructive, t, "empties %s", t)
	case c.take("DELETE", "FROM"):
		c.any("ONLY")
		t := c.name()
		s.touch(t)
		if !st.has("WHERE") {
			s.say(at, bosman.Destructive, t, "deletes all rows of %s", t)
		}
	case c.take("UPDATE"):
		c.any("ONLY")
		t := c.name()
		s.touch(t)
		if !st.has("WHERE") {
			s.say(at, bosman.Locking, t, "writes all rows of %s at once, and other writers wait: do it in batches", t)
		}
	case c.take("INSERT", "INTO"), c.take("COPY"), c.take("MERGE", "INTO"):
		s.touch(c.name())
	case c.take("LOCK"):
		c.any("TABLE", "TABLES")
		c.any("ONLY")
		t := c.name()
		s.say(at, bosman.Locking, t, "locks %s", t)
	case c.take("CLUSTER"), c.take("VACUUM") && st.has("FULL"):
		s.say(at, bosman.Locking, "", "%s: %s", strings.ToUpper(st[0].text), rewrites)
	case c.take("REINDEX") && !st.has("CONCURRENTLY"):
		s.say(at, bosman.Locking, "", "REINDEX stops writes: REINDEX … CONCURRENTLY does not (PostgreSQL)")
	case c.take("REFRESH", "MATERIALIZED", "VIEW") && !c.take("CONCURRENTLY"):
		s.say(at, bosman.Locking, "", "refreshes %s while its readers wait", c.name())
	case c.take("REVOKE"):
		s.say(at, bosman.Breaking, "", "takes rights away: the old code may need them")
	case (st[0].is("WITH") || st[0].is("EXPLAIN") || st[0].is("PREPARE")) && (st.has("DELETE") || st.has("UPDATE") || st.has("INSERT") || st.has("MERGE")):
		s.doubt("%s holds a statement that writes (line %d)", strings.ToUpper(st[0].text), at)
	case st[0].is("DO"), st[0].is("EXECUTE"), st[0].is("EXEC"), st[0].is("CALL"), st[0].is("IF"), st[0].is("BEGIN") && len(st) > 3 && !st.has("TRANSACTION"), st[0].is("SELECT") && !harmless(st):
		s.doubt("%s runs code (line %d)", strings.ToUpper(st[0].text), at)
	case st[0].kind != wordName:
		s.doubt("a statement begins with %s (line %d)", cutTo(st[0].text, 20), at)
	}
	if i := slices.IndexFunc(st, placeholder(st)); i >= 0 {
		s.doubt("a placeholder is filled in when it runs (line %d)", line+st[i].line)
	}
}

// harmless says whether a SELECT calls only functions that every dump has.
func harmless(st statement) bool {
	for i := 0; i+1 < len(st); i++ {
		if st[i].kind != wordName || st[i+1].text != "(" || st[i+1].kind != wordOp {
			continue
		}
		switch strings.ToLower(st[i].text) {
		case "set_config", "setval", "nextval", "currval", "max", "min", "count", "coalesce", "now", "pg_get_serial_sequence", "exists", "in", "values":
		default:
			return false
		}
	}
	return true
}

// placeholder finds ${name}: Flyway and Liquibase fill it in.
func placeholder(st statement) func(word) bool {
	i := -1
	return func(w word) bool {
		i++
		return w.kind == wordOp && w.text == "$" && i+1 < len(st) && st[i+1].text == "{" ||
			w.kind == wordQuoted && strings.Contains(w.text, "${")
	}
}

func (s *script) createWhat(c *cursor, st statement, at int) {
	replace := c.take("OR", "REPLACE")
	c.any("GLOBAL", "LOCAL")
	temporary := c.any("TEMPORARY", "TEMP", "UNLOGGED")
	unique := c.take("UNIQUE")
	c.any("CLUSTERED", "NONCLUSTERED", "FULLTEXT", "SPATIAL")
	switch {
	case c.take("TABLE"):
		c.take("IF", "NOT", "EXISTS")
		if t := c.name(); temporary == "TEMPORARY" || temporary == "TEMP" {
			s.creates = append(s.creates, t)
		} else {
			s.create(t)
		}
	case c.take("INDEX"):
		concurrently := c.take("CONCURRENTLY")
		c.take("IF", "NOT", "EXISTS")
		if !c.take("ON") {
			c.name()
			c.take("ON")
		}
		c.any("ONLY")
		t := c.name()
		s.touch(t)
		if t == "" {
			s.doubt("the table of an index cannot be read (line %d)", at)
		}
		if !concurrently {
			s.say(at, bosman.Locking, t, "adds an index to %s while writes wait: CREATE INDEX CONCURRENTLY does not (PostgreSQL)", t)
		}
		if unique {
			s.say(at, bosman.Irreversible, t, "adds a unique index to %s: it fails where rows are equal, and so do later INSERTs of the old code", t)
		}
	case c.take("TRIGGER"), c.take("CONSTRAINT", "TRIGGER"), c.take("RULE"):
		if i := slices.IndexFunc(st, func(w word) bool { return w.is("ON") }); i >= 0 {
			at := &cursor{words: st, pos: i + 1}
			s.touch(at.name())
		}
	case replace && (c.take("VIEW") || c.take("FUNCTION") || c.take("PROCEDURE")):
		s.say(at, bosman.Irreversible, "", "replaces %s: what it was is nowhere kept", c.name())
	}
}

func (s *script) drop(c *cursor, st statement, n, at int) {
	what := c.any("TABLE", "SCHEMA", "DATABASE", "VIEW", "INDEX", "SEQUENCE", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "TRIGGER", "MATERIALIZED", "EXTENSION")
	if what == "MATERIALIZED" {
		c.any("VIEW")
		what = "VIEW"
	}
	concurrently := c.take("CONCURRENTLY")
	c.take("IF", "EXISTS")
	switch what {
	case "TABLE":
		for _, part := range c.words[c.pos:].split() {
			one := &cursor{words: part}
			t := one.name()
			s.touch(t)
			if from, ok := s.renamed[t]; ok && slices.Contains(s.creates, from) { // the way of SQLite
				s.say(at, bosman.Unknown, "", "builds %s anew; look whether columns are lost", t)
				continue
			}
			s.say(at, bosman.Destructive, t, "drops the table %s: its data goes, and %s", t, asksFor)
		}
	case "SCHEMA", "DATABASE":
		s.say(at, bosman.Destructive, "", "drops the %s %s with all that is in it", strings.ToLower(what), c.name())
	case "VIEW", "FUNCTION", "PROCEDURE", "SEQUENCE", "TYPE", "DOMAIN", "EXTENSION":
		name := c.name()
		if s.made[name] > n { // dropped to be made anew
			return
		}
		s.say(at, bosman.Breaking, "", "drops the %s %s: the old code may ask for it", strings.ToLower(what), name)
	case "INDEX":
		name := c.name()
		if c.take("ON") { // MySQL
			s.touch(c.name())
		} else if !concurrently {
			s.say(at, bosman.Locking, "", "drops the index %s while reads and writes wait: DROP INDEX CONCURRENTLY does not (PostgreSQL)", name)
		}
	case "":
		if st.has("OWNED") {
			s.say(at, bosman.Destructive, "", "drops all that a role owns")
			return
		}
		if !st.has("POLICY") && !st.has("RULE") && !st.has("ROLE") && !st.has("USER") {
			s.doubt("what is dropped cannot be read (line %d)", at)
		}
	}
}

func (s *script) alterWhat(c *cursor, st statement, at int) {
	switch {
	case c.take("TABLE"):
		c.take("IF", "EXISTS")
		c.any("ONLY")
		t := c.name()
		if t == "" {
			s.doubt("the table of ALTER TABLE cannot be read (line %d)", at)
			return
		}
		s.touch(t)
		for _, action := range c.words[c.pos:].split() {
			if len(action) > 0 {
				s.alterTable(t, action, at)
			}
		}
	case c.take("TYPE"):
		name := c.name()
		if st.has("RENAME") || st.has("DROP", "ATTRIBUTE") || st.has("ALTER", "ATTRIBUTE") {
			s.say(at, bosman.Breaking, "", "changes the type %s: the old code uses what it was", name)
		}
	case c.take("DOMAIN"):
		name := c.name()
		if st.has("ADD") || st.has("SET", "NOT", "NULL") || st.has("RENAME") {
			s.say(at, bosman.Breaking, "", "tightens the type %s: what the old code writes may fail, and all its rows are read while others wait", name)
		}
	case c.take("VIEW"), c.take("MATERIALIZED", "VIEW"), c.take("SEQUENCE"), c.take("FUNCTION"), c.take("SCHEMA"):
		if st.has("RENAME", "TO") || st.has("SET", "SCHEMA") {
			s.say(at, bosman.Breaking, "", "renames %s: the old code asks for the old name", c.name())
		}
	}
}
