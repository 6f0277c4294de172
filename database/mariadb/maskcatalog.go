package mariadb

import (
	"context"
	"database/sql"

	"github.com/bosman-cd/bosman/database/mask"
)

const maskColumnsQuery = `SELECT c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE, COALESCE(c.CHARACTER_MAXIMUM_LENGTH, 0),
	c.IS_NULLABLE = 'NO', COALESCE(c.GENERATION_EXPRESSION, '') <> '',
	EXISTS (SELECT 1 FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME AND NOT s.NON_UNIQUE),
	COALESCE((SELECT MIN(s.SUB_PART) FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME AND NOT s.NON_UNIQUE), 0),
	c.COLLATION_NAME LIKE '%\\_ci' AND EXISTS (SELECT 1 FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME)
FROM information_schema.COLUMNS c JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME)
WHERE c.TABLE_SCHEMA = ? AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION`

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
	rows, err := table(ctx, conn, maskColumnsQuery, db)
	if err != nil {
		return cat, err
	}
	for _, r := range rows {
		c := mask.Column{Schema: schema, Table: r[0], Name: r[1], Type: r[2], NotNull: r[5] == "1", Generated: r[6] == "1", Unique: r[7] == "1"}
		c.Class = classOf(r[3])
		if c.Class == mask.Text {
			c.Fold = r[9] == "1"
			if r[3] == "char" || r[3] == "varchar" || r[3] == "tinytext" {
				c.Length = int(integer(r[4]))
			}
			if part := int(integer(r[8])); part > 0 && (c.Length == 0 || part < c.Length) {
				c.Length = part // what tells rows apart
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
