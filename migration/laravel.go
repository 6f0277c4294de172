package migration

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Laravel: database/migrations/2026_01_01_120000_name.php. What is pending is
// run in the order of the names. Facts: laravel.com/docs, "Migrations".
var laravel = tool{
	name:   "laravel",
	claims: func(name string) bool { return laravelFile.MatchString(path.Base(name)) },
	byPath: func(name string) (Node, bool) {
		return laravelNode(name), path.Base(path.Dir(name)) == "migrations"
	},
	read: func(name, text string) []Node {
		toks := pieces(text, true)
		if !slices.ContainsFunc(toks, func(t piece) bool { return t.text == "Migration" }) {
			if path.Base(path.Dir(name)) != "migrations" {
				return nil
			}
			n := laravelNode(name)
			n.Unknown = append(n.Unknown, "it holds no class that extends Migration")
			return []Node{n}
		}
		n, s := laravelNode(name), &script{}
		s.laravel(toks)
		n.put(s)
		return []Node{n}
	},
	rule: rule{tables: true},
}

var laravelFile = regexp.MustCompile(`^([0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{6})_[^/]*\.php$`)

func laravelNode(name string) Node {
	number := laravelFile.FindStringSubmatch(path.Base(name))[1]
	n := numbered(name, strings.ReplaceAll(number, "_", ""))
	n.Number = number
	return n
}

// laravel judges the body of up().
func (s *script) laravel(toks []piece) {
	from, to := methodBody(toks, "up")
	if from < 0 {
		s.doubt("it has no up()")
		return
	}
	table := ""
	for i := from; i < to; i++ {
		t := toks[i]
		if t.kind != pieceName || i+2 >= to {
			continue
		}
		switch {
		case t.text == "Schema" && toks[i+1].text == "::" && toks[i+2].text == "connection":
			s.doubt("it works on another connection (line %d)", t.line)
		case toks[i+1].kind == pieceOp && (toks[i+1].text == "::" || toks[i+1].text == "->") && t.text != "$table":
			if name, ok := s.laravelCall(t, toks[i+2], readArgs(toks, i+3)); ok {
				table = name
			}
		case t.text == "$table" && toks[i+1].text == "->":
			end := i
			for end < to && !(toks[end].kind == pieceOp && toks[end].text == ";") {
				end++
			}
			s.laravelColumn(table, toks[i+2:end])
			i = end
		}
	}
}

// laravelCall judges Schema::… and DB::…; it gives the table of the block that
// follows.
func (s *script) laravelCall(class, method piece, a args) (string, bool) {
	switch {
	case class.text == "DB" && (method.text == "statement" || method.text == "unprepared"):
		if sql, ok := a.arg(0); ok {
			s.sql(sql, method.line-1)
		} else {
			s.doubt("DB::%s runs SQL that is not literal (line %d)", method.text, method.line)
		}
		return "", false
	case class.text != "Schema" && !strings.HasSuffix(class.text, "chema"):
		return "", false
	}
	switch method.text {
	case "create", "table", "drop", "dropIfExists", "rename", "dropColumns":
	default:
		return "", false
	}
	table, ok := a.arg(0)
	if !ok {
		s.doubt("the table of Schema::%s is not literal (line %d)", method.text, method.line)
		return "", true
	}
	table = strings.ToLower(table)
	s.touch(table)
	switch method.text {
	case "create":
		s.create(table)
	case "drop", "dropIfExists":
		s.say(method.line, bosman.Destructive, table, "drops the table %s: its data goes, and %s", table, asksFor)
	case "rename":
		s.say(method.line, bosman.Destructive, table, "renames the table %s: the old code asks for the old name", table)
	case "dropColumns":
		s.say(method.line, bosman.Destructive, table, "drops columns of %s: their data goes, and %s", table, asksFor)
	}
	return table, method.text == "create" || method.text == "table"
}

// laravelColumn judges $table->string('x')->nullable() and its like.
func (s *script) laravelColumn(table string, toks []piece) {
	if len(toks) == 0 {
		return
	}
	method := toks[0]
	a := readArgs(toks, 1)
	column, _ := a.arg(0)
	at := table + "." + column
	with := func(names ...string) bool {
		return slices.ContainsFunc(toks[1:], func(t piece) bool { return t.kind == pieceName && slices.Contains(names, t.text) })
	}
	switch {
	case strings.HasPrefix(method.text, "dropColumn"), method.text == "dropTimestamps", method.text == "dropSoftDeletes", method.text == "dropMorphs", method.text == "dropConstrainedForeignId", method.text == "dropRememberToken":
		s.say(method.line, bosman.Destructive, table, "drops %s: its data goes, and %s", at, asksFor)
	case method.text == "renameColumn", method.text == "rename":
		s.say(method.line, bosman.Destructive, table, "renames %s: the old code asks for the old name", at)
	case strings.HasPrefix(method.text, "drop"), method.text == "renameIndex", method.text == "comment", method.text == "engine", method.text == "charset", method.text == "collation":
	case with("change"):
		s.say(method.line, bosman.Destructive, table, "changes %s: %s, and the old code writes the old type", at, rewrites)
	case method.text == "index", method.text == "unique", method.text == "primary", method.text == "fullText", method.text == "spatialIndex":
		s.say(method.line, bosman.Locking, table, "adds an index to %s while writes wait", table)
	case method.text == "foreign":
		s.say(method.line, bosman.Locking, table, "adds a foreign key to %s while writes to both tables wait", table)
	case method.text == "timestamps", method.text == "softDeletes", method.text == "nullableMorphs", method.text == "rememberToken", method.text == "timestampsTz", method.text == "nullableTimestamps":
	case !with("nullable", "default", "useCurrent", "virtualAs", "storedAs"):
		s.say(method.line, bosman.Breaking, table, "adds %s, which must not be null and has no default: it fails where rows are, and so do the old code's INSERTs", at)
	}
}

// methodBody finds what lies between the braces of a method.
func methodBody(toks []piece, name string) (from, to int) {
	for i := 0; i+1 < len(toks); i++ {
		if toks[i].text != "function" || toks[i+1].text != name {
			continue
		}
		depth := 0
		for j := i; j < len(toks); j++ {
			if toks[j].kind != pieceOp {
				continue
			}
			switch toks[j].text {
			case "{":
				if depth == 0 {
					from = j + 1
				}
				depth++
			case "}":
				if depth--; depth == 0 {
					return from, j
				}
			}
		}
		return from, len(toks)
	}
	return -1, -1
}
