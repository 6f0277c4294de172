package migration

import (
	"strconv"
	"strings"
)

// A token of a Python file. Newlines that end a logical line are tokens of
// kind tokEnd; what lies between brackets is one logical line.
type token struct {
	kind tokenKind
	text string // of a string: its value
	line int
	col  int // of the first token of a logical line: its indentation
	head bool
}

type tokenKind byte

const (
	tokName tokenKind = iota
	tokNumber
	tokString
	tokFormat // an f-string or bytes: no plain text
	tokOp
	tokEnd
)

// tokenize splits Python source into tokens. It never fails: what it does
// not know becomes operators, which no literal contains.
func tokenize(src string) []token {
	t := tokenizer{src: src, line: 1, head: true}
	for t.pos < len(t.src) {
		t.next()
	}
	t.end()
	return t.out
}

type tokenizer struct {
	src   string
	pos   int
	line  int
	start int // where the line begins
	depth int
	head  bool
	out   []token
}

func (t *tokenizer) add(kind tokenKind, text string, line, at int) {
	t.out = append(t.out, token{kind: kind, text: text, line: line, col: at - t.start, head: t.head})
	t.head = false
}

func (t *tokenizer) end() {
	if !t.head {
		t.out = append(t.out, token{kind: tokEnd, line: t.line})
	}
	t.head = true
}

func (t *tokenizer) next() {
	c := t.src[t.pos]
	switch {
	case c == '\n':
		if t.depth == 0 {
			t.end()
		}
		t.pos++
		t.line++
		t.start = t.pos
	case c == ' ' || c == '\t' || c == '\r' || c == '\f':
		t.pos++
	case c == '#':
		for t.pos < len(t.src) && t.src[t.pos] != '\n' {
			t.pos++
		}
	case c == '\\' && strings.HasPrefix(strings.TrimLeft(t.src[t.pos+1:], "\r"), "\n"):
		t.pos = t.pos + 1 + strings.IndexByte(t.src[t.pos+1:], '\n') + 1
		t.line++
	case c == '"' || c == '\'':
		t.str("")
	case isLetter(c):
		at := t.pos
		for t.pos < len(t.src) && (isLetter(t.src[t.pos]) || isDigit(t.src[t.pos])) {
			t.pos++
		}
		name := t.src[at:t.pos]
		if t.pos < len(t.src) && (t.src[t.pos] == '"' || t.src[t.pos] == '\'') && isPrefix(name) {
			t.str(strings.ToLower(name))
			return
		}
		t.add(tokName, name, t.line, at)
	case isDigit(c):
		at := t.pos
		for t.pos < len(t.src) && (isLetter(t.src[t.pos]) || isDigit(t.src[t.pos]) || t.src[t.pos] == '.') {
			t.pos++
		}
		t.add(tokNumber, t.src[at:t.pos], t.line, at)
	default:
		switch c {
		case '(', '[', '{':
			t.depth++
		case ')', ']', '}':
			t.depth = max(0, t.depth-1)
		}
		t.pos++
		t.add(tokOp, string(c), t.line, t.pos-1)
	}
}

