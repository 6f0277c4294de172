package migration

import (
	"strings"
	"unicode/utf8"
)

// A piece is a token of Ruby or PHP.
type piece struct {
	kind pieceKind
	text string // of strings and symbols: their value
	line int
	col  int
	head bool // first on its line
}

type pieceKind byte

const (
	pieceName   pieceKind = iota
	pieceString           // plain, no interpolation; also symbols
	pieceMixed            // a string with something filled in
	pieceOp
)

// pieces splits Ruby (php false) or PHP into tokens. It never fails.
func pieces(src string, php bool) []piece {
	p := &piecer{src: src, php: php, line: 1, head: true}
	for p.pos < len(p.src) {
		p.next()
	}
	return p.out
}

type piecer struct {
	src              string
	php              bool
	pos, line, start int
	head             bool
	heredocs         []heredoc
	out              []piece
}

type heredoc struct {
	end   string
	at    int // index in out
	plain bool
}

func (p *piecer) add(kind pieceKind, text string, line, at int) {
	p.out = append(p.out, piece{kind, text, line, at - p.start, p.head})
	p.head = false
}

func (p *piecer) newline() {
	p.pos++
	p.line++
	p.start, p.head = p.pos, true
	for _, h := range p.heredocs {
		p.body(h)
	}
	p.heredocs = nil
}

// body takes the lines of a heredoc.
func (p *piecer) body(h heredoc) {
	var b strings.Builder
	b.WriteByte('\n') // it begins on the line after its mark
	for p.pos < len(p.src) {
		end := p.pos + upTo(p.src[p.pos:], "\n")
		line := p.src[p.pos:end]
		p.pos = min(end+1, len(p.src))
		p.line++
		p.start = p.pos
		trimmed := strings.TrimSpace(line)
		if trimmed == h.end || p.php && strings.HasPrefix(trimmed, h.end) && !isLetter((trimmed + " ")[len(h.end)]) {
			break
		}
		b.WriteString(line + "\n")
	}
	p.out[h.at].text = b.String()
	if !h.plain && strings.Contains(b.String(), map[bool]string{true: "$", false: "#{"}[p.php]) {
		p.out[h.at].kind = pieceMixed
	}
}

func (p *piecer) next() {
	rest := p.src[p.pos:]
	c := rest[0]
	switch {
	case c == '\n':
		p.newline()
	case c == ' ' || c == '\t' || c == '\r':
		p.pos++
	case !p.php && p.pos == p.start && strings.HasPrefix(rest, "=begin"):
		end := strings.Index(rest, "\n=end")
		if end < 0 {
			end = len(rest) - 1
		}
		p.line += strings.Count(rest[:end+1], "\n")
		p.pos += end + 1
		p.pos += upTo(p.src[p.pos:], "\n")
	case c == '#' && (!p.php || !strings.HasPrefix(rest, "#[")), p.php && strings.HasPrefix(rest, "//"):
		p.pos += upTo(rest, "\n")
	case p.php && strings.HasPrefix(rest, "/*"):
		n := min(upTo(rest, "*/")+2, len(rest))
		p.line += strings.Count(rest[:n], "\n")
		p.pos += n
	case p.heredoc(rest):
	case c == '\'' || c == '"' || c == '`':
		p.quoted(c)
	case !p.php && c == ':' && len(rest) > 1 && isLetter(rest[1]) && (p.pos == 0 || p.src[p.pos-1] != ':'):
		n := wordEnd(rest[1:])
		p.add(pieceString, rest[1:1+n], p.line, p.pos)
		p.pos += 1 + n
	case isLetter(c) || c == '$' || isDigit(c):
		n := max(1, wordEnd(rest))
		if c == '$' || c == '@' {
			n = 1 + wordEnd(rest[1:])
		}
		if !p.php && n < len(rest) && (rest[n] == '?' || rest[n] == '!') {
			n++
		}
		p.add(pieceName, rest[:n], p.line, p.pos)
		p.pos += n
	default:
		_, n := utf8.DecodeRuneInString(rest)
		for _, op := range []string{"->", "::", "=>", "&."} {
			if strings.HasPrefix(rest, op) {
				n = len(op)
			}
		}
		p.add(pieceOp, rest[:n], p.line, p.pos)
		p.pos += n
	}
}

func wordEnd(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}

