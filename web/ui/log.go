package ui

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"
)

// Line is one line of a log; At is in the zone it is shown in.
type Line struct {
	At     time.Time
	Source string
	Text   string
}

// HTML is the line as one element. Everything in it is escaped; the colours
// of terminals become classes.
func (l Line) HTML() string {
	return fmt.Sprintf(`<div class="ln"><time>%s</time><b>%s</b><span>%s</span></div>`,
		l.At.Format("15:04:05"), ANSI(l.Source), ANSI(l.Text))
}

// ANSI turns a terminal's text into escaped HTML: colours, bold and underline
// become spans with classes (a1 … a7, ab, au), all other sequences and control
// characters are left out.
func ANSI(text string) string {
	var b strings.Builder
	var style ansi
	open := false
	flush := func(s string) {
		if s == "" {
			return
		}
		if class := style.class(); class != "" {
			b.WriteString(`<span class="` + class + `">`)
			open = true
		}
		b.WriteString(html.EscapeString(s))
		if open {
			b.WriteString("</span>")
			open = false
		}
	}
	var run strings.Builder
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == 0x1b:
			flush(run.String())
			run.Reset()
			n := escapeLen(text[i:])
			if seq := text[i : i+n]; n > 2 && seq[1] == '[' && seq[n-1] == 'm' {
				style.apply(seq[2 : n-1])
			}
			i += n
		case c == '\t':
			run.WriteString("    ")
			i++
		case c < ' ' || c == 0x7f:
			i++
		default:
			run.WriteByte(c)
			i++
		}
	}
	flush(run.String())
	return b.String()
}

// escapeLen is the length of the escape sequence that s begins with.
func escapeLen(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']': // up to BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 7 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	}
	return 2
}

type ansi struct {
	colour          int // 0: none, 1 … 7
	bold, underline bool
}

func (a *ansi) apply(codes string) {
	if codes == "" {
		codes = "0"
	}
	for _, part := range strings.Split(codes, ";") {
		n, err := strconv.Atoi(part)
		if err != nil {
			continue
		}
		switch {
		case n == 0:
			*a = ansi{}
		case n == 1:
			a.bold = true
		case n == 4:
			a.underline = true
		case n == 22:
			a.bold = false
		case n == 24:
			a.underline = false
		case n == 38 || n == 48: // 256 colours: not kept, and their numbers are no codes
			return
		case n == 39:
			a.colour = 0
		case n >= 31 && n <= 37:
			a.colour = n - 30
		case n >= 91 && n <= 97:
			a.colour = n - 90
		}
	}
}

func (a *ansi) class() string {
	var parts []string
	if a.colour > 0 {
		parts = append(parts, "a"+strconv.Itoa(a.colour))
	}
	if a.bold {
		parts = append(parts, "ab")
	}
	if a.underline {
		parts = append(parts, "au")
	}
	return strings.Join(parts, " ")
}
