package mask

import (
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// Script is a plan in one server's SQL. A table is changed by one statement,
// whatever it holds.
type Script struct {
	Functions []string // for this session alone
	Updates   []Update
	Orphans   []Orphans
}

// Update masks one table.
type Update struct {
	Schema, Table string
	Columns       []Masked
	SQL           string
	Count         string // SELECT of the number of rows that must be changed
}

// Orphans tells whether a foreign key still holds: its SELECT gives true if
// some row refers to nothing.
type Orphans struct{ Name, SQL string }

// dialect is how a server writes names.
type dialect struct {
	quote func(string) string
	table func(schema, table string) string
	stay  func(table string) []string // columns that an update must say to stay as they are; nil: none
}

// script groups the columns by table; value gives the SQL of the new value of
// a column, which is the one at that place of p.Masked.
func (p Plan) script(d dialect, value func(at int, m Masked) string) (s Script) {
	var sets [][]string
	for at, m := range p.Masked {
		if n := len(s.Updates); n == 0 || s.Updates[n-1].Schema != m.Column.Schema || s.Updates[n-1].Table != m.Column.Table {
			s.Updates = append(s.Updates, Update{Schema: m.Column.Schema, Table: m.Column.Table})
			sets = append(sets, nil)
		}
		i := len(s.Updates) - 1
		s.Updates[i].Columns = append(s.Updates[i].Columns, m)
		sets[i] = append(sets[i], d.quote(m.Column.Name)+" = "+value(at, m))
	}
	for i := range s.Updates {
		u := &s.Updates[i]
		var some []string
		for _, m := range u.Columns {
			some = append(some, d.quote(m.Column.Name)+" IS NOT NULL")
		}
		if d.stay != nil {
			for _, c := range d.stay(u.Table) {
				sets[i] = append(sets[i], d.quote(c)+" = "+d.quote(c))
			}
		}
		table, where := d.table(u.Schema, u.Table), strings.Join(some, " OR ")
		u.SQL = "UPDATE " + table + " SET " + strings.Join(sets[i], ", ") + " WHERE " + where
		u.Count = "SELECT count(*) FROM " + table + " WHERE " + where
	}
	for _, r := range p.refs {
		s.Orphans = append(s.Orphans, orphans(r, d))
	}
	return s
}

func orphans(r Reference, d dialect) Orphans {
	var on, some []string
	for i, c := range r.Columns {
		on = append(on, "t."+d.quote(r.Targets[i])+" = s."+d.quote(c))
		some = append(some, "s."+d.quote(c)+" IS NOT NULL")
	}
	return Orphans{
		Name: r.Name + " of " + r.Table,
		SQL: "SELECT EXISTS (SELECT 1 FROM " + d.table(r.Schema, r.Table) + " s WHERE " + strings.Join(some, " AND ") +
			" AND NOT EXISTS (SELECT 1 FROM " + d.table(r.TargetSchema, r.TargetTable) + " t WHERE " + strings.Join(on, " AND ") + "))",
	}
}

// Invents says whether the values are invented from those that are there, by
// Fake: they are not moved, dropped or the same in all rows.
func (m Masked) Invents() bool {
	return m.Kind != "null" && m.Kind != "date" && !strings.HasPrefix(m.Kind, bosman.MaskConstant)
}

// Fake invents what stands in for a value of the column.
func (m Masked) Fake(salt, value string) string {
	if m.fold {
		value = strings.ToLower(value)
	}
	return Fake(salt, m.Kind, value, m.room, m.unique)
}
