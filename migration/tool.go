package migration

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A tool is one kind of migrations. It works on texts alone.
type tool struct {
	name string
	// claims says whether a path may hold migrations of this tool.
	claims func(name string) bool
	// byPath gives the migration that the path alone makes one, for files that
	// cannot be read; false where only the text can tell.
	byPath func(name string) (Node, bool)
	// read gives the migrations in a file; none if it is none after all.
	read func(name, text string) []Node
	rule rule
}

// A rule says what of two migrations cannot stand together.
type rule struct {
	// graph: each names those it follows, and there must be one that nothing
	// follows. Else they have versions (line) or only names (Liquibase).
	graph bool
	// joined is what to do about two migrations that follow the same one.
	joined func(app, a, b string) string
	// twice says what becomes of the same version twice; "" if it is allowed.
	twice string
	// older says what becomes of a version that is less than main's newest;
	// "" if it is run all the same.
	older string
	// gone says what becomes of a migration that main has and that is taken
	// away; "" if nobody minds. goneLast: only where it is main's newest.
	gone     string
	goneLast bool
	// edited says what becomes of a migration that main has and that is
	// changed; "" if nobody notices and databases differ.
	edited string
	// tables: those that change the same table collide, whatever their
	// versions.
	tables bool
	// rename is what is to be done besides giving a file another version; of
	// what has no versions, all that is to be done.
	rename string
}

// tools is the table of all tools, in the order in which they are asked.
var tools = []*tool{&django, &alembic, &rails, &prisma, &laravel, &liquibase, &goose, &golangMigrate, &flyway}

// Tools names the tools that migrations: {tool: …} takes.
func Tools() []string {
	names := make([]string, len(tools))
	for i, t := range tools {
		names[i] = t.name
	}
	return names
}

func toolOf(name string) *tool {
	for _, t := range tools {
		if t.name == name {
			return t
		}
	}
	return nil
}

// readFile gives the migrations of one file. Only the tools named in only are
// asked; nil: all.
func readFile(only []*tool, name, text string, readable bool) []Node {
	text = strings.TrimPrefix(text, "\ufeff")
	var doubts []string
	switch {
	case !readable:
		doubts = append(doubts, "the file is not a text that can be read")
	case strings.ContainsRune(text, 0) || !utf8.ValidString(text):
		doubts = append(doubts, "the file is not a text that can be read: it is not UTF-8 from line "+strconv.Itoa(foul(text)))
		text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	case isLink(name, text):
		doubts = append(doubts, "it is a symbolic link")
		readable = false
	default:
		if at := conflictMark.FindStringIndex(text); at != nil {
			doubts = append(doubts, "it holds the marks of a merge that was not solved (line "+strconv.Itoa(1+strings.Count(text[:at[0]], "\n"))+")")
		}
	}
	for _, t := range only {
		if !t.claims(name) {
			continue
		}
		var nodes []Node
		if readable {
			nodes = t.read(name, text)
		}
		if n, ok := t.byPath(name); ok && len(nodes) == 0 && len(doubts) > 0 {
			nodes = []Node{n}
		}
		for i := range nodes {
			nodes[i].Unknown = append(nodes[i].Unknown, doubts...)
		}
		if len(nodes) > 0 {
			return finish(t, name, nodes)
		}
	}
	return nil
}

// conflictMark is what git leaves where it could not merge.
var conflictMark = regexp.MustCompile(`(?m)^(?:<{7} |>{7} )`)

// foul gives the line of the first byte that is no text.
func foul(text string) int {
	for i, r := range text {
		if r == 0 {
			return 1 + strings.Count(text[:i], "\n")
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return 1 + strings.Count(text[:i], "\n")
			}
		}
	}
	return 1
}

// isLink says whether a file holds nothing but a path to another of its kind:
// what git gives of a symbolic link.
func isLink(name, text string) bool {
	return text != "" && len(text) < 4096 && !strings.ContainsAny(text, " \t\r\n;(") && path.Ext(name) != "" && path.Ext(text) == path.Ext(name)
}

func finish(t *tool, name string, nodes []Node) []Node {
	for i := range nodes {
		n := &nodes[i]
		n.Tool, n.Path = t.name, name
		if n.Space == "" {
			n.Space = path.Dir(name)
		}
	}
	return nodes
}

// A version is the parts of a number such as 1.2 or 20260101120000.
type version []int64

// parseVersion reads digits, perhaps in several parts. nil: they are too many.
func parseVersion(s, separators string) version {
	var v version
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 {
			return nil
		}
		v = append(v, n)
	}
	return v
}

// key is equal for versions that compare as equal.
func (v version) key() string {
	n := len(v)
	for n > 0 && v[n-1] == 0 {
		n--
	}
	var b []byte
	for _, part := range v[:n] {
		b = append(strconv.AppendInt(b, part, 10), '.')
	}
	return string(b)
}

func (v version) compare(w version) int {
	for i := range max(len(v), len(w)) {
		var a, b int64
		if i < len(v) {
			a = v[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			if a < b {
				return -1
			}
			return 1
		}
	}
	return 0
}

// after is the next whole version, written as wide as the example.
func (v version) after(example string) string {
	first := int64(1)
	if len(v) > 0 && v[0] < math.MaxInt64 {
		first = v[0] + 1
	}
	text := strconv.FormatInt(first, 10)
	width := strings.IndexFunc(example, func(r rune) bool { return r < '0' || r > '9' })
	if width < 0 {
		width = len(example)
	}
	for len(text) < width {
		text = "0" + text
	}
	return text
}

// digits gives the digits a name begins with.
func digits(s string) string {
	n := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if n < 0 {
		n = len(s)
	}
	return s[:n]
}

// put copies what a script does into a node.
func (n *Node) put(s *script) {
	n.Unknown = append(n.Unknown, s.unknown...)
	n.findings = append(n.findings, s.findings...)
	n.creates = append(n.creates, s.creates...)
	n.Tables = append(n.Tables, s.touches...)
}

// shares gives the tables that both change, in order.
func shares(a, b *Node) []string {
	var out []string
	for _, t := range a.Tables {
		if slices.Contains(b.Tables, t) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}

func cutTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// under says whether a path has these folders somewhere, one below the other.
func under(name, folders string) bool {
	return strings.HasPrefix(name, folders+"/") || strings.Contains(name, "/"+folders+"/")
}
