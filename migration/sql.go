package migration

import "strings"

// A word is a token of SQL: a keyword or name (text as written, without
// quotes), a string, a number or an operator.
type word struct {
	text string
	kind wordKind
	line int
}

type wordKind byte

const (
	wordName   wordKind = iota // a keyword or an unquoted name
	wordQuoted                 // a quoted name: never a keyword
	wordString
	wordNumber
	wordOp
	wordMeta // what the server never sees: \i file, DELIMITER
)

// is says whether the word is a keyword, in whatever case.
func (w word) is(keyword string) bool {
	return w.kind == wordName && strings.EqualFold(w.text, keyword)
}

// A statement is the words of one SQL statement, without its semicolon.
type statement []word

const maxSQL = 8 << 20 // text above this is not looked at

// statements splits SQL into statements. It never fails: what is never closed
// goes up to the end. Strings, names in quotes, dollar quotes and comments
// (nested ones too) hold no semicolons that count.
func statements(src string) []statement {
	s := &sqlLexer{src: src, line: 1, delimiter: ";"}
	for s.pos < len(s.src) {
		s.next()
	}
	s.flush()
	return s.out
}

type sqlLexer struct {
	hidden    bool // within a comment that MySQL runs
	src       string
	pos, line int
	delimiter string
	now       statement
	begun     int // where now begins
	out       []statement
	texts     []string
}

func (s *sqlLexer) flush() {
	if len(s.now) > 0 {
		s.out = append(s.out, s.now)
		s.texts = append(s.texts, strings.TrimSpace(s.src[s.begun:s.pos]))
		s.now = nil
	}
}

func (s *sqlLexer) add(kind wordKind, text string, line int) {
	if len(s.now) == 0 {
		s.begun = s.pos
	}
	s.now = append(s.now, word{text, kind, line})
}

// SchemaSQL gives the statements of a text that change the schema: what else
// was run with them may hold people's data.
func SchemaSQL(text string) []string {
	s := &sqlLexer{src: text, line: 1, delimiter: ";"}
	for s.pos < len(s.src) {
		s.next()
	}
	s.flush()
	var out []string
	for i, st := range s.out {
		switch {
		case st[0].is("CREATE"), st[0].is("ALTER"), st[0].is("DROP"), st[0].is("TRUNCATE"), st[0].is("COMMENT"), st[0].is("GRANT"),
			st[0].is("REVOKE"), st[0].is("REINDEX"), st[0].is("CLUSTER"), st[0].is("REFRESH"), st[0].is("SECURITY"), st[0].is("IMPORT"):
			out = append(out, s.texts[i])
		}
	}
	return out
}

// advance moves on by n bytes and counts lines.
func (s *sqlLexer) advance(n int) {
	n = min(n, len(s.src)-s.pos)
	s.line += strings.Count(s.src[s.pos:s.pos+n], "\n")
	s.pos += n
}

func (s *sqlLexer) next() {
	rest := s.src[s.pos:]
	c := rest[0]
	lineStart := s.pos == 0 || s.src[s.pos-1] == '\n'
	switch {
	case strings.HasPrefix(rest, s.delimiter):
		s.flush()
		s.advance(len(s.delimiter))
	case c == '\n' || c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == 0:
		s.advance(1)
	case strings.HasPrefix(rest, "--"), c == '#' && lineStart:
		s.advance(upTo(rest, "\n"))
	case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"): // MySQL and MariaDB run what is in it
		n := strings.IndexByte(rest, '!') + 1
		for n < len(rest) && isDigit(rest[n]) {
			n++
		}
		s.hidden = true
		s.advance(n)
	case s.hidden && strings.HasPrefix(rest, "*/"):
		s.hidden = false
		s.advance(2)
	case strings.HasPrefix(rest, "/*"):
		s.comment()
	case c == '\\' && len(s.now) == 0, lineStart && len(rest) > 10 && strings.EqualFold(rest[:10], "DELIMITER "):
		s.meta(rest[:upTo(rest, "\n")])
	case c == '\'':
		s.quoted('\'', wordString, false)
	case (c == 'e' || c == 'E') && len(rest) > 1 && rest[1] == '\'':
		s.advance(1)
		s.quoted('\'', wordString, true)
	case c == '"' || c == '`':
		s.quoted(c, wordQuoted, false)
	case c == '$' && s.dollar(rest):
	case isLetter(c):
		n := 1
		for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n]) || rest[n] == '$') {
			n++
		}
		s.add(wordName, rest[:n], s.line)
		s.advance(n)
	case isDigit(c):
		n := 1
		for n < len(rest) && (isDigit(rest[n]) || rest[n] == '.' || isLetter(rest[n])) {
			n++
		}
		s.add(wordNumber, rest[:n], s.line)
		s.advance(n)
	default:
		s.add(wordOp, string(c), s.line)
		s.advance(1)
	}
}

