package bosman

import (
	"path"
	"strings"
)

// WrittenAnew gives the command that writes a file anew that a tool keeps of
// the database's schema; "" for files that people write. Two changes with
// migrations always conflict in such a file, and nobody solves that by hand.
func WrittenAnew(file string) string {
	base := path.Base(file)
	if path.Base(path.Dir(file)) == "db" && (strings.HasSuffix(base, "schema.rb") || strings.HasSuffix(base, "structure.sql")) {
		return "bin/rails db:migrate"
	}
	return ""
}
