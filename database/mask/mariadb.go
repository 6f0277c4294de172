package mask

import (
	"fmt"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// MariaDBFakes makes the table of this session in which the updates of MariaDB
// look for what was invented: c is the place of the column in Plan.Masked, k
// the SHA-256 of a value, v what stands in for it.
const MariaDBFakes = "CREATE TEMPORARY TABLE bosman_fakes (c INT NOT NULL, k BINARY(32) NOT NULL, v LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, PRIMARY KEY (c, k))"

// MariaDB writes a plan for MariaDB 10.6 and later. stay gives the columns of
// a table that the server would change with any other.
func MariaDB(p Plan, salt string, stay func(table string) []string) Script {
	d := dialect{quote: mariadbQuote, table: func(_, table string) string { return mariadbQuote(table) }, stay: stay}
	return p.script(d, func(at int, m Masked) string {
		column := mariadbQuote(m.Column.Name)
		text, constant := strings.CutPrefix(m.Kind, bosman.MaskConstant)
		switch {
		case m.Kind == "null":
			return "NULL"
		case constant:
			return "CASE WHEN " + column + " IS NOT NULL THEN " + mariadbLiteral(text) + " END"
		case m.Kind == "date": // 0000-00-00 stays
			return fmt.Sprintf("CASE WHEN CAST(%s AS CHAR) LIKE '0000-%%' THEN %[1]s ELSE %[1]s + INTERVAL %d DAY END", column, DateShift(salt))
		}
		value := MariaDBText(m.Column)
		return "CASE WHEN CHAR_LENGTH(" + value + ") = 0 THEN " + column +
			" ELSE (SELECT f.v FROM bosman_fakes f WHERE f.c = " + strconv.Itoa(at) + " AND f.k = UNHEX(SHA2(" + value + ", 256))) END"
	})
}

// MariaDBText is the text of a column's value in SQL.
func MariaDBText(c Column) string {
	if c.Class == UUID {
		return "CAST(" + mariadbQuote(c.Name) + " AS CHAR(36) CHARACTER SET utf8mb4)"
	}
	return "CONVERT(" + mariadbQuote(c.Name) + " USING utf8mb4)"
}

func mariadbQuote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func mariadbLiteral(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(s) + "'"
}
