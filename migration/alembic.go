package migration

import (
	"path"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Alembic: versions/*.py with revision and down_revision (a string, a tuple,
// None; annotated or not), depends_on and branch_labels. Facts:
// alembic.sqlalchemy.org, "Tutorial", "Branches" and "Operation Reference".
var alembic = tool{
	name: "alembic",
	claims: func(name string) bool {
		return strings.HasSuffix(name, ".py") && strings.Contains(name, "/") && path.Base(name) != "__init__.py"
	},
	byPath: func(name string) (Node, bool) { return alembicNode(name), under(name, "versions") },
	read: func(name, text string) []Node {
		if !strings.Contains(text, "revision") {
			return nil
		}
		toks := logicalLines(tokenize(text))
		r := &revision{node: alembicNode(name)}
		if !r.header(toks) && (!r.seen["revision"] || !under(name, "versions")) {
			return nil
		}
		if r.node.Name == "" {
			r.node.Name = strings.TrimSuffix(path.Base(name), ".py")
		}
		s := &script{}
		s.alembic(toks)
		r.node.put(s)
		return []Node{r.node}
	},
	rule: rule{
		graph: true,
		gone:  "Alembic refuses to run when it does not find the revision it stands at", goneLast: true,
		joined: func(_, a, b string) string {
			x, okX := quote(a)
			y, okY := quote(b)
			if !okX || !okY {
				return "run `alembic merge -m merge heads`"
			}
			return "run `alembic merge -m merge " + x + " " + y + "`"
		},
	},
}

func alembicNode(name string) Node {
	space := path.Dir(name)
	if i := strings.LastIndex("/"+name, "/versions/"); i >= 0 {
		space = strings.TrimSuffix(name[:i+len("/versions/")-1], "/") // also versions/2026/x.py
	}
	app := path.Base(path.Dir(space))
	if app == "." || app == "/" {
		app = "alembic"
	}
	return Node{ID: ID{App: app}, Space: space, Shown: strings.TrimSuffix(path.Base(name), ".py")}
}

// A revision is the header of an Alembic file.
type revision struct {
	node Node
	seen map[string]bool
}

// header reads the assignments at the left edge; false if there is no
// revision with its down_revision.
func (r *revision) header(lines [][]token) bool {
	r.seen = map[string]bool{}
	for _, l := range lines {
		name := l[0].text
		if l[0].kind != tokName || name != "revision" && name != "down_revision" && name != "depends_on" && name != "branch_labels" {
			continue
		}
		if l[0].col != 0 {
			continue // in a function: a local of that name
		}
		eq := assignment(l)
		if eq < 0 || r.seen[name] {
			r.doubt(name)
			continue
		}
		r.seen[name] = true
		ps := &parser{toks: l[eq+1:]}
		v := ps.expr()
		if ps.op(",") { // a, b without brackets
			v.kind = valUnknown
		}
		switch name {
		case "depends_on":
			r.node.needs = r.names(name, v)
			continue
		case "branch_labels":
			r.node.labels = r.names(name, v)
			continue
		case "revision":
			if v.kind != valString {
				r.doubt(name)
			}
			r.node.Name = v.text
			if v.kind != valString {
				r.node.Name = ""
			}
			continue
		}
		for _, down := range r.names(name, v) {
			r.node.Parents = append(r.node.Parents, ID{r.node.App, down})
		}
	}
	return r.seen["revision"] && r.seen["down_revision"]
}

func (r *revision) doubt(name string) {
	r.node.Unknown = append(r.node.Unknown, name+" is not literal")
}

// names reads a string, several in a tuple or list, or None.
func (r *revision) names(name string, v value) []string {
	switch {
	case v.kind == valString:
		return []string{v.text}
	case v.kind == valName && v.text == "None":
	case v.kind == valList:
		var out []string
		for _, item := range v.items {
			if item.kind != valString {
				r.doubt(name)
				continue
			}
			out = append(out, item.text)
		}
		return out
	default:
		r.doubt(name)
	}
	return nil
}

// alembic judges the operations in upgrade().
func (s *script) alembic(lines [][]token) {
	in, batch, batchCol, found := false, "", -1, false
	for _, l := range lines {
		if l[0].col == 0 {
			in = len(l) > 1 && l[0].text == "def" && strings.HasPrefix(l[1].text, "upgrade")
			found = found || in
			continue
		}
		if !in {
			continue
		}
		if l[0].col <= batchCol {
			batch, batchCol = "", -1
		}
		for i := 0; i+3 < len(l); i++ {
			if l[i].kind != tokName || l[i+1].text != "." || l[i+2].kind != tokName || l[i+3].text != "(" || i > 0 && l[i-1].text == "." {
				continue
			}
			if l[i].text != "op" && (batch == "" || l[i].text != "batch_op") {
				continue
			}
			ps := &parser{toks: l[i:]}
			call := ps.primary()
			if call.kind != valCall {
				s.doubt("%s.%s cannot be read (line %d)", l[i].text, l[i+2].text, l[i].line)
				continue
			}
			method := l[i+2].text
			if method == "batch_alter_table" {
				batch, batchCol = s.literal(call, 0, "table_name", method), l[0].col
				s.touch(batch)
				continue
			}
			table := ""
			if l[i].text == "batch_op" {
				table = batch
			}
			s.operation(method, table, call)
			i += 3
		}
	}
	if !found {
		s.doubt("it has no upgrade()")
	}
}

// literal gives an argument that must be a plain string.
func (s *script) literal(call value, i int, name, method string) string {
	v, ok := arg(call, i, name)
	if !ok || v.kind != valString {
		s.doubt("%s of %s is not literal (line %d)", strings.ReplaceAll(name, "_", " "), method, call.line)
		return ""
	}
	return strings.ToLower(v.text)
}

// operation judges one op.…; table is that of a batch, else "".
func (s *script) operation(method, batch string, call value) {
	at := call.line
	// The positions of arguments; in a batch the table is left out.
	pos := func(i int) int {
		if batch != "" {
			return i - 1
		}
		return i
	}
	table := func(i int, name string) string {
		if batch != "" {
			return batch
		}
		t := s.literal(call, i, name, method)
		s.touch(t)
		return t
	}
	text := func(i int, name string) string {
		v, _ := arg(call, pos(i), name)
		if v.kind != valString {
			return "?"
		}
		return v.text
	}
	switch method {
	case "create_table":
		s.create(s.literal(call, 0, "table_name", method))
	case "drop_table":
		t := table(0, "table_name")
		s.say(at, bosman.Destructive, t, "drops the table %s: its data goes, and %s", t, asksFor)
	case "rename_table":
		t := table(0, "old_table_name")
		s.say(at, bosman.Destructive, t, "renames the table %s: the old code asks for the old name", t)
	case "drop_column":
		t := table(0, "table_name")
		s.say(at, bosman.Destructive, t, "drops %s.%s: its data goes, and %s", t, text(1, "column_name"), asksFor)
	case "alter_column":
		s.alembicAlter(table(0, "table_name"), text(1, "column_name"), call)
	case "add_column":
		t := table(0, "table_name")
		column, _ := arg(call, pos(1), "column")
		s.alembicAdd(t, column, at)
	case "create_index":
		t := table(1, "table_name")
		if call.named["postgresql_concurrently"].text != "True" {
			s.say(at, bosman.Locking, t, "adds an index to %s while writes wait: postgresql_concurrently=True in an autocommit_block does not (PostgreSQL)", t)
		}
	case "create_foreign_key":
		t := table(1, "source_table")
		if call.named["postgresql_not_valid"].text != "True" {
			s.say(at, bosman.Locking, t, "adds a foreign key to %s while writes to both tables wait: postgresql_not_valid=True, then VALIDATE (PostgreSQL)", t)
		}
	case "create_unique_constraint", "create_check_constraint", "create_primary_key", "create_exclude_constraint":
		t := table(1, "table_name")
		s.say(at, bosman.Locking, t, "adds a constraint to %s and checks all rows while others wait", t)
	case "execute":
		v, ok := arg(call, 0, "sqltext")
		if ok && v.kind == valCall && strings.HasSuffix(v.text, "text") {
			v, ok = arg(v, 0, "text")
		}
		if !ok || v.kind != valString {
			s.doubt("execute runs SQL that is not literal (line %d)", at)
			return
		}
		s.sql(v.text, v.line-1)
	case "bulk_insert", "get_bind", "get_context", "f", "drop_index", "drop_constraint", "create_table_comment", "drop_table_comment", "inline_literal":
	default:
		s.doubt("op.%s is not known (line %d)", method, at)
	}
}

func (s *script) alembicAlter(t, column string, call value) {
	at := call.line
	if v, ok := call.named["new_column_name"]; ok && v.text != "None" {
		s.say(at, bosman.Destructive, t, "renames %s.%s: the old code asks for the old name", t, column)
	}
	if _, ok := call.named["type_"]; ok {
		s.say(at, bosman.Destructive, t, "changes the type of %s.%s: %s, and the old code writes the old type", t, column, rewrites)
	}
	if v, ok := call.named["nullable"]; ok && v.text == "False" {
		s.say(at, bosman.Breaking, t, "makes %s.%s required: the old code's INSERTs without it fail, and all rows are read while others wait", t, column)
	}
	if v, ok := call.named["server_default"]; ok && v.kind == valName && v.text == "None" {
		s.say(at, bosman.Breaking, t, "takes the default of %s.%s away: the old code's INSERTs without it fail if it must not be null", t, column)
	}
}

func (s *script) alembicAdd(t string, column value, at int) {
	if column.kind != valCall {
		s.doubt("the column added to %s is not literal (line %d)", t, at)
		return
	}
	name, _ := arg(column, 0, "name")
	_, def := column.named["server_default"]
	if column.named["nullable"].text == "False" && !def {
		s.say(at, bosman.Breaking, t, "adds %s.%s, which must not be null and has no server_default: it fails where rows are, and so do the old code's INSERTs", t, name.text)
	}
	if column.named["unique"].text == "True" || column.named["index"].text == "True" {
		s.say(at, bosman.Locking, t, "adds an index to %s while writes wait", t)
	}
}
