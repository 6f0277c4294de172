// Package mask plans how the personal data in a copy of a database is replaced
// by invented data: from a list of columns with their kinds and the catalogue
// of the database it makes SQL, finds columns that look personal and are not
// in the list, and invents the values (Fake).
//
// Equal values become equal ones (under one salt and kind), wherever they
// stand, so that keys still join; what must be unique stays unique. NULL and
// the empty text stay as they are. It is pure: it connects to nothing, and must
// not know engines, instances or files.
package mask

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// Spec says what is masked and how.
type Spec struct {
	Columns map[string]string // bosman.DatabaseSpec.Mask
	Also    map[string]string // as Columns, but of another release: what the database does not have is left out
	Types   []string          // types of columns that must not stay unmasked
	SQL     []File            // run afterwards, in order
	Salt    string            // secret; another one gives other values

	Database string // name of a further database, for what is said; "" for the app's own
}

// File is a file with SQL.
type File struct{ Name, Text string }

// version of the way values are invented and looked for; part of Spec.Version.
const version = 2

// Empty says whether there is nothing to do and nothing to look for.
func (s Spec) Empty() bool { return len(s.Columns) == 0 && len(s.Also) == 0 && len(s.SQL) == 0 }

// key is where bosman.yaml says what is masked.
func key(database string) string {
	if database == "" {
		return "database: mask:"
	}
	return "databases: " + database + ": mask:"
}

// named is the name of a further database behind other words.
func named(database string) string {
	if database == "" {
		return ""
	}
	return " " + database
}

// Version names what this Spec makes of a database: with another one a copy
// has to be made anew. "" if it is empty.
func (s Spec) Version() (string, error) {
	if s.Empty() {
		return "", nil
	}
	salt := sha256.Sum256([]byte("version\x1f" + s.Salt))
	b, err := json.Marshal(struct {
		Version int
		Columns map[string]string
		Also    map[string]string
		Types   []string
		SQL     []File
		Salt    string
	}{version, s.Columns, s.Also, s.Types, s.SQL, hex.EncodeToString(salt[:])})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12]), err
}

// Class is what a column can hold, as far as masks care.
type Class string

// The classes of columns.
const (
	Text    Class = "text"
	Date    Class = "date" // also with a time
	Number  Class = "number"
	Network Class = "network"
	Bytes   Class = "bytes"
	UUID    Class = "uuid"
	Mixed   Class = "mixed" // text among other things: arrays, JSON, records
	Words   Class = "words" // those of other columns, for searching
	Other   Class = "other"
)

// Column is one column of a table, as a driver found it.
type Column struct {
	Schema, Table, Name string
	Type                string // as the server writes it, for people
	Class               Class
	Fold                bool // compared without regard to case (citext, NOCASE)
	Length              int  // how many characters fit, or should; 0: any number
	NotNull             bool
	Unique              bool // part of a unique index or an exclusion
	Generated           bool // computed from others
}

func (c Column) name() bosman.ColumnName {
	return bosman.ColumnName{Schema: c.Schema, Table: c.Table, Column: c.Name}
}

// Reference is a foreign key. Columns and Targets go together.
type Reference struct {
	Name                      string
	Schema, Table             string
	Columns                   []string
	TargetSchema, TargetTable string
	Targets                   []string
	Unchecked                 bool // the server does not vouch for it (NOT VALID)
}

// Catalog is what a database has. Schemas are in the order in which a table
// without schema is looked for.
type Catalog struct {
	Schemas    []string
	Columns    []Column
	References []Reference
}

// Masked is a column and what becomes of it.
type Masked struct {
	Column Column
	Kind   string
	Via    string // column of the list that this one follows over foreign keys; "" if it is listed itself

	room   int  // characters that fit in all columns that join
	unique bool // some column that joins must be unique
	fold   bool
}

// Finding is a column that looks personal and is not in the list.
type Finding struct {
	Column  Column
	Type    string // one of bosman.MaskTypes
	Suggest string // kind
}

// Line is what to add to the list.
func (f Finding) Line() string { return shown(f.Column) + ": " + f.Suggest }

// Plan is what is to be done with one database.
type Plan struct {
	Masked []Masked // in the order of the tables; without kept ones
	Kept   []Column // somebody has looked at them
	Left   []Finding
	refs   []Reference // over which masks were carried
	of     string      // Spec.Database
}

// shown writes a column as one would in the list.
func shown(c Column) string {
	n := c.name()
	if n.Schema == "public" || n.Schema == "main" {
		n.Schema = ""
	}
	return n.String()
}

// Shown writes a column as one would in the list.
func Shown(c Column) string { return shown(c) }

// problems collects all that is wrong with a list.
type problems []string

