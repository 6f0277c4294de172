package database

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Schema describes tables and what belongs to them, sorted by name.
type Schema struct {
	Tables  []Table  `json:"tables"`
	Objects []Object `json:"objects,omitempty"` // indexes, constraints, views, triggers, functions
}

// Table is a table and its columns, in their order.
type Table struct {
	Name    string   `json:"name"` // "public.candidate"
	Columns []Column `json:"columns"`
}

// Column is a column of a table.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	NotNull bool   `json:"not_null,omitempty"`
	Default string `json:"default,omitempty"` // expression; "" for none
}

// Object is something else of the schema.
type Object struct {
	Kind string `json:"kind"` // index, constraint, view, trigger, function, sequence, type
	Name string `json:"name"`
	Def  string `json:"def"`
}

// Sort brings tables and objects into the order that Fingerprint and Diff
// expect.
func (s *Schema) Sort() {
	slices.SortFunc(s.Tables, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Objects, func(a, b Object) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Def, b.Def)
	})
}

// Fingerprint is the same for the same schema: 64 hex digits.
func (s Schema) Fingerprint() string {
	var h strings.Builder
	for _, t := range s.Tables {
		fmt.Fprintf(&h, "table %q\n", t.Name)
		for _, c := range t.Columns {
			fmt.Fprintf(&h, " %q %q %t %q\n", c.Name, c.Type, c.NotNull, c.Default)
		}
	}
	for _, o := range s.Objects {
		fmt.Fprintf(&h, "%s %q %q\n", o.Kind, o.Name, o.Def)
	}
	sum := sha256.Sum256([]byte(h.String()))
	return hex.EncodeToString(sum[:])
}

// SchemaChange is what became different between two schemas. A renamed column
// shows as dropped and added.
type SchemaChange struct {
	AddedTables    []string
	DroppedTables  []string
	AddedColumns   []string // "table.column" of tables that were there before
	DroppedColumns []string
	ChangedColumns []string // another type or default: "public.x.y integer → bigint"
	Tightened      []string // new or old columns that the old code's INSERTs now fail on: not null without default
	Objects        []string // indexes, constraints, views and so on that came, went or changed
}

// Same says that nothing changed.
func (c SchemaChange) Same() bool {
	return len(c.AddedTables)+len(c.DroppedTables)+len(c.AddedColumns)+len(c.DroppedColumns)+
		len(c.ChangedColumns)+len(c.Tightened)+len(c.Objects) == 0
}

// Destructive says whether code written for the old schema may fail or data
// was lost: tables or columns dropped, changed or tightened.
func (c SchemaChange) Destructive() bool {
	return len(c.DroppedTables)+len(c.DroppedColumns)+len(c.ChangedColumns)+len(c.Tightened) > 0
}

// String says it in a line for people: "2 tables added, column public.x.y dropped".
func (c SchemaChange) String() string {
	var parts []string
	say := func(what, verb string, names []string) {
		switch {
		case len(names) == 1:
			parts = append(parts, what+" "+names[0]+" "+verb)
		case len(names) > 1:
			parts = append(parts, fmt.Sprintf("%d %ss %s", len(names), what, verb))
		}
	}
	say("table", "dropped", c.DroppedTables)
	say("column", "dropped", c.DroppedColumns)
	say("column", "changed", c.ChangedColumns)
	say("column", "now required", c.Tightened)
	say("table", "added", c.AddedTables)
	say("column", "added", c.AddedColumns)
	if n := len(c.Objects); n > 0 {
		parts = append(parts, fmt.Sprintf("%d indexes, constraints or views changed", n))
	}
	if len(parts) == 0 {
		return "the schema did not change"
	}
	return strings.Join(parts, ", ")
}

