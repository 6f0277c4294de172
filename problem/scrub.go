package problem

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

// filtered takes the place of what must not be stored.
const filtered = "[Filtered]"

// Caps on the shape of a stored event.
const (
	maxDepth  = 40
	maxString = 16 << 10
	maxItems  = 1000
)

// secretWords mark a field as secret when they are one of the words of its name.
var secretWords = wordSet(`password passwd passphrase pwd pass secret secrets token tokens apikey apitoken auth authorization authentication
 cookie cookies csrf csrftoken xsrf csrfmiddlewaretoken sessionid sessionkey credentials credential cardnumber creditcard cvv cvc cvv2 pan pin iban
 ssn pesel jwt bearer otp totp privatekey secretkey accesskey signature passcode sentrydsn`)

// secretPairs do so when they follow each other.
var secretPairs = wordSet(`api_key private_key secret_key access_key session_id session_key card_number credit_card encryption_key signing_key
 database_url redis_url broker_url client_secret postgres_url`)

var (
	cardLike   = regexp.MustCompile(`\b[3-6](?:[ -]?\d){12,18}\b`)
	cardOnly   = regexp.MustCompile(`^[3-6]\d{12,18}$`)
	bearer     = regexp.MustCompile(`(?i)\b(bearer|basic|digest|token)(\s+)[A-Za-z0-9._~+/=-]{6,}`)
	userinfo   = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*):([^\s/@]+)@`)
	jwtLike    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)
	assignment = regexp.MustCompile(`(?i)([A-Za-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|authorization|sessionid|session[_-]?key|cvv|cvc)[A-Za-z0-9_-]*["'\]]{0,2}\s*(?::|=|%3[dD])\s*)("[^"]*"|'[^']*'|[^\s"'&;,<>(){}]+)`)
	cookieLine = regexp.MustCompile(`(?i)\b((?:set-)?cookie["']?\s*[:=]\s*)([^\r\n]+)`)
	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)
)

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// scrubber takes secrets out of events. It is safe for concurrent use.
type scrubber struct {
	extra    map[string]bool
	patterns []*regexp.Regexp
	mu       sync.RWMutex
	names    map[string]bool
}

func newScrubber(names []string) *scrubber {
	s := &scrubber{extra: map[string]bool{}, names: map[string]bool{}}
	for _, n := range names {
		if w := words(n); len(w) > 0 {
			s.extra[strings.Join(w, "_")] = true
			// NAME=value and "NAME": value; the parts are letters and digits only
			s.patterns = append(s.patterns, regexp.MustCompile(`(?i)(\b`+strings.Join(w, `[_ .-]?`)+`["'\]]{0,2}\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s"'&;,<>(){}]+)`))
		}
	}
	return s
}

// words splits a field's name: "X-Api-Key", "apiKey" and "api_key" are alike.
func words(name string) []string {
	var list []string
	var word []byte
	end := func() {
		if len(word) > 0 {
			list = append(list, string(word))
			word = word[:0]
		}
	}
	lower := false
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			if lower {
				end()
			}
			word, lower = append(word, c+'a'-'A'), false
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			word, lower = append(word, c), true
		default:
			end()
			lower = false
		}
	}
	end()
	return list
}

// maxNames caps the field names whose verdict is remembered.
const maxNames = 10_000

// secret says whether a field of this name holds a secret. Clients send the
// same few hundred names over and over, so the verdicts are remembered.
func (s *scrubber) secret(name string) bool {
	if name == "" || len(name) > 200 {
		return false
	}
	s.mu.RLock()
	verdict, known := s.names[name]
	s.mu.RUnlock()
	if known {
		return verdict
	}
	verdict = s.judge(name)
	s.mu.Lock()
	if len(s.names) < maxNames {
		s.names[strings.Clone(name)] = verdict
	}
	s.mu.Unlock()
	return verdict
}

func (s *scrubber) judge(name string) bool {
	list := words(name)
	whole := strings.Join(list, "_")
	if s.extra[whole] || secretWords[whole] {
		return true
	}
	for i, w := range list {
		if secretWords[w] || s.extra[w] {
			return true
		}
		if i > 0 && (secretPairs[list[i-1]+"_"+w] || s.extra[list[i-1]+"_"+w]) {
			return true
		}
		for _, end := range []string{"password", "passwd", "secret", "token", "apikey"} {
			if len(w) > len(end) && strings.HasSuffix(w, end) {
				return true
			}
		}
	}
	return false
}

