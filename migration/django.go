package migration

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

var django = tool{
	name: "django",
	// Any Python file: an app may keep its migrations where it likes. Django
	// skips names that begin with _ or ~.
	claims: func(name string) bool {
		base := path.Base(name)
		return strings.HasSuffix(base, ".py") && base[0] != '_' && base[0] != '~' && strings.Contains(name, "/")
	},
	byPath: func(name string) (Node, bool) {
		return djangoNode(name), isMigrationPath(name)
	},
	read: func(name, text string) []Node {
		p := parse(text)
		if !p.is && (!p.class || !isMigrationPath(name)) {
			return nil
		}
		n := djangoNode(name)
		n.Parents, n.Replaces, n.Before, n.Operations, n.Unknown = p.deps, p.replaces, p.before, p.ops, p.unknown
		return []Node{n}
	},
	rule: rule{
		graph: true,
		joined: func(app, _, _ string) string {
			if !identifier.MatchString(app) {
				return "run `python3 manage.py makemigrations --merge`"
			}
			return "run `python3 manage.py makemigrations --merge " + app + "`"
		},
	},
}

func djangoNode(name string) Node {
	dir := path.Dir(name)
	return Node{ID: ID{App: path.Base(path.Dir(dir)), Name: strings.TrimSuffix(path.Base(name), ".py")}, Space: dir}
}

// parsed is what a file says, whatever its path.
type parsed struct {
	class    bool // it holds a class Migration
	is       bool // and that comes from Django's
	deps     []ID
	before   []ID
	replaces []ID
	ops      []Operation
	unknown  []string
}

// parse reads a Django migration. Whatever is not a literal is named in
// unknown, never passed over.
func parse(src string) *parsed {
	p := &parsed{}
	if !strings.Contains(src, "Migration") {
		return p
	}
	lines := logicalLines(tokenize(src))
	class := -1
	for i, l := range lines {
		if len(l) > 1 && l[0].text == "class" && l[1].text == "Migration" {
			if class = i; p.class {
				p.doubt("there are two classes Migration")
			}
			p.class = true
			p.base(l)
		}
	}
	if class < 0 {
		return p
	}
	p.body(lines, class)
	return p
}

func (p *parsed) doubt(format string, args ...any) {
	p.unknown = append(p.unknown, fmt.Sprintf(format, args...))
}

// base checks that the class is a plain migration: another base class may
// bring dependencies of its own.
func (p *parsed) base(line []token) {
	var base string
	for _, t := range line[2:] {
		if t.kind != tokName && t.text != "." && t.text != "(" && t.text != ")" && t.text != ":" {
			base += "?"
		}
		if t.kind == tokName || t.text == "." {
			base += t.text
		}
	}
	p.is = base == "migrations.Migration" || base == "Migration" || base == "django.db.migrations.Migration"
	if !p.is {
		p.is = strings.HasSuffix(base, "Migration")
		p.doubt("its class comes from %q", base)
	}
	switch {
	case line[len(line)-1].text == ":":
	case slices.ContainsFunc(line, func(t token) bool { return t.kind == tokOp && t.text == ":" }):
		p.doubt("the class is written on one line (line %d)", line[0].line)
	default:
		p.doubt("the class cannot be read (line %d)", line[0].line)
	}
}

// body reads the assignments in the class that begins at line class.
func (p *parsed) body(lines [][]token, class int) {
	outer, inner := lines[class][0].col, -1
	seen := map[string]bool{}
	for i, l := range lines {
		first := l[0]
		if i <= class || inner == -2 {
			p.outside(l)
			continue
		}
		if first.col <= outer {
			inner = -2 // the class is over
			p.outside(l)
			continue
		}
		if inner == -1 {
			inner = first.col
		}
		if first.kind != tokName || !watched(first.text) {
			continue
		}
		if first.col != inner {
			p.doubt("%s depends on a condition (line %d)", first.text, first.line)
			continue
		}
		eq := assignment(l)
		if eq < 0 || seen[first.text] {
			p.doubt("%s is changed after it was set (line %d)", first.text, first.line)
			continue
		}
		seen[first.text] = true
		ps := &parser{toks: l[eq+1:]}
		v := ps.expr()
		if ps.op(",") || ps.peek().kind != tokEnd {
			v.kind = valUnknown
		}
		p.assign(first.text, v)
	}
}

// outside looks at a line that is not in the class: it may still change it.
func (p *parsed) outside(l []token) {
	for i := 0; i+2 < len(l); i++ {
		if l[i].text == "Migration" && l[i].kind == tokName && l[i+1].text == "." && watched(l[i+2].text) && (i == 0 || l[i-1].text != ".") {
			p.doubt("%s is changed outside of the class (line %d)", l[i+2].text, l[i].line)
		}
	}
}

func watched(name string) bool {
	return name == "dependencies" || name == "replaces" || name == "run_before" || name == "operations"
}

