package migration

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Liquibase: changelogs in XML, YAML, JSON or formatted SQL. A changeset is
// known by author, id and the path of its file, and once run by a checksum.
// Facts: docs.liquibase.com, "What is a changeset?".
var liquibase = tool{
	name: "liquibase",
	claims: func(name string) bool {
		switch path.Ext(name) {
		case ".xml", ".yaml", ".yml", ".json":
			return strings.Contains(strings.ToLower(name), "changelog") || strings.Contains(strings.ToLower(name), "changes") || under(name, "liquibase")
		case ".sql":
			return true
		}
		return false
	},
	byPath: func(string) (Node, bool) { return Node{}, false },
	read: func(name, text string) []Node {
		if l := readChangelog(name, text); l != nil {
			return l.nodes
		}
		return nil
	},
	rule: rule{
		twice:  "Liquibase refuses to run with two changesets of one id, author and file",
		edited: "Liquibase refuses to run when the checksum of what it ran has changed",
		rename: "give the changeset another id",
	},
}

var (
	liquibaseSQL  = regexp.MustCompile(`(?i)\A\s*--\s*liquibase\s+formatted\s+sql`)
	liquibaseYAML = regexp.MustCompile(`(?m)^databaseChangeLog:`)
	changesetLine = regexp.MustCompile(`(?i)^\s*--\s*changeset\s+(\S.*?):(\S+)(.*)$`)
	rollbackLine  = regexp.MustCompile(`(?i)^\s*--\s*rollback\b`)
	yamlKey       = regexp.MustCompile(`^(\s*)((?:-\s+)*)("?[A-Za-z][\w-]*"?)\s*:\s*(.*)$`)
)

// A changelog collects the changesets of one file, and what it includes.
type changelog struct {
	name     string
	logical  string // logicalFilePath of the whole
	nodes    []Node
	includes []include
}

// readChangelog gives nil for what is none.
func readChangelog(name, text string) *changelog {
	l := &changelog{name: name}
	switch path.Ext(name) {
	case ".xml":
		if !strings.Contains(text, "<databaseChangeLog") {
			return nil
		}
		l.xml(text)
	case ".json":
		if !strings.Contains(text, `"databaseChangeLog"`) {
			return nil
		}
		l.json(text)
	case ".sql":
		if !liquibaseSQL.MatchString(text) {
			return nil
		}
		l.formatted(text)
	case ".yaml", ".yml":
		if !liquibaseYAML.MatchString(text) {
			return nil
		}
		l.yaml(text)
	default:
		return nil
	}
	return l
}

// include notes an include with its attributes.
func (l *changelog) include(name string, attrs map[string]string, line int) {
	if attrs["ignore"] == "true" {
		return
	}
	i := include{all: name == "includeAll", line: line, at: len(l.nodes)}
	for k, v := range attrs {
		i.set(k, v)
	}
	l.includes = append(l.includes, i)
}

// A changeset as its file writes it. text is what its checksum covers.
type changeset struct {
	id, author, file string // file: its logicalFilePath; "" for its own
	again            bool   // it may change: runOnChange, runAlways, validCheckSum
	text             string
}

// set reads one attribute of a changeset.
func (c *changeset) set(name, value string) {
	switch name {
	case "id":
		c.id = value
	case "author":
		c.author = value
	case "logicalFilePath":
		c.file = value
	case "runOnChange", "runAlways":
		c.again = c.again || value == "true"
	case "validCheckSum":
		c.again = true
	}
}

func (l *changelog) add(c changeset, s *script) {
	id, author := c.id, c.author
	if id == "" || author == "" || strings.Contains(id+author, "${") {
		s.doubt("the id or author of a changeset is not literal")
	}
	sum := sha1.Sum([]byte(strings.Join(strings.Fields(c.text), " ")))
	space := l.name
	if file := cmp.Or(c.file, l.logical); file != "" {
		space = "logicalFilePath " + file
	}
	n := Node{ID: ID{App: shortDir(path.Dir(l.name)), Name: author + ":" + id}, Space: space, Blob: hex.EncodeToString(sum[:]), Repeatable: c.again}
	n.put(s)
	l.nodes = append(l.nodes, n)
}

// broken notes that the file could not be read to its end.
func (l *changelog) broken(why string) {
	s := &script{}
	s.doubt("%s", why)
	n := Node{ID: ID{App: shortDir(path.Dir(l.name)), Name: path.Base(l.name)}, Space: l.name + " as a whole"}
	n.put(s)
	l.nodes = append(l.nodes, n)
}

