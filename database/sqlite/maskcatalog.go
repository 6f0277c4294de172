package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman/database/mask"
)

var (
	fullText = regexp.MustCompile(`(?is)^CREATE VIRTUAL TABLE .*?\bUSING\s+fts[345]\b`)
	// outside: the words of such an index are those of another table, or of none.
	outside = regexp.MustCompile(`(?is)\bcontent\s*=`)
)

// maskCatalog reads what masks need to know of the database of conn. Names are
// compared as SQLite does, without regard to case.
func maskCatalog(ctx context.Context, conn *sql.Conn) (mask.Catalog, error) {
	cat := mask.Catalog{Schemas: []string{"main"}}
	tables, err := query(ctx, conn, `SELECT l.name, coalesce(s.sql, '') FROM pragma_table_list l JOIN sqlite_schema s ON s.name = l.name AND s.type = 'table'
		WHERE l.schema = 'main' AND l.type IN ('table', 'virtual') AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY l.name`)
	if err != nil {
		return cat, err
	}
	names, keys := map[string]string{}, map[string][]string{} // by what they are in small letters; the primary key
	for _, t := range tables {
		if fullText.MatchString(t[1]) && outside.MatchString(t[1]) {
			continue // made anew of what is masked there
		}
		columns, err := columnsOf(ctx, conn, t[0])
		if err != nil {
			return cat, fmt.Errorf("table %s: %w", t[0], err)
		}
		low := strings.ToLower(t[0])
		names[low] = t[0]
		slices.SortStableFunc(columns, func(a, b column) int { return cmp.Compare(a.key, b.key) })
		for _, c := range columns {
			if c.key > 0 {
				keys[low] = append(keys[low], c.Name)
			}
		}
		slices.SortStableFunc(columns, func(a, b column) int { return cmp.Compare(a.at, b.at) })
		for _, c := range columns {
			names[low+"."+strings.ToLower(c.Name)] = c.Name
			cat.Columns = append(cat.Columns, c.Column)
		}
	}
	for _, t := range tables {
		refs, err := referencesOf(ctx, conn, t[0], names, keys)
		if err != nil {
			return cat, err
		}
		cat.References = append(cat.References, refs...)
	}
	return cat, nil
}

type column struct {
	mask.Column
	at, key int // its place in the table; in the primary key, from 1
}

// columnsOf gives the columns of a table.
func columnsOf(ctx context.Context, conn *sql.Conn, table string) ([]column, error) {
	rows, err := query(ctx, conn, `SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)`, table)
	if err != nil {
		return nil, err
	}
	var out []column
	for at, r := range rows {
		if r[4] == "1" {
			continue // of a virtual table, no data
		}
		key, err := strconv.Atoi(r[3])
		if err != nil {
			return nil, err
		}
		c := column{Column: mask.Column{Schema: "main", Table: table, Name: r[0], Type: r[1], NotNull: r[2] == "1", Unique: key > 0, Generated: r[4] != "0"}, at: at, key: key}
		c.Class, c.Length = classOf(r[1])
		out = append(out, c)
	}
	indexes, err := query(ctx, conn, `SELECT l.name, l."unique", coalesce(s.sql, '') FROM pragma_index_list(?) l LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name`, table)
	if err != nil {
		return nil, err
	}
	for _, i := range indexes {
		parts, err := query(ctx, conn, "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", i[0])
		if err != nil {
			return nil, err
		}
		for n := range out {
			c := &out[n]
			for _, p := range parts {
				expression := p[0] == "" && strings.Contains(strings.ToLower(i[2]), strings.ToLower(c.Name))
				if !expression && p[0] != c.Name {
					continue
				}
				c.Unique = c.Unique || i[1] == "1"
				c.Fold = c.Fold || c.Class == mask.Text && strings.EqualFold(p[1], "NOCASE")
			}
		}
	}
	return out, nil
}

// referencesOf gives the foreign keys of a table. SQLite keeps also those that
// name what does not exist.
func referencesOf(ctx context.Context, conn *sql.Conn, table string, names map[string]string, keys map[string][]string) ([]mask.Reference, error) {
	rows, err := query(ctx, conn, `SELECT id, "table", "from", "to", seq FROM pragma_foreign_key_list(?) ORDER BY id, seq`, table)
	if err != nil {
		return nil, err
	}
	var out []mask.Reference
	last, broken := "", false
	for _, r := range rows {
		target := strings.ToLower(r[1])
		if r[0] != last {
			last, broken = r[0], names[target] == ""
			if !broken {
				out = append(out, mask.Reference{Name: table + "_" + r[0], Schema: "main", Table: table, TargetSchema: "main", TargetTable: names[target]})
			}
		}
		if broken {
			continue
		}
		ref := &out[len(out)-1]
		from, to := names[strings.ToLower(table)+"."+strings.ToLower(r[2])], names[target+"."+strings.ToLower(r[3])]
		if n := len(ref.Columns); r[3] == "" && n < len(keys[target]) { // the primary key is meant
			to = keys[target][n]
		}
		if from == "" || to == "" {
			out, broken = out[:len(out)-1], true
			continue
		}
		ref.Columns, ref.Targets = append(ref.Columns, from), append(ref.Targets, to)
	}
	return out, nil
}

var inBrackets = regexp.MustCompile(`\(\s*(\d+)\s*\)`)

// classOf reads a declared type, which SQLite takes for a hint. What it does
// not know may hold text.
func classOf(declared string) (class mask.Class, length int) {
	t := strings.ToUpper(declared)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(t, w) })
	}
	switch {
	case has("CHAR", "CLOB", "TEXT"):
		if m := inBrackets.FindStringSubmatch(t); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				length = n
			}
		}
		return mask.Text, length
	case has("BLOB", "BINARY"):
		return mask.Bytes, 0
	case has("DATE", "TIMESTAMP"):
		return mask.Date, 0
	case has("BOOL", "TIME", "REAL", "FLOA", "DOUBLE"):
		return mask.Other, 0
	case has("INT", "NUM", "DEC"):
		return mask.Number, 0
	case has("INET", "CIDR"):
		return mask.Network, 0
	}
	return mask.Text, 0
}