// assignment finds the = of "NAME = …" or "NAME: type = …"; -1 for others.
func assignment(l []token) int {
	depth := 0
	for i, t := range l {
		if i == 0 || t.kind != tokOp {
			continue
		}
		switch t.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		case "=":
			if depth == 0 {
				if i == 1 || l[1].text == ":" {
					return i
				}
				return -1
			}
		}
	}
	return -1
}

func logicalLines(toks []token) [][]token {
	var lines [][]token
	from := 0
	for i, t := range toks {
		if t.kind == tokEnd {
			if i > from {
				lines = append(lines, toks[from:i])
			}
			from = i + 1
		}
	}
	return lines
}

func (p *parsed) assign(name string, v value) {
	if v.kind != valList {
		p.doubt("%s are not literal (line %d)", name, v.line)
		return
	}
	if name == "operations" {
		p.ops = p.operations(v.items, p.ops)
		return
	}
	for _, item := range v.items {
		if item.kind == valCall && strings.HasSuffix(item.text, "swappable_dependency") {
			continue
		}
		if item.kind != valList || len(item.items) != 2 || item.items[0].kind != valString || item.items[1].kind != valString {
			p.doubt("%s hold what is not literal (line %d)", name, item.line)
			continue
		}
		id := ID{App: item.items[0].text, Name: item.items[1].text}
		switch name {
		case "dependencies":
			p.deps = append(p.deps, id)
		case "run_before":
			p.before = append(p.before, id)
		case "replaces":
			p.replaces = append(p.replaces, id)
		}
	}
}

func (p *parsed) operations(items []value, ops []Operation) []Operation {
	for _, item := range items {
		if item.kind != valCall {
			p.doubt("an operation is not literal (line %d)", item.line)
			continue
		}
		name := item.text[strings.LastIndexByte(item.text, '.')+1:]
		if name == "SeparateDatabaseAndState" { // only the database's part touches tables
			db, ok := arg(item, 0, "database_operations")
			if ok && db.kind == valList {
				ops = p.operations(db.items, ops)
			} else if ok {
				p.doubt("database operations are not literal (line %d)", item.line)
			}
			continue
		}
		ops = append(ops, p.operation(name, item))
	}
	return ops
}

// operation reads one call; the positions are those of Django's signatures.
func (p *parsed) operation(name string, call value) Operation {
	op := Operation{Name: name, Line: call.line}
	text := func(i int, key string) string {
		v, ok := arg(call, i, key)
		if ok && v.kind != valString {
			p.doubt("%s of %s is not literal (line %d)", key, name, call.line)
		}
		return v.text
	}
	switch name {
	case "AddField", "AlterField", "RemoveField":
		op.Model, op.Field = text(0, "model_name"), text(1, "name")
		if def, ok := arg(call, 2, "field"); ok && name != "RemoveField" {
			op.def = field(def)
		}
	case "RenameField":
		op.Model, op.Field, op.To = text(0, "model_name"), text(1, "old_name"), text(2, "new_name")
	case "RenameModel":
		op.Model, op.To = text(0, "old_name"), text(1, "new_name")
	case "CreateModel":
		op.Model = text(0, "name")
		fields, _ := arg(call, 1, "fields")
		for _, f := range fields.items {
			if f.kind == valList && len(f.items) == 2 && f.items[0].kind == valString {
				op.fields = append(op.fields, namedField{f.items[0].text, field(f.items[1])})
			}
		}
	case "DeleteModel", "AlterModelTable":
		op.Model = text(0, "name")
	case "AddIndex", "AddIndexConcurrently":
		op.Model = text(0, "model_name")
	case "RunSQL":
		v, ok := arg(call, 1, "reverse_sql")
		op.Reversible = ok && (v.kind != valName || v.text != "None")
	case "RunPython":
		v, ok := arg(call, 1, "reverse_code")
		op.Reversible = ok && (v.kind != valName || v.text != "None")
	}
	return op
}

func arg(call value, i int, key string) (value, bool) {
	if v, ok := call.named[key]; ok {
		return v, true
	}
	if i < len(call.items) {
		return call.items[i], true
	}
	return value{line: call.line}, false
}

// definition is what matters of a field; kind "" if it could not be read.
type definition struct {
	kind      string // CharField
	null      bool
	dbDefault bool
	length    string // max_length, max_digits and decimal_places
	column    string
}

type namedField struct {
	name string
	def  definition
}

func field(v value) definition {
	if v.kind != valCall {
		return definition{}
	}
	d := definition{kind: v.text[strings.LastIndexByte(v.text, '.')+1:]}
	d.null = v.named["null"].text == "True"
	_, d.dbDefault = v.named["db_default"]
	d.length = strings.Trim(v.named["max_length"].text+" "+v.named["max_digits"].text+" "+v.named["decimal_places"].text, " ")
	d.column = v.named["db_column"].text
	return d
}

// isMigrationPath says whether a path is one where Django looks by default.
func isMigrationPath(name string) bool {
	return path.Base(path.Dir(name)) == "migrations" && path.Base(name) != "__init__.py"
}
