package problem

import (
	"hash/crc32"
	"net/url"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

// FormatRelease is the SENTRY_RELEASE of an instance: "rms@r136+abcdef12".
func FormatRelease(app string, number int, commit string) string {
	s := app + "@" + bosman.Ref(bosman.LetterRelease, number)
	if commit != "" {
		s += "+" + bosman.Short(commit)
	}
	return s
}

// ParseRelease reads what FormatRelease wrote; ok is false for any other name.
func ParseRelease(name string) (app string, number int, ok bool) {
	app, rest, found := strings.Cut(name, "@")
	if !found || bosman.CheckName("app", app) != nil {
		return "", 0, false
	}
	version, _, _ := strings.Cut(rest, "+")
	digits, isRelease := strings.CutPrefix(version, string(rune(bosman.LetterRelease)))
	n, err := strconv.Atoi(digits)
	if !isRelease || err != nil || n <= 0 || strconv.Itoa(n) != digits {
		return "", 0, false
	}
	return app, n, true
}

// DSN is the SENTRY_DSN for a public key: "http://KEY@127.0.0.1:8080/1234".
// baseURL is where the intake is reached; "" comes back when it is no http
// address or there is no key. The key alone decides whose an event is; project
// (an app's name) only makes the last part, which becomes a number because
// Python's and older clients refuse anything else.
func DSN(publicKey, baseURL, project string) string {
	u, err := url.Parse(baseURL)
	if err != nil || publicKey == "" || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = url.User(publicKey), "", ""
	if n, err := strconv.ParseUint(project, 10, 31); err != nil || n == 0 {
		project = strconv.Itoa(1 + int(crc32.ChecksumIEEE([]byte(project))%1_000_000))
	}
	return strings.TrimRight(u.String(), "/") + "/" + project
}
