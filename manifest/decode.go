package manifest

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder walks the syntax tree of one file and collects every mistake.
type decoder struct {
	file    string
	data    []byte
	lines   []string
	anchors map[string]ast.Node
	sources map[string]bosman.SourceRef
	issues  []Issue
}

func newDecoder(data []byte, name string) *decoder {
	return &decoder{
		file: name, data: data, lines: strings.Split(string(data), "\n"),
		anchors: map[string]ast.Node{}, sources: map[string]bosman.SourceRef{},
	}
}

// tree parses the text. The parser is somebody else's: should it panic on
// some input, that is reported as a mistake of the file.
func (d *decoder) tree() (f *ast.File, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			d.at(bosman.SourceRef{Line: 1, Column: 1}, "", "this is not YAML that can be read (%v)", r)
			f, ok = nil, false
		}
	}()
	f, err := parser.ParseBytes(d.data, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return f, true
	}
	ref, text := bosman.SourceRef{Line: 1, Column: 1}, err.Error()
	var ye yaml.Error
	if errors.As(err, &ye) {
		text = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			ref = bosman.SourceRef{Line: t.Position.Line, Column: t.Position.Column}
		}
	}
	d.at(ref, "", "not valid YAML: %s", text)
	return nil, false
}

// Caps on nesting, far above what a real file has: the parser's work grows
// with the square of it, and a stranger may have written the file.
const (
	maxOpen  = 200 // brackets open at a time, strings and comments counted too
	maxMarks = 10  // list marks, tags and anchors at the start of a line
)

// tooDeep gives the first line that passes a cap, 0 when none does.
func tooDeep(lines []string) int {
	open := 0
	for i, line := range lines {
		for _, c := range []byte(line) {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > maxOpen {
				return i + 1
			}
		}
		marks := 0
		for rest := strings.TrimLeft(line, " "); rest != ""; {
			mark, after, _ := strings.Cut(rest, " ")
			if mark != "-" && mark != "?" && mark != ":" && !strings.HasPrefix(mark, "&") && !strings.HasPrefix(mark, "!") {
				break
			}
			if marks++; marks > maxMarks {
				return i + 1
			}
			rest = strings.TrimLeft(after, " ")
		}
	}
	return 0
}

func (d *decoder) at(ref bosman.SourceRef, key, format string, args ...any) {
	d.issues = append(d.issues, Issue{
		File: d.file, Line: max(ref.Line, 1), Column: max(ref.Column, 1), Key: key,
		Message: fmt.Sprintf(format, args...), Excerpt: d.excerpt(ref),
	})
}

func (d *decoder) excerpt(ref bosman.SourceRef) string {
	if ref.Line < 1 || ref.Line > len(d.lines) {
		return ""
	}
	line := strings.ReplaceAll(strings.TrimRight(d.lines[ref.Line-1], "\r"), "\t", " ")
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "")
	}
	column := min(max(ref.Column, 1), len([]rune(line))+1)
	return fmt.Sprintf("%5d | %s\n      | %s^", ref.Line, line, strings.Repeat(" ", column-1))
}

