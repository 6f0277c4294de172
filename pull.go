package bosman

import (
	"regexp"
	"strconv"
)

var pullURL = regexp.MustCompile(`/(?:pull|pulls|merge_requests)/([0-9]{1,9})/?$`)

// Pull is the number of the change's pull request at its forge; 0 without one.
func (c Change) Pull() int {
	m := pullURL.FindStringSubmatch(c.URL)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// Called is how people speak of the change: "PR 12", or "c12" without one.
func (c Change) Called() string {
	if n := c.Pull(); n > 0 {
		return "PR " + strconv.Itoa(n)
	}
	return Ref(LetterChange, c.Number)
}