// Diff tells what changed from old to new.
func Diff(old, new Schema) SchemaChange {
	var c SchemaChange
	before := tablesByName(old)
	after := tablesByName(new)
	for _, t := range old.Tables {
		if _, ok := after[t.Name]; !ok {
			c.DroppedTables = append(c.DroppedTables, t.Name)
		}
	}
	for _, t := range new.Tables {
		was, ok := before[t.Name]
		if !ok {
			c.AddedTables = append(c.AddedTables, t.Name)
			continue
		}
		c.columns(was, t)
	}
	defs := func(s Schema) map[string]bool {
		m := map[string]bool{}
		for _, o := range s.Objects {
			m[o.Kind+" "+o.Name+"\x00"+o.Def] = true
		}
		return m
	}
	o, n := defs(old), defs(new)
	for _, x := range []struct{ a, b map[string]bool }{{o, n}, {n, o}} {
		for k := range x.a {
			name, _, _ := strings.Cut(k, "\x00")
			if !x.b[k] && !slices.Contains(c.Objects, name) {
				c.Objects = append(c.Objects, name)
			}
		}
	}
	slices.Sort(c.Objects)
	return c
}

func (c *SchemaChange) columns(was, is Table) {
	before := map[string]Column{}
	for _, col := range was.Columns {
		before[col.Name] = col
	}
	after := map[string]bool{}
	for _, col := range is.Columns {
		after[col.Name] = true
		name := is.Name + "." + col.Name
		b, ok := before[col.Name]
		if !ok {
			c.AddedColumns = append(c.AddedColumns, name)
			if col.NotNull && col.Default == "" {
				c.Tightened = append(c.Tightened, name)
			}
			continue
		}
		if b.Type != col.Type {
			c.ChangedColumns = append(c.ChangedColumns, name+" "+b.Type+" → "+col.Type)
		}
		if col.NotNull && !b.NotNull || col.NotNull && b.Default != "" && col.Default == "" {
			c.Tightened = append(c.Tightened, name)
		}
	}
	for _, col := range was.Columns {
		if !after[col.Name] {
			c.DroppedColumns = append(c.DroppedColumns, was.Name+"."+col.Name)
		}
	}
}

func tablesByName(s Schema) map[string]Table {
	m := make(map[string]Table, len(s.Tables))
	for _, t := range s.Tables {
		m[t.Name] = t
	}
	return m
}

// Brought is the definition of an object that another one brings along: a
// function of an extension, the trigger that a partition has of its table. They
// are not the same with every version of a server.
const Brought = "-"

// Differences compares what a backup said it holds with what a restore holds:
// tables, columns, row counts and the names of indexes, constraints and views.
// At most ten sentences; none when they agree.
func Differences(want BackupInfo, got Inspection) []string {
	var out []string
	add := func(format string, args ...any) {
		if len(out) < 10 {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	tables := make([]string, 0, len(want.Rows))
	for t := range want.Rows {
		tables = append(tables, t)
	}
	slices.Sort(tables)
	for _, t := range tables {
		n, ok := got.Rows[t]
		if !ok {
			add("table %s is missing", t)
		} else if n != want.Rows[t] {
			add("table %s has %d rows instead of %d", t, n, want.Rows[t])
		}
	}
	for t := range got.Rows {
		if _, ok := want.Rows[t]; !ok {
			add("table %s was not in the source", t)
		}
	}
	brought := map[string]bool{}
	for _, o := range slices.Concat(want.Schema.Objects, got.Schema.Objects) {
		if o.Def == Brought || o.Kind == "constraint" && strings.HasPrefix(o.Def, "NOT NULL ") { // PostgreSQL before 18 has none of these: the column says so itself
			brought[o.Kind+" "+o.Name] = true
		}
	}
	strip := func(s Schema) Schema { // definitions may be written otherwise after a restore
		var objects []Object
		for _, o := range s.Objects {
			if !brought[o.Kind+" "+o.Name] {
				objects = append(objects, Object{Kind: o.Kind, Name: o.Name})
			}
		}
		s.Objects = objects
		s.Sort()
		return s
	}
	if change := Diff(strip(want.Schema), strip(got.Schema)); !change.Same() {
		add("the schema is not the same: %s", change)
	}
	return out
}
