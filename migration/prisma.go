package migration

import (
	"path"
	"regexp"
)

// Prisma: migrations/20260101120000_name/migration.sql. What is pending is run
// in the order of the names. Facts: prisma.io/docs, "Prisma Migrate".
var prisma = tool{
	name:   "prisma",
	claims: func(name string) bool { return prismaFile.MatchString(name) },
	byPath: func(name string) (Node, bool) { return prismaNode(name), true },
	read: func(name, text string) []Node {
		n, s := prismaNode(name), &script{}
		s.plain(text)
		n.put(s)
		return []Node{n}
	},
	rule: rule{tables: true, rename: ", or make it again on top of main: `npx prisma migrate dev`"},
}

var prismaFile = regexp.MustCompile(`(?:^|/)migrations/([0-9]+)_[^/]*/migration\.sql$`)

func prismaNode(name string) Node {
	number := prismaFile.FindStringSubmatch(name)[1]
	dir := path.Dir(name)
	n := Node{ID: ID{App: shortDir(path.Dir(dir)), Name: path.Base(dir)}, Space: path.Dir(dir), Number: number, version: parseVersion(number, ".")}
	if n.version == nil {
		n.Unknown = append(n.Unknown, "its number is too big")
	}
	return n
}
