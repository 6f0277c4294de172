package migration

import (
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Danger is one reason to look twice at a migration.
type Danger = bosman.Danger

// The kinds of dangers.
const (
	Destructive  = bosman.Destructive
	Breaking     = bosman.Breaking
	Irreversible = bosman.Irreversible
	Locking      = bosman.Locking
	Unknown      = bosman.Unknown
)

// Additive says that nothing speaks against running the old code on the new
// schema: no danger is destructive, breaking or unknown. It is not proof.
func Additive(dangers []Danger) bool {
	for _, d := range dangers {
		if d.Kind.ForbidsCodeRevert() {
			return false
		}
	}
	return true
}

// Dangers judges the added migrations; before are those that are there
// already (main's), from which it learns what a field was.
func Dangers(before, added Nodes) []Danger {
	lists := settled(before, added)
	before, added = lists[0], lists[1]
	j := judge{fields: newHistory(before, added), fresh: map[string]bool{}, made: map[string][]string{}}
	had := make(map[key]string, len(before))
	for i := range before {
		had[before[i].key()] = before[i].Blob
	}
	for i := range added {
		n := &added[i]
		if was, ok := had[n.key()]; ok && was != n.Blob && !n.Repeatable {
			j.found = append(j.found, Danger{Migration: n.String(), Path: n.Path, Kind: Irreversible, Text: "is there already and changes: databases that ran it do not run it again"})
		}
		j.made[n.Space] = append(j.made[n.Space], n.creates...)
		for _, op := range added[i].Operations {
			if op.Name == "CreateModel" {
				j.fresh[modelKey(&added[i], op.Model)] = true
			}
		}
	}
	for i := range added {
		j.node(&added[i])
	}
	for i := range j.found {
		d := &j.found[i]
		d.Path, d.Text = clean(d.Path), clean(d.Text)
	}
	return j.found
}

type judge struct {
	fields history
	fresh  map[string]bool     // models that these migrations make: nobody uses them yet
	made   map[string][]string // tables likewise, by space
	found  []Danger
}

func modelKey(n *Node, model string) string {
	return n.Space + "\x00" + strings.ToLower(model)
}

func (j *judge) node(n *Node) {
	like := Danger{Migration: n.String(), Path: n.Path}
	if n.Shown != "" {
		like.Migration = ID{n.App, n.Shown}.String()
	}
	say := func(line int, kind bosman.DangerKind, format string, args ...any) {
		d := like
		d.Line, d.Kind, d.Text = line, kind, fmt.Sprintf(format, args...)
		j.found = append(j.found, d)
	}
	for _, u := range n.Unknown {
		say(0, Unknown, "%s; look at it yourself", u)
	}
	j.found = append(j.found, (&script{findings: n.findings}).dangers(like, j.made[n.Space])...)
	for _, op := range n.Operations {
		if j.fresh[modelKey(n, op.Model)] && op.Model != "" {
			continue
		}
		j.operation(n, op, say)
	}
}

func (j *judge) operation(n *Node, op Operation, say func(int, bosman.DangerKind, string, ...any)) {
	at := op.Model + "." + op.Field
	switch op.Name {
	case "RemoveField":
		say(op.Line, Destructive, "removes %s: its data goes, and the old code still asks for it", at)
	case "DeleteModel":
		say(op.Line, Destructive, "deletes %s: its data goes, and the old code still asks for it", op.Model)
	case "RenameField":
		say(op.Line, Destructive, "renames %s to %s: the old code asks for the old name", at, op.To)
	case "RenameModel":
		say(op.Line, Destructive, "renames %s to %s: the old code asks for the old table", op.Model, op.To)
	case "AlterModelTable":
		say(op.Line, Destructive, "renames the table of %s: the old code asks for the old one", op.Model)
	case "AddField":
		switch {
		case op.def.kind == "":
			say(op.Line, Unknown, "the field %s cannot be read; look at it yourself", at)
		case op.def.kind == "ManyToManyField" || op.def.kind == "GeneratedField" || op.def.null || op.def.dbDefault:
		default:
			say(op.Line, Breaking, "adds %s, which must not be null and has no default in the database: the old code's INSERTs fail", at)
		}
	case "AlterField":
		j.alter(n, op, say)
	case "AddIndex":
		say(op.Line, Locking, "adds an index to %s while writes wait: AddIndexConcurrently does not (PostgreSQL)", op.Model)
	case "RunSQL", "RunPython":
		if !op.Reversible {
			say(op.Line, Irreversible, "%s has no reverse", op.Name)
		}
	}
}

func (j *judge) alter(n *Node, op Operation, say func(int, bosman.DangerKind, string, ...any)) {
	at := op.Model + "." + op.Field
	was, known := j.fields.before(n, op.Model, op.Field)
	switch {
	case op.def.kind == "" || !known || was.kind == "":
		say(op.Line, Unknown, "alters %s, and what it was cannot be read; look at it yourself", at)
	case was.kind != op.def.kind:
		say(op.Line, Destructive, "changes %s from %s to %s: the table is rewritten, and the old code writes the old type", at, was.kind, op.def.kind)
	case was.column != op.def.column:
		say(op.Line, Destructive, "renames the column of %s: the old code asks for the old one", at)
	case was.null && !op.def.null:
		say(op.Line, Breaking, "makes %s required: the old code's INSERTs without it fail", at)
	case was.length != op.def.length:
		say(op.Line, Breaking, "changes the length of %s from %s to %s: longer values of the old code may fail", at, orNone(was.length), orNone(op.def.length))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// history knows the definitions of fields.
type history struct {
	nodes map[key]*Node
}

func newHistory(before, added Nodes) history {
	h := history{nodes: map[key]*Node{}}
	for _, list := range []Nodes{before, added} {
		for i := range list {
			h.nodes[list[i].key()] = &list[i]
		}
	}
	return h
}

// before gives the newest definition of a field in the ancestors of a node,
// nearest first.
func (h history) before(n *Node, model, name string) (definition, bool) {
	seen := map[key]bool{n.key(): true}
	for todo := []*Node{n}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if at != n {
			if d, ok := at.defines(model, name); ok {
				return d, true
			}
		}
		parents := at.sameApp()
		for _, r := range at.Replaces {
			parents = append(parents, r.Name)
		}
		for _, p := range parents {
			k := key{n.Space, p}
			if next, ok := h.nodes[k]; ok && !seen[k] {
				seen[k] = true
				todo = append(todo, next)
			}
		}
	}
	return definition{}, false
}

// defines gives the last definition of a field in one migration. A renaming
// makes it unknown: the search would follow the wrong name.
func (n *Node) defines(model, name string) (definition, bool) {
	for i := len(n.Operations) - 1; i >= 0; i-- {
		op := n.Operations[i]
		switch {
		case (op.Name == "AddField" || op.Name == "AlterField") && strings.EqualFold(op.Model, model) && strings.EqualFold(op.Field, name):
			return op.def, true
		case op.Name == "RenameField" && strings.EqualFold(op.Model, model) && strings.EqualFold(op.To, name),
			op.Name == "RenameModel" && strings.EqualFold(op.To, model):
			return definition{}, true
		case op.Name == "CreateModel" && strings.EqualFold(op.Model, model):
			for _, f := range op.fields {
				if strings.EqualFold(f.name, name) {
					return f.def, true
				}
			}
		}
	}
	return definition{}, false
}
