package problem

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// GroupingVersion is the version of the algorithm; it is part of the hashes,
// so that a new one never mixes with the old.
const GroupingVersion = "1"

// Group says which problem an event belongs to. Fine is made of the types of
// the exceptions and the app's own functions on the stack: it survives edits
// but not refactoring. Coarse is made of type and message with what varies
// taken out. Fine is "" where the stack says nothing (no frames of the app's
// own, minified scripts, plain messages). Key is what they were made from.
type Group struct {
	Fine, Coarse string
	Key          string
}

func group(n normal) Group {
	fine, coarse := fineKey(n), coarseKey(n)
	if len(n.fingerprint) > 0 && !(len(n.fingerprint) == 1 && isDefault(n.fingerprint[0])) {
		fine, coarse = fingerprinted(n.fingerprint, fine), fingerprinted(n.fingerprint, coarse)
	}
	g := Group{Coarse: hash("coarse", coarse), Key: coarse}
	if fine != "" {
		g.Fine, g.Key = hash("fine", fine), fine
	}
	g.Key = clip(g.Key, 2000)
	return g
}

func hash(kind, key string) string {
	sum := sha256.Sum256([]byte(GroupingVersion + "\x00" + kind + "\x00" + key))
	return hex.EncodeToString(sum[:16])
}

func isDefault(part string) bool {
	s := strings.ReplaceAll(part, " ", "")
	return s == "{{default}}" || s == "{{.Default}}"
}

// fingerprinted puts the default key where the fingerprint asks for it. A
// fingerprint without it decides alone.
func fingerprinted(parts []string, key string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		if isDefault(p) {
			if key == "" {
				return ""
			}
			p = key
		}
		out[i] = p
	}
	return "fingerprint: " + strings.Join(out, " | ")
}

// fineKey is "TypeA > TypeB in module.f > module.g", "" where the stack says
// nothing.
func fineKey(n normal) string {
	var types []string
	var stack []bosman.Frame
	for i := len(n.chain) - 1; i >= 0; i-- {
		x := n.chain[i]
		if x.Type != "" && !x.Synthetic {
			types = append(types, x.Type)
		}
		if stack == nil && len(x.Frames) > 0 {
			stack = x.Frames
		}
	}
	if len(types) == 0 || minified(stack) {
		return ""
	}
	slices.Reverse(types)
	var calls []string
	for _, f := range stack {
		if !f.InApp {
			continue
		}
		if c := call(f); c != "" && !slices.Contains(calls, c) { // recursion counts once
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		return ""
	}
	return strings.Join(types, " > ") + " in " + strings.Join(calls, " > ")
}

// call names a frame without anything that an edit elsewhere changes.
func call(f bosman.Frame) string {
	fn := anonymous.ReplaceAllString(f.Function, "")
	if fn == "?" || fn == "" {
		fn = "<anonymous>"
	}
	module := f.Module
	if module == "" || module == "__main__" {
		module = hashedName.ReplaceAllString(base(f.File), "")
	}
	if module == "" || module == "." {
		return ""
	}
	return module + "." + fn
}

var (
	anonymous  = regexp.MustCompile(`(?:\.?<lambda>)?\.?func\d+(?:\.\d+)*$| \[as \w+\]$|:\d+(?::\d+)?$`)
	hashedName = regexp.MustCompile(`[.-][0-9a-f]{8,}`)
)

// minified says whether a stack comes from a squeezed script.
func minified(stack []bosman.Frame) bool {
	own, short := 0, 0
	for _, f := range stack {
		if !f.InApp {
			continue
		}
		name := base(f.File)
		if strings.HasSuffix(name, ".min.js") || strings.HasSuffix(name, ".js") && f.Line == 1 && f.Column > 500 {
			return true
		}
		if strings.HasSuffix(name, ".js") && strings.Contains(f.File, "://") {
			own++
			if len(f.Function) <= 2 {
				short++
			}
		}
	}
	return own > 0 && short == own
}

// coarseKey is "Type: message" with what varies taken out.
func coarseKey(n normal) string {
	typ, text := "", n.event.Message
	if x := n.outermost(); x != nil && x.Type != "" {
		typ, text = x.Type, x.Value
	} else if n.template != "" {
		text = n.template
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	text = stencil(first)
	switch {
	case typ != "" && text != "":
		return typ + ": " + text
	case typ != "":
		return typ
	case text != "":
		return "message: " + text
	case n.culprit != "":
		return "culprit: " + n.culprit
	}
	return "event of " + n.event.Platform + " " + n.logger
}

var (
	uuidLike   = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b`)
	urlLike    = regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^\s"'<>]+`)
	emailLike  = regexp.MustCompile(`\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+`)
	timeLike   = regexp.MustCompile(`\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?`)
	addressIP  = regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b`)
	memoryHex  = regexp.MustCompile(`\b0x[0-9a-fA-F]+\b`)
	quotedText = regexp.MustCompile(`"[^"]*"|'[^']*'|“[^”]*”|` + "`[^`]*`")
	longHex    = regexp.MustCompile(`\b[0-9a-fA-F]*\d[0-9a-fA-F]*\b`)
	numberLike = regexp.MustCompile(`[-+]?\d+(?:[.,:]\d+)*`)
	spaces     = regexp.MustCompile(`\s+`)
)

// stencil takes ids, numbers, addresses and quoted values out of a message.
func stencil(s string) string {
	s = clip(s, 500)
	s = uuidLike.ReplaceAllString(s, "<id>")
	s = urlLike.ReplaceAllString(s, "<url>")
	s = emailLike.ReplaceAllString(s, "<address>")
	s = timeLike.ReplaceAllString(s, "<time>")
	s = addressIP.ReplaceAllString(s, "<address>")
	s = memoryHex.ReplaceAllString(s, "<id>")
	s = quotedText.ReplaceAllString(s, "<value>")
	s = longHex.ReplaceAllStringFunc(s, func(m string) string {
		if len(m) >= 7 {
			return "<id>"
		}
		return m
	})
	s = numberLike.ReplaceAllString(s, "<n>")
	return strings.TrimSpace(spaces.ReplaceAllString(s, " "))
}

// title is the one line people see.
func title(n normal) string {
	text, _, _ := strings.Cut(strings.TrimSpace(n.event.Message), "\n")
	switch {
	case n.event.Type != "" && text != "":
		return clip(n.event.Type+": "+text, 200)
	case n.event.Type != "":
		return clip(n.event.Type, 200)
	case text != "":
		return clip(text, 200)
	}
	return "An event without a message"
}

// culprit is the app's own function that is nearest to the error.
func culprit(n normal) string {
	for _, own := range []bool{true, false} {
		for i := len(n.event.Frames) - 1; i >= 0; i-- {
			f := n.event.Frames[i]
			if f.InApp == own && (f.Function != "" && f.Function != "?") {
				module := f.Module
				if module == "" || module == "__main__" {
					module = base(f.File)
				}
				return clip(module+"."+f.Function, 200)
			}
		}
		if n.event.Transaction != "" {
			return n.event.Transaction
		}
	}
	if n.culprit != "" {
		return clip(n.culprit, 200)
	}
	return clip(n.logger, 200)
}