// A refactoring is one change of a changeset with its attributes.
type refactoring struct {
	name  string
	attrs map[string]string
	text  string
	line  int
	// of a column with constraints
	required, defaulted bool
}

func (l *changelog) xml(text string) {
	dec := xml.NewDecoder(strings.NewReader(text))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // it was seen to be UTF-8
	var s *script
	var set changeset
	var begun int64
	var now *refactoring
	var all, said strings.Builder // of the changeset; of the change
	depth := 0
	for {
		at := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, _ := dec.InputPos()
			l.broken(fmt.Sprintf("its XML is broken (line %d): %s", line, cutTo(err.Error(), 100)))
			return
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
			attrs := map[string]string{}
			for _, a := range t.Attr {
				attrs[a.Name.Local] = a.Value
			}
			switch {
			case depth == 1:
				l.logical = attrs["logicalFilePath"]
			case t.Name.Local == "changeSet" && depth == 2:
				s, set = &script{}, changeset{}
				all.Reset()
				for name, value := range attrs {
					set.set(name, value)
				}
			case depth == 2 && includeNamed(t.Name.Local):
				line, _ := dec.InputPos()
				l.include(t.Name.Local, attrs, line)
			case s != nil && depth == 3 && beside[t.Name.Local]:
				set.set(t.Name.Local, "")
			case s != nil && depth == 3:
				line, _ := dec.InputPos()
				begun = at
				said.Reset()
				now = &refactoring{name: t.Name.Local, attrs: attrs, line: line}
			case now != nil:
				now.inner(t.Name.Local, attrs)
			}
		case xml.CharData:
			if now != nil {
				said.Write(t)
			}
		case xml.EndElement:
			switch {
			case depth == 3 && now != nil:
				now.text += said.String()
				s.refactor(*now)
				now = nil
				all.WriteString(text[begun:dec.InputOffset()])
			case depth == 2 && s != nil:
				set.text = all.String()
				l.add(set, s)
				s = nil
			}
			depth--
		}
	}
}

// beside stand in a changeset and are no changes: the checksum leaves them
// out.
var beside = map[string]bool{"comment": true, "preConditions": true, "rollback": true, "validCheckSum": true, "modifySql": true, "tagDatabase": true}

// inner takes what stands inside a change: columns and their constraints.
func (r *refactoring) inner(name string, attrs map[string]string) {
	if attrs["nullable"] == "false" {
		r.required = true
	}
	for k, v := range attrs {
		r.defaulted = r.defaulted || strings.HasPrefix(k, "defaultValue") || k == "autoIncrement" && v == "true"
		if k == "name" && name == "column" && r.attrs["columnName"] == "" {
			r.attrs["columnName"] = v
		}
		if k == "sql" {
			r.text = v
		}
	}
}

// refactor judges one change.
func (s *script) refactor(r refactoring) {
	t := strings.ToLower(r.attrs["tableName"])
	if strings.Contains(t, "${") {
		s.doubt("the table of %s is not literal (line %d)", r.name, r.line)
	}
	at := t + "." + r.attrs["columnName"]
	s.touch(t)
	switch r.name {
	case "createTable":
		s.create(t)
	case "dropTable":
		s.say(r.line, bosman.Destructive, t, "drops the table %s: its data goes, and %s", t, asksFor)
	case "dropColumn":
		s.say(r.line, bosman.Destructive, t, "drops %s: its data goes, and %s", at, asksFor)
	case "renameTable":
		old := strings.ToLower(r.attrs["oldTableName"])
		s.touch(old)
		s.say(r.line, bosman.Destructive, old, "renames the table %s: the old code asks for the old name", old)
	case "renameColumn":
		s.say(r.line, bosman.Destructive, t, "renames %s.%s: the old code asks for the old name", t, r.attrs["oldColumnName"])
	case "modifyDataType":
		s.say(r.line, bosman.Destructive, t, "changes the type of %s: %s, and the old code writes the old type", at, rewrites)
	case "addNotNullConstraint":
		s.say(r.line, bosman.Breaking, t, "makes %s required: the old code's INSERTs without it fail", at)
	case "dropDefaultValue":
		s.say(r.line, bosman.Breaking, t, "takes the default of %s away: the old code's INSERTs without it fail if it must not be null", at)
	case "addColumn":
		if r.required && !r.defaulted {
			s.say(r.line, bosman.Breaking, t, "adds %s, which must not be null and has no default: it fails where rows are, and so do the old code's INSERTs", at)
		}
	case "createIndex":
		s.say(r.line, bosman.Locking, t, "adds an index to %s while writes wait", t)
	case "addForeignKeyConstraint":
		b := strings.ToLower(r.attrs["baseTableName"])
		s.touch(b)
		s.say(r.line, bosman.Locking, b, "adds a foreign key to %s while writes to both tables wait", b)
	case "addUniqueConstraint", "addPrimaryKey", "addCheckConstraint":
		s.say(r.line, bosman.Locking, t, "adds a constraint to %s and checks all rows while others wait", t)
	case "dropView", "dropProcedure", "dropSequence", "renameView", "renameSequence", "dropAllForeignKeyConstraints":
		s.say(r.line, bosman.Breaking, "", "%s: the old code may ask for it", r.name)
	case "delete":
		if strings.TrimSpace(r.text) == "" {
			s.say(r.line, bosman.Destructive, t, "deletes all rows of %s", t)
		}
	case "mergeColumns":
		s.say(r.line, bosman.Destructive, t, "merges columns of %s: the old code asks for the old ones", t)
	case "sql":
		s.sql(r.text, max(0, r.line-1))
	case "sqlFile", "customChange", "executeCommand", "createProcedure", "loadData", "loadUpdateData":
		s.doubt("%s runs what stands elsewhere (line %d)", r.name, r.line)
	}
}