func (p *problems) say(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// New plans a spec for a database. KindInvalid lists all that does not fit.
func New(s Spec, cat Catalog) (Plan, error) {
	var wrong problems
	kinds := map[bosman.ColumnName]string{}
	listed := map[bosman.ColumnName]string{}
	for _, text := range sortedKeys(s.Columns) {
		c, err := cat.find(text)
		if err != nil {
			wrong.say("%s", bosman.AsError(err).Message)
			continue
		}
		if other, twice := listed[c.name()]; twice {
			wrong.say("%s and %s are the same column", other, text)
		}
		listed[c.name()] = text
		kinds[c.name()] = s.Columns[text]
	}
	for _, text := range sortedKeys(s.Also) {
		c, err := cat.find(text)
		if _, there := kinds[c.name()]; err != nil || there && kinds[c.name()] != "keep" {
			continue
		}
		listed[c.name()], kinds[c.name()] = text, s.Also[text]
	}
	p := Plan{of: s.Database}
	groups := cat.groups()
	via := spread(kinds, listed, groups, cat, &wrong)
	for _, c := range cat.Columns {
		kind, ok := kinds[c.name()]
		switch {
		case !ok:
			t, suggest := Personal(c)
			if c.Class == Words && !c.Generated {
				t, suggest = wordsOf(c, kinds, cat), nothing(c)
			}
			if t != "" && slices.Contains(s.Types, t) {
				p.Left = append(p.Left, Finding{Column: c, Type: t, Suggest: suggest})
			}
		case kind == "keep":
			p.Kept = append(p.Kept, c)
		default:
			m := Masked{Column: c, Kind: kind, Via: via[c.name()], room: c.Length, unique: c.Unique, fold: c.Fold}
			for _, other := range groups.of(c.name()) {
				o := cat.column(other)
				m.unique = m.unique || o.Unique
				m.fold = m.fold || o.Fold
				if o.Length > 0 && (m.room == 0 || o.Length < m.room) {
					m.room = o.Length
				}
			}
			if text := m.unfit(); text != "" {
				wrong.say("%s: %s", shown(c), text)
			}
			p.Masked = append(p.Masked, m)
		}
	}
	for _, r := range cat.References {
		if _, masked := kinds[bosman.ColumnName{Schema: r.TargetSchema, Table: r.TargetTable, Column: r.Targets[0]}]; masked && !r.Unchecked {
			p.refs = append(p.refs, r)
		}
	}
	slices.SortStableFunc(p.Masked, func(a, b Masked) int {
		return cmp.Or(strings.Compare(a.Column.Schema, b.Column.Schema), strings.Compare(a.Column.Table, b.Column.Table))
	})
	if len(wrong) > 0 {
		return p, bosman.Invalid("the masks do not fit the database%s: %s", named(s.Database), strings.Join(wrong, "; ")).
			WithKept("no copy was handed out").WithNext("mend " + key(s.Database) + " in bosman.yaml")
	}
	return p, nil
}

// spread carries the kinds of listed columns over foreign keys, and says where
// each of the others got its kind from.
func spread(kinds map[bosman.ColumnName]string, listed map[bosman.ColumnName]string, groups groups, cat Catalog, wrong *problems) map[bosman.ColumnName]string {
	via := map[bosman.ColumnName]string{}
	referred := cat.referred()
	for _, name := range sortedNames(listed) {
		kind := kinds[name]
		if kind == "null" || strings.HasPrefix(kind, bosman.MaskConstant) {
			if referred[name] {
				wrong.say("%s: other tables refer to this column, so it cannot be %s", listed[name], kind)
			} else if kind != "null" && len(groups.of(name)) > 1 {
				wrong.say("%s: this column refers to another table, so it cannot be %s", listed[name], kind)
			}
			continue
		}
		for _, other := range groups.of(name) {
			was, ok := kinds[other]
			switch {
			case !ok:
				kinds[other], via[other] = kind, listed[name]
			case was != kind && was != "null":
				if other.String() > name.String() || via[other] != "" { // said once
					wrong.say("%s is %s and %s is %s, but a foreign key joins them", listed[name], kind, other, was)
				}
			}
		}
	}
	return via
}

// unfit says why a column cannot be masked so; "" if it can.
func (m Masked) unfit() string {
	c := m.Column
	if c.Generated {
		return "this column is computed from others; mask those"
	}
	switch {
	case m.Kind == "null":
		if c.NotNull {
			return "this column must not be null; take another kind"
		}
		return ""
	case strings.HasPrefix(m.Kind, bosman.MaskConstant):
		if c.Unique {
			return "this column must be unique, so it cannot hold one value everywhere"
		}
		return ""
	case m.Kind == "date":
		if c.Class != Date {
			return "the kind date is for dates and times; this column is " + c.Type
		}
		return ""
	case m.Kind == "hash" && c.Class == UUID:
		return ""
	case c.Class != Text:
		return fmt.Sprintf("the kind %s is for text; this column is %s: take null, constant:VALUE, keep or a file of mask_sql", m.Kind, c.Type)
	}
	if m.room == 0 {
		return ""
	}
	least := 1
	switch {
	case m.Kind == "email":
		least = emailBase + 4
		if m.unique {
			least = emailBase + 8
		}
	case m.unique && m.Kind != "phone" && m.Kind != "code":
		least = 8
	}
	if m.room < least {
		return fmt.Sprintf("%d characters are too few for the kind %s here; it needs %d", m.room, m.Kind, least)
	}
	return ""
}

// Refuse is the error for a plan that leaves something; nil if it leaves
// nothing.
func (p Plan) Refuse() error {
	if len(p.Left) == 0 {
		return nil
	}
	var looks, lines []string
	for _, f := range p.Left {
		looks = append(looks, shown(f.Column)+" ("+f.Type+")")
		lines = append(lines, f.Line())
	}
	return bosman.Invalid("%d columns of the database%s look personal and would stay unmasked: %s", len(p.Left), named(p.of), strings.Join(looks, ", ")).
		WithKept("no copy was made of this data; copies handed out before stay").
		WithNext("add to bosman.yaml, under " + key(p.of) + " (or write keep for what may stay):\n    " + strings.Join(lines, "\n    "))
}
