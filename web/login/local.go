package login

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds()) + 1) }

// Local makes sure that a place to go on to is a path of Bosman itself; any
// other is "/".
func Local(s string) string {
	if s == "" || s[0] != '/' || len(s) > 4096 || strings.HasPrefix(s, "//") || strings.HasPrefix(s, "/login") {
		return "/"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '\\' {
			return "/"
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	return s
}
