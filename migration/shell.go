package migration

import (
	"regexp"
	"strings"
	"unicode"
)

// Names come from whoever pushes a branch, and people paste the commands that
// name them into a shell.

var (
	plainWord  = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=][A-Za-z0-9_./:@%+,=-]*$`)
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// quote makes one word of a shell out of a text; false where that cannot be
// shown as it is.
func quote(s string) (string, bool) {
	switch {
	case plainWord.MatchString(s):
		return s, true
	case s == "" || clean(s) != s || strings.Contains(s, "`"):
		return "", false
	case s[0] == '-':
		return "", false
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", true
}

// moved gives "git mv FROM TO", the words quoted; the part of to that stands
// between before and after is left to the shell. "" where a name cannot be
// shown as it is.
func moved(from, before, between, after string) string {
	if strings.HasPrefix(from, "-") {
		from, before = "./"+from, "./"+before
	}
	a, ok := quote(from)
	if !ok {
		return ""
	}
	if !strings.Contains(between, "$") {
		b, ok := quote(before + between + after)
		if !ok {
			return ""
		}
		return "git mv " + a + " " + b
	}
	b, tail := "", ""
	if before != "" {
		if b, ok = quote(before); !ok {
			return ""
		}
	}
	if after != "" {
		if tail, ok = quote(after); !ok {
			return ""
		}
	}
	return "git mv " + a + " " + b + between + tail
}

// clean takes away what would do something to a terminal or turn a line
// around: control characters and marks of direction.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
			return '·'
		}
		return r
	}, s)
}