// structural are keys of the protocol whose names sound secret but hold none.
var structural = map[string]bool{"in_app": true}

// value scrubs a decoded JSON value in place and gives it back.
func (s *scrubber) value(v any, depth int) any {
	if depth > maxDepth {
		return "…"
	}
	switch v := v.(type) {
	case map[string]any:
		// {"key": "password", "value": "x"}, as some clients send headers
		if name, ok := v["key"].(string); ok && s.secret(name) {
			if _, has := v["value"]; has {
				v["value"] = filtered
			}
		}
		for k, x := range v {
			if !structural[k] && s.secret(k) && !empty(x) {
				v[k] = filtered
				continue
			}
			v[k] = s.value(x, depth+1)
		}
		return v
	case []any:
		if len(v) > maxItems {
			v = append(v[:maxItems], "…")
		}
		if len(v) == 2 { // ["Cookie", "…"]
			if name, ok := v[0].(string); ok && s.secret(name) && !empty(v[1]) {
				v[1] = filtered
				return v
			}
		}
		for i, x := range v {
			v[i] = s.value(x, depth+1)
		}
		return v
	case string:
		return s.text(v)
	case json.Number:
		if t := v.String(); cardOnly.MatchString(t) && luhn(t) {
			return filtered
		}
		return v
	}
	return v
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return true
	}
	return false
}

// text scrubs what looks like a secret inside a string.
func (s *scrubber) text(t string) string {
	if len(t) > maxString {
		t = strings.ToValidUTF8(t[:maxString], "") + "…"
	}
	if len(t) < 6 {
		return t
	}
	if strings.Contains(t, "://") {
		t = userinfo.ReplaceAllString(t, "$1:"+filtered+"@")
	}
	if strings.Contains(t, "eyJ") {
		t = jwtLike.ReplaceAllString(t, filtered)
	}
	if strings.Contains(t, "PRIVATE KEY-----") {
		t = privateKey.ReplaceAllString(t, filtered)
	}
	lower := strings.ToLower(t)
	if holds(lower, "bearer", "basic", "digest", "token") {
		t = bearer.ReplaceAllStringFunc(t, func(m string) string {
			parts := bearer.FindStringSubmatch(m)
			if !strings.EqualFold(parts[1], "bearer") && !strings.ContainsAny(m, "0123456789=") {
				return m // prose: "token expired", "basic settings"
			}
			return parts[1] + parts[2] + filtered
		})
	}
	if strings.ContainsAny(t, ":=") || strings.Contains(t, "%3") {
		if holds(lower, stems...) {
			t = assignment.ReplaceAllString(t, "${1}"+filtered)
		}
		if strings.Contains(lower, "cookie") {
			t = cookieLine.ReplaceAllString(t, "${1}"+filtered)
		}
		for _, re := range s.patterns {
			t = re.ReplaceAllString(t, "${1}"+filtered)
		}
	}
	if !manyDigits(t) {
		return t
	}
	return cardLike.ReplaceAllStringFunc(t, func(m string) string {
		if luhn(m) {
			return filtered
		}
		return m
	})
}

// stems are what assignment looks for, to spare most strings the search.
var stems = []string{
	"passw", "passphrase", "pwd", "secret", "token", "api_key", "api-key", "apikey", "access_key", "access-key", "accesskey",
	"private_key", "private-key", "privatekey", "authorization", "sessionid", "session_key", "session-key", "sessionkey", "cvv", "cvc",
}

// manyDigits says whether s holds the 13 digits that a card number has at least.
func manyDigits(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			if n++; n == 13 {
				return true
			}
		} else if s[i] != ' ' && s[i] != '-' {
			n = 0
		}
	}
	return false
}

func holds(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// luhn checks the digits of a card number.
func luhn(s string) bool {
	sum, double, n := 0, false, 0
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
		n++
	}
	return n >= 13 && n <= 19 && sum%10 == 0
}