func (r *refactoring) yaml(key, value string) {
	switch {
	case key == "nullable":
		r.required = r.required || value == "false"
	case strings.HasPrefix(key, "defaultValue"):
		r.defaulted = true
	case key == "sql":
		r.text = value
	case key == "name" && r.attrs["columnName"] == "":
		r.attrs["columnName"] = value
	case value != "" && r.attrs[key] == "":
		r.attrs[key] = value
	}
}

// scalar is a YAML value without quotes or comment.
func scalar(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') {
		if i := strings.IndexByte(s[1:], s[0]); i >= 0 {
			return s[1 : 1+i]
		}
	}
	if i := strings.Index(s, " #"); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	if s == "|" || s == ">" || s == "|-" || s == ">-" {
		return ""
	}
	return s
}

func (l *changelog) json(text string) {
	var doc struct {
		Log []struct {
			Logical string         `json:"logicalFilePath"`
			Include map[string]any `json:"include"`
			All     map[string]any `json:"includeAll"`
			Set     *struct {
				ID      any              `json:"id"`
				Author  string           `json:"author"`
				Logical string           `json:"logicalFilePath"`
				Change  any              `json:"runOnChange"`
				Always  any              `json:"runAlways"`
				Valid   any              `json:"validCheckSum"`
				Changes []map[string]any `json:"changes"`
			} `json:"changeSet"`
		} `json:"databaseChangeLog"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		at := ""
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = fmt.Sprintf(" (line %d)", 1+strings.Count(text[:min(int(syntax.Offset), len(text))], "\n"))
		}
		l.broken("its JSON is broken" + at + ": " + cutTo(err.Error(), 100))
		return
	}
	for _, entry := range doc.Log {
		if entry.Include != nil {
			l.include("include", texts(entry.Include), 0)
		}
		if entry.All != nil {
			l.include("includeAll", texts(entry.All), 0)
		}
		if entry.Set == nil {
			l.logical = cmp.Or(entry.Logical, l.logical)
			continue
		}
		s := &script{}
		for _, change := range entry.Set.Changes {
			for _, name := range slices.Sorted(maps.Keys(change)) {
				r := refactoring{name: name, attrs: map[string]string{}}
				r.json(change[name])
				s.refactor(r)
			}
		}
		whole, err := json.Marshal(entry.Set.Changes)
		if err != nil {
			s.doubt("a changeset cannot be read")
		}
		l.add(changeset{
			id: asText(entry.Set.ID), author: entry.Set.Author, file: entry.Set.Logical, text: string(whole),
			again: asText(entry.Set.Change) == "true" || asText(entry.Set.Always) == "true" || entry.Set.Valid != nil,
		}, s)
	}
}

func (r *refactoring) json(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			inner := v[k]
			if s := asText(inner); s != "" {
				r.yaml(k, s)
			} else {
				r.json(inner)
			}
		}
	case []any:
		for _, inner := range v {
			r.json(inner)
		}
	}
}

// texts gives the scalars of a JSON object.
func texts(m map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = asText(v)
	}
	return out
}

// asText is a JSON scalar as text; "" for anything else.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}
