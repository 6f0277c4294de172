package build

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// minSecret is the length below which a value is not masked: masking "on" or
// "8080" wherever it stands makes logs unreadable and hides nothing.
const minSecret = 6

// commonWords are values that stand in logs for other reasons.
var commonWords = []string{
	"admin", "changeme", "debug", "default", "development", "disabled", "enabled", "example", "false", "localhost",
	"mariadb", "master", "password", "postgres", "production", "secret", "staging", "testing", "username",
}

// masker replaces the values of secrets in text.
type masker struct {
	replacer *strings.Replacer
	longest  int      // bytes of the longest form
	open     []string // names of secrets whose values cannot be masked, sorted
}

const masked = "***"

// newMasker masks the values of secrets (by name), each line of those with
// several, and the forms they take in URLs, JSON and base64.
func newMasker(secrets map[string]string) *masker {
	m := &masker{}
	forms := map[string]bool{}
	for name, value := range secrets {
		covered := false
		for _, line := range strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			line = strings.TrimSpace(line)
			if len(line) < minSecret || slices.Contains(commonWords, strings.ToLower(line)) {
				continue
			}
			covered = true
			for _, f := range secretForms(line) {
				forms[f] = true
			}
		}
		if covered {
			for _, f := range secretForms(value) {
				forms[f] = true
			}
		} else if value != "" {
			m.open = append(m.open, name)
		}
	}
	slices.Sort(m.open)
	var list []string
	for f := range forms {
		list = append(list, f)
		m.longest = max(m.longest, len(f))
	}
	slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, f := range list {
		pairs = append(pairs, f, masked)
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

func (m *masker) mask(s string) string {
	if m == nil || m.longest == 0 {
		return s
	}
	return m.replacer.Replace(s)
}

// secretForms are value and its encodings.
func secretForms(value string) []string {
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value)}
	if quoted, err := json.Marshal(value); err == nil {
		forms = append(forms, strings.Trim(string(quoted), `"`))
	}
	for before := range 3 { // the value may begin at any of three places of a group
		padded := append(make([]byte, before), value...)
		first := (before*8 + 5) / 6
		last := len(padded) * 8 / 6
		if last-first < minSecret+2 {
			continue
		}
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, enc.EncodeToString(padded)[first:last])
		}
	}
	return forms
}
