package migration

import (
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// alterTable judges one action of ALTER TABLE.
func (s *script) alterTable(t string, action statement, at int) {
	c := &cursor{words: action}
	switch {
	case c.take("ADD"):
		s.addTo(t, c, action, at)
	case c.take("DROP"):
		s.dropFrom(t, c, at)
	case c.take("RENAME", "CONSTRAINT"), c.take("RENAME", "INDEX"), c.take("RENAME", "KEY"):
	case c.take("RENAME", "TO"), c.take("RENAME", "AS"):
		s.say(at, bosman.Destructive, t, "renames the table %s to %s: the old code asks for the old name", t, c.name())
	case c.take("RENAME"):
		c.any("COLUMN")
		s.say(at, bosman.Destructive, t, "renames %s.%s: the old code asks for the old name", t, c.name())
	case c.take("ALTER"):
		s.alterColumn(t, c, at)
	case c.take("MODIFY"), c.take("CHANGE"):
		c.any("COLUMN")
		s.say(at, bosman.Destructive, t, "redefines %s.%s: %s, and the old code writes the old type", t, c.name(), rewrites)
	case c.take("SET", "SCHEMA"):
		s.say(at, bosman.Destructive, t, "moves %s to another schema: the old code asks for the old one", t)
	case c.take("SET", "TABLESPACE"), c.take("SET", "LOGGED"), c.take("SET", "UNLOGGED"), c.take("SET", "ACCESS", "METHOD"):
		s.say(at, bosman.Locking, t, "moves the rows of %s: %s", t, rewrites)
	case c.take("ATTACH", "PARTITION"), c.take("DETACH", "PARTITION"):
		if !action.has("CONCURRENTLY") {
			s.say(at, bosman.Locking, t, "changes the partitions of %s while others wait", t)
		}
	case c.take("ENABLE", "ROW", "LEVEL", "SECURITY"), c.take("FORCE", "ROW", "LEVEL", "SECURITY"):
		s.say(at, bosman.Breaking, t, "hides rows of %s from whom no policy names: the old code may see none", t)
	case c.take("ENGINE"), c.take("CONVERT"), c.take("ROW_FORMAT"), c.take("FORCE"):
		s.say(at, bosman.Locking, t, "writes %s anew: %s", t, rewrites)
	case slices.ContainsFunc(quietActions, func(k string) bool { return c.peek().is(k) }):
	default:
		s.doubt("what is done to %s cannot be read (line %d)", t, at)
	}
}

// quietActions begin what ALTER TABLE does without harm to rows or old code.
var quietActions = []string{
	"OWNER", "SET", "RESET", "VALIDATE", "ENABLE", "DISABLE", "CLUSTER", "REPLICA", "INHERIT", "NO", "OF", "NOT", "RENAME", "DEPENDS", "MERGE", "SPLIT",
	"AUTO_INCREMENT", "COMMENT", "DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ALGORITHM", "LOCK", "ORDER", "WITH", "WITHOUT", "ATTACH", "DETACH", "ANALYZE", "CHECK", "OPTIMIZE", "STATS_PERSISTENT", "KEY_BLOCK_SIZE",
}

// words that may follow ADD and are no columns.
var notColumns = []string{"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "PARTITION", "VALUE"}

func (s *script) addTo(t string, c *cursor, action statement, at int) {
	column := c.take("COLUMN")
	c.take("IF", "NOT", "EXISTS")
	if !column && slices.ContainsFunc(notColumns, func(k string) bool { return c.peek().is(k) }) {
		s.addConstraint(t, action, at)
		return
	}
	name := c.name()
	if name == "" {
		s.doubt("what is added to %s cannot be read (line %d)", t, at)
		return
	}
	rest := c.words[c.pos:]
	kind := strings.ToLower(c.peek().text)
	own := rest.has("GENERATED") || rest.has("IDENTITY") || rest.has("AUTO_INCREMENT") || strings.HasSuffix(kind, "serial")
	switch {
	case own:
		s.say(at, bosman.Locking, t, "adds %s.%s, which is computed for each row: %s", t, name, rewrites)
	case rest.has("NOT", "NULL") && !rest.has("DEFAULT"), rest.has("PRIMARY", "KEY"):
		s.say(at, bosman.Breaking, t, "adds %s.%s, which must not be null and has no default: it fails where rows are, and so do the old code's INSERTs", t, name)
	case rest.has("DEFAULT") && volatile(rest):
		s.say(at, bosman.Locking, t, "adds %s.%s with a default that differs for each row: %s", t, name, rewrites)
	}
	if rest.has("REFERENCES") {
		s.say(at, bosman.Locking, t, "adds a foreign key to %s while writes to both tables wait: add it NOT VALID, then VALIDATE (PostgreSQL)", t)
	}
	if rest.has("UNIQUE") {
		s.say(at, bosman.Locking, t, "adds a unique column to %s while reads and writes wait for its index", t)
	}
}

func (s *script) addConstraint(t string, action statement, at int) {
	late := action.has("NOT", "VALID")
	switch {
	case action.has("FOREIGN", "KEY"):
		if !late {
			s.say(at, bosman.Locking, t, "adds a foreign key to %s while writes to both tables wait: add it NOT VALID, then VALIDATE (PostgreSQL)", t)
		}
	case action.has("CHECK"):
		if !late {
			s.say(at, bosman.Locking, t, "checks all rows of %s while others wait: add the constraint NOT VALID, then VALIDATE (PostgreSQL)", t)
		}
		s.say(at, bosman.Irreversible, t, "adds a check to %s: rows that the old code writes may fail it", t)
	case action.has("USING", "INDEX"):
	case action.has("UNIQUE"), action.has("PRIMARY", "KEY"), action.has("EXCLUDE"):
		s.say(at, bosman.Locking, t, "adds a unique constraint to %s while reads and writes wait for its index: build the index CONCURRENTLY first (PostgreSQL)", t)
	}
}

func (s *script) dropFrom(t string, c *cursor, at int) {
	if c.any("CONSTRAINT", "INDEX", "KEY", "FOREIGN", "CHECK", "PARTITION") != "" {
		return
	}
	if c.take("PRIMARY", "KEY") {
		s.say(at, bosman.Breaking, t, "drops the primary key of %s: what the old code updates by conflict fails", t)
		return
	}
	c.any("COLUMN")
	c.take("IF", "EXISTS")
	s.say(at, bosman.Destructive, t, "drops %s.%s: its data goes, and %s", t, c.name(), asksFor)
}

func (s *script) alterColumn(t string, c *cursor, at int) {
	if c.any("CONSTRAINT", "INDEX") != "" {
		return
	}
	c.any("COLUMN")
	name := c.name()
	switch {
	case c.take("TYPE"), c.take("SET", "DATA", "TYPE"):
		s.say(at, bosman.Destructive, t, "changes the type of %s.%s: %s, and the old code writes the old type", t, name, rewrites)
	case c.take("SET", "NOT", "NULL"):
		s.say(at, bosman.Breaking, t, "makes %s.%s required: the old code's INSERTs without it fail, and all rows are read while others wait", t, name)
	case c.take("DROP", "DEFAULT"):
		s.say(at, bosman.Breaking, t, "takes the default of %s.%s away: the old code's INSERTs without it fail if it must not be null", t, name)
	case c.take("DROP"), c.take("SET"), c.take("ADD"), c.take("RESTART"):
	default: // SQL Server: ALTER COLUMN name type
		s.say(at, bosman.Destructive, t, "redefines %s.%s: the old code writes the old type", t, name)
	}
}

// volatile says whether a default is computed anew for each row.
func volatile(st statement) bool {
	for i := 0; i+1 < len(st); i++ {
		if st[i].kind == wordName && st[i+1].kind == wordOp && st[i+1].text == "(" {
			switch strings.ToLower(st[i].text) {
			case "random", "gen_random_uuid", "uuid_generate_v1", "uuid_generate_v4", "clock_timestamp", "timeofday", "nextval", "uuid", "uuidv7", "rand":
				return true
			}
		}
	}
	return false
}
