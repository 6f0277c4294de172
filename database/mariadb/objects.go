package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// object is what a database holds besides tables. RENAME TABLE moves none of
// them, and each names a definer that need not exist elsewhere, so they are
// read, dropped and made anew.
type object struct {
	Kind      string `json:"kind"` // PROCEDURE, FUNCTION, PACKAGE, PACKAGE BODY, VIEW, TRIGGER, EVENT
	Name      string `json:"name"`
	Table     string `json:"table,omitempty"` // of a trigger
	SQL       string `json:"sql"`             // CREATE …, without definer and without the database's name
	Mode      string `json:"mode,omitempty"`  // SQL mode
	Collation string `json:"collation,omitempty"`
	Zone      string `json:"zone,omitempty"` // time zone of an event
}

// order in which objects are made; triggers and events last, so that nothing
// happens while the rest is missing.
var order = []string{"FUNCTION", "PROCEDURE", "PACKAGE", "PACKAGE BODY", "VIEW", "TRIGGER", "EVENT"}

// readObjects reads all objects of the database db.
func readObjects(ctx context.Context, conn *sql.Conn, db string) ([]object, error) {
	if err := run(ctx, conn, "USE "+quote(db)); err != nil { // names inside are then not written in full
		return nil, err
	}
	var out []object
	for _, q := range []string{
		"SELECT ROUTINE_TYPE, ROUTINE_NAME, '' FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ? ORDER BY 1, 2",
		"SELECT 'VIEW', TABLE_NAME, '' FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE = 'VIEW' ORDER BY 2",
		"SELECT 'TRIGGER', TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ? ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER",
		"SELECT 'EVENT', EVENT_NAME, '' FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ? ORDER BY 2",
	} {
		names, err := table(ctx, conn, q, db)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			o := object{Kind: n[0], Name: n[1], Table: n[2]}
			if err := o.read(ctx, conn, db); err != nil {
				return nil, err
			}
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b object) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return out, nil
}

