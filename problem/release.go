package problem

import (
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

// DSN is the SENTRY_DSN for a public key: "http://KEY@127.0.0.1:8080/1".
// baseURL is where the intake is reached. project is a positive number of no
// meaning to us, since the key alone decides whose an event is; Python's and
// older clients refuse a DSN in which it is not a number.
func DSN(publicKey, baseURL string, project int) (string, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", bosman.Invalid("%q is no address for error reports", baseURL).WithNext("give it as http://127.0.0.1:8080")
	}
	if publicKey == "" || project <= 0 {
		return "", bosman.Invalid("a DSN needs an error key and a project number above 0")
	}
	u.User, u.RawQuery, u.Fragment = url.User(publicKey), "", ""
	return strings.TrimRight(u.String(), "/") + "/" + strconv.Itoa(project), nil
}