func upTo(s, mark string) int {
	if i := strings.Index(s, mark); i >= 0 {
		return i
	}
	return len(s)
}

func (s *sqlLexer) comment() {
	depth, i := 0, s.pos
	for i < len(s.src) {
		switch {
		case strings.HasPrefix(s.src[i:], "/*"):
			depth++
			i += 2
			continue
		case strings.HasPrefix(s.src[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				s.advance(i - s.pos)
				return
			}
			continue
		}
		i++
	}
	s.advance(len(s.src) - s.pos)
}

// Words that stand for what the text of a statement leaves open.
const (
	unclosed  = "unclosed"
	backslash = "backslash"
)

// meta takes a line that is for the client: \i, \copy, DELIMITER.
func (s *sqlLexer) meta(line string) {
	line = strings.TrimSpace(line)
	if f := strings.Fields(line); len(f) == 2 && strings.EqualFold(f[0], "DELIMITER") {
		s.delimiter = f[1]
	} else {
		s.add(wordMeta, line, s.line)
	}
	s.advance(upTo(s.src[s.pos:], "\n"))
	s.flush()
}

func (s *sqlLexer) quoted(quote byte, kind wordKind, escapes bool) {
	line, i := s.line, s.pos+1
	open := false // MySQL and PostgreSQL do not agree where it ends
	var b strings.Builder
	for i < len(s.src) {
		c := s.src[i]
		open = open || c == quote && !escapes && i > s.pos+1 && s.src[i-1] == '\\'
		switch {
		case escapes && c == '\\' && i+1 < len(s.src):
			b.WriteByte(s.src[i+1])
			i += 2
			continue
		case c == quote && i+1 < len(s.src) && s.src[i+1] == quote:
			b.WriteByte(quote)
			i += 2
			continue
		case c == quote:
			s.add(kind, b.String(), line)
			if open && kind == wordString {
				s.add(wordOp, backslash, line)
			}
			s.advance(i + 1 - s.pos)
			return
		}
		b.WriteByte(c)
		i++
	}
	s.add(wordOp, unclosed, line)
	s.advance(len(s.src) - s.pos)
}

// dollar takes $tag$ … $tag$; false if that does not begin here.
func (s *sqlLexer) dollar(rest string) bool {
	end := strings.IndexByte(rest[1:], '$')
	if end < 0 || strings.IndexFunc(rest[1:1+end], func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) >= 0 {
		return false
	}
	tag := rest[:end+2]
	if end > 0 && isDigit(tag[1]) {
		return false // $1$ is a parameter
	}
	body := rest[len(tag):]
	n := strings.Index(body, tag)
	if n < 0 {
		s.add(wordOp, unclosed, s.line)
		s.advance(len(rest))
		return true
	}
	s.add(wordString, body[:n], s.line)
	s.advance(2*len(tag) + n)
	return true
}

// cursor reads a statement from left to right.
type cursor struct {
	words statement
	pos   int
}

func (c *cursor) peek() word {
	if c.pos < len(c.words) {
		return c.words[c.pos]
	}
	return word{kind: wordOp}
}

// take moves over the given keywords if all of them follow.
func (c *cursor) take(keywords ...string) bool {
	for i, k := range keywords {
		if c.pos+i >= len(c.words) || !c.words[c.pos+i].is(k) {
			return false
		}
	}
	c.pos += len(keywords)
	return true
}

// any moves over one of the keywords and gives it, in upper case.
func (c *cursor) any(keywords ...string) string {
	for _, k := range keywords {
		if c.take(k) {
			return k
		}
	}
	return ""
}

// name reads a name, perhaps with schema: public.users gives "users", as
// names are compared across files that may or may not write the schema, unless
// it is another one.
func (c *cursor) name() string {
	w := c.peek()
	if w.kind != wordName && w.kind != wordQuoted {
		return ""
	}
	name := fold(w)
	c.pos++
	for c.peek().kind == wordOp && c.peek().text == "." && c.pos+1 < len(c.words) {
		next := c.words[c.pos+1]
		if next.kind != wordName && next.kind != wordQuoted {
			break
		}
		if name == "public" || name == "dbo" {
			name = fold(next)
		} else {
			name += "." + fold(next)
		}
		c.pos += 2
	}
	return name
}

// fold is a name as it is compared: unquoted ones know no case.
func fold(w word) string {
	if w.kind == wordQuoted {
		return w.text
	}
	return strings.ToLower(w.text)
}

// has says whether the keywords follow one another somewhere.
func (s statement) has(keywords ...string) bool {
	for i := range s {
		c := cursor{words: s, pos: i}
		if c.take(keywords...) {
			return true
		}
	}
	return false
}

// split cuts a statement at its commas, brackets aside.
func (s statement) split() []statement {
	var out []statement
	depth, from := 0, 0
	for i, w := range s {
		if w.kind != wordOp {
			continue
		}
		switch w.text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",":
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}