// read fills in the definition.
func (o *object) read(ctx context.Context, conn *sql.Conn, db string) (err error) {
	rows, err := conn.QueryContext(ctx, "SHOW CREATE "+o.Kind+" "+quote(o.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if !rows.Next() {
		return errors.Join(rows.Err(), bosman.Failed("the %s %s does not show its definition", strings.ToLower(o.Kind), o.Name))
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	for i, name := range columns {
		v := values[i].String
		switch strings.ToLower(name) {
		case "sql_mode":
			o.Mode = v
		case "collation_connection":
			if strings.HasPrefix(v, "utf8mb4_") {
				o.Collation = v
			}
		case "time_zone":
			o.Zone = v
		case "sql original statement", "create " + strings.ToLower(o.Kind):
			o.SQL = v
		}
	}
	head, rest, ok := splitDefiner(o.SQL)
	if !ok {
		return bosman.Failed("the definition of the %s %s cannot be read", strings.ToLower(o.Kind), o.Name)
	}
	o.SQL = head + withoutDatabase(rest, db, strings.Contains(o.Mode, "ANSI_QUOTES"), strings.Contains(o.Mode, "NO_BACKSLASH_ESCAPES"))
	return rows.Err()
}

const quoted = "(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|[\\w$]+)"

var definer = regexp.MustCompile(`(?is)^(CREATE\s+(?:OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+)?)DEFINER\s*=\s*` + quoted + `(?:\s*@\s*` + quoted + `)?\s+`)

// splitDefiner cuts the definer out of a CREATE statement.
func splitDefiner(text string) (head, rest string, ok bool) {
	m := definer.FindStringSubmatchIndex(text)
	if m == nil {
		return "", "", false
	}
	return text[:m[3]], text[m[1]:], true
}

var algorithm = regexp.MustCompile(`(?i)^CREATE\s+(?:OR\s+REPLACE\s+)?(ALGORITHM\s*=\s*\w+\s+)?`)

// statement makes the object anew for user, in the place of one of that name.
func (o object) statement(user string) (string, error) {
	m := algorithm.FindStringSubmatchIndex(o.SQL)
	if m == nil || !slices.Contains(order, o.Kind) {
		return "", bosman.Failed("the definition of the %s %s cannot be read", strings.ToLower(o.Kind), o.Name)
	}
	how := ""
	if m[2] >= 0 {
		how = o.SQL[m[2]:m[3]]
	}
	rest := o.SQL[m[1]:]
	// What follows is of the kind it is said to be: a backup is not trusted with anything else.
	if words := strings.Fields(strings.ToUpper(rest)); !slices.Contains(words[:min(len(words), 5)], strings.Fields(o.Kind)[0]) {
		return "", bosman.Failed("the definition of the %s %s is one of something else", strings.ToLower(o.Kind), o.Name)
	}
	q := func(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
	return "CREATE OR REPLACE " + how + "DEFINER=" + q(user) + "@`localhost` " + rest, nil
}

// createObjects makes objects in the database db, with user as their definer.
// Views may need others that come later, so those that fail are tried again.
func createObjects(ctx context.Context, conn *sql.Conn, db, user string, objects []object) error {
	if len(objects) == 0 {
		return nil
	}
	var mode, zone string
	if err := conn.QueryRowContext(ctx, "SELECT @@SESSION.sql_mode, @@SESSION.time_zone").Scan(&mode, &zone); err != nil {
		return err
	}
	if err := run(ctx, conn, "USE "+quote(db)); err != nil {
		return err
	}
	left := objects
	var failed error
	for len(left) > 0 {
		var again []object
		failed = nil
		for _, o := range left {
			err := o.create(ctx, conn, user, mode, zone)
			switch n := number(err); {
			case err == nil:
			case o.Kind == "VIEW" && (n == errNoSuchTable || n == errViewInvalid || n == errUnknownColumn || n == errNoSuchRoutine):
				again, failed = append(again, o), err
			default:
				return err
			}
		}
		if len(again) == len(left) {
			return failed
		}
		left = again
	}
	return run(ctx, conn, "SET SESSION sql_mode = "+literal(mode)+", time_zone = "+literal(zone)+", collation_connection = DEFAULT")
}

func (o object) create(ctx context.Context, conn *sql.Conn, user, mode, zone string) error {
	text, err := o.statement(user)
	if err != nil {
		return err
	}
	if o.Mode != "" {
		mode = o.Mode
	}
	if o.Zone != "" {
		zone = o.Zone
	}
	collation := o.Collation
	if collation == "" {
		collation = "utf8mb4_general_ci"
	}
	// The driver may not put values in by itself: the mode changes how strings are written.
	set := "SET SESSION time_zone = " + literal(zone) + ", collation_connection = " + literal(collation) + ", sql_mode = " + literal(mode)
	if err := run(ctx, conn, "SET SESSION sql_mode = ''", set); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, text)
	if err != nil {
		return errors.Join(err, run(context.WithoutCancel(ctx), conn, "SET SESSION sql_mode = ''"))
	}
	return nil
}

// dropObjects drops them from the database db.
func dropObjects(ctx context.Context, conn *sql.Conn, db string, objects []object) error {
	for _, o := range slices.Backward(objects) {
		if o.Kind == "PACKAGE BODY" {
			continue // it goes with its package
		}
		if err := run(ctx, conn, "DROP "+o.Kind+" IF EXISTS "+quote(db)+"."+quote(o.Name)); err != nil {
			return err
		}
	}
	return nil
}

// withoutDatabase takes the name of the database db, and the dot behind it,
// out of a statement wherever it qualifies a name: the statement then speaks
// of whichever database it is made in. Strings and comments stay as they are.
func withoutDatabase(text, db string, ansi, raw bool) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		n := token(text[i:], raw)
		word := text[i : i+n]
		if identifier(word, ansi) == db && !strings.HasSuffix(strings.TrimRight(out.String(), " "), ".") {
			rest := strings.TrimLeft(text[i+n:], " ")
			if strings.HasPrefix(rest, ".") {
				i = len(text) - len(rest) + 1
				continue
			}
		}
		out.WriteString(word)
		i += n
	}
	return out.String()
}

// identifier is the name that a token is, "" if it is none.
func identifier(word string, ansi bool) string {
	switch c := word[0]; {
	case len(word) > 1 && (c == '`' || c == '"' && ansi):
		q := word[:1]
		return strings.ReplaceAll(word[1:len(word)-1], q+q, q)
	case isWord(c):
		return word
	}
	return ""
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// token is the length of the first token of an SQL text: a string, a quoted
// name, a comment, a word or one byte.
func token(s string, raw bool) int {
	until := func(end string, from int) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch c := s[0]; {
	case c == '\'' || c == '"' || c == '`':
		for i := 1; i < len(s); i++ {
			switch {
			case s[i] == '\\' && c != '`' && !raw:
				i++
			case s[i] == c && i+1 < len(s) && s[i+1] == c:
				i++
			case s[i] == c:
				return i + 1
			}
		}
		return len(s)
	case c == '#' || strings.HasPrefix(s, "-- "):
		return until("\n", 0)
	case strings.HasPrefix(s, "/*") && !strings.HasPrefix(s, "/*!") && !strings.HasPrefix(s, "/*M!"):
		return until("*/", 2)
	case isWord(c):
		for i := 1; i < len(s); i++ {
			if !isWord(s[i]) {
				return i
			}
		}
		return len(s)
	}
	return 1
}
