// Package bosman holds the nouns of the product: apps, changes, builds,
// releases, instances, operations, people and the rules that two stages
// share. It uses the standard library only and does no input or output; it
// must not know storage, HTTP, processes or any stage.
package bosman

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// App is a web application under Bosman's care: a repository and its
// bosman.yaml. Name is its identity and never changes.
type App struct {
	Name       string    `json:"name"`
	MainBranch string    `json:"main_branch,omitempty"` // usually "main"
	CreatedAt  time.Time `json:"created_at"`
	CreatedBy  string    `json:"created_by,omitempty"` // a Person's name
	Origin     string    `json:"origin,omitempty"`     // URL it is mirrored from; "" if pushed to Bosman itself
	PublicKey  string    `json:"public_key,omitempty"` // error-intake key shared by builds; instances have their own
}

var appName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// CheckName says whether name can name an app or an instance: lower-case
// letters, digits and single dashes, at most 40 bytes, starting with a letter
// (names become host names, user names and folders).
func CheckName(what, name string) error {
	if len(name) > 40 || !appName.MatchString(name) {
		return Invalid("%s name %q is not usable", what, name).
			WithNext("use lower-case letters, digits and single dashes, at most 40, starting with a letter: for example rms or testing-anna")
	}
	return nil
}

// Letter marks what a number counts; numbers are per app.
type Letter byte

// The letters of the product.
const (
	LetterBuild     Letter = 'b'
	LetterRelease   Letter = 'r'
	LetterOperation Letter = 'd' // deployments and the other operations on instances
	LetterChange    Letter = 'c'
	LetterBackup    Letter = 'k'
	LetterProblem   Letter = 'p'
)

// Ref formats a number with its letter: Ref(LetterRelease, 136) is "r136".
// Number 0 is "-".
func Ref(l Letter, n int) string {
	if n == 0 {
		return "-"
	}
	return string(rune(l)) + strconv.Itoa(n)
}

// ParseRef reads "r136" (the letter may be left out) as the number 136.
func ParseRef(l Letter, s string) (int, error) {
	digits := s
	if s != "" && s[0] == byte(l) {
		digits = s[1:]
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n <= 0 {
		return 0, Invalid("%q is not a number of that kind", s).WithNext(fmt.Sprintf("give it as %c12 or 12", l))
	}
	return n, nil
}

// Short is the usual abbreviation of a commit or tree hash.
func Short(hash string) string {
	if len(hash) > 8 {
		return hash[:8]
	}
	return hash
}