func isLetter(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isPrefix(s string) bool {
	return len(s) <= 2 && strings.Trim(strings.ToLower(s), "rbuf") == ""
}

// str reads a string that begins at the quote.
func (t *tokenizer) str(prefix string) {
	line, at := t.line, t.pos
	quote := t.src[t.pos : t.pos+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(t.src[t.pos:], triple) {
		quote = triple
	}
	t.pos += len(quote)
	raw := strings.Contains(prefix, "r")
	var b strings.Builder
	for {
		rest := t.src[t.pos:]
		if rest == "" || len(quote) == 1 && rest[0] == '\n' {
			t.add(tokFormat, "", line, at) // never closed
			return
		}
		if strings.HasPrefix(rest, quote) {
			t.pos += len(quote)
			break
		}
		if rest[0] == '\n' {
			t.line++
		}
		if rest[0] != '\\' || len(rest) == 1 {
			b.WriteByte(rest[0])
			t.pos++
			continue
		}
		if rest[1] == '\n' {
			t.line++
		}
		if raw {
			b.WriteString(rest[:2])
			t.pos += 2
			continue
		}
		n, text := escape(rest)
		b.WriteString(text)
		t.pos += n
	}
	kind := tokString
	if strings.ContainsAny(prefix, "fb") {
		kind = tokFormat
	}
	t.add(kind, b.String(), line, at)
}

// escape reads a backslash escape: its length and what it stands for.
func escape(s string) (int, string) {
	if i := strings.IndexByte("abfnrtv\\'\"\n", s[1]); i >= 0 {
		return 2, []string{"\a", "\b", "\f", "\n", "\r", "\t", "\v", "\\", "'", "\"", ""}[i]
	}
	if n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]; n > 0 && len(s) >= 2+n {
		if v, err := strconv.ParseUint(s[2:2+n], 16, 32); err == nil {
			return 2 + n, string(rune(v))
		}
	}
	return 2, s[:2]
}

// A value is a Python expression as far as it is a literal, a name or a call.
type value struct {
	kind  valueKind
	text  string  // string, number, dotted name of a name or call
	items []value // list, tuple, set; a call's arguments
	named map[string]value
	line  int
}

type valueKind byte

const (
	valUnknown valueKind = iota
	valString
	valNumber
	valName // True, None, models.CASCADE
	valList // list, tuple or set
	valCall
	valDict // not looked into
)

const maxNesting = 100

// A parser reads expressions from tokens.
type parser struct {
	toks  []token
	pos   int
	depth int
}

func (p *parser) peek() token {
	if p.pos < len(p.toks) {
		return p.toks[p.pos]
	}
	return token{kind: tokEnd}
}

func (p *parser) op(text string) bool {
	t := p.peek()
	return t.kind == tokOp && t.text == text
}

// atEnd says whether an expression is over here.
func (p *parser) atEnd() bool {
	t := p.peek()
	return t.kind == tokEnd || t.kind == tokOp && (t.text == "," || t.text == ")" || t.text == "]" || t.text == "}")
}

// expr reads one expression up to a comma or the end of its bracket. One that
// is more than a literal, name or call is unknown.
func (p *parser) expr() value {
	line := p.peek().line
	v := p.primary()
	if p.atEnd() {
		return v
	}
	p.skip()
	return value{line: line}
}

// skip goes to the end of an expression, over brackets.
func (p *parser) skip() {
	for depth := 0; p.pos < len(p.toks) && p.peek().kind != tokEnd; p.pos++ {
		if depth == 0 && p.atEnd() {
			return
		}
		if t := p.peek(); t.kind == tokOp {
			switch t.text {
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
			}
		}
	}
}

func (p *parser) primary() value {
	t := p.peek()
	v := value{line: t.line, text: t.text}
	if p.depth++; p.depth > maxNesting {
		p.skip()
		p.depth--
		return value{line: t.line}
	}
	defer func() { p.depth-- }()
	switch {
	case t.kind == tokString:
		v.kind, v.text = valString, ""
		for p.peek().kind == tokString { // adjacent strings are one
			v.text += p.peek().text
			p.pos++
		}
	case t.kind == tokNumber:
		v.kind = valNumber
		p.pos++
	case t.kind == tokName:
		p.name(&v)
	case p.op("(") || p.op("["):
		closing := map[string]string{"(": ")", "[": "]"}[t.text]
		p.pos++
		p.list(&v, closing, t.text == "(")
	case p.op("{"):
		v.kind = valDict
		p.pos++
		for p.pos < len(p.toks) && !p.op("}") && p.peek().kind != tokEnd {
			p.skip()
			if p.op(",") {
				p.pos++
			} else if !p.op("}") {
				break
			}
		}
		p.close(&v, "}")
	default:
		p.skip()
		v.kind = valUnknown
	}
	return v
}

// name reads a dotted name and, if one follows, its call.
func (p *parser) name(v *value) {
	v.kind = valName
	p.pos++
	for p.op(".") {
		p.pos++
		if p.peek().kind != tokName {
			v.kind = valUnknown
			return
		}
		v.text += "." + p.peek().text
		p.pos++
	}
	if !p.op("(") {
		return
	}
	p.pos++
	v.kind, v.named = valCall, map[string]value{}
	for !p.op(")") && p.peek().kind != tokEnd {
		if t := p.peek(); t.kind == tokName && p.pos+1 < len(p.toks) && p.toks[p.pos+1].text == "=" && p.toks[p.pos+1].kind == tokOp &&
			(p.pos+2 >= len(p.toks) || p.toks[p.pos+2].text != "=") {
			p.pos += 2
			v.named[t.text] = p.expr()
		} else {
			v.items = append(v.items, p.expr())
		}
		if !p.op(",") {
			break
		}
		p.pos++
	}
	p.close(v, ")")
}

func (p *parser) list(v *value, closing string, paren bool) {
	v.kind = valList
	commas := 0
	for !p.op(closing) && p.peek().kind != tokEnd {
		v.items = append(v.items, p.expr())
		if !p.op(",") {
			break
		}
		commas++
		p.pos++
	}
	p.close(v, closing)
	if paren && commas == 0 && len(v.items) == 1 && v.kind == valList {
		*v = v.items[0] // brackets around an expression
	}
}

func (p *parser) close(v *value, closing string) {
	if !p.op(closing) {
		v.kind = valUnknown
		return
	}
	p.pos++
}
