package migration

import (
	"path"
	"regexp"
	"strings"

	"github.com/bosman-cd/bosman"
)

// goose: 00001_name.sql with "-- +goose Up" and "-- +goose Down", or
// 00001_name.go. The version is the number before the first underscore.
// Facts: github.com/pressly/goose, README and internal/sqlparser.
var goose = tool{
	name:   "goose",
	claims: func(name string) bool { return gooseFile.MatchString(path.Base(name)) },
	byPath: func(string) (Node, bool) { return Node{}, false },
	read: func(name, text string) []Node {
		m := gooseFile.FindStringSubmatch(path.Base(name))
		n := numbered(name, m[1])
		if strings.HasSuffix(name, ".go") {
			if !strings.Contains(text, "pressly/goose") {
				return nil
			}
			n.Unknown = append(n.Unknown, "it is written in Go")
			return []Node{n}
		}
		if !gooseMark.MatchString(text) {
			return nil
		}
		n.put(gooseUp(text))
		return []Node{n}
	},
	rule: rule{
		twice: "goose refuses to run with two of one version",
		older: "goose refuses to run what is older than what it ran (-allow-missing)",
	},
}

var (
	gooseFile = regexp.MustCompile(`^([0-9]+)_[^/]*\.(?:sql|go)$`)
	gooseMark = regexp.MustCompile(`(?m)^\s*--\s*\+goose\s+Up\b`)
	gooseLine = regexp.MustCompile(`^\s*--\s*\+goose\s+(\w+)`)
)

// gooseUp judges what lies between Up and Down.
func gooseUp(text string) *script {
	s, b := &script{}, &strings.Builder{}
	up, down := false, false
	for _, line := range strings.Split(text, "\n") {
		if m := gooseLine.FindStringSubmatch(line); m != nil {
			switch strings.ToLower(m[1]) {
			case "up":
				up = true
			case "down":
				up, down = false, true
			case "envsub":
				s.doubt("variables are filled in when it runs")
			}
		}
		if up {
			b.WriteString(line)
		}
		b.WriteByte('\n') // so that lines count
	}
	s.sql(b.String(), 0)
	if !down {
		s.say(0, bosman.Irreversible, "", "has no Down")
	}
	return s
}

// numbered is a migration named by the number its file begins with.
func numbered(name, number string) Node {
	base := path.Base(name)
	stem, _, _ := strings.Cut(base, ".")
	dir := path.Dir(name)
	n := Node{ID: ID{App: shortDir(dir), Name: stem}, Space: dir, Number: number, version: parseVersion(number, ".")}
	if n.version == nil {
		n.Unknown = append(n.Unknown, "its number is too big")
	}
	return n
}

// shortDir is the folder that tells best: "db/migrate" is "db".
func shortDir(dir string) string {
	for dir != "." && dir != "/" {
		switch base := path.Base(dir); base {
		case "migrations", "migrate", "migration", "sql", "versions", "schema":
			dir = path.Dir(dir)
		default:
			return base
		}
	}
	return ""
}
