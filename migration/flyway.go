package migration

import (
	"path"
	"regexp"
	"strings"
)

// Flyway: V1__name.sql, V1_2__name.sql, V1.2__name.sql, R__name.sql
// (repeatable), U1__name.sql (undo), B1__name.sql (baseline); also .java and
// the like. Applied ones are known by a checksum. Facts: Flyway's
// documentation, "Migrations" and "Validate".
var flyway = tool{
	name: "flyway",
	claims: func(name string) bool {
		base := path.Base(name)
		return flywayVersioned.MatchString(base) || flywayRepeatable.MatchString(base)
	},
	byPath: flywayNode,
	read: func(name, text string) []Node {
		n, ok := flywayNode(name)
		if !ok {
			return nil
		}
		s := &script{}
		if strings.HasSuffix(name, ".sql") {
			s.plain(text)
		} else {
			s.doubt("it is not SQL")
		}
		n.put(s)
		return []Node{n}
	},
	rule: rule{
		twice:  "Flyway refuses to run with two of one version",
		older:  "Flyway refuses to run what is older than what it ran (outOfOrder)",
		gone:   "Flyway refuses to run when it does not find what it ran (ignoreMigrationPatterns)",
		edited: "Flyway refuses to run when the checksum of what it ran has changed",
	},
}

var (
	flywayVersioned  = regexp.MustCompile(`^([VUB])([0-9]+(?:[._][0-9]+)*)__([^/]*)\.(?:sql|java|kt|groovy|py)$`)
	flywayRepeatable = regexp.MustCompile(`^R__([^/]*)\.(?:sql|java|kt|groovy|py)$`)
)

// flywayNode is what the name says; false for undo and baseline scripts, which
// a migration does not run.
func flywayNode(name string) (Node, bool) {
	base, dir := path.Base(name), path.Dir(name)
	if m := flywayRepeatable.FindStringSubmatch(base); m != nil {
		return Node{ID: ID{App: shortDir(dir), Name: "R__" + m[1]}, Space: dir, Repeatable: true}, true
	}
	m := flywayVersioned.FindStringSubmatch(base)
	if m == nil || m[1] != "V" {
		return Node{}, false
	}
	n := Node{ID: ID{App: shortDir(dir), Name: "V" + m[2] + "__" + m[3]}, Space: dir, Number: m[2], version: parseVersion(m[2], "._")}
	if n.version == nil {
		n.Unknown = append(n.Unknown, "its version is too big")
	}
	return n, true
}
