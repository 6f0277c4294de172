package mask

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// The functions that a session of SQLite needs for the updates of SQLite:
// SQLiteFake(place, value) is Masked.Fake of the column at that place of
// Plan.Masked, SQLiteDate(value) is MoveDate by DateShift.
const (
	SQLiteFake = "bosman_fake"
	SQLiteDate = "bosman_date"
)

// SQLite writes a plan for SQLite.
func SQLite(p Plan) Script {
	quote := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	d := dialect{quote: quote, table: func(schema, table string) string { return quote(schema) + "." + quote(table) }}
	return p.script(d, func(at int, m Masked) string {
		column := quote(m.Column.Name)
		text, constant := strings.CutPrefix(m.Kind, bosman.MaskConstant)
		switch {
		case m.Kind == "null":
			return "NULL"
		case constant:
			return "CASE WHEN " + column + " IS NOT NULL THEN '" + strings.ReplaceAll(text, "'", "''") + "' END"
		case m.Kind == "date":
			return SQLiteDate + "(" + column + ")"
		}
		return SQLiteFake + "(" + strconv.Itoa(at) + ", " + column + ")"
	})
}

// MoveDate moves a date, as a database without a type for dates holds it, by
// days: text that begins with 2026-11-23, seconds or milliseconds since 1970,
// or a Julian day. What is none of these is an error that does not name it.
func MoveDate(value any, days int) (any, error) {
	const day = 24 * 60 * 60
	switch v := value.(type) {
	case nil:
		return nil, nil
	case int64:
		if v > 1e11 || v < -1e11 {
			return v + int64(days)*day*1000, nil
		}
		return v + int64(days)*day, nil
	case float64:
		return v + float64(days), nil
	case []byte:
		return MoveDate(string(v), days)
	case string:
		if v == "" {
			return v, nil
		}
		const layout = "2006-01-02"
		if len(v) >= len(layout) {
			if at, err := time.Parse(layout, v[:len(layout)]); err == nil {
				return at.AddDate(0, 0, days).Format(layout) + v[len(layout):], nil
			}
		}
		return nil, fmt.Errorf("a text of %d characters there is no date such as 2026-11-23", len([]rune(v)))
	}
	return nil, fmt.Errorf("a value of %T there is no date", value)
}