func (d *decoder) sorted() []Issue {
	sort.SliceStable(d.issues, func(i, j int) bool {
		a, b := d.issues[i], d.issues[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	if more := len(d.issues) - maxIssues; more > 0 {
		d.issues = append(d.issues[:maxIssues], Issue{File: d.file, Line: d.issues[maxIssues].Line, Column: d.issues[maxIssues].Column, Message: fmt.Sprintf("%d more mistakes follow", more)})
	}
	return d.issues
}

func place(n ast.Node) bosman.SourceRef {
	if n == nil {
		return bosman.SourceRef{Line: 1, Column: 1}
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return bosman.SourceRef{Line: 1, Column: 1}
	}
	return bosman.SourceRef{Line: t.Position.Line, Column: t.Position.Column}
}

func (d *decoder) wrong(n ast.Node, path, format string, args ...any) {
	d.at(place(n), path, format, args...)
}

// plain follows anchors, aliases and tags to the node that holds the value.
func (d *decoder) plain(n ast.Node) ast.Node {
	for range 100 {
		switch v := n.(type) {
		case *ast.AnchorNode:
			if v.Name != nil {
				d.anchors[v.Name.GetToken().Value] = v.Value
			}
			n = v.Value
		case *ast.AliasNode:
			if v.Value == nil {
				return n
			}
			target, ok := d.anchors[v.Value.GetToken().Value]
			if !ok {
				d.wrong(n, "", "there is no anchor &%s before this line", v.Value.GetToken().Value)
				return nil
			}
			n = target
		case *ast.TagNode:
			n = v.Value
		default:
			return n
		}
	}
	return n
}

// entry is one key of a mapping.
type entry struct {
	name string
	key  ast.Node
	node ast.Node
}

// entries lists the keys of a mapping in order, or reports that n is not one.
// Merge keys (<<) add what the mapping itself does not say.
func (d *decoder) entries(n ast.Node, path, want string) []entry {
	return d.entriesDepth(n, path, want, 0)
}

func (d *decoder) entriesDepth(n ast.Node, path, want string, depth int) []entry {
	n = d.plain(n)
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		d.wrong(n, path, "expected %s, found %s", want, describe(n))
		return nil
	}
	var list, merged []entry
	seen := map[string]bool{}
	for _, v := range values {
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			if depth > 8 {
				d.wrong(v.Key, path, "merge keys are nested too deeply")
				continue
			}
			merged = append(merged, d.entriesDepth(v.Value, join(path, "<<"), want, depth+1)...)
			continue
		}
		t := v.Key.GetToken()
		if t == nil {
			d.wrong(n, path, "expected a key")
			continue
		}
		name := t.Value
		if seen[name] {
			d.wrong(v.Key, join(path, name), "this key is there twice")
			continue
		}
		seen[name] = true
		list = append(list, entry{name: name, key: v.Key, node: v.Value})
	}
	for _, e := range merged {
		if !seen[e.name] {
			seen[e.name] = true
			list = append(list, e)
		}
	}
	for _, e := range list {
		if _, ok := d.sources[join(path, e.name)]; !ok {
			d.sources[join(path, e.name)] = place(e.key)
		}
	}
	return list
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n ast.Node) string {
	switch v := n.(type) {
	case nil:
		return "nothing"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return strconv.Quote(cut(v.Value))
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return n.GetToken().Value
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "something else"
}

func cut(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// fields decodes a mapping with known keys; an unknown one is a mistake.
type fields map[string]func(n ast.Node, path string)

func (d *decoder) object(n ast.Node, path, want string, f fields) {
	for _, e := range d.entries(n, path, want) {
		decode, ok := f[e.name]
		if !ok {
			if path == "" && strings.HasPrefix(e.name, "x-") {
				d.anchored(e.node)
				continue
			}
			text := "unknown key"
			if guess := nearest(e.name, f); guess != "" {
				text += "; did you mean " + guess + "?"
			} else {
				text += "; expected one of " + strings.Join(keys(f), ", ")
			}
			d.wrong(e.key, join(path, e.name), "%s", text)
			continue
		}
		decode(e.node, join(path, e.name))
	}
}

// anchored collects the anchors inside a part that is not read otherwise.
func (d *decoder) anchored(n ast.Node) {
	if n != nil {
		ast.Walk(visitor(func(n ast.Node) {
			if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
				d.anchors[a.Name.GetToken().Value] = a.Value
			}
		}), n)
	}
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor { v(n); return v }

func (d *decoder) list(n ast.Node, path, want string, item func(n ast.Node, path string)) {
	n = d.plain(n)
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrong(n, path, "expected a list of %s, found %s", want, describe(n))
		return
	}
	for i, v := range s.Values {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.sources[p] = place(v)
		item(v, p)
	}
}

// text decodes a scalar that must be text.
func (d *decoder) text(to *string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		n = d.plain(n)
		switch v := n.(type) {
		case *ast.StringNode:
			*to = v.Value
		case *ast.LiteralNode:
			*to = v.Value.Value
		default:
			d.wrong(n, path, "expected text, found %s", describe(n))
			return
		}
		if strings.ContainsRune(*to, 0) {
			d.wrong(n, path, "text must not hold a NUL character")
		}
	}
}

// command is text that is not empty.
func (d *decoder) command(to *string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		before := len(d.issues)
		d.text(to)(n, path)
		if len(d.issues) == before && strings.TrimSpace(*to) == "" {
			d.wrong(n, path, "expected a command, found nothing")
		}
	}
}

// value is text, a number or true/false, kept as written: for environments.
func (d *decoder) value(to *string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		switch v := d.plain(n).(type) {
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			*to = v.GetToken().Value
		default:
			d.text(to)(n, path)
		}
	}
}

func (d *decoder) texts(to *[]string, what string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = []string{}
		d.list(n, path, what, func(n ast.Node, path string) {
			var s string
			d.text(&s)(n, path)
			*to = append(*to, s)
		})
	}
}

func (d *decoder) dict(to *map[string]string, scalar func(*string) func(ast.Node, string)) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]string{}
		for _, e := range d.entries(n, path, "a mapping of names to text") {
			var s string
			scalar(&s)(e.node, join(path, e.name))
			(*to)[e.name] = s
		}
	}
}

func (d *decoder) whole(to *int, lowest, highest int) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		n = d.plain(n)
		v, ok := n.(*ast.IntegerNode)
		if !ok {
			d.wrong(n, path, "expected a whole number, found %s", describe(n))
			return
		}
		i, err := strconv.Atoi(strings.ReplaceAll(v.GetToken().Value, "_", ""))
		if err != nil || i < lowest || i > highest {
			d.wrong(n, path, "expected a whole number from %d to %d, found %s", lowest, highest, v.GetToken().Value)
			return
		}
		*to = i
	}
}

func (d *decoder) flag(to *bool) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		n = d.plain(n)
		v, ok := n.(*ast.BoolNode)
		if !ok {
			d.wrong(n, path, "expected true or false, found %s", describe(n))
			return
		}
		*to = v.Value
	}
}

func (d *decoder) duration(to *time.Duration) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		n = d.plain(n)
		v, ok := n.(*ast.StringNode)
		if !ok {
			d.wrong(n, path, "expected a time such as 60s, 10m or 24h, found %s", describe(n))
			return
		}
		t, err := bosman.ParseDuration(strings.TrimSpace(v.Value))
		if err != nil || t <= 0 {
			d.wrong(n, path, "expected a time such as 60s, 10m or 24h, found %s", describe(n))
			return
		}
		*to = t
	}
}

func keys(f fields) []string {
	list := make([]string, 0, len(f))
	for k := range f {
		list = append(list, k)
	}
	sort.Strings(list)
	return list
}

// nearest gives the known key that differs by the fewest edits, "" when none
// is near.
func nearest(name string, f fields) string {
	if len(name) > 40 {
		return ""
	}
	best, limit := "", 1+len(name)/3
	for _, k := range keys(f) {
		if e := edits(name, k); e <= limit && e < len(k) {
			best, limit = k, e-1
		}
	}
	return best
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
