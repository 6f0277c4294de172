package mask

import (
	"maps"
	"slices"

	bosman "github.com/bosman-cd/bosman"
)

// find gives the column that an entry of the list names.
func (cat Catalog) find(text string) (Column, error) {
	n, err := bosman.ParseColumn(text)
	if err != nil {
		return Column{}, err
	}
	schemas := cat.Schemas
	if n.Schema != "" {
		schemas = []string{n.Schema}
	}
	table := false
	for _, schema := range schemas {
		for _, c := range cat.Columns {
			if c.Schema != schema || c.Table != n.Table {
				continue
			}
			table = true
			if c.Name == n.Column {
				return c, nil
			}
		}
	}
	if !table {
		return Column{}, bosman.NotFound("%s: there is no such table", text)
	}
	return Column{}, bosman.NotFound("%s: the table has no such column", text)
}

func (cat Catalog) column(n bosman.ColumnName) Column {
	for _, c := range cat.Columns {
		if c.name() == n {
			return c
		}
	}
	return Column{}
}

// referred are the columns that foreign keys point at.
func (cat Catalog) referred() map[bosman.ColumnName]bool {
	out := map[bosman.ColumnName]bool{}
	for _, r := range cat.References {
		for _, c := range r.Targets {
			out[bosman.ColumnName{Schema: r.TargetSchema, Table: r.TargetTable, Column: c}] = true
		}
	}
	return out
}

// groups are the columns that foreign keys join, over any number of steps.
type groups map[bosman.ColumnName]*[]bosman.ColumnName

func (g groups) of(n bosman.ColumnName) []bosman.ColumnName {
	if list := g[n]; list != nil {
		return *list
	}
	return nil
}

func (g groups) join(a, b bosman.ColumnName) {
	for _, n := range []bosman.ColumnName{a, b} {
		if g[n] == nil {
			g[n] = &[]bosman.ColumnName{n}
		}
	}
	into, from := g[a], g[b]
	if into == from {
		return
	}
	*into = append(*into, *from...)
	for _, n := range *from {
		g[n] = into
	}
}

func (cat Catalog) groups() groups {
	g := groups{}
	for _, r := range cat.References {
		for i, c := range r.Columns {
			g.join(
				bosman.ColumnName{Schema: r.TargetSchema, Table: r.TargetTable, Column: r.Targets[i]},
				bosman.ColumnName{Schema: r.Schema, Table: r.Table, Column: c},
			)
		}
	}
	return g
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func sortedNames(m map[bosman.ColumnName]string) []bosman.ColumnName {
	names := slices.Collect(maps.Keys(m))
	slices.SortFunc(names, func(a, b bosman.ColumnName) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	return names
}
