package mariadb

import (
	"context"
	"database/sql"
	"slices"

	"github.com/bosman-cd/bosman/database/mask"
)

// The server's catalogue is quick only where the database is said as a value:
// what belongs together is put together here.
const (
	maskTablesQuery  = `SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')`
	maskColumnsQuery = `SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, COALESCE(CHARACTER_MAXIMUM_LENGTH, 0),
	IS_NULLABLE = 'NO', COALESCE(GENERATION_EXPRESSION, '') <> '', COALESCE(COLLATION_NAME, '') LIKE '%\\_ci'
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, ORDINAL_POSITION`
	maskIndexesQuery = `SELECT TABLE_NAME, COLUMN_NAME, NON_UNIQUE, COALESCE(SUB_PART, 0) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ?`
)

const maskReferencesQuery = `SELECT CONSTRAINT_NAME, TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = ? AND REFERENCED_TABLE_SCHEMA = TABLE_SCHEMA ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION`

// schema stands for the database, whose name differs from instance to
// instance.
const schema = "main"

// maskCatalog reads what masks need to know of the database db. Text that the
// server compares without regard to case counts so where it is indexed: where
// rows are joined and told apart by it.
func maskCatalog(ctx context.Context, conn *sql.Conn, db string) (mask.Catalog, error) {
	cat := mask.Catalog{Schemas: []string{schema}}
	tables, err := column(ctx, conn, maskTablesQuery, db)
	if err != nil {
		return cat, err
	}
	indexes, err := table(ctx, conn, maskIndexesQuery, db)
	if err != nil {
		return cat, err
	}
	type name struct{ table, column string }
	indexed, unique, part := map[name]bool{}, map[name]bool{}, map[name]int{} // part: what of a text tells rows apart
	for _, r := range indexes {
		n := name{r[0], r[1]}
		indexed[n] = true
		if r[2] == "0" {
			unique[n] = true
			if p := int(integer(r[3])); p > 0 && (part[n] == 0 || p < part[n]) {
				part[n] = p
			}
		}
	}
	rows, err := table(ctx, conn, maskColumnsQuery, db)
	if err != nil {
		return cat, err
	}
	for _, r := range rows {
		n := name{r[0], r[1]}
		if !slices.Contains(tables, n.table) {
			continue // of a view
		}
		c := mask.Column{Schema: schema, Table: n.table, Name: n.column, Type: r[2], Class: classOf(r[3]), NotNull: r[5] == "1", Generated: r[6] == "1", Unique: unique[n]}
		if c.Class == mask.Text {
			c.Fold = r[7] == "1" && indexed[n]
			if r[3] == "char" || r[3] == "varchar" || r[3] == "tinytext" {
				c.Length = int(integer(r[4]))
			}
			if p := part[n]; p > 0 && (c.Length == 0 || p < c.Length) {
				c.Length = p
			}
		}
		cat.Columns = append(cat.Columns, c)
	}
	if rows, err = table(ctx, conn, maskReferencesQuery, db); err != nil {
		return cat, err
	}
	for _, r := range rows {
		n := len(cat.References)
		if n == 0 || cat.References[n-1].Name != r[0] || cat.References[n-1].Table != r[1] {
			cat.References = append(cat.References, mask.Reference{Name: r[0], Schema: schema, Table: r[1], TargetSchema: schema, TargetTable: r[3]})
			n++
		}
		ref := &cat.References[n-1]
		ref.Columns, ref.Targets = append(ref.Columns, r[2]), append(ref.Targets, r[4])
	}
	return cat, nil
}

func classOf(typ string) mask.Class {
	switch typ {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return mask.Text
	case "date", "datetime", "timestamp":
		return mask.Date
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year":
		return mask.Number
	case "inet4", "inet6":
		return mask.Network
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return mask.Bytes
	case "uuid":
		return mask.UUID
	}
	return mask.Other
}