// heredoc takes <<~SQL or <<<SQL; its text follows on the next lines.
func (p *piecer) heredoc(rest string) bool {
	mark := "<<"
	if p.php {
		mark = "<<<"
	}
	s, ok := strings.CutPrefix(rest, mark)
	if !ok {
		return false
	}
	if !p.php {
		s = strings.TrimLeft(s, "~-")
	}
	s = strings.TrimLeft(s, " ")
	quote := ""
	if s != "" && (s[0] == '\'' || s[0] == '"') {
		quote, s = s[:1], s[1:]
	}
	n := wordEnd(s)
	if n == 0 || quote == "" && (s[0] < 'A' || s[0] > 'Z') {
		return false // a << b
	}
	p.add(pieceString, "", p.line, p.pos)
	p.heredocs = append(p.heredocs, heredoc{end: s[:n], at: len(p.out) - 1, plain: quote == "'"})
	p.pos += len(rest) - len(s) + n + len(quote)
	return true
}

func (p *piecer) quoted(quote byte) {
	line, at, i := p.line, p.pos, p.pos+1
	kind := pieceString
	var b strings.Builder
	for ; i < len(p.src) && p.src[i] != quote; i++ {
		switch c := p.src[i]; {
		case c == '\\' && i+1 < len(p.src):
			i++
			b.WriteByte(p.src[i])
			continue
		case c == '\n':
			p.line++
			p.start = i + 1
		case quote != '\'' && (p.php && c == '$' || !p.php && c == '#' && i+1 < len(p.src) && p.src[i+1] == '{'):
			kind = pieceMixed
		}
		b.WriteByte(p.src[i])
	}
	if quote == '`' {
		kind = pieceMixed
	}
	start := p.start
	p.start = min(start, at)
	p.add(kind, b.String(), line, at)
	p.start = start
	p.pos = min(i+1, len(p.src))
}

// args reads the arguments of a call whose first piece is at i: up to the end
// of the line, or of the bracket that opens there. Only what is a single plain
// string, symbol or word counts; all else is "?".
type args struct {
	list  []string
	plain []bool // the argument is a literal
	named map[string]string
	end   int // first piece after
}

// arg gives the i-th argument and whether it is literal.
func (a args) arg(i int) (string, bool) {
	if i < len(a.list) {
		return a.list[i], a.plain[i]
	}
	return "", false
}

func readArgs(toks []piece, i int) args {
	a := args{named: map[string]string{}}
	bracket := i < len(toks) && toks[i].kind == pieceOp && toks[i].text == "("
	if bracket {
		i++
	}
	var now []piece
	flush := func() {
		a.take(now)
		now = nil
	}
	depth := 0
	for ; i < len(toks); i++ {
		t := toks[i]
		if t.head && depth == 0 && !bracket && len(now)+len(a.list)+len(a.named) > 0 && toks[i-1].text != "," {
			break
		}
		if t.kind == pieceOp {
			switch t.text {
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				if depth == 0 {
					flush()
					a.end = i + 1
					return a
				}
				depth--
			case ",":
				if depth == 0 {
					flush()
					continue
				}
			case ";":
				if depth == 0 {
					flush()
					a.end = i
					return a
				}
			}
		}
		if !bracket && depth == 0 && t.kind == pieceName && (t.text == "do" || t.text == "if" || t.text == "unless") {
			break
		}
		now = append(now, t)
	}
	flush()
	a.end = i
	return a
}

// take adds one argument.
func (a *args) take(toks []piece) {
	if len(toks) == 0 {
		return
	}
	if len(toks) >= 3 && toks[1].kind == pieceOp && (toks[1].text == ":" || toks[1].text == "=>") {
		value := "?"
		if len(toks) == 3 && toks[2].kind != pieceMixed {
			value = toks[2].text
		}
		a.named[toks[0].text] = value
		return
	}
	plain := len(toks) == 1 && toks[0].kind == pieceString
	text := toks[0].text
	if len(toks) > 1 {
		text = "?"
	}
	if len(toks) > 1 && toks[0].text == "[" { // [:a, :b]
		var parts []string
		plain = true
		for _, t := range toks[1 : len(toks)-1] {
			if t.kind == pieceString {
				parts = append(parts, t.text)
			} else if t.text != "," {
				plain = false
			}
		}
		text = strings.Join(parts, ",")
	}
	a.list, a.plain = append(a.list, text), append(a.plain, plain)
}
