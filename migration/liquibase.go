package migration

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
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
		default:
			if !liquibaseYAML.MatchString(text) {
				return nil
			}
			l.yaml(text)
		}
		return l.nodes
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

// A changelog collects the changesets of one file.
type changelog struct {
	name  string
	nodes []Node
}

func (l *changelog) add(id, author, text string, s *script) {
	if id == "" || author == "" || strings.Contains(id+author, "${") {
		s.doubt("the id or author of a changeset is not literal")
	}
	sum := sha1.Sum([]byte(strings.Join(strings.Fields(text), " ")))
	n := Node{ID: ID{App: shortDir(path.Dir(l.name)), Name: author + ":" + id}, Space: l.name, Blob: hex.EncodeToString(sum[:])}
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
	var s *script
	var id, author string
	var begun int64
	var now *refactoring
	depth := 0
	for {
		at := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.broken("its XML is broken: " + cutTo(err.Error(), 100))
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
			case t.Name.Local == "changeSet" && depth == 2:
				s, id, author, begun = &script{}, attrs["id"], attrs["author"], at
			case s != nil && depth == 3:
				line, _ := dec.InputPos()
				now = &refactoring{name: t.Name.Local, attrs: attrs, line: line}
			case now != nil:
				now.inner(t.Name.Local, attrs)
			}
		case xml.CharData:
			if now != nil {
				now.text += string(t)
			}
		case xml.EndElement:
			switch {
			case depth == 3 && now != nil:
				s.refactor(*now)
				now = nil
			case depth == 2 && s != nil:
				l.add(id, author, text[begun:dec.InputOffset()], s)
				s = nil
			}
			depth--
		}
	}
}

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

// formatted reads a file of SQL with "--changeset author:id" lines.
func (l *changelog) formatted(text string) {
	var id, author string
	var body, all strings.Builder
	begun, line := 0, 0
	flush := func() {
		if id != "" || author != "" {
			s := &script{}
			s.sql(body.String(), begun)
			l.add(id, author, all.String(), s)
		}
		body.Reset()
		all.Reset()
	}
	for _, row := range strings.Split(text, "\n") {
		line++
		if m := changesetLine.FindStringSubmatch(row); m != nil {
			flush()
			author, id, begun = m[1], m[2], line-1
		}
		all.WriteString(row + "\n")
		if !rollbackLine.MatchString(row) {
			body.WriteString(row)
		}
		body.WriteByte('\n')
	}
	flush()
}

// yaml reads the block style that Liquibase writes and its documentation
// shows; what is written otherwise is unknown.
func (l *changelog) yaml(text string) {
	var s *script
	var id, author string
	var block strings.Builder
	var now *refactoring
	set, change, list := -1, -1, -1 // columns of "changeSet", of a change, of "changes"
	end := func() {
		if now != nil {
			s.refactor(*now)
			now = nil
		}
	}
	flush := func() {
		if s != nil {
			end()
			l.add(id, author, block.String(), s)
		}
		s, id, author, change, list = nil, "", "", -1, -1
		block.Reset()
	}
	for n, row := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(row)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		m := yamlKey.FindStringSubmatch(row)
		if m == nil {
			if s != nil {
				block.WriteString(row + "\n")
				if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "- {") {
					s.doubt("line %d is not written in blocks", n+1)
				}
				if now != nil {
					now.text += trimmed + "\n"
				}
			}
			continue
		}
		col := len(m[1]) + len(m[2])
		key, value := strings.Trim(m[3], `"`), scalar(m[4])
		switch {
		case key == "changeSet":
			flush()
			s, set = &script{}, col
			block.WriteString(row + "\n")
			if value != "" {
				s.doubt("a changeset is not written in blocks (line %d)", n+1)
			}
			continue
		case s == nil:
			continue
		case col <= set:
			flush()
			continue
		}
		block.WriteString(row + "\n")
		switch {
		case key == "id" && list < 0:
			id = value
		case key == "author" && list < 0:
			author = value
		case key == "changes" && list < 0:
			list = col
		case list >= 0 && m[2] != "" && (change < 0 || col <= change):
			end()
			change = col
			now = &refactoring{name: key, attrs: map[string]string{}, line: n + 1}
		case now != nil:
			now.yaml(key, value)
		}
	}
	flush()
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
			Set *struct {
				ID      any              `json:"id"`
				Author  string           `json:"author"`
				Changes []map[string]any `json:"changes"`
			} `json:"changeSet"`
		} `json:"databaseChangeLog"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		l.broken("its JSON is broken: " + cutTo(err.Error(), 100))
		return
	}
	for _, entry := range doc.Log {
		if entry.Set == nil {
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
		whole, err := json.Marshal(entry.Set)
		if err != nil {
			s.doubt("a changeset cannot be read")
		}
		l.add(asText(entry.Set.ID), entry.Set.Author, string(whole), s)
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
