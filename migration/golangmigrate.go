package migration

import (
	"path"
	"regexp"
	"strings"
)

// golang-migrate: 000001_name.up.sql and 000001_name.down.sql; the name may be
// missing. What is older than the version the database stands at is passed
// over in silence. Facts: github.com/golang-migrate/migrate, MIGRATIONS.md and
// source/migration.go.
var golangMigrate = tool{
	name:   "golang-migrate",
	claims: func(name string) bool { return migrateFile.MatchString(path.Base(name)) },
	byPath: func(name string) (Node, bool) {
		m := migrateFile.FindStringSubmatch(path.Base(name))
		if m == nil || m[2] == "down" {
			return Node{}, false
		}
		return numbered(name, m[1]), true
	},
	read: func(name, text string) []Node {
		m := migrateFile.FindStringSubmatch(path.Base(name))
		if m[2] == "down" {
			return nil
		}
		n := numbered(name, m[1])
		s := &script{}
		if !strings.HasSuffix(name, ".sql") {
			s.doubt("it is not SQL")
		} else {
			s.plain(text)
		}
		n.put(s)
		return []Node{n}
	},
	rule: rule{
		twice: "golang-migrate refuses to run with two of one version",
		gone:  "golang-migrate refuses to run when it does not find the version it stands at", goneLast: true,
		older: "golang-migrate passes over what is older than what it ran: it would never be run",
	},
}

var migrateFile = regexp.MustCompile(`^([0-9]+)_[^/]*\.(up|down)\.[a-z0-9]+$`)

// plain judges a file that is nothing but SQL.
func (s *script) plain(text string) {
	trimmed := strings.TrimSpace(text)
	if trimmed != "" && !strings.ContainsAny(trimmed, " \t\n;") {
		s.doubt("it holds no SQL; perhaps it is a symbolic link")
		return
	}
	s.sql(text, 0)
}
